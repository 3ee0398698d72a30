"""Sums over rows that the transport needs, walked in blocks that stay in cache.

Everything the solver asks of the data is one reduction: given class potentials ``g``, the
class totals ``sum_i w_i softmax(S_i + g)``. It lives here and nowhere else, so that blocks of a
set larger than memory (or the members of a process group) can supply it in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, nullcontext
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from threadpoolctl import ThreadpoolController

# The caches of a core should serve a block's second reading in a pass; and threads, which wait for
# each other between the operations on a block, should do so seldom, which smaller blocks make them
# do more often. On an accelerator a block only bounds the temporaries.
BLOCK_BYTES = 2**21
DEVICE_BLOCK_BYTES = 2**28

# exp(-80) is still a normal float32; the budget is split between scores and potentials.
SAFE_RANGE = 40.0
LOWEST = -80.0

# Longest sum taken in float32: the class totals of this many rows are added up in float64, which
# keeps their error near that of a float32 kernel entry (2e-8) at no cost in time.
SUMMED_ROWS = 128

# Rows that the curvature is estimated from: enough for a direction, few enough to cost less than
# a pass over a large set. Half of them already ask for no further pass on the benchmark's sets.
CURVATURE_ROWS = 4096

# Rows of them whose products are added up at a time.
OVERLAP_ROWS = 512

# Columns from which numpy's sum of products a row is faster than BLAS's matrix times vector; of
# short rows it is the slower one.
LONG_ROW = 64

# Below this many entries handing work to threads costs more than it saves.
MIN_THREADED_SIZE = 2**20

Array = Any
"""A numpy array or a torch tensor."""


@cache
def _threadpools() -> ThreadpoolController:
    """Look for the thread pools of the libraries loaded; once, since it takes milliseconds."""
    return ThreadpoolController()


def namespace(array: Array) -> Any:
    """Return the module (numpy or torch) whose functions work on `array`."""
    return torch if isinstance(array, torch.Tensor) else np


def float64(values: Array, like: Array) -> Array:
    """Return `values` in float64, without gradient, in the library and on the device of `like`."""
    xp = namespace(like)
    if namespace(values) is not np:
        values = values.detach()
        values = values.cpu().double() if xp is np else values  # bfloat16 is unknown to numpy
    if xp is np:
        return np.asarray(values, dtype=np.float64)
    return xp.as_tensor(values, dtype=xp.float64, device=like.device)


def cast(values: Array, dtype: Any) -> Array:
    """Return `values` in a dtype of their own library."""
    return values.astype(dtype) if namespace(values) is np else values.to(dtype)


def no_grad(array: Array) -> Any:
    """Return a context in which torch tracks no gradient."""
    xp = namespace(array)
    return nullcontext() if xp is np else xp.no_grad()


def default_block_size(scores: Array) -> int:
    """Return how many rows of `scores` make one block."""
    on_device = namespace(scores) is not np and scores.device.type != "cpu"
    size = DEVICE_BLOCK_BYTES if on_device else BLOCK_BYTES
    rows = size // (4 * scores.shape[1])
    return max(1, rows // SUMMED_ROWS) * SUMMED_ROWS


def row_blocks(n_rows: int, block_size: int, start: int = 0) -> Iterator[slice]:
    """Cut ``range(start, n_rows)`` into slices of at most `block_size`."""
    for low in range(start, n_rows, block_size):
        yield slice(low, min(low + block_size, n_rows))


def exp_rows(
    scores: Array,
    shift: Array | None = None,
    out: Array | None = None,
    lowest: float | None = None,
) -> Array:
    """Return ``exp(scores + shift)``, every row scaled so that nothing over- or underflows.

    The scale of a row is arbitrary: callers divide by the row sums. The row maximum is looked
    for only where the range of the block asks for it, since log-probabilities clipped at 1e-12
    span less than 28 and a maximum per row costs as much as the exponential. What lies further
    than `lowest` from the maximum of its row is then raised to it. All of it happens in the
    precision of `out`.

    Raises
    ------
    ValueError
        If a score is infinite or not a number.
    """
    xp = namespace(scores)
    if out is not None and out.dtype == xp.float64:
        scores = float64(scores, scores)
    if shift is not None:
        scores = scores + cast(shift, scores.dtype)
    low, high = float(scores.min()), float(scores.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ValueError(
            f"scores must be finite, found values between {low} and {high}. Clip probabilities "
            "away from 0 (e.g. at 1e-12) before taking their logarithm."
        )
    if high - low > SAFE_RANGE:
        scores = scores - xp.amax(scores, axis=1, keepdims=True)
        scores = scores if lowest is None else scores.clip(lowest, None)
    elif abs(high) > SAFE_RANGE / 4:
        scores = scores - high
    if out is None:
        return xp.exp(scores)
    if xp is np:
        return np.exp(scores, out=out, dtype=scores.dtype, casting="same_kind")
    return out.copy_(xp.exp(scores))


def _weigh_columns(block: Array, scale: Array) -> Array:
    """Return ``block @ scale``."""
    if namespace(block) is np and block.shape[1] >= LONG_ROW:
        return np.vecdot(block, scale)
    return block @ scale


def _sum_rows(ratio: Array, block: Array) -> Array:
    """Return ``ratio @ block`` with at most `SUMMED_ROWS` terms added up in float32."""
    n_rows, n_classes = block.shape
    even = n_rows - n_rows % SUMMED_ROWS
    if not even:
        return ratio @ block
    parts = ratio[:even].reshape(-1, 1, SUMMED_ROWS) @ block[:even].reshape(
        -1, SUMMED_ROWS, n_classes
    )
    total = parts.sum(axis=(0, 1), dtype=namespace(block).float64)
    return total if even == n_rows else total + ratio[even:] @ block[even:]


def _reach(pieces: Iterable[tuple[Array, Array | None]]) -> Array:
    """Return how far each class is behind the best one in the row where it is least so.

    Rows of weight 0 do not count.
    """
    closest: Array = -np.inf
    for scores, weight in pieces:
        xp = namespace(scores)
        if weight is not None:
            scores = scores[weight > 0]
            if not len(scores):
                continue
        behind = scores - xp.amax(scores, axis=1, keepdims=True)
        closest = xp.maximum(float64(closest, scores), float64(xp.amax(behind, axis=0), scores))
    return -closest


def exact_totals(scores: Array, potentials: Array, weight: Array | None) -> Array:
    """Return the class shares ``sum_i w_i softmax(S_i + g) / sum_i w_i``, all of it in float64."""
    n_samples, n_classes = scores.shape
    totals = float64(np.zeros(n_classes), scores)
    for rows in row_blocks(n_samples, default_block_size(scores)):
        labels = exp_rows(float64(scores[rows], scores), potentials)
        labels /= labels.sum(axis=1)[:, None]
        totals += labels.sum(axis=0) if weight is None else weight[rows] @ labels
    return totals / (n_samples if weight is None else weight.sum())


def _even_rows(n_rows: int, weight: Array | None) -> Array:
    """Return evenly spaced rows of positive weight, enough to estimate the curvature from."""
    if weight is None:
        return np.arange(0, n_rows, max(1, n_rows // CURVATURE_ROWS))
    heavy = namespace(weight).where(weight > 0)[0]
    return heavy[:: max(1, len(heavy) // CURVATURE_ROWS)]


class GibbsKernel:
    """The matrix ``exp(S_i + shift)`` in memory once, and the sums taken over its rows.

    A pass reads the matrix once: each block gives its row sums and, while it is still in cache,
    its share of the class totals. The first pass writes each block just before that. Products are
    taken in the kernel's precision, totals are accumulated over blocks in float64.

    Parameters
    ----------
    scores : array or tensor of shape (n_samples, n_classes)
        Kept by reference, and changed only where they are `out` too.
    sample_weight : array or tensor of shape (n_samples,) or None
        Masses of the rows, of mean 1.
    dtype : str
        "float32" or "float64".
    block_size : int
        Rows in a block.
    n_jobs : int
        Threads that share a pass (numpy arrays only; torch has its own threads).
    out : array or tensor of shape (n_samples, n_classes), default=None
        Where the matrix is kept, in place of memory of its own; of the `dtype` given. May be
        `scores`, until potentials take it out of range: what is more than 80 below the best of its
        row then counts as 80 below it.
    """

    def __init__(
        self,
        scores: Array,
        sample_weight: Array | None,
        *,
        dtype: str = "float32",
        block_size: int,
        n_jobs: int = 1,
        out: Array | None = None,
    ) -> None:
        self.xp = namespace(scores)
        self.scores = scores
        self.block_size = block_size
        self.shape: tuple[int, int] = tuple(scores.shape)
        self.shift: Array | None = None
        self._dtype = kind = getattr(self.xp, dtype)
        self._out = out
        self.matrix = self._empty() if out is None else out
        self.weight = None if sample_weight is None else cast(sample_weight, kind)
        self._lowest = LOWEST if out is scores else None
        self._written = False
        parallel = self.xp is np and n_jobs > 1 and self.matrix.size >= MIN_THREADED_SIZE
        self.n_jobs = n_jobs if parallel else 1
        self._stack = ExitStack()

    def __enter__(self) -> GibbsKernel:
        if self.n_jobs > 1:
            self._stack.enter_context(_threadpools().limit(limits=1, user_api="blas"))
            self._pool = self._stack.enter_context(ThreadPoolExecutor(self.n_jobs))
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stack.close()

    def _over_shares(self, function: Any) -> list[Any]:
        """Call ``function(blocks)`` on the blocks of a share of the rows for each thread."""
        edges = np.linspace(0, self.shape[0], self.n_jobs + 1).astype(int).tolist()
        shares = [row_blocks(stop, self.block_size, start) for start, stop in pairwise(edges)]
        return (
            [function(shares[0])] if len(shares) == 1 else list(self._pool.map(function, shares))
        )

    def _empty(self) -> Array:
        if self.xp is np:
            return np.empty(self.shape, dtype=self._dtype)
        return self.xp.empty(self.shape, dtype=self._dtype, device=self.scores.device)

    def _scores_of(self, rows: slice) -> Array:
        """Return the scores of some rows, from the matrix where it lies in their place."""
        if self._lowest is None or not self._written:
            return self.scores[rows]
        return self.xp.log(self.matrix[rows])

    def _leave_scores(self) -> None:
        """Put the scores back and take other memory: a shift may move some out of the range."""
        if self._written:
            for rows in row_blocks(self.shape[0], self.block_size):
                self.scores[rows] = self._scores_of(rows)
        self.matrix, self._lowest = self._empty(), None

    def _write(self, rows: slice, shift: Array | None) -> None:
        exp_rows(self._scores_of(rows), shift, out=self.matrix[rows], lowest=self._lowest)

    def _scale(self, potentials: Array) -> Array:
        """Return ``exp(potentials - shift)`` up to a factor, absorbing what is out of range."""
        rest = potentials if self.shift is None else potentials - self.shift
        if float(rest.max() - rest.min()) > SAFE_RANGE:
            if self._lowest is not None:
                self._leave_scores()
            # As the matrix will hold it; what rounding takes away is in the scale.
            shift = float64(cast(potentials, self.matrix.dtype), potentials)
            if self._written:

                def rewrite(blocks: Iterator[slice]) -> None:
                    for rows in blocks:
                        self._write(rows, shift)

                self._over_shares(rewrite)
            self.shift = shift
            rest = potentials - shift
        return cast(self.xp.exp(rest - rest.max()), self.matrix.dtype)

    def totals(self, potentials: Array) -> Array:
        """Return the class shares ``sum_i w_i softmax(S_i + g) / sum_i w_i``, in float64."""
        scale = self._scale(potentials)

        def share(blocks: Iterator[slice]) -> Array:
            total = float64(np.zeros(self.shape[1]), self.scores)
            for rows in blocks:
                if not self._written:
                    self._write(rows, self.shift)
                block = self.matrix[rows]
                ratio = _weigh_columns(block, scale)
                if self.weight is None:
                    ratio = 1.0 / ratio
                else:
                    ratio = self.weight[rows] / ratio
                total += _sum_rows(ratio, block)
            return total

        # Divided by their sum, which is 1 but for what rounding did to all rows alike.
        total = sum(self._over_shares(share)) * float64(scale, scale)
        self._written = True
        return total / total.sum()

    def labels(self, potentials: Array) -> Array:
        """Turn the matrix into the surrogate labels ``softmax(S_i + g)``, its last use."""
        # torch scales rows and columns in less than half of numpy's time.
        factor = torch.as_tensor(self._scale(potentials))

        def label(blocks: Iterator[slice]) -> None:
            for rows in blocks:
                block = torch.as_tensor(self.matrix[rows])
                block *= factor
                block *= block.sum(dim=1, keepdim=True).reciprocal_()  # faster than to divide

        self._over_shares(label)
        if self._out is not None and self._out is not self.matrix:
            self._out[:] = self.matrix
        return self.matrix

    def reach(self) -> Array:
        """Return potentials at which every class is the best one of some row."""
        return _reach(
            (self._scores_of(rows), None if self.weight is None else self.weight[rows])
            for rows in row_blocks(self.shape[0], self.block_size)
        )

    def overlap(self, potentials: Array) -> tuple[Array, Array]:
        """Return ``D^-1/2 (sum_i w_i q_i q_i^T) D^-1/2`` and ``d``, from evenly spaced rows.

        ``d`` are the class shares of the rows used and ``D`` is its diagonal matrix, so that
        ``sqrt(d)`` is the eigenvector of the largest eigenvalue, 1. To be called after a pass.
        """
        scale = self._scale(potentials)
        rows = _even_rows(self.shape[0], self.weight)
        overlap = Overlap(potentials)
        for part in row_blocks(len(rows), overlap.chunk):
            labels = self.matrix[rows[part]] * scale
            overlap.add(labels, None if self.weight is None else self.weight[rows[part]])
        return overlap.normalised()


class StreamedRows:
    """The same sums as `GibbsKernel` over blocks that are read anew at each pass.

    Parameters
    ----------
    blocks : callable
        ``blocks()`` yields ``(scores, sample_weight)``, float arrays; the weight may be None, and
        no row's is 0.
    n_classes : int
        Columns of every block.
    exact : bool
        Whether float32 blocks are worked on in float64.
    """

    def __init__(
        self,
        blocks: Callable[[], Iterable[tuple[Array, Array | None]]],
        n_classes: int,
        exact: bool = False,
    ) -> None:
        self.blocks = blocks
        self.exact = exact
        self.n_rows = 0
        self.n_classes = n_classes

    @property
    def shape(self) -> tuple[int, int]:
        """Rows counted in the last pass, and classes."""
        return self.n_rows, self.n_classes

    def _pieces(self, step: int = 1) -> Iterator[tuple[Array, Array | None]]:
        for scores, weight in self.blocks():
            for rows in row_blocks(len(scores), step * default_block_size(scores)):
                taken = slice(rows.start, rows.stop, step)
                piece = float64(scores[taken], scores) if self.exact else scores[taken]
                yield piece, None if weight is None else weight[taken]

    def totals(self, potentials: Array) -> Array:
        """Return the class shares, in float64."""
        total = np.zeros(self.n_classes)
        mass, self.n_rows = 0.0, 0
        for scores, weight in self._pieces():
            labels = exp_rows(scores, potentials)
            ratio = 1.0 / labels.sum(axis=1)
            if weight is not None:
                ratio *= weight
            total += _sum_rows(ratio, labels)
            mass += len(scores) if weight is None else float(weight.sum())
            self.n_rows += len(scores)
        if not mass > 0:
            raise ValueError(f"blocks must yield rows of positive weight, found a sum of {mass}.")
        return total / total.sum()

    def reach(self) -> Array:
        """Return potentials at which every class is the best one of some row."""
        return _reach(self._pieces())

    def overlap(self, potentials: Array) -> tuple[Array, Array]:
        """Return the normalised overlap of the classes, from evenly spaced rows."""
        overlap = Overlap(potentials)
        for scores, weight in self._pieces(max(1, self.n_rows // CURVATURE_ROWS)):
            overlap.add(exp_rows(scores, potentials), weight)
        return overlap.normalised()


class Overlap:
    """Accumulates ``sum_i w_i q_i q_i^T`` over chunks of rows."""

    def __init__(self, like: Array) -> None:
        n_classes = len(like)
        # Adding up the squares of n_classes should cost less than computing them.
        self.chunk = max(OVERLAP_ROWS, 2 * n_classes)
        self.gram = float64(np.zeros((n_classes, n_classes)), like)
        self.total = float64(np.zeros(n_classes), like)

    def add(self, labels: Array, weight: Array | None) -> None:
        """Take in rows proportional to surrogate labels; `labels` is overwritten."""
        labels /= labels.sum(axis=1)[:, None]
        if weight is None:
            self.total += labels.sum(axis=0)
        else:
            self.total += weight @ labels
            labels *= (weight**0.5)[:, None]
        self.gram += labels.T @ labels

    def normalised(self) -> tuple[Array, Array]:
        """Return ``D^-1/2 gram D^-1/2`` and the class shares ``d`` of the rows taken in."""
        xp = namespace(self.gram)
        root = xp.sqrt(self.total)
        safe = xp.where(root > 0, root, xp.ones_like(root))
        return self.gram / safe[:, None] / safe[None, :], self.total / self.total.sum()
