"""Seeds that leave the global random states as they were."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from joblib import parallel_config
from joblib.parallel import get_active_backend

# The generators are one per process: two threads inside the block would draw from each other's.
_GENERATORS = threading.RLock()


def _renew_lock() -> None:
    """Let a forked process begin free: the thread that held the lock is not in it."""
    global _GENERATORS
    _GENERATORS = threading.RLock()


if hasattr(os, "register_at_fork"):  # not on Windows, which forks nothing
    os.register_at_fork(after_in_child=_renew_lock)


def draw_seed(rng: np.random.RandomState) -> int:
    """Draw a seed for a part of a fit, which every generator takes."""
    return int(rng.randint(np.iinfo(np.int32).max))


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed numpy's and torch's global generators for a block, and restore them after it.

    Some estimators (skorch nets, cleanlab) draw from the global generators: inside this block
    they are reproducible, and nobody outside of it notices.  Other threads wait for their turn.

    Parameters
    ----------
    seed : int
        Seed in [0, 2**32 - 1].

    Examples
    --------
    >>> with seeded(0):
    ...     first = torch.rand(1)
    >>> with seeded(0):
    ...     bool(first == torch.rand(1))
    True
    """
    devices = list(range(torch.cuda.device_count()))
    with _GENERATORS, _one_thread(), torch.random.fork_rng(devices=devices):
        numpy_state = np.random.get_state()
        torch.manual_seed(seed)
        np.random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(numpy_state)


def generator_states() -> dict[str, Any]:
    """Return the states of numpy's and torch's global generators, as tensors and numbers.

    Examples
    --------
    >>> states = generator_states()
    >>> first = torch.rand(1)
    >>> set_generator_states(states)
    >>> bool(first == torch.rand(1))
    True
    """
    state = np.random.get_state(legacy=False)
    assert isinstance(state, dict)  # numpy's types leave the other form open
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
        "numpy": {
            **state,
            "state": {
                "key": torch.from_numpy(state["state"]["key"].astype(np.int64)),
                "pos": int(state["state"]["pos"]),
            },
        },
    }


def set_generator_states(states: dict[str, Any]) -> None:
    """Put back what `generator_states` returned.

    Parameters
    ----------
    states : dict
        The states.
    """
    torch.set_rng_state(states["torch"])
    if states["cuda"]:
        torch.cuda.set_rng_state_all(states["cuda"])
    state = states["numpy"]
    key = state["state"]["key"].numpy().astype(np.uint32)
    np.random.set_state({**state, "state": {**state["state"], "key": key}})


def _one_thread() -> AbstractContextManager[object]:
    """Let estimators that would fit their parts in threads do so one by one.

    A part that seeds itself would wait for the thread that holds the generators, and that one for
    the part.  Parts in processes have generators of their own.
    """
    backend, _ = get_active_backend()
    threads = getattr(backend, "uses_threads", False)
    return parallel_config("sequential") if threads else nullcontext()
