"""Training data that come in blocks and are larger than memory: written to files that fit reads.

Training takes rows in random order and each renewal of the surrogate labels takes all of them, so
an iterator, or a Dataset that makes each row anew, would be read dozens of times. It is read once
here.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse
from torch.utils.data import DataLoader, Dataset

from ._arrays import from_tensor
from ._columns import is_frame
from ._files import replacing
from .inputs import Float32Array

__all__ = ["store_blocks"]


def store_blocks(
    blocks: Dataset[Any] | Iterable[Any],
    folder: str | os.PathLike[str],
    *,
    batch_size: int = 4096,
) -> tuple[Float32Array, npt.NDArray[Any]]:
    """Write blocks of rows to files, and map these as the `X` and `y` of a fit.

    One block is held at a time, and of the rows before it the labels alone.

    Parameters
    ----------
    blocks : torch Dataset, DataLoader, or other iterable
        Gives pairs (X, y): a Dataset of rows, or any other iterable of blocks, where X is an
        array, tensor, sparse matrix or data frame of shape (n_rows, n_features), all of it
        numbers, and y has shape (n_rows,). NaN marks missing values. Read once.
    folder : path-like
        New folder for ``X.npy`` (float32) and ``y.npy``. It is there when all is written, or not
        at all.
    batch_size : int, default=4096
        Rows that are taken together from a Dataset; blocks of other iterables stay as they are.

    Returns
    -------
    X : memmap of shape (n_samples, n_features), dtype float32
        As ``np.load(folder / "X.npy", mmap_mode="r")`` gives it, then and later.
    y : ndarray of shape (n_samples,)
        Labels, in memory.

    Raises
    ------
    ValueError
        If there are no rows, a block is not such a pair, or blocks differ in width or, as data
        frames, in their columns.
    FileExistsError
        If the folder is there already.

    Examples
    --------
    A fit on data of any size; auxiliaries come fitted on a sample.

    >>> import tempfile
    >>> import numpy as np
    >>> from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    >>> from sklearn.frozen import FrozenEstimator
    >>> from sklearn_dsink import DSinkClassifier
    >>> from sklearn_dsink.blocks import store_blocks
    >>> def read_blocks():
    ...     rng = np.random.default_rng(0)
    ...     for _ in range(3):
    ...         y = rng.integers(2, size=200)
    ...         yield rng.normal(size=(200, 2)) + 3 * y[:, None], y
    >>> folder = tempfile.TemporaryDirectory()
    >>> X, y = store_blocks(read_blocks(), f"{folder.name}/data")
    >>> X.shape
    (600, 2)
    >>> aux = FrozenEstimator(LinearDiscriminantAnalysis().fit(X[:200], y[:200]))
    >>> clf = DSinkClassifier(aux, aux, cv=None, random_state=0).fit(X, y)
    >>> clf.score(X, y) > 0.95
    True
    >>> folder.cleanup()
    """
    folder = Path(folder)
    if folder.exists():
        raise FileExistsError(
            f"folder={str(folder)!r} is there already. Give a new one, or map what it holds by "
            'np.load(folder / "X.npy", mmap_mode="r").'
        )
    if isinstance(blocks, Dataset):
        # A loader draws from the global generator, even where it keeps the order.
        blocks = DataLoader(blocks, batch_size=batch_size, generator=torch.Generator())
    with replacing(folder) as temporary:
        temporary.mkdir()
        with (temporary / "X.npy").open("wb") as file:
            y = _write(blocks, file)
        np.save(temporary / "y.npy", y, allow_pickle=False)
    return np.load(folder / "X.npy", mmap_mode="r", allow_pickle=False), y


def _write(blocks: Iterable[Any], file: BinaryIO) -> npt.NDArray[Any]:
    """Write the features as one .npy file, and return the labels."""
    width, names = 0, None
    labels: list[npt.NDArray[Any]] = []
    for number, block in enumerate(blocks):
        X, y = _read(number, block)
        if number == 0:
            width = X.shape[1]
            _write_header(file, 0, width)
        if X.shape[1] != width:
            raise ValueError(
                f"blocks: number {number} has {X.shape[1]} features, those before it {width}."
            )
        if is_frame(block[0]):
            names = _same_columns(number, list(block[0].columns), names)
        file.write(X.data)
        if len(y):  # labels of no rows are of no kind
            labels.append(y)
    if not labels:
        raise ValueError("blocks gave no rows. An iterator that was read before is empty.")
    if len({part.dtype.kind == "U" for part in labels}) > 1:
        raise ValueError("blocks: y holds numbers in one block and text in another.")
    y = np.concatenate(labels)
    file.seek(0)
    _write_header(file, len(y), width)
    return y


def _same_columns(number: int, names: list[Any], before: list[Any] | None) -> list[Any]:
    """Refuse a data frame that has not the columns of those before it, which would be mixed up."""
    for name, expected in zip(names, before or names, strict=True):
        if name != expected:
            raise ValueError(
                f"blocks: number {number} has the column {name!r} where those before it have "
                f"{expected!r}. Give the columns of all blocks the same names and order."
            )
    return names


def _write_header(file: BinaryIO, n_rows: int, width: int) -> None:
    """Write what a .npy file begins with; numpy leaves room in it for any number of rows."""
    facts = {"descr": "<f4", "fortran_order": False, "shape": (n_rows, width)}
    np.lib.format.write_array_header_1_0(file, facts)


def _read(number: int, block: Any) -> tuple[Float32Array, npt.NDArray[Any]]:
    """Return a block's features as little-endian float32 rows, and its labels."""
    if not isinstance(block, (tuple, list)) or len(block) != 2:
        raise ValueError(
            f"blocks: number {number} is a {type(block).__name__}, expected a pair (X, y)."
        )
    try:
        X = _float32(from_tensor(block[0]))
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"blocks: X of number {number} cannot be read as numbers ({error}). Encode it first, "
            "for instance by a TabularEncoder fitted on a sample."
        ) from error
    y = np.asarray(from_tensor(block[1]))
    if y.dtype == object and all(isinstance(label, str) for label in y.flat):
        y = y.astype(str)
    if y.dtype.kind not in "biufU":
        raise ValueError(f"blocks: y of number {number} must be all numbers or all text.")
    if X.ndim != 2 or y.shape != X.shape[:1]:
        raise ValueError(
            f"blocks: number {number} has X of shape {X.shape} and y of shape {y.shape}, expected "
            "(n_rows, n_features) and (n_rows,)."
        )
    if np.isinf(X).any():
        raise ValueError(
            f"blocks: X of number {number} has values that are infinite, or too large for "
            "float32. Replace them, for instance by NaN, which counts as missing."
        )
    return X, y


def _float32(X: Any) -> Float32Array:
    if sparse.issparse(X):
        X = X.toarray()
    elif is_frame(X) and hasattr(X, "iloc"):  # nullable columns of pandas would give objects
        X = X.to_numpy(dtype=np.float64, na_value=np.nan)
    with np.errstate(over="ignore"):  # what becomes infinite is refused
        return np.ascontiguousarray(X, dtype="<f4")
