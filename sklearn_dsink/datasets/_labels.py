"""Labels of any type to class codes and back, and the random generator both tools draw from."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils import _safe_indexing, check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d


def generator(random_state: Any) -> np.random.Generator:
    """Give a Generator for any random_state; one that is given is used as it is."""
    if isinstance(random_state, np.random.Generator):
        return random_state
    seed = check_random_state(random_state).randint(np.iinfo(np.int32).max, size=4)
    return np.random.default_rng(seed)


def number_classes(y: Any) -> tuple[np.ndarray, np.ndarray]:
    """Sorted classes of y, and the place of each label among them; nothing may be missing."""
    labels = column_or_1d(y)
    if len(labels) == 0:
        raise ValueError("y is empty: at least one labelled row is needed.")
    if pd.isna(labels).any():
        raise ValueError("y has missing values: drop those rows or give them a class.")
    check_classification_targets(labels)
    classes, y_code = np.unique(labels, return_inverse=True)
    return classes, y_code


def decode_like(y: Any, y_code: np.ndarray, noisy_code: np.ndarray) -> Any:
    """Labels of the codes, in the container and with the dtype of y.

    Every class occurs in y, so that taking rows of y itself keeps any label type there is.
    """
    row_of_class = np.unique(y_code, return_index=True)[1]
    noisy = _safe_indexing(y, row_of_class[noisy_code])
    if hasattr(y, "iloc"):
        noisy.index = y.index
    return noisy
