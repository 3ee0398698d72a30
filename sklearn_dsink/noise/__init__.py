"""Classifiers that are robust to wrong labels, alone or as ``noise_aux`` of DSinkClassifier."""

from ._active_passive import ActivePassiveClassifier
from ._agce import AGCEClassifier
from ._co_teaching import CoTeachingClassifier
from ._divide_mix import DivideMixClassifier
from ._early_stopped import EarlyStoppedNet
from ._elr import ELRClassifier
from ._gce import GCEClassifier
from ._neighbor_smoothing import NeighborSmoothingClassifier
from ._noise_corrected import NoiseCorrectedClassifier
from ._sce import SCEClassifier

__all__ = [
    "AGCEClassifier",
    "ActivePassiveClassifier",
    "CoTeachingClassifier",
    "DivideMixClassifier",
    "ELRClassifier",
    "EarlyStoppedNet",
    "GCEClassifier",
    "NeighborSmoothingClassifier",
    "NoiseCorrectedClassifier",
    "SCEClassifier",
]
