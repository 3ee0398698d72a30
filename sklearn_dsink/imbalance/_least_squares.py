"""Weighted, penalised least squares on a kernel at landmarks, block by block."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.linalg import cho_factor, cho_solve, eigh

from .._arrays import FloatArray

#: Goes over the training rows in blocks: their numbers, and their kernel at the landmarks.
Blocks = Callable[[], Iterable[tuple[slice, FloatArray]]]


def distinct_rows(rows: Any) -> tuple[Any, npt.NDArray[np.intp]]:
    """Give the rows without copies, and the place of each row among them."""
    if not sparse.issparse(rows):
        distinct, place = np.unique(rows, axis=0, return_inverse=True)
        return distinct, place.ravel()
    rows = rows.tocsr(copy=True)
    rows.sum_duplicates()  # equal rows have the same entries then, in the same order
    rows.eliminate_zeros()
    first: list[int] = []
    seen: dict[tuple[bytes, bytes], int] = {}
    place = np.empty(rows.shape[0], dtype=np.intp)
    for row, (start, stop) in enumerate(pairwise(rows.indptr)):
        key = rows.indices[start:stop].tobytes(), rows.data[start:stop].tobytes()
        place[row] = seen.setdefault(key, len(first))
        if place[row] == len(first):
            first.append(row)
    return rows[first], place


def normal_equations(
    blocks: Blocks, targets: FloatArray, weight: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Weighted products of the kernels with themselves and with the targets."""
    gram, moments = np.zeros(()), np.zeros(())
    for part, kernel in blocks():
        root = np.sqrt(weight[part, None])
        weighted = kernel * root
        gram = gram + weighted.T @ weighted  # of one array with itself: half the work
        moments = moments + weighted.T @ (targets[part] * root)
    return gram, moments


def with_constant(blocks: Blocks) -> Blocks:
    """Append a column of ones to the kernel."""
    return lambda: (
        (part, np.pad(each, ((0, 0), (0, 1)), constant_values=1.0)) for part, each in blocks()
    )


def choose_alpha(
    blocks: Blocks,
    of_landmarks: FloatArray,
    targets: FloatArray,
    weight: FloatArray,
    alphas: FloatArray,
) -> tuple[float, FloatArray, float]:
    """Strength of the least squared leave-one-out error, its coefficients, and that error.

    The vectors that make the sum of squares diagonal and the penalty the identity serve for all
    strengths.
    """
    gram, moments = normal_equations(blocks, targets, weight)
    values, vectors = eigh(gram, of_landmarks, overwrite_a=True, overwrite_b=True)
    rotated_moments = vectors.T @ moments
    shrunk = 1.0 / (np.maximum(values, 0.0) + alphas[:, None])
    solutions = [rotated_moments * factors[:, None] for factors in shrunk]
    errors = np.zeros(len(alphas))
    for part, kernel in blocks():
        rotated = kernel @ vectors
        leverage = weight[part, None] * ((rotated**2) @ shrunk.T)
        for k, solution in enumerate(solutions):
            residual = targets[part] - rotated @ solution
            residual /= np.maximum(1.0 - leverage[:, k], 1e-12)[:, None]
            errors[k] += weight[part] @ (residual**2).sum(axis=1)
    best = int(np.argmin(errors))
    return float(alphas[best]), vectors @ solutions[best], float(errors[best])


def solve_ridge(
    gram: FloatArray, moments: FloatArray, penalty: FloatArray, jitter: float
) -> FloatArray:
    """Coefficients of least squares with a penalty; `gram` is overwritten.

    The penalty's diagonal is raised by `jitter` already.  Where few columns leave most directions
    empty, the products of very many rows are rounded by more than that.
    """
    rounding = 4 * np.finfo(np.float64).eps * np.trace(gram)
    gram += penalty
    gram[np.diag_indices_from(gram)] += max(rounding - jitter, 0.0)
    return np.asarray(cho_solve(cho_factor(gram, overwrite_a=True), moments))


def squared_slopes(
    rows: FloatArray,
    landmarks: FloatArray,
    kernel: FloatArray,
    coef: FloatArray,
    weight: FloatArray,
) -> FloatArray:
    """Squared slopes along each column of the scores ``kernel @ coef``, added up over the rows.

    The kernel is Gaussian, of squared distances; twice its gamma is left out of the slopes.
    """
    total = np.zeros(rows.shape[1])
    for each in coef.T:
        slope = (kernel @ each)[:, None] * rows - kernel @ (each[:, None] * landmarks)
        total += weight @ slope**2
    return total
