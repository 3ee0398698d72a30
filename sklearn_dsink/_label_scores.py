"""Scoring callbacks of nets whose y is a dict: they are given the labels in it, as codes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from skorch import NeuralNetClassifier
from skorch.callbacks import BatchScoring, EpochScoring
from skorch.utils import to_numpy


def given_labels(target: Any) -> Any:
    """Give the labels of a batch, or of all rows, as a scorer wants them."""
    return to_numpy(target["label"] if isinstance(target, Mapping) else target)


def scores_labels(callback: Any) -> bool:
    """Tell whether a callback compares predictions with labels."""
    return isinstance(callback, EpochScoring | BatchScoring)


def score_by_labels(net: NeuralNetClassifier) -> None:
    """Let the callbacks of an initialized net score it by the given labels."""
    for _, callback in net.callbacks_:
        if scores_labels(callback) and callback.target_extractor is to_numpy:
            callback.target_extractor = given_labels
