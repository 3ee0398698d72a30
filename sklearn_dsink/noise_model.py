"""The noise matrix P(given | true) and what a given label says about the true one.

Out-of-fold probabilities leave out the one thing that is known of a training row besides its
features: the label it was given.  With a noise matrix ``T[c, k] = P(given = k | true = c)`` Bayes'
rule puts it back.  Pure functions over arrays: labels are codes 0..n_classes-1, rows of
probabilities sum to 1.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ._arrays import PROBA_FLOOR, FloatArray, normalize_rows

IntArray = npt.NDArray[np.integer]


# Rows kept in half precision sum to 1 to three digits only.
_ABOVE_ONE = 1e-2


def check_labeled(proba: Any, y: Any) -> tuple[FloatArray, IntArray]:
    """Check probabilities, and the given labels of their rows as codes.

    Parameters
    ----------
    proba : array-like of shape (n_samples, n_classes)
        Probabilities.
    y : array-like of shape (n_samples,)
        Codes ``0..n_classes-1``.

    Returns
    -------
    proba : ndarray of shape (n_samples, n_classes)
    y : ndarray of shape (n_samples,), dtype int

    Raises
    ------
    ValueError
        If shapes differ, a probability is not in [0, 1], or `y` holds anything but such codes.
    """
    proba, y = np.asarray(proba), np.asarray(y)
    if proba.ndim != 2 or y.shape != proba.shape[:1] or not proba.size:
        raise ValueError(
            f"proba has shape {proba.shape} and y {y.shape}, expected (n_samples, n_classes) and "
            "(n_samples,), with one row at least."
        )
    low, high = proba.min(), proba.max()
    if not (low >= 0 and high <= 1 + _ABOVE_ONE):  # NaN is not either
        raise ValueError(
            f"proba must hold probabilities between 0 and 1, found values from {low:.3g} to "
            f"{high:.3g}. Logarithms and scores have to be turned into probabilities first."
        )
    n_classes = proba.shape[1]
    if y.dtype.kind not in "iu" or y.min() < 0 or y.max() >= n_classes:
        raise ValueError(
            f"y must hold codes 0..{n_classes - 1}, one a column of proba, found "
            f"{np.unique(y)[:10].tolist()} (dtype {y.dtype}). np.unique(y, return_inverse=True) "
            "gives codes."
        )
    return proba, y


def confident_joint(
    y: IntArray, proba: FloatArray, sample_weight: FloatArray | None = None
) -> FloatArray:
    """Count rows by the true class they confidently belong to and the label they were given.

    A row belongs confidently to the classes whose probability reaches that class's mean
    probability among the rows given it; of several, to the likeliest.

    Parameters
    ----------
    y : ndarray of shape (n_samples,), dtype int
        Given labels as codes ``0..n_classes-1``.
    proba : ndarray of shape (n_samples, n_classes)
        Out-of-fold probabilities of the given labels.
    sample_weight : ndarray of shape (n_samples,), default=None
        Weight of each row; None weighs all alike.

    Returns
    -------
    joint : ndarray of shape (n_classes, n_classes), dtype float64
        ``joint[c, k]`` is the share of rows of true class ``c`` given label ``k``; sums to 1.
        Its column sums are the shares of the given labels.

    Raises
    ------
    ValueError
        If `proba` does not hold probabilities, or `y` the codes of its columns.

    References
    ----------
    C. Northcutt, L. Jiang, I. Chuang (2021). Confident Learning. JAIR 70, eq. 1 to 3.

    Examples
    --------
    >>> import numpy as np
    >>> proba = np.array([[0.9, 0.1], [0.8, 0.2], [0.2, 0.8], [0.9, 0.1]])
    >>> confident_joint(np.array([0, 0, 1, 1]), proba)
    array([[0.5 , 0.25],
           [0.  , 0.25]])
    """
    proba, y = check_labeled(proba, y)
    n_samples, n_classes = proba.shape
    weight = np.ones(n_samples) if sample_weight is None else np.asarray(sample_weight)
    given = np.bincount(y, weights=weight, minlength=n_classes)
    own = np.bincount(y, weights=weight * proba[np.arange(n_samples), y], minlength=n_classes)
    threshold = np.divide(own, given, out=np.ones(n_classes), where=given > 0)

    confident = proba >= threshold - 1e-12  # a row at its own mean counts, whatever the rounding
    likeliest = np.argmax(np.where(confident, proba, -1.0), axis=1)
    counted = confident.any(axis=1)
    joint = np.zeros((n_classes, n_classes))
    np.add.at(joint, (likeliest[counted], y[counted]), weight[counted])

    # Rows that no class claims are shared out as the claimed ones of the same given label are: of
    # each some row is at its mean or above.
    joint *= np.divide(given, joint.sum(axis=0), out=np.zeros(n_classes), where=given > 0)
    return joint / joint.sum()


def estimate_noise_matrix(
    y: IntArray,
    proba: FloatArray,
    *,
    sample_weight: FloatArray | None = None,
    pseudo_count: float = 1.0,
) -> FloatArray:
    """Estimate ``T[c, k] = P(given = k | true = c)`` from out-of-fold probabilities.

    Each row of the confident joint is shrunk by `pseudo_count` rows towards "kept, or moved to
    another class in proportion to its size": a class of a handful of rows gets a usable row.

    Parameters
    ----------
    y : ndarray of shape (n_samples,), dtype int
        Given labels as codes ``0..n_classes-1``.
    proba : ndarray of shape (n_samples, n_classes)
        Out-of-fold probabilities of the given labels.
    sample_weight : ndarray of shape (n_samples,), default=None
        Weight of each row; None weighs all alike.
    pseudo_count : float, default=1.0
        Strength of the shrinkage, in rows.

    Returns
    -------
    noise_matrix : ndarray of shape (n_classes, n_classes), dtype float64
        Rows are true classes and sum to 1; every entry is positive.

    Raises
    ------
    ValueError
        If `proba` does not hold probabilities, or `y` the codes of its columns.

    Examples
    --------
    >>> import numpy as np
    >>> proba = np.array([[0.9, 0.1], [0.8, 0.2], [0.2, 0.8], [0.9, 0.1]])
    >>> estimate_noise_matrix(np.array([0, 0, 1, 1]), proba).round(2)
    array([[0.69, 0.31],
           [0.13, 0.87]])
    """
    weight = np.ones(len(y)) if sample_weight is None else np.asarray(sample_weight)
    joint = confident_joint(y, proba, sample_weight)
    background = _kept_or_moved(joint, moved_to=joint.sum(axis=0))
    return normalize_rows(joint * weight.sum() + pseudo_count * background + PROBA_FLOOR)


def label_posterior(
    proba: FloatArray, y: IntArray, noise_matrix: FloatArray, *, sharpening: float = 2.0
) -> FloatArray:
    """Probability of each true class given the features and the given label.

    ``q[i, c]`` is proportional to ``proba[i, c] ** sharpening * noise_matrix[c, y[i]]``.

    Parameters
    ----------
    proba : ndarray of shape (n_samples, n_classes)
        Out-of-fold probabilities.
    y : ndarray of shape (n_samples,), dtype int
        Given labels as codes ``0..n_classes-1``.
    noise_matrix : ndarray of shape (n_classes, n_classes)
        ``P(given | true)``, rows are true classes.
    sharpening : float, default=2.0
        Exponent that undoes the flattening of probabilities fitted to noisy labels.

    Returns
    -------
    posterior : ndarray of shape (n_samples, n_classes), dtype float64
        Rows sum to 1.

    Raises
    ------
    ValueError
        If `proba` does not hold probabilities, or `y` the codes of its columns.

    Examples
    --------
    >>> import numpy as np
    >>> noise_matrix = np.array([[0.8, 0.2], [0.2, 0.8]])
    >>> label_posterior(np.array([[0.5, 0.5]]), np.array([1]), noise_matrix)
    array([[0.2, 0.8]])
    """
    proba, y = check_labeled(proba, y)
    floored = np.clip(proba, PROBA_FLOOR, None, dtype=np.float64)
    powered = (floored / floored.max(axis=1, keepdims=True)) ** sharpening  # 1 at least somewhere
    return normalize_rows(powered * noise_matrix.T[y])


def joint_counts(posterior: FloatArray, y: IntArray, sample_weight: FloatArray) -> FloatArray:
    """Count rows by true and given class, each true class as far as the posterior says so.

    Parameters
    ----------
    posterior : ndarray of shape (n_samples, n_classes)
        Probability of each true class; rows sum to 1.
    y : ndarray of shape (n_samples,), dtype int
        Given labels as codes ``0..n_classes-1``.
    sample_weight : ndarray of shape (n_samples,)
        Weights of the rows.

    Returns
    -------
    joint : ndarray of shape (n_classes, n_classes), dtype float64
        Rows are true classes; sums to the weight of all rows.

    Examples
    --------
    >>> import numpy as np
    >>> joint_counts(np.array([[0.5, 0.5], [0.0, 1.0]]), np.array([0, 1]), np.ones(2))
    array([[0.5, 0. ],
           [0.5, 1. ]])
    """
    counts = np.zeros((posterior.shape[1],) * 2)
    np.add.at(counts, y, posterior * sample_weight[:, None])  # rows are given classes here
    return counts.T


def noise_matrix_from_joint(joint: FloatArray, pseudo_count: float) -> FloatArray:
    """Read ``T[c, k] = P(given = k | true = c)`` off the rows counted by true and given class.

    Each row is held by `pseudo_count` rows to "kept, or moved to another class": kept at the
    overall rate, moved in equal parts to all classes alike and in proportion to their size.

    Parameters
    ----------
    joint : ndarray of shape (n_classes, n_classes)
        Weight of the rows of each true class, by the class they were given.
    pseudo_count : float
        Rows that each row of the matrix is held by.

    Returns
    -------
    noise_matrix : ndarray of shape (n_classes, n_classes), dtype float64
        Rows are true classes and sum to 1.

    Examples
    --------
    >>> import numpy as np
    >>> noise_matrix_from_joint(np.array([[1.0, 1.0], [0.0, 2.0]]), pseudo_count=4.0)
    array([[0.67, 0.33],
           [0.17, 0.83]])
    """
    given_share = joint.sum(axis=0) / joint.sum()
    background = _kept_or_moved(joint, moved_to=(given_share + 1.0 / len(joint)) / 2.0)
    return normalize_rows(joint + pseudo_count * background + PROBA_FLOOR)


def _kept_or_moved(joint: FloatArray, moved_to: FloatArray) -> FloatArray:
    """Noise matrix in which all classes are kept at the overall rate, or moved to another one."""
    wrong = 1.0 - np.trace(joint) / joint.sum()
    moved = np.tile(moved_to, (len(joint), 1))
    np.fill_diagonal(moved, 0.0)
    moved /= np.maximum(moved.sum(axis=1, keepdims=True), PROBA_FLOOR)  # 0 for an only class
    return (1.0 - wrong) * np.eye(len(joint)) + wrong * moved
