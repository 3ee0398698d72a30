"""One torch thread where several would only wait for each other."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from skorch import NeuralNetClassifier

# A step with fewer multiplications than this is faster on one thread than on several, and far
# faster when other processes want the same cores.
_ONE_THREAD_FLOPS = 1e8


@contextmanager
def few_threads(net: NeuralNetClassifier, n_rows: int) -> Iterator[None]:
    """Use one thread inside the block when the net is too small to gain from several.

    Parameters
    ----------
    net : skorch.NeuralNetClassifier
        Initialized.

    n_rows : int
        Rows that it computes at a time.
    """
    n_weights = sum(weight.numel() for weight in net.module_.parameters())
    with threads_for(n_rows * n_weights):  # each weight is multiplied once a row
        yield


@contextmanager
def threads_for(n_multiplications: float) -> Iterator[None]:
    """Use one thread inside the block where a step has too few multiplications for several.

    Several Python threads may be inside at once: the number that torch had before the first one
    came is what each of them restores.
    """
    if n_multiplications >= _ONE_THREAD_FLOPS:
        yield
        return
    with _INSIDE.lock:
        if _INSIDE.count == 0:
            _INSIDE.n_threads = torch.get_num_threads()
        _INSIDE.count += 1
        torch.set_num_threads(1)
    try:
        yield
    finally:
        with _INSIDE.lock:
            _INSIDE.count -= 1
            torch.set_num_threads(_INSIDE.n_threads)


@dataclass
class _Inside:
    """How many Python threads compute on one torch thread, and how many torch had before."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    count: int = 0
    n_threads: int = 1


# torch keeps the number both for the process and for each of its threads.
_INSIDE = _Inside()


def _nobody_inside() -> None:
    """Let a forked process begin with none of the threads that were inside."""
    _INSIDE.lock, _INSIDE.count = threading.Lock(), 0


if hasattr(os, "register_at_fork"):  # not on Windows, which forks nothing
    os.register_at_fork(after_in_child=_nobody_inside)
