"""DivideMix for vectors: divide labels into clean and wrong, mix samples of both kinds."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from sklearn.mixture import GaussianMixture
from sklearn.utils._param_validation import Interval
from skorch import NeuralNetClassifier
from skorch.callbacks import Callback
from torch.nn import functional as F

from .._arrays import FloatArray
from .._base_net import BaseNetClassifier
from ..losses import SampleLoss
from ..losses._base import soft_cross_entropy
from ._twin import TwinNet, twin_cross_entropy

# Fewer losses than this are no ground for a mixture of their own.
_MIN_MIXTURE_ROWS = 20


def clean_probabilities(
    losses: npt.NDArray[np.floating[Any]], labels: npt.NDArray[np.integer[Any]] | None = None
) -> FloatArray:
    """Probability that each label is right: that its loss is of the lower of two Gaussians.

    Parameters
    ----------
    losses : ndarray of shape (n_samples,)
        Cross-entropy of each sample.
    labels : ndarray of shape (n_samples,) or None, default=None
        With labels, each class of at least 20 rows has a mixture of its own, and smaller classes
        share theirs with all rows. None: one mixture.

    Returns
    -------
    clean : ndarray of shape (n_samples,)

    Examples
    --------
    >>> import numpy as np
    >>> losses = np.array([0.1, 0.2, 0.15, 2.0, 2.1])
    >>> clean_probabilities(losses).round(2)
    array([1., 1., 1., 0., 0.])
    """
    clean = _lower_component(losses)
    if labels is not None:
        for label in np.unique(labels):
            rows = labels == label
            if rows.sum() >= _MIN_MIXTURE_ROWS:
                clean[rows] = _lower_component(losses[rows])
    return clean


def _lower_component(losses: npt.NDArray[np.floating[Any]]) -> FloatArray:
    low, spread = float(losses.min()), float(np.ptp(losses))
    if spread < 1e-6:  # nothing to tell apart: all labels are taken as right
        return np.ones(len(losses))
    scaled = ((losses - low) / spread)[:, None]
    # Starting from the extremes needs no random draws, and finds the split where there is one.
    mixture = GaussianMixture(
        2, means_init=[[0.0], [1.0]], reg_covar=5e-4, tol=1e-2, max_iter=100, random_state=0
    ).fit(scaled)
    proba: FloatArray = mixture.predict_proba(scaled)
    return proba[:, int(mixture.means_.argmin())]


class DivideMixLoss(SampleLoss):
    """The state and the loss of DivideMix; cross-entropy in warm-up and in evaluation.

    Parameters
    ----------
    warm_up : int
        Epochs of plain cross-entropy.
    sharpening : float
        Temperature T that guessed labels are sharpened with.
    unlabeled_weight : float
        Weight of the squared error on the samples whose labels are taken as wrong.
    """

    clean: torch.Tensor
    class_share: torch.Tensor

    def __init__(self, warm_up: int, sharpening: float, unlabeled_weight: float) -> None:
        super().__init__()
        self.warm_up = warm_up
        self.sharpening = sharpening
        self.unlabeled_weight = unlabeled_weight
        self.epoch = 0
        self.register_buffer("clean", torch.zeros(0, 2), persistent=False)
        self.register_buffer("class_share", torch.zeros(0))

    def prepare(self, class_counts: torch.Tensor, n_samples: int) -> None:
        """Take all labels as right."""
        self.clean = torch.ones(n_samples, 2)
        self.class_share = class_counts.clamp_min(0.5) / class_counts.clamp_min(0.5).sum()

    def set_epoch(self, epoch: int, n_epochs: int) -> None:
        """Remember the epoch."""
        self.epoch = epoch

    @property
    def mixing(self) -> bool:
        """Whether warm-up is over."""
        return self.epoch >= self.warm_up

    def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return cross-entropies of shape (n_samples,)."""
        if logits.ndim == 3:
            return twin_cross_entropy(logits, labels).sum(dim=1)
        return F.cross_entropy(logits, labels, reduction="none")

    def guess(
        self, logits: torch.Tensor, labels: torch.Tensor, index: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Targets for both nets, shape (n_samples, 2, n_classes), and which labels are kept.

        A label taken as right is refined, w y + (1 - w) p with p the net's own answer; another is
        replaced by the mean answer of both nets. Each net relies on the other's division.
        """
        p = torch.softmax(logits, dim=2)
        clean = self.clean[index].flip(1).to(p.dtype)
        kept = clean > 0.5
        one_hot = F.one_hot(labels, p.shape[2]).to(p.dtype)[:, None]
        refined = clean[:, :, None] * one_hot + (1 - clean[:, :, None]) * p
        targets = torch.where(kept[:, :, None], refined, p.mean(dim=1, keepdim=True))
        targets = targets ** (1 / self.sharpening)
        return targets / targets.sum(dim=2, keepdim=True), kept

    def mixed(
        self,
        logits: torch.Tensor,
        targets: torch.Tensor,
        kept: torch.Tensor,
        weight: torch.Tensor,
    ) -> torch.Tensor:
        """Loss of mixed samples: cross-entropy, squared error and the prior's penalty; a scalar.

        The penalty is the divergence of the mean answer from the class shares of the labels, both
        by weight. The weights have mean 1 over all samples, not over the batch.
        """
        ramp = min(1.0, (self.epoch - self.warm_up + 1) / 16)
        p = torch.softmax(logits, dim=2)
        entropy = soft_cross_entropy(logits.flatten(0, 1), targets.flatten(0, 1)).view_as(kept)
        squares = ((p - targets) ** 2).mean(dim=2)
        sample_loss = torch.where(kept, entropy, ramp * self.unlabeled_weight * squares)
        mean_p = torch.einsum("i,ijc->jc", weight / weight.sum(), p).clamp_min(1e-8)
        penalty = (self.class_share * (self.class_share / mean_p).log()).sum()
        return (weight[:, None] * sample_loss).sum() / len(weight) + penalty


class DivideMixNet(NeuralNetClassifier):
    """A skorch net that trains :class:`TwinNet` by :class:`DivideMixLoss` after warm-up."""

    def train_step_single(self, batch: Any, **fit_params: Any) -> dict[str, Any]:
        """Compute gradients of one step."""
        loss = self.criterion_.loss
        if not loss.mixing:
            return super().train_step_single(batch, **fit_params)
        X, y = batch
        X = X.to(self.device)
        y = {key: value.to(self.device) for key, value in y.items()}
        self._set_training(False)
        with torch.no_grad():
            answers = self.module_.both(X)
            targets, kept = loss.guess(answers, y["label"], y["index"])
        self._set_training(True)
        share = float(np.random.beta(4.0, 4.0))  # noqa: NPY002 - seeded by the classifier
        share = max(share, 1 - share)
        other = torch.randperm(len(X), device=X.device)
        logits = self.module_.both(share * X + (1 - share) * X[other])
        targets = share * targets + (1 - share) * targets[other]
        value = loss.mixed(logits, targets, kept, y["weight"])
        value.backward()
        # Not those of the mixed rows, which have no label that a callback could compare them with.
        return {"loss": value, "y_pred": answers}


class Divide(Callback):
    """Before each epoch after warm-up, renew the probabilities that labels are right.

    Parameters
    ----------
    by_class : bool
        Whether classes have mixtures of their own.
    """

    def __init__(self, by_class: bool) -> None:
        self.by_class = by_class

    def on_epoch_begin(self, net: Any, dataset_train: Any = None, **kwargs: Any) -> None:
        """Fit the mixtures to the losses of all training rows."""
        loss = net.criterion_.loss
        if not loss.mixing:
            return
        net.module_.eval()
        losses, index, labels = [], [], []
        with torch.no_grad():
            for X, y in net.get_iterator(dataset_train, training=False):
                label = y["label"].to(net.device)
                losses.append(twin_cross_entropy(net.module_.both(X.to(net.device)), label).cpu())
                index.append(y["index"].cpu())
                labels.append(label.cpu())
        table, label = torch.cat(losses).numpy(), torch.cat(labels).numpy()
        groups = label if self.by_class else None
        clean = np.column_stack([clean_probabilities(column, groups) for column in table.T])
        clean_rows = torch.as_tensor(clean, dtype=loss.clean.dtype, device=loss.clean.device)
        loss.clean[torch.cat(index).to(loss.clean.device)] = clean_rows


class DivideMixClassifier(BaseNetClassifier):
    """Two nets that divide labels into right and wrong for each other, and learn from both kinds.

    After warm-up, a two-component Gaussian mixture of a net's losses gives each label a
    probability to be right. The other net refines the labels above 0.5, replaces those below by
    what both nets answer, and learns from convex mixtures of samples (mixup).

    Parameters
    ----------
    warm_up : int, default=10
        Epochs of plain cross-entropy before labels are divided. Published: 10 to 30.
    by_class : bool, default=True
        Whether the losses of each given class of at least 20 rows have a mixture of their own.
        One mixture for all, as published, takes the large losses of rare classes for wrong
        labels.
    sharpening : float, default=0.5
        Temperature that guessed labels are sharpened with.
    unlabeled_weight : float, default=25.0
        Weight of the squared error on samples whose labels are set aside; reached over 16
        epochs.
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
    clean_probabilities_ : ndarray of shape (n_samples, 2)
        What either net's losses say of each label, for the samples of positive weight.

    Notes
    -----
    Where the paper averages predictions over image augmentations, vectors have none: the nets
    answer without dropout. The penalty on the mean answer is towards the class shares of the
    labels, where the paper's is towards equal shares, which fights long tails. Mixing in the input
    space treats features as continuous.

    References
    ----------
    J. Li, R. Socher, S. C. H. Hoi: DivideMix: Learning with Noisy Labels as Semi-supervised
    Learning. ICLR 2020. Algorithm 1; equations 3 to 12.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from sklearn_dsink.datasets import flip_labels
    >>> from sklearn_dsink.noise import DivideMixClassifier
    >>> X, y = load_wine(return_X_y=True)
    >>> y_noisy, _ = flip_labels(y, 0.3, random_state=0)
    >>> clf = DivideMixClassifier(max_epochs=40, random_state=0).fit(X, y_noisy)
    >>> bool(clf.score(X, y) > 0.8)
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseNetClassifier._parameter_constraints,
        "warm_up": [Interval(Integral, 1, None, closed="left")],
        "by_class": ["boolean"],
        "sharpening": [Interval(Real, 0, 1, closed="right")],
        "unlabeled_weight": [Interval(Real, 0, None, closed="left")],
    }

    def __init__(
        self,
        warm_up: int = 10,
        by_class: bool = True,
        sharpening: float = 0.5,
        unlabeled_weight: float = 25.0,
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
        self.warm_up = warm_up
        self.by_class = by_class
        self.sharpening = sharpening
        self.unlabeled_weight = unlabeled_weight

    def _make_loss(self) -> SampleLoss:
        return DivideMixLoss(self.warm_up, self.sharpening, self.unlabeled_weight)

    def _make_callbacks(self) -> list[Any]:
        return [*super()._make_callbacks(), ("divide", Divide(self.by_class))]

    def _net_options(self) -> dict[str, Any]:
        return super()._net_options() | {"module": TwinNet, "net_class": DivideMixNet}

    def _fit_net(self, *args: Any, **options: Any) -> None:
        super()._fit_net(*args, **options)
        self.clean_probabilities_ = self.net_.criterion_.loss.clean.cpu().numpy()
