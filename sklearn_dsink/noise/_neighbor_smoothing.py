"""Label smoothing by nearest neighbours, for embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import normalize
from sklearn.utils._param_validation import Interval, StrOptions

from .._arrays import FloatArray, normalize_rows
from .._base_net import BaseNetClassifier
from ..losses import SampleLoss
from ..losses._base import soft_cross_entropy


def neighbor_label_shares(
    X: Any,
    codes: npt.NDArray[np.integer[Any]],
    n_classes: int,
    *,
    n_neighbors: int = 10,
    metric: str = "cosine",
    balance: float = 0.5,
    sample_weight: npt.NDArray[np.floating[Any]] | None = None,
) -> FloatArray:
    """Shares of the classes among the labels of each row's nearest other rows.

    Parameters
    ----------
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        Embeddings.
    codes : ndarray of shape (n_samples,), dtype int
        Labels 0..n_classes-1.
    n_classes : int
        Number of classes.
    n_neighbors : int, default=10
        Neighbours asked, at most ``n_samples - 1``.
    metric : {"cosine", "euclidean"}, default="cosine"
        Distance.
    balance : float, default=0.5
        A label of a class of total weight n counts n^-balance: 0 counts all alike, 1 makes up for
        the sizes of the classes.
    sample_weight : ndarray of shape (n_samples,) or None, default=None
        Positive weights of the rows' votes, besides.

    Returns
    -------
    shares : ndarray of shape (n_samples, n_classes)
        Rows sum to 1.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.array([[0.0], [0.1], [0.2], [5.0], [5.1], [5.2]])
    >>> codes = np.array([0, 0, 1, 1, 1, 1])
    >>> neighbor_label_shares(X, codes, 2, n_neighbors=2, metric="euclidean", balance=0)[:3]
    array([[0.5, 0.5],
           [0.5, 0.5],
           [1. , 0. ]])
    """
    # On unit vectors both metrics order neighbours alike, and the euclidean one has fast paths.
    rows = normalize(X) if metric == "cosine" else X
    n_neighbors = min(n_neighbors, rows.shape[0] - 1)
    neighbors = NearestNeighbors(n_neighbors=n_neighbors).fit(rows)
    nearest = neighbors.kneighbors(return_distance=False)  # without arguments: not the row itself
    totals = np.bincount(codes, weights=sample_weight, minlength=n_classes)
    votes = totals[codes] ** -float(balance)
    if sample_weight is not None:
        votes = votes * sample_weight
    shares = np.zeros((len(codes), n_classes))
    for column in nearest.T:
        shares[np.arange(len(codes)), codes[column]] += votes[column]
    return normalize_rows(shares)


class SoftLabels(SampleLoss):
    """Cross-entropy with a distribution over classes for each training row.

    Parameters
    ----------
    rows : tensor of shape (n_samples, n_classes)
        The distributions, by index; labels are not looked at.
    """

    needs_index = True
    rows: torch.Tensor

    def __init__(self, rows: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("rows", rows, persistent=False)

    def forward(
        self, logits: torch.Tensor, labels: torch.Tensor, index: torch.Tensor
    ) -> torch.Tensor:
        """Return losses of shape (n_samples,)."""
        return soft_cross_entropy(logits, self.rows[index].to(logits.dtype))


class NeighborSmoothingClassifier(BaseNetClassifier):
    """Net trained on labels that are mixed with those of the nearest neighbours.

    Made for embeddings, where near rows mostly share a class, so that a wrong label is outvoted.

    Parameters
    ----------
    n_neighbors : int, default=10
        Neighbours that vote.
    smoothing : float, default=0.7
        Share of the neighbours' vote in the label; the given label has the rest.
    metric : {"cosine", "euclidean"}, default="cosine"
        Distance between rows. For tables of different units use "euclidean" after scaling.
    balance : float, default=0.5
        A vote for a class of n rows counts n^-balance, so that large classes do not outvote
        small ones everywhere.
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
    smoothed_labels_ : ndarray of shape (n_samples, n_classes)
        Labels trained on, for the samples of positive weight; rows sum to 1.

    References
    ----------
    D. Bahri, H. Jiang, M. Gupta: Deep k-NN for Noisy Labels. ICML 2020.

    A. Iscen, J. Valmadre, A. Arnab, C. Schmid: Learning with Neighbor Consistency for Noisy
    Labels. CVPR 2022. Equation 4 has the neighbours' mean as a target.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_dsink.datasets import flip_labels
    >>> from sklearn_dsink.noise import NeighborSmoothingClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> y_noisy, _ = flip_labels(y, 0.3, random_state=0)
    >>> clf = NeighborSmoothingClassifier(random_state=0).fit(X, y_noisy)
    >>> bool(clf.score(X, y) > 0.9)
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseNetClassifier._parameter_constraints,
        "n_neighbors": [Interval(Integral, 1, None, closed="left")],
        "smoothing": [Interval(Real, 0, 1, closed="both")],
        "metric": [StrOptions({"cosine", "euclidean"})],
        "balance": [Interval(Real, 0, 1, closed="both")],
    }

    def __init__(
        self,
        n_neighbors: int = 10,
        smoothing: float = 0.7,
        metric: str = "cosine",
        balance: float = 0.5,
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
        self.n_neighbors = n_neighbors
        self.smoothing = smoothing
        self.metric = metric
        self.balance = balance

    def _make_loss(self) -> SampleLoss:
        return SoftLabels(torch.as_tensor(self.smoothed_labels_, dtype=torch.float32))

    def _fit_net(
        self,
        X: Any,
        codes: npt.NDArray[np.int64],
        weight: npt.NDArray[np.float32],
        seed: int,
        **options: Any,
    ) -> None:
        n_classes = len(self.classes_)
        shares = neighbor_label_shares(
            X,
            codes,
            n_classes,
            n_neighbors=self.n_neighbors,
            metric=self.metric,
            balance=self.balance,
            sample_weight=weight,
        )
        one_hot = np.eye(n_classes)[codes]
        self.smoothed_labels_ = (1 - self.smoothing) * one_hot + self.smoothing * shares
        super()._fit_net(X, codes, weight, seed, **options)
