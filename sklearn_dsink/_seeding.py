"""Seeds that leave the global random states as they were."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

# The generators are one per process: two threads inside the block would draw from each other's.
_GENERATORS = threading.RLock()


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed numpy's and torch's global generators for a block, and restore them after it.

    Some estimators (skorch nets, cleanlab) draw from the global generators: inside this block
    they are reproducible, and nobody outside of it notices.

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
    with _GENERATORS, torch.random.fork_rng(devices=devices):
        numpy_state = np.random.get_state()
        torch.manual_seed(seed)
        np.random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(numpy_state)
