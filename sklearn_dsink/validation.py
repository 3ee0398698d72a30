"""Labels and weights, checked once: labels leave as codes, weights with mean 1."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn import config_context
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_consistent_length, column_or_1d

from ._arrays import FloatArray


def encode_labels(X: Any, y: Any, owner: str) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
    """Check the labels and number their classes.

    Parameters
    ----------
    X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features)
        Checked features.
    y : array-like of shape (n_samples,)
        Labels as the user gave them.
    owner : str
        Name of the estimator, for errors.

    Returns
    -------
    classes : ndarray of shape (n_classes,)
        Sorted labels.
    codes : ndarray of shape (n_samples,), dtype int64
        Position of each label in `classes`.

    Raises
    ------
    ValueError
        If there are fewer than two rows or two classes, labels are missing or infinite, or there
        are not as many as rows.
    """
    if X.shape[0] < 2:
        raise ValueError(
            "X has 1 sample (n_samples = 1): learning classes needs two rows or more."
        )
    if y is None:
        raise ValueError(f"{owner} requires y to be passed, but the target y is None")
    classes, codes = number_classes(y)
    check_consistent_length(X, codes)
    if len(classes) < 2:
        raise ValueError(
            f"y has one class only, {classes.tolist()}: a classifier needs two or more."
        )
    return classes, codes


def number_classes(y: Any) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
    """Give the sorted classes of y, and the place of each label among them.

    Parameters
    ----------
    y : array-like of shape (n_samples,)
        Labels as the user gave them.

    Returns
    -------
    classes : ndarray of shape (n_classes,)
    codes : ndarray of shape (n_samples,), dtype int64

    Raises
    ------
    ValueError
        If `y` is empty or no column, or labels are missing, infinite or no classes.
    """
    with config_context(array_api_dispatch=False):  # arrays of any library become numpy's
        labels = column_or_1d(y, warn=True)
    if len(labels) == 0:
        raise ValueError("y is empty: at least one labelled row is needed.")
    check_finite(labels)
    check_classification_targets(labels)
    return np.unique(labels, return_inverse=True)


def check_weights(
    sample_weight: Any, X: Any, codes: npt.NDArray[np.int64], classes: npt.NDArray[Any]
) -> FloatArray | None:
    """Check the weights and scale them to mean 1 over the rows that have any.

    A row of weight 0 then leaves the others' weights as they were without it.

    Parameters
    ----------
    sample_weight : array-like of shape (n_samples,) or None
        Weights as the user gave them.
    X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features)
        Checked features.
    codes : ndarray of shape (n_samples,)
        Label codes.
    classes : ndarray of shape (n_classes,)
        Labels of the codes.

    Returns
    -------
    weight : ndarray of shape (n_samples,) or None

    Raises
    ------
    ValueError
        If a weight is negative or not finite, or fewer than two classes have any.
    """
    if sample_weight is None:
        return None
    given = np.asarray(sample_weight)
    if given.size and not given.any():
        raise ValueError("sample_weight is zero on all rows. Give some a positive weight.")
    weight = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
    present = np.unique(codes[weight > 0])
    if len(present) < 2:
        raise ValueError(
            f"sample_weight is positive on rows of one class only, {classes[present].tolist()}: a "
            "classifier needs two or more. Give rows of other classes a positive weight."
        )
    weight = weight / weight.max()  # whose sum may overflow
    scaled: FloatArray = weight / weight[weight > 0].mean()
    return scaled


def forget_fit(estimator: Any) -> None:
    """Drop what an earlier fit found: a fit that fails half-way must not pass for that one."""
    for name in [name for name in vars(estimator) if name.endswith("_")]:
        delattr(estimator, name)


def check_finite(y: npt.NDArray[Any]) -> None:
    """Raise ValueError where labels are missing or infinite, and name the first such row."""
    if y.dtype.kind == "f" and np.isinf(y).any():
        raise ValueError(
            f"Input y contains infinity (first: row {int(np.flatnonzero(np.isinf(y))[0])}). "
            "Drop these rows, or label them."
        )
    missing = pd.isna(y)
    if missing.any():
        raise ValueError(
            f"Input y contains NaN: {int(missing.sum())} of {len(y)} labels are missing (first: "
            f"row {int(np.flatnonzero(missing)[0])}). Drop these rows, or label them."
        )
