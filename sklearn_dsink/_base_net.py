"""The base of our net classifiers: scikit-learn outside, a skorch net inside."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse
from sklearn.base import BaseEstimator, ClassifierMixin, _fit_context
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data
from skorch import NeuralNetClassifier
from skorch.callbacks import EarlyStopping
from skorch.dataset import Dataset
from skorch.helper import predefined_split
from skorch.utils import noop

from ._interrupts import train_net
from ._label_scores import score_by_labels
from ._loss_epochs import LossEpochs
from ._seeding import draw_seed, seeded
from ._threads import few_threads
from .losses import SampleLoss, WeightedMean
from .nets import leave_training, make_net, plain_history, quantile_bins
from .scaling import column_moments
from .validation import number_classes


class BaseNetClassifier(ClassifierMixin, BaseEstimator):
    """A tabular net trained with one loss; subclasses say which.

    A subclass stores its own parameters and implements :meth:`_make_loss`. It may extend
    :meth:`_net_options` (what :func:`~sklearn_dsink.nets.make_net` is called with) and
    :meth:`_make_callbacks`.
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "hidden_layer_sizes": ["array-like"],
        "numeric_embedding": [StrOptions({"piecewise"}), None],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "max_epochs": [Interval(Integral, 1, None, closed="left")],
        "batch_size": [Interval(Integral, 2, None, closed="left"), None],
        "lr": [Interval(Real, 0, None, closed="neither")],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "class_weight": [StrOptions({"balanced"}), dict, None],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "patience": [Interval(Integral, 1, None, closed="left")],
        "callbacks": [list, tuple, None],
        "device": [str],
        "compile": ["boolean"],
        "verbose": ["verbose"],
        "random_state": ["random_state"],
    }

    classes_: npt.NDArray[Any]
    n_features_in_: int

    def __init__(
        self,
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
        self.hidden_layer_sizes = hidden_layer_sizes
        self.numeric_embedding = numeric_embedding
        self.dropout = dropout
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.lr = lr
        self.weight_decay = weight_decay
        self.class_weight = class_weight
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.callbacks = callbacks
        self.device = device
        self.compile = compile
        self.verbose = verbose
        self.random_state = random_state

    def _make_loss(self) -> SampleLoss:
        """Return a new loss for one fit."""
        raise NotImplementedError

    def _make_callbacks(self) -> list[Any]:
        """Return new skorch callbacks for one fit; the net forgets them after it."""
        own: list[Any] = [("loss_epochs", LossEpochs())]
        if self.early_stopping:
            sink = print if self.verbose else noop
            stopping = EarlyStopping(patience=self.patience, load_best=True, sink=sink)
            own.append(("early_stopping", stopping))
        return own

    def _net_options(self) -> dict[str, Any]:
        """Return what the parameters say of the net, as arguments of `make_net`."""
        return {
            "hidden_layer_sizes": tuple(self.hidden_layer_sizes),
            "max_epochs": self.max_epochs,
            "batch_size": self.batch_size,
            "lr": self.lr,
            "weight_decay": self.weight_decay,
            "dropout": self.dropout,
            "device": self.device,
            "compile": self.compile,
            "verbose": int(self.verbose),
        }

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(
        self, X: Any, y: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None
    ) -> BaseNetClassifier:
        """Train the net.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Inputs; computed with in float32. Sparse rows are made dense batch by batch.

        y : array-like of shape (n_samples,)
            Labels of any type that scikit-learn takes; at least two classes.

        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights of the samples' losses; not negative. Samples of weight 0 are left out.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            When a parameter or the data is not as described, or training diverged.
        """
        sizes = tuple(self.hidden_layer_sizes)
        if any(not isinstance(n, Integral) or isinstance(n, bool) or n < 1 for n in sizes):
            raise ValueError(
                f"The 'hidden_layer_sizes' parameter of {type(self).__name__} must hold whole "
                f"numbers > 0. Got {sizes} instead."
            )
        X, y = validate_data(self, X, y, accept_sparse="csr", dtype=np.float32)
        self.classes_, codes = number_classes(y)
        weight = _check_sample_weight(
            sample_weight, X, dtype=np.float64, ensure_non_negative=True, copy=True
        )
        weight /= weight.max() or 1.0  # their sum may be infinite
        if self.class_weight == "balanced":
            totals = np.bincount(codes, weights=weight)
            weight *= np.divide(1.0, totals, out=np.zeros_like(totals), where=totals > 0)[codes]
        elif self.class_weight is not None:
            weight *= compute_sample_weight(self.class_weight, np.asarray(y))
        used = np.flatnonzero(weight)
        if len(np.unique(codes[used])) < 2:
            raise ValueError(
                f"{type(self).__name__} needs at least two classes in y, but found only one class"
                + (" among the samples of positive weight." if len(used) < len(codes) else ".")
            )
        if len(used) < len(codes):
            X, codes, weight = X[used], codes[used], weight[used]
        seed = draw_seed(check_random_state(self.random_state))
        try:
            with seeded(seed):
                self._fit_net(X, codes, (weight / weight.mean()).astype(np.float32), seed)
        except BaseException:  # a net that did not go through all of it must not pass for fitted
            self.__dict__.pop("net_", None)
            raise
        leave_training(self.net_)
        return self

    def _fit_net(
        self,
        X: Any,
        codes: npt.NDArray[np.int64],
        weight: npt.NDArray[np.float32],
        seed: int,
        *,
        valid: npt.NDArray[np.int64] | None = None,
        n_epochs: int | None = None,
    ) -> None:
        """Train on checked data: float32 rows, labels 0..n_classes-1, weights of mean 1.

        The rows `valid` are held back and their loss is written into the history; without them
        early stopping draws its own. `n_epochs` ends a schedule of `max_epochs` ahead of time.
        """
        n_samples, n_classes = X.shape[0], len(self.classes_)
        target = {
            "label": codes.astype(np.int64),
            "weight": weight,
            "index": np.arange(n_samples),
        }
        train = np.arange(n_samples)
        options = self._net_options() | self._input_options(X, weight)
        if valid is None and self.early_stopping:
            valid = self._validation_rows(codes, seed)
        if valid is not None:
            train = np.setdiff1d(train, valid)
            options["train_split"] = predefined_split(Dataset(X[valid], _rows(target, valid)))
            X, target = X[train], _rows(target, train)
        loss = self._make_loss()
        counts = np.bincount(codes[train], weights=weight[train], minlength=n_classes)
        loss.prepare(torch.as_tensor(counts, dtype=torch.float32), n_samples)
        own = self._make_callbacks()
        net = make_net(
            X.shape[1],
            n_classes,
            criterion=WeightedMean(loss),
            n_samples=len(train),
            callbacks=[*own, *copy.deepcopy(list(self.callbacks or []))],
            **options,
        )
        try:
            score_by_labels(net.initialize())
            with few_threads(net, net.batch_size):
                train_net(net, X, target, n_epochs)
        except torch.cuda.OutOfMemoryError as error:
            raise ValueError(
                f"Out of memory on device={self.device!r}: {error}. Lower batch_size "
                f"(now {net.batch_size})."
            ) from error
        _forget_training(net, own)
        self.net_ = net
        # A callback may have ended the training amid an epoch, which has no loss then.
        self.history_ = [epoch for epoch in plain_history(net) if "train_loss" in epoch]
        self.n_iter_ = len(self.history_)
        if self.history_ and not np.isfinite(self.history_[-1]["train_loss"]):
            raise ValueError(
                f"Training diverged: the loss is {self.history_[-1]['train_loss']} after "
                f"{self.n_iter_} epochs. Lower lr (now {self.lr}) or check X for huge values."
            )

    def _input_options(self, X: Any, weight: npt.NDArray[np.float32]) -> dict[str, Any]:
        """Return how the net is to scale and embed its inputs, as `make_net` takes it."""
        center, scale = column_moments(X, weight)
        options: dict[str, Any] = {"center": center, "scale": scale}
        if self.numeric_embedding == "piecewise":
            if sparse.issparse(X):
                raise ValueError(
                    "numeric_embedding='piecewise' needs dense X, got a sparse matrix; "
                    "use numeric_embedding=None or X.toarray()."
                )
            options["bins"] = quantile_bins(X, center, scale)
        return options

    def _validation_rows(self, codes: npt.NDArray[np.int64], seed: int) -> npt.NDArray[np.int64]:
        """Draw the rows to hold back; classes of one row stay in training."""
        counts = np.bincount(codes)
        rows = np.arange(len(codes))
        lone = counts[codes] < 2
        n_valid = int(np.ceil(self.validation_fraction * np.sum(~lone)))
        n_classes = int(np.sum(counts >= 2))
        stratify = codes[~lone] if n_classes <= n_valid <= np.sum(~lone) - n_classes else None
        if np.sum(~lone) < 2:
            raise ValueError(
                "early_stopping=True needs a class of at least two samples to validate on; "
                "set early_stopping=False."
            )
        _, valid = train_test_split(
            rows[~lone], test_size=self.validation_fraction, stratify=stratify, random_state=seed
        )
        return valid

    def _logits(self, X: Any) -> npt.NDArray[np.float32]:
        check_is_fitted(self)
        X = validate_data(self, X, accept_sparse="csr", dtype=np.float32, reset=False)
        with few_threads(self.net_, min(X.shape[0], self.net_.iterator_valid__batch_size)):
            logits: npt.NDArray[np.float32] = self.net_.forward(X).cpu().numpy()
        return logits

    def decision_function(self, X: Any) -> npt.NDArray[np.float32]:
        """Return the net's logits.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Inputs.

        Returns
        -------
        scores : ndarray of shape (n_samples, n_classes), or (n_samples,) for two classes
            Logits; for two classes that of ``classes_[1]`` less that of ``classes_[0]``.
        """
        logits = self._logits(X)
        return logits[:, 1] - logits[:, 0] if len(self.classes_) == 2 else logits

    def predict_proba(self, X: Any) -> npt.NDArray[np.float32]:
        """Return class probabilities.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Inputs.

        Returns
        -------
        proba : ndarray of shape (n_samples, n_classes)
            Columns in the order of ``classes_``; float32, rows sum to 1.
        """
        logits = torch.from_numpy(self._logits(X))
        proba: npt.NDArray[np.float32] = torch.softmax(logits, dim=1).numpy()
        return proba

    def predict(self, X: Any) -> npt.NDArray[Any]:
        """Return the most probable class of each sample.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Inputs.

        Returns
        -------
        y : ndarray of shape (n_samples,)
        """
        best = self._logits(X).argmax(axis=1)
        return np.asarray(self.classes_[best])

    def __sklearn_is_fitted__(self) -> bool:
        """Whether the last fit came to its end."""
        return hasattr(self, "net_")

    def __sklearn_tags__(self) -> Any:
        """Return the estimator's tags."""
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = self.numeric_embedding is None
        return tags


def _rows(target: dict[str, Any], rows: npt.NDArray[np.int64]) -> dict[str, Any]:
    return {key: values[rows] for key, values in target.items()}


def _forget_training(net: NeuralNetClassifier, own: list[Any]) -> None:
    """Take from a net what only its training needed, `own` callbacks and rows held back."""
    net.train_split = None
    del net.classes_inferred_  # as skorch finds them, they are all of y
    net.callbacks = [callback for callback in net.callbacks if callback not in own]
    net.callbacks_ = [callback for callback in net.callbacks_ if callback not in own]
