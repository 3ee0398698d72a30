"""Long-tailed and mislabelled versions of a clean data set.

The order matters: first the tail (:func:`make_long_tailed`), then the noise
(:func:`flip_labels`), so that the class sizes asked for are those of the clean labels.
"""

from ._label_noise import flip_labels
from ._long_tail import long_tail_counts, make_long_tailed

__all__ = ["flip_labels", "long_tail_counts", "make_long_tailed"]
