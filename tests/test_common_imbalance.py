"""scikit-learn's estimator checks over every imbalance-robust classifier."""

from __future__ import annotations

from sklearn.ensemble import ExtraTreesClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.utils.estimator_checks import parametrize_with_checks

from sklearn_dsink._base_net import BaseNetClassifier
from sklearn_dsink.imbalance import (
    ClassBalancedClassifier,
    CRTClassifier,
    FocalClassifier,
    KernelClassifier,
    LDAMClassifier,
    LogitAdjustedClassifier,
    LWSClassifier,
    PriorCorrectedClassifier,
    TauNormClassifier,
)

WEIGHT_CHECKS = (
    "check_sample_weight_equivalence_on_dense_data",
    "check_sample_weight_equivalence_on_sparse_data",
)
BATCHES = (
    "training draws mini-batches of rows: a repeated row falls into other batches than a weighted "
    "one, as in SGDClassifier"
)
# The checks look at behaviour: a small net, trained briefly, shows it.
SMALL = {"hidden_layer_sizes": (32,), "max_epochs": 8, "lr": 2e-2}


def expected_failed_checks(estimator):
    if isinstance(estimator, BaseNetClassifier):
        return dict.fromkeys(WEIGHT_CHECKS, BATCHES)
    return {}


@parametrize_with_checks(
    [
        ClassBalancedClassifier(**SMALL),
        CRTClassifier(head_epochs=3, **SMALL),
        FocalClassifier(**SMALL),
        KernelClassifier(),
        LDAMClassifier(**SMALL),
        LogitAdjustedClassifier(**SMALL),
        LWSClassifier(head_epochs=3, **SMALL),
        PriorCorrectedClassifier(ExtraTreesClassifier(5), cv=2),
        PriorCorrectedClassifier(LogisticRegression(), prior="counts"),
        TauNormClassifier(**SMALL),
    ],
    expected_failed_checks=expected_failed_checks,  # strict: xfail_strict in pyproject.toml
)
def test_estimator_checks(estimator, check):
    check(estimator)
