r"""Surrogate labels by optimal transport between samples and classes.

D-SINK asks for the labels closest to what the experts say about each sample, among those whose
class totals are the ones asked for. With scores :math:`S` (the weighted mean of the experts'
log-probabilities) and class shares :math:`b`, the answer is

.. math::  q_i = \mathrm{softmax}(S_i + g), \qquad \sum_i w_i q_i = b,

so that only the class potentials :math:`g` (``log u`` of the paper, equation of step 3) have to be
found and kept: any batch, and any new sample, is labelled from them. They minimise the convex
semi-dual :math:`\sum_i w_i \,\mathrm{logsumexp}(S_i + g) - \langle b, g\rangle`. In the terms of
POT: cost ``-2 * S``, ``reg=2``.

References
----------
.. [1] Hong et al., "Dual-granularity Sinkhorn distillation for enhanced learning from long-tailed
   noisy data", arXiv:2510.08179, 2025.
.. [2] Cuturi, "Sinkhorn distances: lightspeed computation of optimal transport", NeurIPS 2013.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np
from joblib import effective_n_jobs
from sklearn.exceptions import ConvergenceWarning

from ._kernel import (
    GibbsKernel,
    blocks,
    default_block_size,
    exact_totals,
    exp_rows,
    float64,
    namespace,
)
from ._potentials import minimise

Array = Any
"""A numpy array or a torch tensor."""

# Entries of the scores from which ``solver="auto"`` leaves POT for the class potentials.
# Measured by ``python benchmarks/bench_transport.py --crossover``.
AUTO_POTENTIALS_SIZE = 0

# Float32 totals are off by about 1e-8 to 1e-7; a tighter tolerance needs a float64 kernel.
FLOAT32_TOL = 2e-7


@dataclass(frozen=True)
class TransportResult:
    """What `solve` found.

    Attributes
    ----------
    potentials : ndarray or Tensor of shape (n_classes,)
        Class potentials g, float64, of plain mean zero (g is free up to a constant).
    n_iter : int
        Passes over the rows.
    marginal_error : float
        L1 distance between the class shares reached and those asked for. With a relaxed
        constraint it does not go to zero.
    converged : bool
        Whether the optimality conditions hold to within `tol`.
    solver : str
        "pot" or "potentials".
    """

    potentials: Array
    n_iter: int
    marginal_error: float
    converged: bool
    solver: str


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
    rest = (1 - share) * log_target
    out[...] = log_noise
    out *= share
    out += rest
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


def surrogate_labels(scores: Array, potentials: Array, out: Array | None = None) -> Array:
    """Return the surrogate labels ``softmax(scores + potentials)``, row by row.

    Parameters
    ----------
    scores : array or tensor of shape (n_samples, n_classes)
        Any rows: those the potentials were found on, a batch of them, or new ones.
    potentials : array or tensor of shape (n_classes,)
        Class potentials from `solve`.
    out : array or tensor of shape (n_samples, n_classes), default=None
        Where to write; may be `scores` itself.

    Returns
    -------
    labels : array or tensor of shape (n_samples, n_classes)
        Rows sum to 1, in the dtype of `scores`. The paper writes the transpose.

    Raises
    ------
    ValueError
        If a score is not finite.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_dsink.transport import surrogate_labels
    >>> surrogate_labels(np.log([[0.8, 0.2]]), np.array([0.0, np.log(4)]))
    array([[0.5, 0.5]])
    """
    xp = namespace(scores)
    if out is None:
        out = xp.empty_like(scores)
    potentials = float64(potentials, scores)
    with _no_grad(xp):
        for rows in blocks(scores.shape[0], default_block_size(scores)):
            labels = exp_rows(scores[rows], potentials, out=out[rows])
            labels /= labels.sum(axis=1)[:, None]
    return out


def class_totals(scores: Array, potentials: Array, sample_weight: Array | None = None) -> Array:
    """Return the class shares of the surrogate labels, summed in float64.

    Parameters
    ----------
    scores : array or tensor of shape (n_samples, n_classes)
    potentials : array or tensor of shape (n_classes,)
    sample_weight : array or tensor of shape (n_samples,), default=None
        Masses of the rows.

    Returns
    -------
    shares : array or tensor of shape (n_classes,)
        ``sum_i w_i softmax(S_i + g) / sum_i w_i``, float64, sums to 1.
    """
    with _no_grad(namespace(scores)):
        weight = _mean_one(sample_weight, scores)
        return exact_totals(scores, float64(potentials, scores), weight)


def solve(
    scores: Array,
    class_marginal: Array,
    *,
    sample_weight: Array | None = None,
    solver: str = "auto",
    relaxation: float | None = None,
    tol: float = 1e-6,
    max_iter: int = 1000,
    init: Array | None = None,
    block_size: int | None = None,
    n_jobs: int | None = None,
) -> TransportResult:
    r"""Find the class potentials whose surrogate labels have the class shares asked for.

    Solves, over labels :math:`q_i` that each sum to 1,

    .. math::  \min_Q \sum_i w_i \left( \langle q_i, -2 S_i \rangle - 2 H(q_i) \right)
               \quad\text{subject to}\quad \sum_i w_i q_i = b,

    or, with a finite `relaxation` :math:`\gamma`, with
    :math:`\gamma\,\mathrm{KL}(\sum_i w_i q_i \,\|\, b)` added in place of the constraint.

    Parameters
    ----------
    scores : array or tensor of shape (n_samples, n_classes)
        Weighted mean of the experts' log-probabilities, from `mean_log_proba`. Finite. A tensor
        stays on its device, and no gradient is tracked.
    class_marginal : array-like of shape (n_classes,)
        Class shares b asked for: positive, sum 1.
    sample_weight : array-like of shape (n_samples,), default=None
        Masses of the rows, >= 0.
    solver : {"auto", "pot", "potentials"}, default="auto"
        "pot" is `ot.sinkhorn` in float64. "potentials" needs one float32 copy of the scores and
        reads it once per iteration: Sinkhorn steps, then Newton steps where Sinkhorn is slow.
        "auto" takes "potentials" from ``AUTO_POTENTIALS_SIZE`` entries on.
    relaxation : float, default=None
        KL weight of the class constraint, >= 0. None or infinity is the hard constraint, 0 drops
        it.
    tol : float, default=1e-6
        L1 distance between class shares at which to stop. Below 2e-7 the kernel of "potentials"
        is kept in float64.
    max_iter : int, default=1000
        Largest number of passes over the rows.
    init : array-like of shape (n_classes,), default=None
        Potentials to start from, such as those of the previous epoch.
    block_size : int, default=None
        Rows in a block of "potentials"; by default what fits a core's cache.
    n_jobs : int, default=None
        Threads of "potentials" on numpy arrays, as in joblib. torch has its own.

    Returns
    -------
    result : TransportResult

    Raises
    ------
    ValueError
        If an argument has the wrong shape or values: each message names it.

    Warns
    -----
    ConvergenceWarning
        If the class shares are further than `tol` from those asked for.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_dsink.transport import solve, surrogate_labels
    >>> scores = np.log([[0.7, 0.2, 0.1], [0.6, 0.3, 0.1], [0.1, 0.1, 0.8]])
    >>> result = solve(scores, [1 / 3, 1 / 3, 1 / 3])
    >>> surrogate_labels(scores, result.potentials).mean(axis=0).round(4)
    array([0.3333, 0.3333, 0.3333])
    """
    xp = namespace(scores)
    if xp is np:
        scores = np.asarray(scores)
        if scores.dtype not in (np.float32, np.float64):
            scores = scores.astype(np.float32 if scores.dtype == np.float16 else np.float64)
    elif scores.dtype not in (xp.float32, xp.float64):
        scores = scores.to(xp.float32)
    if scores.ndim != 2 or 0 in scores.shape:
        raise ValueError(
            "scores must have shape (n_samples, n_classes) and not be empty, found "
            f"{tuple(scores.shape)}."
        )
    n_samples, n_classes = scores.shape
    marginal = _check_marginal(class_marginal, n_classes, scores)
    gamma = _check_relaxation(relaxation)
    _check_number("tol", tol, Real)
    _check_number("max_iter", max_iter, Integral)
    if solver not in ("auto", "pot", "potentials"):
        raise ValueError(f'solver must be "auto", "pot" or "potentials", found {solver!r}.')
    if solver == "auto":
        big = n_samples * n_classes >= AUTO_POTENTIALS_SIZE
        solver = "potentials" if big else "pot"
    start = float64(np.zeros(n_classes) if init is None else init, scores)
    if tuple(start.shape) != (n_classes,) or not bool(xp.isfinite(start).all()):
        raise ValueError(f"init must be {n_classes} finite numbers, found {init!r}.")

    with _no_grad(xp):
        weight = _mean_one(sample_weight, scores)
        if solver == "pot":
            from ._pot import solve_pot

            potentials, n_iter, totals, gap = solve_pot(
                scores, marginal, weight, gamma, tol, max_iter, start
            )
        else:
            kernel = GibbsKernel(
                scores,
                weight,
                dtype="float32" if tol >= FLOAT32_TOL else "float64",
                block_size=block_size or default_block_size(scores),
                n_jobs=effective_n_jobs(n_jobs),
            )
            with kernel:
                potentials, n_iter, totals, gap = minimise(
                    kernel, marginal, gamma, tol, max_iter, start
                )
        error = float(abs(totals - marginal).sum())
    if not gap <= tol:
        warnings.warn(
            f"The transport ({solver}) stopped after {n_iter} iterations with class shares "
            f"{gap:.2g} away from optimal in L1, where tol={tol:.2g} was asked for. Increase "
            "max_iter, raise tol, soften the probabilities, or relax the class constraint.",
            ConvergenceWarning,
            stacklevel=2,
        )
    return TransportResult(
        potentials=potentials - potentials.mean(),
        n_iter=n_iter,
        marginal_error=error,
        converged=bool(gap <= tol),
        solver=solver,
    )


def _no_grad(xp: Any) -> Any:
    """Return a context in which no gradient is tracked."""
    from contextlib import nullcontext

    return nullcontext() if xp is np else xp.no_grad()


def _check_number(name: str, value: Any, kind: Any) -> None:
    if not isinstance(value, kind) or isinstance(value, bool) or not value > 0:
        wanted = "an integer" if kind is Integral else "a number"
        raise ValueError(f"{name} must be {wanted} > 0, found {value!r}.")


def _check_relaxation(relaxation: float | None) -> float:
    if relaxation is None:
        return np.inf
    if not isinstance(relaxation, Real) or not relaxation >= 0:
        raise ValueError(f"relaxation must be None or a number >= 0, found {relaxation!r}.")
    return float(relaxation)


def _check_marginal(class_marginal: Array, n_classes: int, like: Array) -> Array:
    marginal = float64(class_marginal, like)
    if tuple(marginal.shape) != (n_classes,):
        raise ValueError(
            f"class_marginal must have shape ({n_classes},), one share for each column of scores, "
            f"found {tuple(marginal.shape)}."
        )
    total = float(marginal.sum())
    if not bool((marginal > 0).all()) or not np.isfinite(total):
        raise ValueError(
            "class_marginal must be positive and finite: a class of share 0 would vanish from the "
            f"labels. Found {class_marginal!r}; see floor_marginal."
        )
    if abs(total - 1) > 1e-6:
        raise ValueError(
            f"class_marginal must sum to 1, found {total:.8g}. Divide class totals by their sum."
        )
    return marginal / total


def _mean_one(sample_weight: Array | None, scores: Array) -> Array | None:
    """Check the masses of the rows and scale them to mean 1."""
    if sample_weight is None:
        return None
    weight = float64(sample_weight, scores)
    if tuple(weight.shape) != (scores.shape[0],):
        raise ValueError(
            f"sample_weight must have shape ({scores.shape[0]},), found {tuple(weight.shape)}."
        )
    total = float(weight.sum())
    if not bool((weight >= 0).all()) or not 0 < total < np.inf:
        raise ValueError(
            "sample_weight must be finite and >= 0 with a positive sum, found values between "
            f"{float(weight.min())} and {float(weight.max())}."
        )
    return weight * (scores.shape[0] / total)
