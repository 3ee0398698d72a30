"""How wrong the labels given to each class are, from out-of-fold probabilities of trees."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .._arrays import FloatArray
from .._corrected import default_trees
from ..crossfit import fit_auxiliaries
from ..folds import deal_folds
from ..noise_model import confident_joint


def wrong_label_rates(
    X: Any,
    codes: npt.NDArray[np.integer[Any]],
    n_classes: int,
    seed: int,
    weight: FloatArray | None = None,
) -> FloatArray:
    """Estimate the share of wrong labels among those given to each class, shape (n_classes,).

    From the confident joint of the trees' out-of-fold probabilities, by weight.
    """
    counts = np.bincount(codes, weights=weight, minlength=n_classes)
    rng = np.random.RandomState(seed)
    trees = fit_auxiliaries(
        {"trees": default_trees(100)},
        X,
        codes,
        classes=np.arange(n_classes),
        class_share=counts / counts.sum(),
        folds=deal_folds(codes, 3, rng),
        sample_weight=weight,
        random_state=rng,
    )["trees"]
    joint = confident_joint(codes, trees.proba, weight)
    given = joint.sum(axis=0)
    right = np.divide(np.diag(joint), given, out=np.ones(n_classes), where=given > 0)
    return 1.0 - right
