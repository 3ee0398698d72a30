"""What ``None`` stands for: the default auxiliaries and the default target."""

from __future__ import annotations

from typing import Any

from scipy import sparse
from sklearn.ensemble import ExtraTreesClassifier, VotingClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import gen_batches
from skorch import NeuralNetClassifier
from torch import nn

from .imbalance import KernelClassifier
from .inputs import TabularEncoder
from .nets import make_net
from .scaling import SmoothClipper

# Columns beyond which inputs are taken for an embedding: each says little, and stands more noise.
_WIDE = 100

# Columns that some of the trees see at a split: all there are in most tables, and few enough to be
# affordable in an embedding.
_MANY = 64


def default_noise_aux() -> Any:
    """Return extremely randomized trees, whose averages wrong labels hardly move.

    Most of them see few columns at a split, and so differ from each other; the others find the
    columns that matter among many that do not.
    """
    trees = {
        "few_columns": ExtraTreesClassifier(67, min_samples_leaf=2),
        "many_columns": ExtraTreesClassifier(33, min_samples_leaf=2, max_features=_MANY),
    }
    sizes = [forest.n_estimators for forest in trees.values()]  # every tree counts alike
    return make_pipeline(
        TabularEncoder(sparse_output=True),
        SmoothClipper(),
        VotingClassifier(list(trees.items()), voting="soft", weights=sizes),
    )


def default_imb_aux() -> Any:
    """Return a kernel classifier in which rare classes weigh more."""
    return make_pipeline(TabularEncoder(sparse_output=True), SmoothClipper(), KernelClassifier())


def default_target(inputs: Any, n_classes: int) -> NeuralNetClassifier:
    """Return an untrained net, for inputs that it standardizes, trained under noise on them."""
    scaler = StandardScaler(with_mean=not sparse.issparse(inputs))  # it finds it all the same
    for rows in gen_batches(inputs.shape[0], 16_384):  # by blocks: no second copy of the inputs
        scaler.partial_fit(inputs[rows])
    return make_net(
        inputs.shape[1],
        n_classes,
        criterion=nn.CrossEntropyLoss,
        n_samples=inputs.shape[0],
        center=scaler.mean_,
        scale=scaler.scale_,
        max_epochs=30,
        input_noise=1.0 if inputs.shape[1] > _WIDE else 0.2,
    )
