"""The transport by POT's Sinkhorn solvers, in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import ot

from ._kernel import exact_totals, float64, namespace
from ._potentials import distance_to_optimum
from ._quiet import without_warnings

Array = Any

# Beyond a range of about 700 exp() leaves float64, and POT has to work with logarithms.
PLAIN_RANGE = 600.0


def solve_pot(
    scores: Array,
    marginal: Array,
    weight: Array | None,
    gamma: float,
    tol: float,
    max_iter: int,
    start: Array,
) -> tuple[Array, int, Array, float]:
    """Return the potentials, the iterations, the class shares reached and their L1 gap.

    POT only warns where it stops early or breaks down numerically, and may then return a plan of
    zeros. Its warnings are silenced here because the shares are computed anew from the
    potentials, so that the caller can tell.
    """
    xp = namespace(scores)
    # A shift of a row changes no label, and keeps every row of the plan above zero.
    shifted = float64(scores, scores)
    shifted = shifted - xp.amax(shifted, axis=1, keepdims=True)
    if not bool(xp.isfinite(shifted).all()):
        raise ValueError("scores must be finite. Clip probabilities away from 0 first.")
    mass = float64(np.ones(len(scores)), scores) if weight is None else weight
    mass = mass / mass.sum()
    present = mass > 0
    if not bool(present.all()):
        shifted, mass = shifted[present], mass[present]
    plain = float(shifted.min()) > -PLAIN_RANGE
    start = start - start.max()
    cost = -2.0 * shifted
    with np.errstate(all="ignore"), without_warnings(category=UserWarning):
        if np.isinf(gamma):
            potentials, n_iter = _balanced(cost, mass, marginal, tol, max_iter, start, plain)
        else:
            potentials, n_iter = _relaxed(cost, mass, marginal, gamma, tol, max_iter, plain)
    if not bool(xp.isfinite(potentials).all()):
        potentials = start  # POT broke down
    totals = exact_totals(scores, potentials, weight)
    potentials, off = distance_to_optimum(potentials, totals, marginal, gamma)
    return potentials, n_iter, totals, float(abs(off).sum())


def _balanced(
    cost: Array, mass: Array, marginal: Array, tol: float, max_iter: int, start: Array, plain: bool
) -> tuple[Array, int]:
    xp = namespace(cost)
    # The row potentials that belong to `start`; its class potentials alone restart nothing.
    row = xp.log(mass) - xp.log(xp.exp(start - cost / 2).sum(axis=1))
    options: dict[str, Any] = {
        "numItermax": max_iter,
        # POT looks at the Euclidean norm, which is at least the L1 norm over sqrt(n_classes).
        "stopThr": tol / np.sqrt(len(marginal)),
        "warmstart": (row, start),
        "log": True,
        "warn": False,
    }
    n_iter = 0
    if plain:
        _, log = ot.sinkhorn(mass, marginal, cost, 2.0, method="sinkhorn", **options)
        n_iter = log["niter"] + 1
        potentials = xp.log(log["v"])
        if bool(xp.isfinite(potentials).all()) and (
            log["err"][-1] <= options["stopThr"] or n_iter >= max_iter
        ):
            return potentials, n_iter
    # Plain Sinkhorn would, or did, leave the range of float64.
    _, log = ot.sinkhorn(mass, marginal, cost, 2.0, method="sinkhorn_log", **options)
    return log["log_v"], n_iter + log["niter"] + 1


def _relaxed(
    cost: Array, mass: Array, marginal: Array, gamma: float, tol: float, max_iter: int, plain: bool
) -> tuple[Array, int]:
    if gamma == 0:
        return namespace(marginal).zeros_like(marginal), 1
    _, log = ot.unbalanced.sinkhorn_unbalanced(
        mass,
        marginal,
        cost,
        2.0,
        (np.inf, gamma),
        method="sinkhorn" if plain else "sinkhorn_stabilized",
        reg_type="entropy",
        numItermax=max_iter,
        # POT looks at the change in one step, of which several are still to come.
        stopThr=tol / 100,
        log=True,
    )
    return log["logv"], len(log["err"])
