"""Class codes back to labels of any type, and the random generator both tools draw from."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils import _safe_indexing, check_random_state


def generator(random_state: Any) -> np.random.Generator:
    """Give a Generator for any random_state; one that is given is used as it is."""
    if isinstance(random_state, np.random.Generator):
        return random_state
    seed = check_random_state(random_state).randint(np.iinfo(np.int32).max, size=4)
    return np.random.default_rng(seed)


def decode_like(y: Any, y_code: np.ndarray, noisy_code: np.ndarray) -> Any:
    """Labels of the codes, in the container and with the dtype of y.

    Every class occurs in y, so that taking rows of y itself keeps any label type there is.
    """
    row_of_class = np.unique(y_code, return_index=True)[1]
    noisy = _safe_indexing(y, row_of_class[noisy_code])
    if hasattr(y, "iloc"):
        noisy.index = y.index
    return noisy
