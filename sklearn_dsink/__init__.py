"""Learn from long-tailed, mislabelled data with scikit-learn: D-SINK and its parts."""

from __future__ import annotations

__version__ = "0.1.0"

__all__ = ["__version__"]
