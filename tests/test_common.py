"""scikit-learn's estimator checks over the classifier and the estimators it is made of."""

from __future__ import annotations

import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.utils.estimator_checks import parametrize_with_checks

from sklearn_dsink import DSinkClassifier, _parameters
from sklearn_dsink.auxiliaries import IntegerLabelClassifier
from sklearn_dsink.inputs import TabularEncoder
from sklearn_dsink.scaling import SmoothClipper

WEIGHT_CHECKS = (
    "check_sample_weight_equivalence_on_dense_data",
    "check_sample_weight_equivalence_on_sparse_data",
)
BATCHES = (
    "folds and batches draw rows, not weights: repeated rows fall into other folds and batches "
    "than weighted ones do, as in SGDClassifier"
)


def expected_failed_checks(estimator):
    if isinstance(estimator, DSinkClassifier):
        return dict.fromkeys(WEIGHT_CHECKS, BATCHES)
    return {}


@pytest.fixture(autouse=True)
def _short_training(monkeypatch):
    """Cut the default target's epochs: the checks look at behaviour."""
    default_target = _parameters.default_target

    def short(*args, **kwargs):
        return default_target(*args, **kwargs).set_params(max_epochs=8)

    monkeypatch.setattr(_parameters, "default_target", short)


@parametrize_with_checks(
    [
        DSinkClassifier(
            LogisticRegression(max_iter=500),
            LogisticRegression(class_weight="balanced", max_iter=500),
            cv=2,
        ),
        IntegerLabelClassifier(LogisticRegression()),
        TabularEncoder(),
        SmoothClipper(),
    ],
    expected_failed_checks=expected_failed_checks,  # strict: xfail_strict in pyproject.toml
)
def test_estimator_checks(estimator, check):
    check(estimator)
