"""Fingerprints of a fit: what has to be the same for a part of it to be used again."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from joblib.hashing import NumpyHasher
from scipy import sparse
from sklearn.base import clone
from sklearn.utils import _safe_indexing, gen_batches
from skorch import NeuralNetClassifier

from ._columns import is_frame
from .auxiliaries import corrected_by, is_frozen
from .probabilities import predict_aligned

# Parameters that leave a fit as it is: they act on predictions, on its speed, or on what is kept.
# Folds are looked at as they were drawn, since an iterable of them can be read only once.
_NO_EFFECT = {
    "checkpoint_dir",
    "class_prior",
    "combine",
    "cv",
    "fit_timeout",
    "n_jobs",
    "verbose",
    "warm_start",
}

# What may differ where the target of one fit is trained further by another.
_MAY_CHANGE = {
    "folds",
    "max_epochs",
    "max_iter",
    "random_state",
    "renew_every",
    "solver",
    "tol",
    "warmup",
}

_AUXILIARIES = ("noise_aux", "imb_aux")
_PACKAGES = ("numpy", "scikit-learn", "sklearn-dsink", "skorch", "torch")
_BLOCK_ROWS = 65_536
_FROZEN_ROWS = 1_000


class _Hasher(NumpyHasher):
    """joblib's hash, for which a tensor is its numbers and not a place in memory."""

    def save(self, obj: Any) -> None:
        if isinstance(obj, torch.Tensor):
            tensor = obj.detach().cpu()
            obj = (str(tensor.dtype), tensor.contiguous().view(-1).view(torch.uint8).numpy())
        super().save(obj)


def take_fingerprint(
    parameters: Mapping[str, Any],
    X: Any,
    codes: npt.NDArray[np.integer[Any]],
    *,
    classes: npt.NDArray[Any],
    **others: Any,
) -> dict[str, str]:
    """Hash all that decides how a fit ends.

    Parameters
    ----------
    parameters : mapping
        Parameters of the classifier.  Estimators count unfitted, a frozen one, also one that is
        corrected, by what it predicts; classes and functions count by name, not by their code.
    X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features)
        Checked features.
    codes : ndarray of shape (n_samples,)
        Label codes.
    classes : ndarray of shape (n_classes,)
        Labels of the codes.
    **others : object
        Weights, folds and whatever else counts.

    Returns
    -------
    fingerprint : dict of str to str
        A hash for X, y, each parameter that has an effect on the fit, each of `others`, and the
        versions of this package and of those it computes with.

    Raises
    ------
    ValueError
        If something cannot be hashed, such as a lambda.

    Examples
    --------
    >>> import numpy as np
    >>> X, codes, classes = np.eye(2), np.array([0, 1]), np.array(["a", "b"])
    >>> first = take_fingerprint({"alpha": 1.0}, X, codes, classes=classes)
    >>> second = take_fingerprint({"alpha": 2.0}, X, codes, classes=classes)
    >>> differences(first, second)
    ['alpha']
    """
    parts = {name: value for name, value in parameters.items() if name not in _NO_EFFECT}
    for name in _AUXILIARIES:
        if parts.get(name) is not None:
            parts[name] = _auxiliary(name, parts[name], X, classes)
    if isinstance(parts.get("target"), NeuralNetClassifier):
        target = clone(parts["target"])
        parts["max_epochs"], target.max_epochs = target.max_epochs, None
        parts["target"] = target
    parts |= {"X": _features(X), "y": (codes, classes.tolist()), **others}
    parts["versions"] = {name: version(name) for name in _PACKAGES}
    return {name: _hash(name, value) for name, value in sorted(parts.items())}


def differences(first: Mapping[str, str], second: Mapping[str, str]) -> list[str]:
    """Name what two fingerprints differ in.

    Parameters
    ----------
    first, second : mapping of str to str
        From `take_fingerprint`.

    Returns
    -------
    names : list of str
        Sorted.
    """
    return sorted(
        name for name in {*first, *second} if first.get(name, "") != second.get(name, "")
    )


def require_same(first: Mapping[str, str], second: Mapping[str, str]) -> None:
    """Refuse to go on from a fit that was made on other rows, or with other settings.

    Parameters
    ----------
    first, second : mapping of str to str
        Fingerprints of the last fit and of the one asked for.

    Raises
    ------
    ValueError
        If they differ in more than what a warm start may change: seed and folds, which stand, and
        the epochs and the renewal of the labels.
    """
    other = [name for name in differences(first, second) if name not in _MAY_CHANGE]
    if other:
        raise ValueError(
            f"warm_start=True trains the target of the last fit further, and that fit had other "
            f"{', '.join(other)}. Set warm_start=False to fit anew."
        )


def _hash(name: str, value: Any) -> str:
    try:
        digest: str = _Hasher().hash(value)
    except (pickle.PicklingError, AttributeError, TypeError, ValueError) as error:
        raise ValueError(
            f"{name} cannot be compared with that of another fit ({error}). Define its functions "
            "and classes at the top of a module; a lambda or a local class has no name to know "
            "it by."
        ) from error
    return digest


def _features(X: Any) -> Any:
    """Values of X, whatever their layout in memory, in parts that need no second copy of it."""
    if is_frame(X):
        return [
            (str(name), _column_type(X[name].dtype), pd.util.hash_array(np.asarray(X[name])))
            for name in X.columns
        ]
    if sparse.issparse(X):
        return X.shape, X.data, X.indices, X.indptr
    rows = gen_batches(len(X), _BLOCK_ROWS)
    return [_Hasher().hash(np.ascontiguousarray(X[part])) for part in rows]


def _column_type(dtype: Any) -> Any:
    """Type of a column, with all that the codes of its categories depend on."""
    if isinstance(dtype, pd.CategoricalDtype):
        return "category", list(dtype.categories), dtype.ordered
    return str(dtype)


def _auxiliary(name: str, estimator: Any, X: Any, classes: npt.NDArray[Any]) -> Any:
    if is_frozen(corrected_by(estimator)):
        inner = _auxiliary(name, corrected_by(estimator), X, classes)
        return clone(estimator).set_params(estimator=None), inner
    if not is_frozen(estimator):
        return clone(estimator)
    some = np.arange(0, X.shape[0], max(1, X.shape[0] // _FROZEN_ROWS))
    share = np.full(len(classes), 1.0 / len(classes))
    proba = predict_aligned(estimator, _safe_indexing(X, some), classes, share, name)
    # To three digits, for the last ones may depend on the threads; shifted, because simple
    # fractions would lie on the very edge between two numbers.
    return type(estimator.estimator), np.floor(1e3 * proba + np.sqrt(0.1))
