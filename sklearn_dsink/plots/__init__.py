"""Displays of a fit, in scikit-learn's manner: data in the constructor, ``plot(ax=None)``."""

from __future__ import annotations

from ._class_shares import ClassSharesDisplay
from ._history import HistoryDisplay
from ._label_quality import LabelQualityDisplay
from ._noise_matrix import NoiseMatrixDisplay
from ._reliability import ReliabilityDisplay
from ._shot_accuracy import ShotAccuracyDisplay

__all__ = [
    "ClassSharesDisplay",
    "HistoryDisplay",
    "LabelQualityDisplay",
    "NoiseMatrixDisplay",
    "ReliabilityDisplay",
    "ShotAccuracyDisplay",
]
