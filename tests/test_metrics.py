"""Scores by class size and calibration errors, against their definitions."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from sklearn.datasets import load_digits
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, balanced_accuracy_score
from sklearn.model_selection import GridSearchCV, cross_validate

from sklearn_dsink.datasets import make_long_tailed
from sklearn_dsink.metrics import (
    expected_calibration_error,
    geometric_mean_score,
    make_shot_scorer,
    shot_accuracy_score,
    shot_groups,
)

Y_TRAIN = np.repeat([0, 1, 2, 3], [101, 100, 20, 19])


def test_group_bounds_are_those_of_the_protocol():
    # More than 100, 20 to 100 with both ends, fewer than 20.
    assert shot_groups(Y_TRAIN) == {0: "many", 1: "medium", 2: "medium", 3: "few"}
    assert set(shot_groups(Y_TRAIN, many=1000, few=1000).values()) == {"few"}
    assert set(shot_groups(Y_TRAIN, many=5, few=5).values()) == {"many"}
    with pytest.raises(ValueError, match="few=50"):
        shot_groups(Y_TRAIN, many=20, few=50)
    with pytest.raises(ValueError, match="many"):
        shot_groups(Y_TRAIN, many=-1)


def test_accuracy_of_each_group():
    y_true = np.array([0, 0, 1, 1, 1, 1, 2, 2, 3, 3])
    y_pred = np.array([0, 1, 1, 1, 1, 0, 0, 0, 3, 0])
    scores = shot_accuracy_score(y_true, y_pred, y_train=Y_TRAIN)
    assert scores == {"many": 0.5, "medium": (0.75 + 0) / 2, "few": 0.5}
    pooled = shot_accuracy_score(y_true, y_pred, y_train=Y_TRAIN, average="micro")
    assert pooled == {"many": 0.5, "medium": 3 / 6, "few": 0.5}
    assert shot_accuracy_score(y_true, y_pred, y_train=Y_TRAIN, group="few") == 0.5


@given(seed=st.integers(0, 2**31 - 1), names=st.booleans())
def test_groups_add_up_to_accuracy_and_balanced_accuracy(seed, names):
    rng = np.random.default_rng(seed)
    labels = np.array(["d", "a", "c", "b"]) if names else np.arange(4)
    y_true = labels[np.concatenate([np.arange(4), rng.integers(0, 4, 60)])]
    y_pred = labels[rng.integers(0, 4, 64)]
    weight = rng.random(64) + 0.1
    y_train = labels[Y_TRAIN]
    groups = shot_groups(y_train)
    of_row = np.array([groups[c] for c in y_true.tolist()])
    macro, micro = (
        shot_accuracy_score(y_true, y_pred, y_train=y_train, average=a, sample_weight=weight)
        for a in ("macro", "micro")
    )
    share = {g: weight[of_row == g].sum() / weight.sum() for g in micro}
    assert_allclose(
        sum(share[g] * micro[g] for g in micro),
        accuracy_score(y_true, y_pred, sample_weight=weight),
    )
    size = {g: list(groups.values()).count(g) for g in macro}
    assert_allclose(
        sum(size[g] * macro[g] for g in macro) / 4,
        balanced_accuracy_score(y_true, y_pred, sample_weight=weight),
    )


def test_an_empty_group_is_nan_and_an_unseen_class_an_error():
    scores = shot_accuracy_score([0, 3], [0, 3], y_train=Y_TRAIN)
    assert np.isnan(scores["medium"])
    assert scores["many"] == scores["few"] == 1.0
    with pytest.raises(ValueError, match=r"y_train has not: \[7\]"):
        shot_accuracy_score([0, 7], [0, 0], y_train=Y_TRAIN)
    with pytest.raises(ValueError, match="group"):
        shot_accuracy_score([0], [0], y_train=Y_TRAIN, group="tail")
    with pytest.raises(ValueError, match="average"):
        shot_accuracy_score([0], [0], y_train=Y_TRAIN, average="weighted")
    # Predicting a class that never occurred in training is wrong, not an error.
    assert shot_accuracy_score([0, 0], [0, 9], y_train=Y_TRAIN)["many"] == 0.5


def test_scorer_chooses_the_tail_or_the_head():
    X, y = make_long_tailed(*load_digits(return_X_y=True), 30, random_state=0)
    search = GridSearchCV(
        DummyClassifier(strategy="constant"),
        {"constant": [0, 9]},
        scoring={g: make_shot_scorer(g, y) for g in ("many", "few")},
        refit="few",
        cv=3,
    ).fit(X, y)
    assert search.best_params_ == {"constant": 9}
    assert search.cv_results_["mean_test_many"][0] > search.cv_results_["mean_test_many"][1]


def test_scorer_equals_the_score():
    X, y = make_long_tailed(*load_digits(return_X_y=True), 30, random_state=0)
    model = LogisticRegression(max_iter=2000).fit(X[::2] / 16, y[::2])
    scorer = make_shot_scorer("medium", y, average="micro")
    expected = shot_accuracy_score(
        y[1::2], model.predict(X[1::2] / 16), y_train=y, group="medium", average="micro"
    )
    assert scorer(model, X[1::2] / 16, y[1::2]) == expected
    result = cross_validate(model, X / 16, y, scoring=scorer, cv=3, error_score="raise")
    assert np.isfinite(result["test_score"]).all()


def test_scorer_without_a_class_in_the_group():
    with pytest.raises(ValueError, match=r"group='few'.*'medium': 2"):
        make_shot_scorer("few", [0] * 30 + [1] * 30)
    with pytest.raises(ValueError, match="group"):
        make_shot_scorer("tail", Y_TRAIN)


def test_geometric_mean():
    y_true, y_pred = [0, 0, 1, 1, 1, 1, 2], [0, 1, 1, 0, 0, 0, 2]
    assert_allclose(geometric_mean_score(y_true, y_pred), (0.5 * 0.25 * 1) ** (1 / 3))
    assert geometric_mean_score([0, 0, 1], [0, 0, 0]) == 0.0
    # A class that is only predicted, and one of weight zero, do not count.
    assert_allclose(geometric_mean_score([0, 0, 1, 1], [0, 5, 1, 1]), np.sqrt(0.5))
    assert_allclose(
        geometric_mean_score([0, 0, 1, 1, 2], [0, 1, 1, 1, 0], sample_weight=[3, 1, 1, 1, 0]),
        np.sqrt(0.75),
    )
    with pytest.raises(ValueError, match=r"(?i)sample.weight"):
        geometric_mean_score([0, 1], [0, 1], sample_weight=[0, 0])


def test_geometric_mean_of_many_classes_does_not_underflow():
    y_true = np.repeat(np.arange(2000), 2)
    y_pred = y_true.copy()
    y_pred[::2] = (y_pred[::2] + 1) % 2000
    assert_allclose(geometric_mean_score(y_true, y_pred), 0.5)


def test_calibration_error_by_hand():
    # Two bins are used: .6 stated and half right, .9 stated and all right.
    y_true = np.array([0, 1, 1, 1, 1, 0])
    proba = np.array([[0.6, 0.4]] * 2 + [[0.1, 0.9]] * 3 + [[0.9, 0.1]])
    assert_allclose(
        expected_calibration_error(y_true, proba, n_bins=10), 2 / 6 * 0.1 + 4 / 6 * 0.1
    )
    # Class 1: .4 stated, .5 seen (2 rows); .9, all (3 rows); .1, none (1 row). Class 0 mirrors it.
    assert_allclose(
        expected_calibration_error(y_true, proba, n_bins=10, kind="classwise"),
        2 / 6 * 0.1 + 3 / 6 * 0.1 + 1 / 6 * 0.1,
    )
    one_bin = abs(4 / 6 * 1 + 2 / 6 * 0.5 - np.mean([0.6, 0.6, 0.9, 0.9, 0.9, 0.9]))
    assert_allclose(expected_calibration_error(y_true, proba, n_bins=1), one_bin)


@pytest.mark.parametrize("kind", ["top-label", "classwise"])
@pytest.mark.parametrize("strategy", ["uniform", "quantile"])
def test_true_probabilities_are_calibrated_and_sharpened_ones_are_not(kind, strategy):
    rng = np.random.default_rng(0)
    proba = rng.dirichlet([0.7, 0.7, 0.7], size=20_000)
    y = (rng.random((len(proba), 1)) > proba.cumsum(axis=1)).sum(axis=1)
    arguments = {"kind": kind, "strategy": strategy, "labels": [0, 1, 2]}
    right = expected_calibration_error(y, proba, **arguments)
    sharp = proba**4 / (proba**4).sum(axis=1, keepdims=True)
    assert right < 0.012
    assert expected_calibration_error(y, sharp, **arguments) > 0.05


def test_calibration_error_weights_labels_and_extremes():
    y_true, proba = ["b", "a", "b"], [[0.3, 0.7], [0.3, 0.7], [0.2, 0.8]]
    weighted = expected_calibration_error(y_true, proba, sample_weight=[2, 1, 0])
    repeated = expected_calibration_error(["b", "b", "a"], [[0.3, 0.7]] * 3)
    assert_allclose(weighted, repeated)
    assert expected_calibration_error([1, 1], [[0.0, 1.0]] * 2, labels=[0, 1]) == 0.0
    assert expected_calibration_error([0, 0], [[0.0, 1.0]] * 2, labels=[0, 1]) == 1.0
    for strategy in ("uniform", "quantile"):
        swapped = expected_calibration_error(
            y_true, np.array(proba)[:, ::-1], labels=["b", "a"], strategy=strategy
        )
        assert_allclose(swapped, expected_calibration_error(y_true, proba, strategy=strategy))


@pytest.mark.parametrize("kind", ["top-label", "classwise"])
@pytest.mark.parametrize("strategy", ["uniform", "quantile"])
def test_rows_of_weight_zero_are_as_good_as_absent(kind, strategy):
    rng = np.random.default_rng(0)
    proba = rng.dirichlet([1, 1], size=200)
    y, weight = rng.integers(2, size=200), rng.random(200)
    weight[60:] = 0
    arguments = {"kind": kind, "strategy": strategy, "labels": [0, 1]}
    whole = expected_calibration_error(y, proba, sample_weight=weight, **arguments)
    part = expected_calibration_error(y[:60], proba[:60], sample_weight=weight[:60], **arguments)
    assert whole == part


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"y_proba": [[0.5, 0.3, 0.2]] * 2}, "pass `labels`"),
        ({"y_proba": [[1.5, -0.5]] * 2}, "y_proba must lie"),
        ({"labels": [0, 5]}, r"y_true has classes that labels has not: \[1\]"),
        ({"labels": ["0", "1"]}, r"labels has not: \[0, 1\]"),
        ({"y_proba": pd.DataFrame([[0.5, 0.5]] * 2)[[1, 0]]}, r"y_proba has the columns \[1, 0\]"),
        ({"kind": "static"}, "kind"),
        ({"n_bins": 0}, "n_bins"),
        ({"strategy": "kmeans"}, "strategy"),
        ({"sample_weight": [0, 0]}, "(?i)sample.weight"),
        ({"y_proba": [[0.5, 0.5]]}, "inconsistent numbers of samples"),
        ({"y_proba": [[np.nan, 0.5]] * 2}, "y_proba"),
    ],
)
def test_calibration_error_names_the_bad_parameter(arguments, message):
    with pytest.raises(ValueError, match=message):
        expected_calibration_error(**({"y_true": [0, 1], "y_proba": [[0.5, 0.5]] * 2} | arguments))


def test_a_class_that_is_only_predicted_does_not_count_in_its_group():
    assert shot_accuracy_score([1, 1], [1, 2], y_train=Y_TRAIN, group="medium") == 0.5
    weighted = shot_accuracy_score([1, 2], [1, 0], y_train=Y_TRAIN, sample_weight=[1, 0])
    assert weighted["medium"] == 1.0


def test_scorer_keeps_its_bounds():
    """Bounds that make one class of all a group of its own."""
    scorer = make_shot_scorer("many", Y_TRAIN, many=100.5, few=100.5)
    wider = make_shot_scorer("many", Y_TRAIN, many=50, few=50)
    y = np.array([0, 0, 1, 1])
    model = DummyClassifier(strategy="constant", constant=0).fit(y[:, None], y)
    assert scorer(model, y[:, None], y) == 1.0
    assert wider(model, y[:, None], y) == 0.5


def test_a_probability_on_an_edge_belongs_to_the_bin_below():
    proba = [[0.5, 0.5], [0.4, 0.6]]
    error = expected_calibration_error([0, 0], proba, labels=[0, 1], n_bins=2)
    assert_allclose(error, (abs(1 - 0.5) + abs(0 - 0.6)) / 2)


def test_columns_of_labels_in_any_order_are_read_class_by_class():
    proba = np.array([[0.3, 0.7], [0.3, 0.7], [0.2, 0.8]])
    swapped = expected_calibration_error(
        ["b", "a", "b"], proba[:, ::-1], labels=["b", "a"], kind="classwise"
    )
    assert_allclose(swapped, expected_calibration_error(["b", "a", "b"], proba, kind="classwise"))


@pytest.mark.parametrize("proba", [[[1.5, 0.5]], [[-0.5, 0.5]]])
def test_either_end_of_the_probabilities_is_looked_at(proba):
    with pytest.raises(ValueError, match="y_proba must lie"):
        expected_calibration_error([0], proba, labels=[0, 1])
