"""Out-of-fold probabilities of quick models, from which noise is estimated."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import ExtraTreesClassifier

from .._arrays import FloatArray
from ..noise_model import confident_joint
from ..probabilities import deal_folds, fit_auxiliaries


def default_trees(n_estimators: int = 200) -> ExtraTreesClassifier:
    """Return extremely randomised trees, whose leaves average several labels."""
    return ExtraTreesClassifier(n_estimators, min_samples_leaf=2)


def out_of_fold(
    estimator: Any,
    X: Any,
    codes: npt.NDArray[np.integer[Any]],
    weight: FloatArray,
    *,
    n_classes: int,
    cv: int,
    rng: np.random.RandomState,
    n_jobs: int | None = None,
) -> tuple[Any, FloatArray]:
    """Fit on all rows, and predict each row by a model that has not seen it.

    Parameters
    ----------
    estimator : classifier
        Left as it is.
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        Features.
    codes : ndarray of shape (n_samples,), dtype int
        Labels 0..n_classes-1.
    weight : ndarray of shape (n_samples,)
        Weights; given to the estimator where they differ and it takes them.
    n_classes, cv : int
        Numbers of classes and of folds.
    rng : RandomState
        Fixes folds and fits.
    n_jobs : int or None, default=None
        Fits at a time.

    Returns
    -------
    fitted : classifier
    proba : ndarray of shape (n_samples, n_classes)
    """
    share = np.bincount(codes, weights=weight, minlength=n_classes) / weight.sum()
    fitted = fit_auxiliaries(
        {"estimator": estimator},
        X,
        codes,
        classes=list(range(n_classes)),
        class_share=share,
        folds=deal_folds(codes, cv, rng),
        sample_weight=None if np.ptp(weight) == 0 else weight,
        random_state=rng,
        n_jobs=n_jobs,
    )["estimator"]
    return fitted.estimator, fitted.proba


def wrong_label_rates(
    X: Any, codes: npt.NDArray[np.integer[Any]], n_classes: int, seed: int
) -> FloatArray:
    """Estimate the share of wrong labels among those given to each class, shape (n_classes,).

    From the confident joint of the trees' out-of-fold probabilities.
    """
    rng = np.random.RandomState(seed)
    _, proba = out_of_fold(
        default_trees(100), X, codes, np.ones(len(codes)), n_classes=n_classes, cv=3, rng=rng
    )
    joint = confident_joint(codes, proba)
    given = joint.sum(axis=0)
    right = np.divide(np.diag(joint), given, out=np.ones(n_classes), where=given > 0)
    return 1.0 - right
