"""Classifiers that are robust to wrong labels, alone or as ``noise_aux`` of DSinkClassifier."""

from ._active_passive import ActivePassiveClassifier
from ._agce import AGCEClassifier
from ._elr import ELRClassifier
from ._gce import GCEClassifier
from ._sce import SCEClassifier

__all__ = [
    "AGCEClassifier",
    "ActivePassiveClassifier",
    "ELRClassifier",
    "GCEClassifier",
    "SCEClassifier",
]
