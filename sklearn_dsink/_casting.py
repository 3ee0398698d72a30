"""Numbers of any kind as float32, without losing what tells rows apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse
from sklearn.utils import gen_batches

from ._arrays import empty_beside
from ._columns import column_values, is_category, is_frame, read_numbers, with_columns

# Entries looked at together, so that nothing of the size of X is made on the way.
_BLOCK_SIZE = 2**18
# Beyond it a number is "huge" and no more; float32 still has room to add some of these up.
_LIMITS = -1e37, 1e37
# Below it float32 has few digits left, or none.
_SMALLEST = 1e-30
# Spreads of a column, in parts of its largest magnitude.  float32 would round a smaller one than
# the first away, bit by bit; one below the second is rounding itself.
_NARROW, _ROUNDING = 1e-3, 1e-12


def as_float32(X: Any, shift: npt.NDArray[np.float64] | None) -> Any:
    """Give numbers as float32: an array without gaps between its entries, or a CSR matrix."""
    if sparse.issparse(X):
        if shift is None:
            return _sparse_float32(X)
        X = X.toarray()  # as it was in fit: shifted zeros are none
    if is_frame(X):
        X = np.column_stack([read_numbers(X, name) for name in X.columns])
    values = np.asarray(X)
    if values.dtype == np.float32 and shift is None:
        return np.ascontiguousarray(values)
    narrow = empty_beside(values, values.shape, np.float32)
    for rows in small_blocks(values):
        block = values[rows].astype(np.float64)
        narrow[rows] = np.clip(block if shift is None else _move(block, *shift), *_LIMITS)
    return narrow


def _sparse_float32(X: Any) -> Any:
    """Copy a sparse matrix, as CSR."""
    values = X.tocsr().astype(np.float64)
    values.sum_duplicates()
    np.clip(values.data, *_LIMITS, out=values.data)
    return values.astype(np.float32)


def learn_shift(X: Any) -> npt.NDArray[np.float64] | None:
    """Find the columns that float32 cannot hold as they are.

    Returns
    -------
    shift : ndarray of shape (2, n_features) or None
        What to subtract from each column and what to divide it by; None if all may stay.
    """
    if sparse.issparse(X):  # its zeros stay zeros
        return None
    if is_frame(X):
        ends = [_ends(_measured(X, name)[:, None]) for name in X.columns]
        low, high = np.concatenate(ends, axis=1)
    else:
        low, high = _ends(X)
    size = np.maximum(high, -low)
    with np.errstate(over="ignore", invalid="ignore"):  # no spread is narrow that is infinite
        spread = high - low
        narrow = (spread < _NARROW * size) & (spread > _ROUNDING * size)
        offset = np.where(narrow, low + spread / 2, 0.0)
    reach = np.where(narrow, spread / 2, size)
    scale = np.where((reach > 0) & (reach < _SMALLEST), reach, 1.0)
    return np.stack([offset, scale]) if offset.any() or (scale != 1).any() else None


def _measured(frame: Any, name: Any) -> npt.NDArray[Any]:
    """Give a column as numbers where it holds them, if only as objects or texts."""
    values = column_values(frame, name)
    if values.dtype.kind not in "OUT" or is_category(frame[name]):
        return values
    try:
        return read_numbers(frame, name)
    except (TypeError, ValueError):
        return values


def _ends(values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Give the least and the largest value of columns; NaN where float32 holds them all."""
    ends = np.full((2, values.shape[1]), np.nan)
    if values.dtype.kind not in "fiu" or np.can_cast(values.dtype, np.float32):
        return ends
    for rows in small_blocks(values):
        for end, function in zip(ends, (np.fmin, np.fmax), strict=True):  # they skip NaN
            function(end, function.reduce(values[rows], axis=0), out=end, casting="same_kind")
    return ends


def _move(values: Any, offset: Any, scale: Any) -> Any:
    with np.errstate(over="ignore"):  # huge, and clipped
        return (values - offset) / scale


def shift_columns(frame: Any, shift: npt.NDArray[np.float64] | None) -> Any:
    """Shift those columns of a frame that skrub would round away."""
    if shift is None:
        return frame
    names = list(frame.columns)
    return with_columns(
        frame,
        {
            names[i]: np.clip(_move(read_numbers(frame, names[i]), *shift[:, i]), *_LIMITS)
            for i in np.flatnonzero((shift[0] != 0) | (shift[1] != 1))
        },
    )


def small_blocks(values: npt.NDArray[Any]) -> Any:
    """Cut the rows of a matrix into slices on which temporary arrays are not large."""
    return gen_batches(len(values), max(1, _BLOCK_SIZE // values.shape[1]))
