"""What ``None`` stands for: the default auxiliaries and the default target."""

from __future__ import annotations

from math import isqrt
from typing import Any

from sklearn.ensemble import ExtraTreesClassifier
from sklearn.pipeline import make_pipeline
from skorch import NeuralNetClassifier
from torch import nn

from .imbalance import KernelClassifier
from .inputs import TabularEncoder
from .nets import make_net
from .scaling import SmoothClipper, column_moments

# Columns beyond which inputs are taken for an embedding: each says little, and stands more noise.
_WIDE = 100

# Least columns that a tree looks at for a split. Of few columns, their root would be so few that
# most splits are of columns that tell little.
_LEAST_COLUMNS = 8


def default_noise_aux(n_features: int) -> Any:
    """Return extremely randomized trees, whose averages wrong labels hardly move."""
    columns = max(isqrt(n_features), _LEAST_COLUMNS)
    return _over_columns(ExtraTreesClassifier(100, min_samples_leaf=2, max_features=columns))


def default_imb_aux() -> Any:
    """Return a kernel classifier in which rare classes and telling columns weigh more."""
    return _over_columns(KernelClassifier())


def _over_columns(classifier: Any) -> Any:
    """Return a pipeline that encodes columns, whatever ``transform_output`` is configured."""
    columns = make_pipeline(TabularEncoder(sparse_output=True), SmoothClipper(), classifier)
    return columns.set_output(transform="default")


def default_target(inputs: Any, n_classes: int, weight: Any = None) -> NeuralNetClassifier:
    """Return an untrained net, for inputs that it standardizes, trained under noise on them."""
    center, scale = column_moments(inputs, weight)
    return make_net(
        inputs.shape[1],
        n_classes,
        criterion=nn.CrossEntropyLoss,
        n_samples=inputs.shape[0],
        center=center,
        scale=scale,
        max_epochs=30,
        input_noise=1.0 if inputs.shape[1] > _WIDE else 0.2,
    )
