r"""The class-potential iteration: Sinkhorn steps, then Newton steps where Sinkhorn is slow.

Both steps start from the residual :math:`\rho = \log t - \log s`, where s are the class shares
reached and t those wanted. A Sinkhorn step adds :math:`\rho` to the potentials. A Newton step also
knows how classes compete for the same rows: with D = diag(s) and the normalised overlap
:math:`A = D^{-1/2} (\sum_i w_i q_i q_i^T) D^{-1/2}` it adds
:math:`D^{-1/2} (I - A)^{-1} D^{1/2} \rho`. Where labels are flat A is of rank one and the two
agree; where they are sharp A is near I, Sinkhorn crawls and Newton does not. Replacing A by
:math:`(1 - \lambda) A` goes from one to the other: as in Levenberg and Marquardt's method,
:math:`\lambda` grows where a step does not help, up to 1, and falls where one does.

A step helps where it brings the shares closer to those wanted, or where the semi-dual, which is
convex, still falls at its end: it has then fallen all the way. The shares alone do not tell, since
those of labels near one-hot hardly move until potentials have moved far.

With the class constraint relaxed by KL weight :math:`\gamma` the shares wanted are
:math:`t = b\, e^{-2 g / \gamma}`, and the Sinkhorn step is
:math:`g \leftarrow \frac{\gamma}{\gamma + 2} (g + \log b - \log s)`.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from ._kernel import CURVATURE_ROWS, float64, namespace

Array = Any

# A Newton step on rows of n_classes columns costs about
# rows_used * n_classes / (GEMM_GAIN * n_samples) passes, since a matrix product does so many more
# operations per second than a pass that waits for memory (benchmarks/bench_transport.py).
GEMM_GAIN = 13.0

# Steps without progress after which rounding, not the method, is what is left.
PATIENCE = 30

# Smallest damping: enough for the matrix not to be singular where labels are one-hot, too little
# to slow convergence.
LEAST_DAMPING = 1e-9

# By what damping grows and falls. Newton steps on labels near one-hot are many times too long.
DAMPED, EASED = 1e3, 10.0

# What stands for a class share that is 0 in floating point.
LEAST_SHARE = 1e-38

# Longest Newton step: a curvature says little about shares that change by a factor of exp(20).
LONGEST_STEP = 20.0

# What the gap must fall to where a step went past the lowest point of the semi-dual: were any fall
# enough, one class could go to and fro for ever.
PROGRESS = 0.9

# A curvature is used again as long as it shrinks the gap by this factor or more at each step.
GOOD_CONTRACTION = 0.2


class Totals(Protocol):
    """What supplies the sums over rows: see `GibbsKernel`."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows (known once a pass was made) and classes."""

    def totals(self, potentials: Array) -> Array:
        """Return the class shares at `potentials`."""

    def overlap(self, potentials: Array) -> tuple[Array, Array]:
        """Return the normalised overlap of the classes and the shares it was scaled by."""

    def reach(self) -> Array:
        """Return potentials at which every class is the best one of some row."""


def distance_to_optimum(
    potentials: Array, totals: Array, marginal: Array, gamma: float
) -> tuple[Array, Array]:
    """Return the potentials in their gauge and the class shares at them, less those wanted.

    The difference is the gradient of the semi-dual: zero at the solution, also where the class
    constraint is relaxed. A constant added to the potentials changes no label; the gauge is the
    one in which the shares wanted sum to 1.
    """
    xp = namespace(totals)
    if gamma == 0:
        return potentials, xp.zeros_like(totals)
    if np.isinf(gamma):
        return potentials - potentials.mean(), totals - marginal
    stiffness = 2.0 / gamma
    log_wanted = xp.log(marginal) - stiffness * potentials
    # logsumexp, since a small gamma makes these large.
    high = log_wanted.max()
    log_mass = high + xp.log(xp.exp(log_wanted - high).sum())
    return potentials + log_mass / stiffness, totals - xp.exp(log_wanted - log_mass)


def minimise(
    kernel: Totals,
    marginal: Array,
    gamma: float,
    tol: float,
    max_iter: int,
    start: Array,
) -> tuple[Array, int, Array, float]:
    """Return the potentials, the passes taken, the class shares reached and their L1 gap."""
    xp = namespace(marginal)
    if gamma == 0:
        potentials = xp.zeros_like(marginal)
        return potentials, 1, kernel.totals(potentials), 0.0
    stiffness = 2.0 / gamma
    log_marginal = xp.log(marginal)
    totals, n_iter = kernel.totals(start), 1
    if not float(totals.min()) > 0 and n_iter < max_iter:
        # A class so unlikely everywhere that its total is 0 in floating point.
        start = kernel.reach()
        totals, n_iter = kernel.totals(start), 2
    rows_used = min(kernel.shape[0], CURVATURE_ROWS)
    newton_cost = rows_used * kernel.shape[1] / (GEMM_GAIN * kernel.shape[0])
    potentials, off = distance_to_optimum(start, totals, marginal, gamma)
    gap = float(abs(off).sum())
    newton, damping = False, 1.0
    contraction = 0.0  # before the first step
    curvature: tuple[Array, Array] | None = None
    best, stalled = gap, 0
    while gap > tol and n_iter < max_iter and stalled < PATIENCE:
        if not newton and contraction > 0:
            # Passes that Sinkhorn still needs at its present rate, against those of Newton.
            left = np.log(gap / tol) / -np.log(min(contraction, 0.999))
            if left > 1.5 + newton_cost:
                newton, damping = True, LEAST_DAMPING
        totals = totals.clip(LEAST_SHARE, None)
        residual = log_marginal - stiffness * potentials - xp.log(totals)
        if damping < 1.0:
            if curvature is None:
                curvature = kernel.overlap(potentials)
            step = _newton_step(curvature, totals, residual, stiffness, damping)
        else:
            step = residual / (1.0 + stiffness)
        trial = potentials + step
        trial_totals = kernel.totals(trial)
        trial, off = distance_to_optimum(trial, trial_totals, marginal, gamma)
        trial_gap = float(abs(off).sum())
        n_iter += 1
        if damping < 1.0:
            helps = trial_gap < PROGRESS * gap or float(off @ step) <= 0
            if not (helps and float(trial_totals.min()) > 0):
                # Towards the Sinkhorn step, which always lowers the semi-dual.
                damping = min(DAMPED * damping, 1.0)
                continue
        contraction = trial_gap / gap
        if contraction > GOOD_CONTRACTION:
            curvature = None
        if newton:
            damping = max(damping / EASED, LEAST_DAMPING)
        potentials, totals, gap = trial, trial_totals, trial_gap
        best, stalled = (gap, 0) if gap < best else (best, stalled + 1)
    return potentials, n_iter, totals, gap


def _newton_step(
    curvature: tuple[Array, Array],
    totals: Array,
    residual: Array,
    stiffness: float,
    damping: float,
) -> Array:
    overlap, shares = curvature
    xp = namespace(totals)
    eye = float64(np.eye(len(totals)), totals)
    # Along sqrt(shares), where I - A is zero, the residual has no component (both shares sum to
    # 1) and any positive value there will do.
    root = xp.sqrt(shares)
    matrix = (1 + stiffness) * eye + (1 - damping) * (root[:, None] * root[None, :] - overlap)
    scale = xp.sqrt(totals)
    step = xp.linalg.solve(matrix, scale * residual) / scale
    longest = float(abs(step).max())
    return step if longest < LONGEST_STEP else step * (LONGEST_STEP / longest)
