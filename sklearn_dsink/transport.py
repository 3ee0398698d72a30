r"""Surrogate labels by optimal transport between samples and classes.

D-SINK asks for the labels closest to what the experts say about each sample, among those whose
class totals are the ones asked for. With scores :math:`S` (the weighted mean of the experts'
log-probabilities) and class shares :math:`b`, the answer is

.. math::  q_i = \mathrm{softmax}(S_i + g), \qquad \sum_i w_i q_i = b,

so that only the class potentials :math:`g` (``log u`` of the paper) have to be
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
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from numbers import Integral, Real
from typing import Any

import numpy as np
from joblib import effective_n_jobs
from sklearn.exceptions import ConvergenceWarning

from ._kernel import (
    GibbsKernel,
    StreamedRows,
    default_block_size,
    exact_totals,
    exp_rows,
    float64,
    no_grad,
    row_blocks,
)
from ._potentials import minimise
from ._scores import floor_marginal, mean_log_proba
from ._transport_checks import (
    check_blocks,
    check_marginal,
    check_number,
    check_out,
    check_potentials,
    check_relaxation,
    check_scores,
    check_weight,
)

__all__ = [
    "TransportResult",
    "class_totals",
    "floor_marginal",
    "mean_log_proba",
    "solve",
    "solve_blocks",
    "solve_labels",
    "surrogate_labels",
]

Array = Any
"""A numpy array or a torch tensor."""

# Entries of the scores from which ``solver="auto"`` leaves POT for the class potentials. Below it
# both take less than a millisecond, above it the potentials win more and more
# (``python benchmarks/bench_transport.py --crossover``).
AUTO_POTENTIALS_SIZE = 10_000

# Sinkhorn iterations after which ``solver="auto"`` gives up on POT: most costs need 10 to 40.
AUTO_POT_ITERATIONS = 100

# Float32 totals are off by 1e-8, up to 7e-7 where rows repeat; a tighter tolerance needs a float64
# kernel, and a kernel that fits the cache may as well be one.
FLOAT32_TOL = 1e-6
FLOAT64_SIZE = 2**18


@dataclass(frozen=True)
class TransportResult:
    """What `solve` found.

    Attributes
    ----------
    potentials : ndarray or Tensor of shape (n_classes,)
        Class potentials g, float64, of plain mean zero (g is free up to a constant).
    n_iter : int
        How often the class shares were computed, each time in a pass over the rows; those of a
        solver that was given up included.
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
        Rows sum to 1; float64 where `scores` are, else float32. The paper writes the transpose.

    Raises
    ------
    ValueError
        If a score is not finite, or an argument has the wrong shape or dtype.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_dsink.transport import surrogate_labels
    >>> surrogate_labels(np.log([[0.8, 0.2]]), np.array([0.0, np.log(4)]))
    array([[0.5, 0.5]])
    """
    source = check_scores(scores)
    out, target = check_out(out, source, scores)
    shift = check_potentials("potentials", potentials, source.shape[1], source)
    with no_grad(source):
        for rows in row_blocks(source.shape[0], default_block_size(source)):
            labels = exp_rows(source[rows], shift, out=target[rows])
            labels /= labels.sum(axis=1)[:, None]
    return out


def class_totals(scores: Array, potentials: Array, sample_weight: Array | None = None) -> Array:
    """Return the class shares of the surrogate labels, summed in float64.

    Parameters
    ----------
    scores : array or tensor of shape (n_samples, n_classes)
        Scores S of the rows, from `mean_log_proba`.
    potentials : array or tensor of shape (n_classes,)
        Class potentials g.
    sample_weight : array or tensor of shape (n_samples,), default=None
        Masses of the rows.

    Returns
    -------
    shares : array or tensor of shape (n_classes,)
        ``sum_i w_i softmax(S_i + g) / sum_i w_i``, float64, sums to 1.
    """
    given, scores = scores, check_scores(scores)
    weight = check_weight(sample_weight, scores.shape[0], scores)
    shift = check_potentials("potentials", potentials, scores.shape[1], scores)
    with no_grad(scores):
        return float64(exact_totals(scores, shift, weight), given)


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
        "auto" takes "potentials" from ``AUTO_POTENTIALS_SIZE`` entries on, and where POT has not
        converged after ``AUTO_POT_ITERATIONS``.
    relaxation : float, default=None
        KL weight of the class constraint, >= 0. None or infinity is the hard constraint, 0 drops
        it.
    tol : float, default=1e-6
        L1 distance between class shares at which to stop. Below 1e-6 the kernel of "potentials"
        is kept in float64, which doubles its memory.
    max_iter : int, default=1000
        Largest number of times that the class shares are computed.
    init : array-like of shape (n_classes,), default=None
        Potentials to start from, such as those of the previous epoch; not used by POT with a
        `relaxation`.
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
    _, result = _solve(
        scores, class_marginal, None, sample_weight, solver, relaxation, tol, max_iter, init,
        block_size, n_jobs,
    )  # fmt: skip
    return result


def solve_labels(
    scores: Array,
    class_marginal: Array,
    *,
    out: Array | None = None,
    sample_weight: Array | None = None,
    solver: str = "auto",
    relaxation: float | None = None,
    tol: float = 1e-6,
    max_iter: int = 1000,
    init: Array | None = None,
    n_jobs: int | None = None,
) -> tuple[Array, TransportResult]:
    """Solve the transport and label the rows, with one matrix for all that happens on the way.

    It is `solve` and `surrogate_labels` in one, in half the memory: the labels lie where the
    solver's own copy of the scores was.

    Parameters
    ----------
    scores : array or tensor of shape (n_samples, n_classes)
        Weighted mean of the experts' log-probabilities, from `mean_log_proba`. Finite.
    class_marginal : array-like of shape (n_classes,)
        Class shares b asked for: positive, sum 1.
    out : array or tensor of shape (n_samples, n_classes), default=None
        Where to write the labels, float32 or float64; may be `scores` itself. A score more than 80
        below the best of its row then counts as 80 below it; memory of its own is taken where
        class potentials span more than 40.
    sample_weight, solver, relaxation, tol, max_iter, init, n_jobs
        As in `solve`.

    Returns
    -------
    labels : array or tensor of shape (n_samples, n_classes)
        Rows sum to 1; `out` where it was given.
    result : TransportResult

    Raises
    ------
    ValueError
        If an argument has the wrong shape, dtype or values: each message names it.

    Warns
    -----
    ConvergenceWarning
        If the class shares are further than `tol` from those asked for.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_dsink.transport import solve_labels
    >>> labels, result = solve_labels(np.log([[0.8, 0.2], [0.6, 0.4]]), [0.5, 0.5])
    >>> labels.mean(axis=0).round(4)
    array([0.5, 0.5])
    """
    given, scores = scores, check_scores(scores)
    out, target = check_out(out, scores, given)
    labelled, result = _solve(
        scores, class_marginal, target, sample_weight, solver, relaxation, tol, max_iter, init,
        None, n_jobs,
    )  # fmt: skip
    if not labelled:
        surrogate_labels(scores, result.potentials, out=target)
    return out, replace(result, potentials=float64(result.potentials, given))


def _solve(
    scores: Array,
    class_marginal: Array,
    out: Array | None,
    sample_weight: Array | None,
    solver: str,
    relaxation: float | None,
    tol: float,
    max_iter: int,
    init: Array | None,
    block_size: int | None,
    n_jobs: int | None,
) -> tuple[bool, TransportResult]:
    """Solve, and tell whether the labels are in `out`."""
    _check_options(solver, tol, max_iter)
    if block_size is not None:
        check_number("block_size", block_size, Integral)
    given, scores = scores, check_scores(scores)
    n_samples, n_classes = scores.shape
    marginal = check_marginal(class_marginal, n_classes, scores)
    weight = check_weight(sample_weight, n_samples, scores)
    start = check_potentials("init", init, n_classes, scores)
    gamma = check_relaxation(relaxation)
    attempt, done = max_iter, 0
    if auto := solver == "auto":
        big = n_samples * n_classes >= AUTO_POTENTIALS_SIZE
        solver = "potentials" if big else "pot"
        attempt = min(max_iter, AUTO_POT_ITERATIONS)
    exact = tol < FLOAT32_TOL or n_samples * n_classes <= FLOAT64_SIZE
    dtype = "float64" if exact else "float32"
    if out is not None and str(out.dtype).removeprefix("torch.") != dtype:
        out = None
    with no_grad(scores):
        if solver == "pot":
            from ._pot import solve_pot  # takes a second to import

            solution = solve_pot(scores, marginal, weight, gamma, tol, attempt, start)
            # Sinkhorn steps crawl here, Newton steps do not.
            if auto and not solution[3] <= tol and max_iter > solution[1]:
                solver, start, done = "potentials", solution[0], solution[1]
        if solver == "potentials":
            with GibbsKernel(
                scores,
                weight,
                dtype=dtype,
                block_size=block_size or default_block_size(scores),
                n_jobs=effective_n_jobs(n_jobs),
                out=out,
            ) as kernel:
                potentials, n_iter, *reached = minimise(
                    kernel, marginal, gamma, tol, max_iter - done, start
                )
                solution = potentials, done + n_iter, *reached
                if out is not None:
                    kernel.labels(solution[0])
        labelled = solver == "potentials" and out is not None
        # The caller of `solve` or `solve_labels`, which called this.
        return labelled, _result(solution, marginal, tol, solver, like=given, stacklevel=4)


def solve_blocks(
    blocks: Callable[[], Iterable[Any]],
    class_marginal: Array,
    *,
    relaxation: float | None = None,
    tol: float = 1e-6,
    max_iter: int = 1000,
    init: Array | None = None,
) -> TransportResult:
    """Find the class potentials of scores that are larger than memory.

    The scores are read anew at each pass and one block of them is held at a time; otherwise this
    is `solve` with ``solver="potentials"``.

    Parameters
    ----------
    blocks : callable
        ``blocks()`` starts a new pass and yields ``scores`` or ``(scores, sample_weight)``, in the
        same order each time: arrays of shapes (n_rows, n_classes) and (n_rows,).
    class_marginal : array-like of shape (n_classes,)
        Class shares asked for: positive, sum 1.
    relaxation, tol, max_iter, init
        As in `solve`.

    Returns
    -------
    result : TransportResult

    Raises
    ------
    ValueError
        If an argument has the wrong shape or values, or there are no rows.

    Warns
    -----
    ConvergenceWarning
        If the class shares are further than `tol` from those asked for.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_dsink.transport import solve_blocks
    >>> scores = np.log([[0.7, 0.3], [0.6, 0.4], [0.2, 0.8]])
    >>> result = solve_blocks(lambda: iter([scores[:2], scores[2:]]), [0.5, 0.5])
    >>> result.converged
    True
    """
    _check_options("potentials", tol, max_iter)
    marginal = float64(class_marginal, np.empty(0))
    marginal = check_marginal(marginal, marginal.size, marginal)
    start = check_potentials("init", init, len(marginal), marginal)
    gamma = check_relaxation(relaxation)
    pieces = partial(check_blocks, blocks, len(marginal))
    rows = StreamedRows(pieces, len(marginal), exact=tol < FLOAT32_TOL)
    solution = minimise(rows, marginal, gamma, tol, max_iter, start)
    return _result(solution, marginal, tol, "potentials", like=marginal, stacklevel=3)


def _check_options(solver: str, tol: float, max_iter: int) -> None:
    if solver not in ("auto", "pot", "potentials"):
        raise ValueError(f'solver must be "auto", "pot" or "potentials", found {solver!r}.')
    check_number("tol", tol, Real)
    check_number("max_iter", max_iter, Integral)


def _result(
    solution: tuple[Array, int, Array, float],
    marginal: Array,
    tol: float,
    solver: str,
    like: Array,
    stacklevel: int,
) -> TransportResult:
    potentials, n_iter, totals, gap = solution
    if not gap <= tol:
        warnings.warn(
            f"The transport ({solver}) stopped after {n_iter} iterations with class shares "
            f"{gap:.2g} away from optimal in L1, where tol={tol:.2g} was asked for. Increase "
            "max_iter, raise tol, soften the probabilities, or relax the class constraint.",
            ConvergenceWarning,
            stacklevel=stacklevel,
        )
    return TransportResult(
        potentials=float64(potentials - potentials.mean(), like),
        n_iter=n_iter,
        marginal_error=float(abs(totals - marginal).sum()),
        converged=bool(gap <= tol),
        solver=solver,
    )
