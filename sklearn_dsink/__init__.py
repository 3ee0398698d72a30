"""Learn from long-tailed, mislabelled data with scikit-learn: D-SINK and its parts."""

from __future__ import annotations

__version__ = "0.1.0"

from .classifier import DSinkClassifier
from .inspection import find_label_issues
from .net_classifier import NetClassifier
from .paper import PAPER

__all__ = ["PAPER", "DSinkClassifier", "NetClassifier", "__version__", "find_label_issues"]
