"""Probabilities freed of the noise in the labels that they were fitted to: pure functions."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .._arrays import PROBA_FLOOR, FloatArray, normalize_rows


def sharpen(proba: FloatArray, power: float) -> FloatArray:
    """Probabilities to a power, rows scaled to sum to 1.

    Parameters
    ----------
    proba : ndarray of shape (n_samples, n_classes)
        Rows sum to 1.
    power : float
        1 changes nothing, more moves the rows towards their largest entry.

    Returns
    -------
    proba : ndarray of shape (n_samples, n_classes)

    Examples
    --------
    >>> import numpy as np
    >>> sharpen(np.array([[0.75, 0.25]]), 2)
    array([[0.9, 0.1]])
    """
    # Scaled by the row's largest entry, so that no power underflows in all columns.
    return normalize_rows((proba / proba.max(axis=1, keepdims=True)) ** power)


def undo_noise(proba: FloatArray, noise_matrix: FloatArray, *, max_iter: int = 50) -> FloatArray:
    """Probabilities of the true classes from those of the given labels.

    For each row, the distribution r of the true class that best explains the distribution q of
    the given label: the maximiser of ``sum_k q[k] log (sum_c r[c] T[c, k])``, by
    expectation-maximisation. Unlike the inverse of T, it stays a distribution.

    Parameters
    ----------
    proba : ndarray of shape (n_samples, n_classes)
        Probabilities q of the given label; rows sum to 1.
    noise_matrix : ndarray of shape (n_classes, n_classes)
        T[c, k] = P(given k | true c).
    max_iter : int, default=50
        Rounds; fewer leave the rows nearer to even.

    Returns
    -------
    proba : ndarray of shape (n_samples, n_classes)

    References
    ----------
    G. Patrini, A. Rozza, A. K. Menon, R. Nock, L. Qu: Making Deep Neural Networks Robust to Label
    Noise: A Loss Correction Approach. CVPR 2017. Theorem 2: P(given | x) = T' P(true | x).

    Examples
    --------
    >>> import numpy as np
    >>> noise_matrix = np.array([[0.8, 0.2], [0.2, 0.8]])
    >>> undo_noise(np.array([[0.7, 0.3], [0.5, 0.5]]), noise_matrix, max_iter=500).round(2)
    array([[0.83, 0.17],
           [0.5 , 0.5 ]])
    """
    true = np.full_like(proba, 1.0 / proba.shape[1])
    for _ in range(max_iter):
        explained = np.maximum(true @ noise_matrix, PROBA_FLOOR)
        true = normalize_rows(true * ((proba / explained) @ noise_matrix.T) + PROBA_FLOOR**2)
    return true


def cleanlab_noise_matrix(
    codes: npt.NDArray[np.integer[Any]], proba: FloatArray, weight: FloatArray
) -> FloatArray:
    """P(given | true) by cleanlab's calibrated confident joint."""
    try:
        from cleanlab.count import compute_confident_joint
    except ImportError as error:
        raise ImportError(
            "joint='cleanlab' needs the package cleanlab: pip install cleanlab, or choose "
            "joint='confident'."
        ) from error
    # cleanlab takes no weights, so it gets rows as often as they weigh: on average once.  Rounded
    # in this order, rows of the same given label and likeliest class are right in sum.
    order = np.lexsort((proba.max(axis=1), proba.argmax(axis=1), codes))
    total = np.cumsum(weight[order]) * (np.count_nonzero(weight) / weight.sum())
    rows = np.repeat(order, np.diff(np.round(total).astype(np.intp), prepend=0))
    # cleanlab's joint counts (given, true).
    counts = compute_confident_joint(codes[rows], proba[rows], calibrate=True).T.astype(np.float64)
    # A class whose weights round to nothing is taken to be labelled rightly.
    np.fill_diagonal(counts, np.maximum(counts.diagonal(), 1e-3))
    return normalize_rows(counts + PROBA_FLOOR)
