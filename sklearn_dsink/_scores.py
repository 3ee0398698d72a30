"""What goes into the transport: the scores of two experts, and class shares that none lacks."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._kernel import default_block_size, row_blocks

Array = Any
"""A numpy array or a torch tensor."""


def mean_log_proba(
    log_noise: Array,
    log_target: Array | None = None,
    *,
    weights: tuple[float, float] = (1.0, 1.0),
    out: Array | None = None,
) -> Array:
    """Return the experts' weighted mean of log-probabilities, the scores S of the transport.

    Parameters
    ----------
    log_noise : array or tensor of shape (n_samples, n_classes)
        Logarithm of the noise-robust auxiliary's probabilities.
    log_target : array or tensor of shape (n_samples, n_classes), default=None
        Logarithm of the target's probabilities. Without it the scores are `log_noise`.
    weights : tuple of two floats, default=(1, 1)
        Weights (a, b) of the two; the mean is ``(a log_noise + b log_target) / (a + b)``.
    out : array or tensor of shape (n_samples, n_classes), default=None
        Where to write; may be `log_noise` or `log_target` itself.

    Returns
    -------
    scores : array or tensor of shape (n_samples, n_classes)

    Raises
    ------
    ValueError
        If the shapes differ, or a weight is negative, or both are 0.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_dsink.transport import mean_log_proba
    >>> mean_log_proba(np.log([[0.9, 0.1]]), np.log([[0.1, 0.9]])).round(2)
    array([[-1.2, -1.2]])
    """
    if log_target is None:
        if out is None:
            return log_noise
        out[...] = log_noise
        return out
    if log_noise.shape != log_target.shape:
        raise ValueError(
            f"log_noise and log_target must have the same shape, found {tuple(log_noise.shape)} "
            f"and {tuple(log_target.shape)}."
        )
    first, second = weights
    if not (first >= 0 and second >= 0 and first + second > 0):
        raise ValueError(f"weights must be two numbers >= 0, not both 0, found {weights!r}.")
    share = first / (first + second)
    if out is None:
        return share * log_noise + (1 - share) * log_target
    for rows in row_blocks(len(out), default_block_size(out)):
        out[rows] = share * log_noise[rows] + (1 - share) * log_target[rows]
    return out


def floor_marginal(class_marginal: Array, floor: float) -> Array:
    """Return class shares of at least `floor`, what is added being taken from the others.

    A class whose share is 0 vanishes from the surrogate labels for good, since its potential
    goes to minus infinity; `solve` refuses it. A natural floor is a fraction of one sample.

    Parameters
    ----------
    class_marginal : array-like of shape (n_classes,)
        Shares >= 0 with a positive sum.
    floor : float
        Smallest share, below ``1 / n_classes``.

    Returns
    -------
    class_marginal : ndarray of shape (n_classes,)
        Float64, sums to 1, every entry at least `floor`.

    Raises
    ------
    ValueError
        If a share is negative or not finite, all are 0, or `floor` is out of range.

    Examples
    --------
    >>> from sklearn_dsink.transport import floor_marginal
    >>> floor_marginal([0.5, 0.5, 0.0], 0.1)
    array([0.45, 0.45, 0.1 ])
    """
    shares = np.asarray(class_marginal, dtype=np.float64)
    if (
        shares.ndim != 1
        or not np.isfinite(shares).all()
        or (shares < 0).any()
        or shares.sum() == 0
    ):
        raise ValueError(
            "class_marginal must be one-dimensional, finite and >= 0 with a positive sum, found "
            f"{class_marginal!r}."
        )
    if not 0 <= floor * len(shares) < 1:
        raise ValueError(
            f"floor must be >= 0 and below 1 / n_classes = {1 / len(shares):.3g}, found {floor!r}."
        )
    shares = shares / shares.sum()
    low = np.zeros(len(shares), dtype=bool)
    while (shares[~low] < floor).any():
        # Lowering the others may bring one of them below the floor, so look again.
        low |= shares < floor
        shares[low] = floor
        shares[~low] *= (1 - floor * low.sum()) / shares[~low].sum()
    return shares
