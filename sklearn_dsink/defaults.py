"""What ``None`` stands for: the default auxiliaries and the default target.

To be changed in one thing, or searched over: a `noise_aux`, `imb_aux` or `target` that a
`DSinkClassifier` was given has parameters that can be set, and None has none.
"""

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
    """Return f_N: extremely randomized trees, whose averages wrong labels hardly move.

    Parameters
    ----------
    n_features : int
        Columns of X.

    Returns
    -------
    classifier : Pipeline
        Unfitted; of an encoder, a scaler and an ``extratreesclassifier``.

    Examples
    --------
    >>> from sklearn_dsink import DSinkClassifier
    >>> from sklearn_dsink.defaults import default_noise_aux
    >>> clf = DSinkClassifier(noise_aux=default_noise_aux(n_features=13))
    >>> clf.set_params(noise_aux__extratreesclassifier__n_estimators=300).noise_aux[
    ...     -1
    ... ].n_estimators
    300
    """
    columns = max(isqrt(n_features), _LEAST_COLUMNS)
    return _over_columns(ExtraTreesClassifier(100, min_samples_leaf=2, max_features=columns))


def default_imb_aux() -> Any:
    """Return f_L: a kernel classifier in which rare classes and telling columns weigh more.

    Returns
    -------
    classifier : Pipeline
        Unfitted; of an encoder, a scaler and a ``kernelclassifier``
        (:class:`sklearn_dsink.imbalance.KernelClassifier`).

    Examples
    --------
    >>> from sklearn_dsink.defaults import default_imb_aux
    >>> default_imb_aux().set_params(kernelclassifier__n_landmarks=500)[-1].n_landmarks
    500
    """
    return _over_columns(KernelClassifier())


def _over_columns(classifier: Any) -> Any:
    """Return a pipeline that encodes columns, whatever ``transform_output`` is configured."""
    columns = make_pipeline(TabularEncoder(sparse_output=True), SmoothClipper(), classifier)
    return columns.set_output(transform="default")


def default_target(inputs: Any, n_classes: int, weight: Any = None) -> NeuralNetClassifier:
    """Return f: an untrained net, for inputs that it standardizes, trained under noise on them.

    Parameters
    ----------
    inputs : {ndarray, csr_matrix} of shape (n_samples, n_features)
        Numbers, such as :class:`sklearn_dsink.inputs.TabularEncoder` makes of a table; their means
        and scales become part of the net.
    n_classes : int
        Different labels.
    weight : ndarray of shape (n_samples,), default=None
        Weights of the rows in means and scales; None weighs all alike.

    Returns
    -------
    net : skorch.NeuralNetClassifier
        Its module returns logits.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from sklearn_dsink.defaults import default_target
    >>> X, y = load_wine(return_X_y=True)
    >>> default_target(X, n_classes=3).set_params(max_epochs=60).max_epochs
    60
    """
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
