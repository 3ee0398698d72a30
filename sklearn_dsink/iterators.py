"""Batches cut from tensors: a fast stand-in for skorch's default data loader.

A ``torch.utils.data.DataLoader`` fetches rows one by one and collates them, which on arrays costs
about three times a hand-written loop. :class:`TensorIterator` indexes whole batches instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse
from torch.utils.data import Subset

# Arrays up to this size are moved to the accelerator once instead of batch by batch.
_RESIDENT_BYTES = 4 * 2**30


class TensorIterator:
    """Iterate over the batches of an in-memory skorch dataset by slicing tensors.

    Pass the class itself as ``iterator_train`` and ``iterator_valid`` of a skorch net.

    Parameters
    ----------
    dataset : skorch.dataset.Dataset or torch.utils.data.Subset of one
        Its ``X`` and ``y`` are numpy arrays, tensors, CSR matrices, or dicts, tuples or lists of
        those, all with the same number of rows. ``y`` may be None; zeros are given in its place,
        as skorch does.

    batch_size : int, default=256
        Rows in a batch; -1 means all rows.

    shuffle : bool, default=False
        Whether each pass draws a new order from torch's global generator.

    drop_last : bool, default=False
        Whether an incomplete last batch is left out.

    device : str or torch.device, default="cpu"
        On a CUDA device, arrays of up to 4 GiB are moved there once; the batches of larger ones
        are pinned and copied without blocking.

    Notes
    -----
    A batch never has a single row unless ``batch_size`` is 1 or the data set has but one row: a
    last lone row joins the batch before it, since batch normalisation cannot be trained on one.

    On the CPU nothing is copied, and ``y`` is read anew at each pass, so arrays in ``y`` that are
    changed in place between two passes are seen by the next.

    Examples
    --------
    >>> import numpy as np
    >>> from skorch.dataset import Dataset
    >>> from sklearn_dsink.iterators import TensorIterator
    >>> X, y = np.zeros((7, 2), dtype=np.float32), np.arange(7)
    >>> [len(Xi) for Xi, yi in TensorIterator(Dataset(X, y), batch_size=3)]
    [3, 4]
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int = 256,
        *,
        shuffle: bool = False,
        drop_last: bool = False,
        device: str | torch.device = "cpu",
    ) -> None:
        data, rows = dataset, None
        while isinstance(data, Subset):
            subset = np.asarray(data.indices)
            rows = subset if rows is None else subset[rows]
            data = data.dataset
        if not hasattr(data, "X") or not hasattr(data, "y"):
            raise TypeError(
                "TensorIterator needs a dataset that holds its arrays as X and y, as "
                f"skorch.dataset.Dataset does, or a Subset of one; got {type(data).__name__}. "
                "Use torch.utils.data.DataLoader for other datasets."
            )
        if batch_size != -1 and batch_size < 1:
            raise ValueError(
                f"batch_size must be a positive number, or -1 for all rows; got {batch_size}."
            )
        self.dataset = dataset
        self.n_rows = len(dataset)
        self.batch_size = self.n_rows if batch_size == -1 else int(batch_size)
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.device = torch.device(device)
        self._data = data
        self._rows = None if rows is None else torch.as_tensor(rows, dtype=torch.int64)
        self._X = _apply(data.X, self._as_source)

    def __len__(self) -> int:
        """Return the number of batches."""
        return len(self._bounds())

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        """Yield pairs (X, y) of batches."""
        y_source = None if self._data.y is None else _apply(self._data.y, self._as_source)
        rows = torch.randperm(self.n_rows) if self.shuffle else None
        if self._rows is not None:
            rows = self._rows if rows is None else self._rows[rows]
        for start, stop in self._bounds():
            # Without an order to follow, a slice is a view and costs nothing.
            pick = slice(start, stop) if rows is None else rows[start:stop]
            X = self._take(self._X, pick)
            y = torch.zeros(stop - start) if y_source is None else self._take(y_source, pick)
            yield X, y

    def _bounds(self) -> list[tuple[int, int]]:
        edges = list(range(0, self.n_rows, self.batch_size))
        if not edges:
            return []
        last = self.n_rows - edges[-1]
        if len(edges) > 1 and last < self.batch_size:
            if self.drop_last:
                return list(pairwise(edges))
            if last == 1:
                edges.pop()
        return list(pairwise([*edges, self.n_rows]))

    def _as_source(self, array: Any) -> Any:
        if sparse.issparse(array):
            return array.tocsr()
        tensor = array if torch.is_tensor(array) else _tensor_of(np.asarray(array))
        if self.device.type == "cuda" and tensor.nbytes <= _RESIDENT_BYTES:
            return tensor.to(self.device)
        return tensor

    def _take(self, source: Any, pick: slice | torch.Tensor) -> Any:
        def take_one(array: Any) -> torch.Tensor:
            if sparse.issparse(array):
                index = pick if isinstance(pick, slice) else pick.numpy()
                batch = torch.from_numpy(array[index].toarray())
            elif isinstance(pick, slice):
                batch = array[pick]
            else:
                batch = array[pick.to(array.device)]
            if self.device.type == "cuda" and batch.device.type == "cpu":
                batch = batch.pin_memory().to(self.device, non_blocking=True)
            return batch

        return _apply(source, take_one)


class _SaidToBeWritable:
    """The memory of an array under an interface that says it may be written to."""

    def __init__(self, array: npt.NDArray[Any]) -> None:
        self.array = array  # lives as long as its memory is in use
        interface = array.__array_interface__
        self.__array_interface__ = {**interface, "data": (interface["data"][0], False)}


def _tensor_of(array: npt.NDArray[Any]) -> torch.Tensor:
    """Give a tensor of an array without a copy.

    Of arrays that cannot be written to, such as a frame's values or a memmap, torch warns. Batches
    are only read, and a filter of warnings would be that of all threads.
    """
    if not array.flags.writeable:
        array = np.asarray(_SaidToBeWritable(array))
    return torch.as_tensor(array)


def _apply(data: Any, function: Callable[[Any], Any]) -> Any:
    """Apply a function to each array of a dict, tuple or list, or to the one array given."""
    if isinstance(data, Mapping):
        return {key: _apply(value, function) for key, value in data.items()}
    if isinstance(data, (tuple, list)):
        return type(data)(_apply(value, function) for value in data)
    return function(data)
