"""What losses have in common, cross-entropy, and the criterion that averages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F


def log_prob_of(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Log-probability of each sample's label, shape (n_samples,)."""
    return -F.cross_entropy(logits, labels, reduction="none")


def soft_cross_entropy(logits: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Cross-entropy with a distribution over classes as the label: -sum_k q_k log p_k.

    Parameters
    ----------
    logits : tensor of shape (n_samples, n_classes)
        Logits.
    rows : tensor of shape (n_samples, n_classes)
        Label distributions q.

    Returns
    -------
    loss : tensor of shape (n_samples,)
    """
    return F.cross_entropy(logits, rows, reduction="none")


class SampleLoss(nn.Module):
    """Base of the losses, and of one of your own: what a classifier calls in training.

    ``forward(logits, labels)`` gives losses of shape (n_samples,) from logits of shape (n_samples,
    n_classes) and int64 labels. With ``needs_index = True`` the training rows of the samples come
    as a third argument.

    Examples
    --------
    >>> import torch
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_dsink import NetClassifier
    >>> from sklearn_dsink.losses import SampleLoss
    >>> class Brier(SampleLoss):
    ...     def forward(self, logits, labels):
    ...         wanted = torch.nn.functional.one_hot(labels, logits.shape[1])
    ...         return ((logits.softmax(dim=1) - wanted) ** 2).sum(dim=1)
    >>> X, y = load_iris(return_X_y=True)
    >>> bool(NetClassifier(loss=Brier(), random_state=0).fit(X, y).score(X, y) > 0.9)
    True
    """

    needs_index = False

    def __init__(self) -> None:  # torch's takes anything, and refuses it
        super().__init__()

    def prepare(self, class_counts: torch.Tensor, n_samples: int) -> None:
        """Learn the sizes of the classes and of the training set; called once before training.

        Parameters
        ----------
        class_counts : tensor of shape (n_classes,)
            Samples of each class, or their summed weights.
        n_samples : int
            Number of rows that an index can name.
        """

    def set_epoch(self, epoch: int, n_epochs: int) -> None:
        """Learn that `epoch` of `n_epochs` epochs are done; called before each.

        Parameters
        ----------
        epoch : int
            Epochs done, 0 before the first.
        n_epochs : int
            Epochs in all.
        """


class WeightedMean(nn.Module):
    """Criterion: the mean over a batch of a loss times the samples' weights.

    Parameters
    ----------
    loss : SampleLoss
        Loss of single samples.

    Notes
    -----
    As its second argument it takes labels, or what skorch makes of a dict: ``label`` and
    optionally ``weight`` and ``index``. Weights have mean 1 over the training set. Divided by the
    sum of its own weights a batch without a heavy sample would count as much as one with it, and
    the mean over batches would not be that of all samples.
    """

    def __init__(self, loss: SampleLoss) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, logits: torch.Tensor, target: Any) -> torch.Tensor:
        """Return a scalar."""
        if not isinstance(target, Mapping):
            target = {"label": target}
        index = (target["index"],) if self.loss.needs_index else ()
        losses: torch.Tensor = self.loss(logits, target["label"], *index)
        if "weight" not in target:
            return losses.mean()
        return (target["weight"].to(losses.dtype) * losses).mean()


class CrossEntropy(SampleLoss):
    """-log p_y, or with label smoothing e: -(1 - e) log p_y - e mean_k log p_k.

    Parameters
    ----------
    label_smoothing : float, default=0.0
        e above, in [0, 1].
    """

    def __init__(self, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing

    def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return losses of shape (n_samples,)."""
        return F.cross_entropy(
            logits, labels, reduction="none", label_smoothing=self.label_smoothing
        )
