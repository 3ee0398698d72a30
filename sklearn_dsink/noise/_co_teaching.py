"""Co-teaching: two nets that pick clean samples for each other."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from sklearn.utils._param_validation import Interval, StrOptions
from torch.nn import functional as F

from .._base_net import BaseNetClassifier
from ..losses import SampleLoss
from ._cross_fit import wrong_label_rates
from ._twin import TwinNet, twin_cross_entropy


class CoTeachingLoss(SampleLoss):
    """Cross-entropy of two nets, each on the samples that the other finds easiest.

    Parameters
    ----------
    noise_rates : tensor of shape (n_classes,)
        Share of samples to leave out in the end, by given label.
    ramp_epochs : int, default=10
        Epochs in which the share rises from 0, linearly.
    selection : {"class", "batch"}, default="class"
        Among which samples losses are compared: those of all the training set with the same
        label, by their latest losses, or those of the batch.
    """

    needs_index = True
    latest: torch.Tensor
    labels: torch.Tensor
    chosen: torch.Tensor
    noise_rates: torch.Tensor

    def __init__(
        self, noise_rates: torch.Tensor, ramp_epochs: int = 10, selection: str = "class"
    ) -> None:
        super().__init__()
        self.ramp_epochs = ramp_epochs
        self.selection = selection
        self.share_left_out = 0.0
        self.register_buffer("noise_rates", noise_rates)
        self.register_buffer("latest", torch.zeros(0, 2), persistent=False)
        self.register_buffer("labels", torch.zeros(0, dtype=torch.int64), persistent=False)
        self.register_buffer("chosen", torch.zeros(0, 2, dtype=torch.bool), persistent=False)

    def prepare(self, class_counts: torch.Tensor, n_samples: int) -> None:
        """Start without a memory: every sample is chosen."""
        self.latest = torch.zeros(n_samples, 2)
        self.labels = torch.full((n_samples,), -1, dtype=torch.int64)
        self.chosen = torch.ones(n_samples, 2, dtype=torch.bool)

    def set_epoch(self, epoch: int, n_epochs: int) -> None:
        """Choose the samples of the epoch to come from the losses of the last one."""
        self.share_left_out = min(1.0, epoch / self.ramp_epochs)
        if self.selection == "batch":
            return
        for label, rate in enumerate(self.noise_rates.tolist()):
            rows = torch.nonzero(self.labels == label).squeeze(1)
            n_chosen = len(rows) - int(rate * self.share_left_out * len(rows))
            rank = self.latest[rows].argsort(dim=0).argsort(dim=0)
            self.chosen[rows] = rank < n_chosen

    def forward(
        self, logits: torch.Tensor, labels: torch.Tensor, index: torch.Tensor
    ) -> torch.Tensor:
        """Return losses of shape (n_samples,): of both nets in training, else of their mean."""
        if not self.training:
            return F.cross_entropy(logits, labels, reduction="none")
        losses = twin_cross_entropy(logits, labels)
        self.latest[index] = losses.detach().to(self.latest.dtype)
        self.labels[index] = labels
        if self.selection == "class":
            chosen = self.chosen[index]
        else:
            rate = float(self.noise_rates[labels].mean()) * self.share_left_out
            n_chosen = len(labels) - int(rate * len(labels))
            chosen = losses.detach().argsort(dim=0).argsort(dim=0) < n_chosen
        # Each net learns from the other's choice; scaled to a mean over the samples chosen.
        taught = chosen.flip(1).to(losses.dtype)
        return (losses * taught / taught.mean(dim=0).clamp_min(1 / len(labels))).sum(dim=1)


class CoTeachingClassifier(BaseNetClassifier):
    """Two nets, each trained on the samples of smallest loss in the eyes of the other.

    Nets learn clean labels first, so samples of small loss are mostly clean; since each net learns
    from the other's choice, its errors do not confirm themselves. Predictions are those of both,
    averaged.

    Parameters
    ----------
    noise_rate : float or None, default=None
        Share of wrong labels. None estimates it, for each given class, from the confident
        joint of out-of-fold probabilities of extremely randomised trees.
    selection : {"class", "batch"}, default="class"
        Where losses are compared: "class" among all training samples given the same label, so
        that no class is emptied; "batch" among all samples of the batch, as published, which
        tends to drop rare classes.
    ramp_epochs : int, default=10
        Epochs in which the share left out rises from 0 to the noise rate, linearly.
    hidden_layer_sizes, numeric_embedding, dropout, max_epochs, batch_size, lr, weight_decay
        As in :class:`~sklearn_dsink.NetClassifier`.
    class_weight, early_stopping, validation_fraction, patience, callbacks, device
        As in :class:`~sklearn_dsink.NetClassifier`.
    compile, verbose, random_state
        As in :class:`~sklearn_dsink.NetClassifier`.

    Attributes
    ----------
    classes_, net_, history_, n_iter_, n_features_in_, feature_names_in_
        As in :class:`~sklearn_dsink.NetClassifier`.
    noise_rates_ : ndarray of shape (n_classes,)
        Share of the samples left out in the end, by given class.

    References
    ----------
    B. Han et al.: Co-teaching: Robust Training of Deep Neural Networks with Extremely Noisy
    Labels. NeurIPS 2018. Algorithm 1.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_dsink.datasets import flip_labels
    >>> from sklearn_dsink.noise import CoTeachingClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> y_noisy, _ = flip_labels(y, 0.3, random_state=0)
    >>> clf = CoTeachingClassifier(random_state=0).fit(X, y_noisy)
    >>> bool(clf.score(X, y) > 0.9)
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseNetClassifier._parameter_constraints,
        "noise_rate": [Interval(Real, 0, 1, closed="left"), None],
        "selection": [StrOptions({"class", "batch"})],
        "ramp_epochs": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(
        self,
        noise_rate: float | None = None,
        selection: str = "class",
        ramp_epochs: int = 10,
        *,
        hidden_layer_sizes: Sequence[int] = (256,),
        numeric_embedding: str | None = None,
        dropout: float = 0.1,
        max_epochs: int = 60,
        batch_size: int | None = None,
        lr: float = 2e-3,
        weight_decay: float = 1e-2,
        class_weight: str | dict[Any, float] | None = None,
        early_stopping: bool = False,
        validation_fraction: float = 0.15,
        patience: int = 10,
        callbacks: Sequence[Any] | None = None,
        device: str = "cpu",
        compile: bool = False,
        verbose: int = 0,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        super().__init__(
            hidden_layer_sizes=hidden_layer_sizes,
            numeric_embedding=numeric_embedding,
            dropout=dropout,
            max_epochs=max_epochs,
            batch_size=batch_size,
            lr=lr,
            weight_decay=weight_decay,
            class_weight=class_weight,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            patience=patience,
            callbacks=callbacks,
            device=device,
            compile=compile,
            verbose=verbose,
            random_state=random_state,
        )
        self.noise_rate = noise_rate
        self.selection = selection
        self.ramp_epochs = ramp_epochs

    def _make_loss(self) -> SampleLoss:
        return CoTeachingLoss(
            torch.as_tensor(self.noise_rates_, dtype=torch.float32),
            self.ramp_epochs,
            self.selection,
        )

    def _net_options(self) -> dict[str, Any]:
        return super()._net_options() | {"module": TwinNet}

    def _fit_net(
        self,
        X: Any,
        codes: npt.NDArray[np.int64],
        weight: npt.NDArray[np.float32],
        seed: int,
        **options: Any,
    ) -> None:
        n_classes = len(self.classes_)
        if self.noise_rate is None:
            self.noise_rates_ = wrong_label_rates(X, codes, n_classes, seed, weight)
        else:
            self.noise_rates_ = np.full(n_classes, float(self.noise_rate))
        super()._fit_net(X, codes, weight, seed, **options)
