"""Small array helpers that every stage shares."""

from __future__ import annotations

import math
import mmap
import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.utils import gen_batches

FloatArray = npt.NDArray[np.floating[Any]]

#: Probabilities are clipped here before a logarithm: an exact zero would veto a class for good.
PROBA_FLOOR = 1e-6

# Values this far apart have exponentials that float32 tells apart, beside their sum.
_SAFE_RANGE = 60.0

# Entries worked on at a time, so that what is made on the way fits the cache: a quarter of a MiB
# each in float64.
_BLOCK_SIZE = 2**15


def cache_blocks(shape: tuple[int, ...]) -> Iterator[slice]:
    """Cut the rows of a matrix into slices on which temporary arrays are small."""
    yield from gen_batches(shape[0], max(_BLOCK_SIZE // shape[1], 1))


def normalize_rows(values: FloatArray) -> FloatArray:
    """Scale each row of a non-negative matrix to sum to 1."""
    return values / values.sum(axis=1, keepdims=True)


def column_totals(values: FloatArray, weight: FloatArray | None = None) -> FloatArray:
    """Weighted sums over rows in float64, without a float64 copy of the matrix."""
    if weight is None:
        return np.asarray(values.sum(axis=0, dtype=np.float64))
    return np.einsum("i,ij->j", weight, values, dtype=np.float64, casting="same_kind")


def log_softmax(values: FloatArray) -> FloatArray:
    """Logarithm of the softmax of each row.

    To look for the maximum of each row takes longer than all the rest, and is done only where the
    values are so far apart that the exponential of one could vanish beside that of another.
    """
    if not values.size:
        return np.zeros_like(values)
    high = values.max()
    if not high - values.min() < _SAFE_RANGE:  # NaN is not either
        result: FloatArray = torch.log_softmax(torch.from_numpy(values), dim=1).numpy()
        return result
    totals = np.einsum("ij->i", np.exp(values - high))
    return np.asarray(values - (np.log(totals) + high)[:, None])


def safe_log(proba: FloatArray, out: FloatArray | None = None) -> FloatArray:
    """Logarithm of probabilities clipped at `PROBA_FLOOR`; `out` may be `proba` itself."""
    clipped = np.clip(proba, PROBA_FLOOR, None, out=out, dtype=None if out is None else out.dtype)
    return np.log(clipped, out=clipped)


def at_least_float32(proba: FloatArray) -> FloatArray:
    """Return probabilities that may be kept in half precision as others can work with them."""
    if proba.dtype != np.float16:
        return proba
    return normalize_rows(proba.astype(np.float32))


def from_tensor(values: Any) -> Any:
    """Give a tensor's values as numpy reads them, which knows no bfloat16; others as they are."""
    if not isinstance(values, torch.Tensor):
        return values
    values = values.detach().cpu()
    return (values.float() if values.dtype == torch.bfloat16 else values).numpy()


def is_mapped(array: Any) -> bool:
    """Whether an array is mapped from a file, or is a view of one that is."""
    while array is not None:
        if isinstance(array, (np.memmap, mmap.mmap)):
            return True
        array = getattr(array, "base", None)
    return False


def empty_beside(array: Any, shape: tuple[int, ...], dtype: Any) -> FloatArray:
    """Return a new array: in memory, or in a temporary file where `array` is mapped from one.

    What a user maps from a file may be larger than memory, and what a fit keeps of each of its
    rows too.  The file is deleted with the array.
    """
    n_bytes = math.prod(shape) * np.dtype(dtype).itemsize
    if n_bytes == 0 or not is_mapped(array):
        return np.empty(shape, dtype)
    with tempfile.TemporaryFile() as file:
        file.truncate(n_bytes)
        # No numpy.memmap: joblib would send the name of the file, which has none.
        return np.ndarray(shape, dtype, buffer=mmap.mmap(file.fileno(), n_bytes))
