"""Class priors, estimated and divided out of any classifier's probabilities."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import sklearn
from hypothesis import given
from hypothesis import strategies as st
from joblib import parallel_config
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import norm
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from sklearn_dsink.datasets import make_long_tailed
from sklearn_dsink.imbalance import (
    KernelClassifier,
    PriorCorrectedClassifier,
    adjust_prior,
    effective_number_weights,
    estimate_class_prior_em,
)


@pytest.fixture(scope="module")
def tail():
    X, y = make_long_tailed(*load_digits(return_X_y=True), 20, n_max=60, n_min=3, random_state=0)
    return X.astype(np.float32), y


# --- priors ----------------------------------------------------------------------------------


@given(
    seed=st.integers(0, 2**31 - 1),
    n_classes=st.integers(2, 12),
    tau=st.floats(0, 3),
)
def test_adjust_prior_is_its_formula(seed, n_classes, tau):
    rng = np.random.default_rng(seed)
    proba = rng.dirichlet(np.ones(n_classes), size=5) * 0.99 + 0.01 / n_classes
    prior = rng.random(n_classes) + 0.01
    expected = proba / prior**tau
    adjusted = adjust_prior(proba, prior, tau=tau)
    assert_allclose(adjusted, expected / expected.sum(axis=1, keepdims=True), rtol=1e-9)
    # The prior's scale does not matter, and adjusting to the inverse prior undoes it.
    assert_allclose(adjusted, adjust_prior(proba, 7 * prior, tau=tau))
    if adjusted.min() > 1e-6:
        assert_allclose(adjust_prior(adjusted, 1 / prior, tau=tau), proba, rtol=1e-6)


def test_adjust_prior_at_the_ends():
    proba = np.array([[1.0, 0.0], [0.3, 0.7]])
    adjusted = adjust_prior(proba, [0.9, 0.1])
    assert np.isfinite(adjusted).all()
    assert_allclose(adjusted.sum(axis=1), 1)
    assert adjusted[0, 1] > 0
    with pytest.raises(ValueError, match=r"prior has shape \(3,\), expected \(2,\)"):
        adjust_prior(proba, [0.5, 0.3, 0.2])
    with pytest.raises(ValueError, match="prior must hold positive finite numbers"):
        adjust_prior(proba, [1.0, 0.0])
    with pytest.raises(ValueError, match="tau"):
        adjust_prior(proba, [0.5, 0.5], tau=-1)


def _gaussian_posteriors(prior_train, prior_test, n, seed):
    """Rows of a two-Gaussian problem and their exact posteriors under the training prior."""
    rng = np.random.default_rng(seed)
    y = (rng.random(n) < prior_test[1]).astype(int)
    x = rng.normal(size=n) + 2 * y
    joint = np.stack([prior_train[0] * norm.pdf(x), prior_train[1] * norm.pdf(x - 2)], axis=1)
    return joint / joint.sum(axis=1, keepdims=True), y


@pytest.mark.parametrize("share", [0.05, 0.3, 0.9])
def test_em_finds_the_class_shares(share):
    proba, _ = _gaussian_posteriors([0.7, 0.3], [1 - share, share], 40_000, 0)
    estimate = estimate_class_prior_em(proba, [0.7, 0.3])
    assert_allclose(estimate, [1 - share, share], atol=0.01)
    # The plain mean of the probabilities is biased towards the training prior.
    assert abs(proba[:, 1].mean() - share) > 4 * abs(estimate[1] - share) or share == 0.3


def test_em_climbs_the_likelihood_to_its_maximum():
    proba, _ = _gaussian_posteriors([0.5, 0.5], [0.8, 0.2], 500, 1)

    def likelihood(share):
        return np.log(2 * (proba @ [1 - share, share])).sum()

    shares = np.linspace(0.001, 0.999, 2001)
    best = shares[np.argmax([likelihood(s) for s in shares])]
    assert_allclose(estimate_class_prior_em(proba, [0.5, 0.5])[1], best, atol=1e-3)
    path = []
    for n_iter in (1, 2, 4, 8):
        with pytest.warns(ConvergenceWarning, match="max_iter"):
            path.append(estimate_class_prior_em(proba, [0.5, 0.5], max_iter=n_iter, tol=0)[1])
    assert np.all(np.diff([likelihood(s) for s in path]) > 0)


def test_em_weights_are_repetitions():
    proba, _ = _gaussian_posteriors([0.5, 0.5], [0.8, 0.2], 60, 2)
    weight = np.random.default_rng(0).integers(0, 4, 60)
    assert_allclose(
        estimate_class_prior_em(proba, [0.5, 0.5], sample_weight=weight),
        estimate_class_prior_em(np.repeat(proba, weight, axis=0), [0.5, 0.5]),
        atol=1e-9,
    )
    with pytest.raises(ValueError, match="train_prior"):
        estimate_class_prior_em(proba, [0.5, 0.2, 0.3])


@given(
    counts=st.lists(st.integers(1, 10**6), min_size=1, max_size=20),
    beta=st.floats(0, 0.99999),
)
def test_effective_number_weights_are_their_formula(counts, beta):
    weights = effective_number_weights(counts, beta=beta)
    raw = (1 - beta) / (1 - beta ** np.asarray(counts, dtype=float))
    assert_allclose(weights, raw * len(counts) / raw.sum(), rtol=1e-6)
    assert np.all(np.diff(weights[np.argsort(counts)]) <= 1e-12)


def test_effective_number_limits():
    assert_allclose(effective_number_weights([5, 50], beta=0), [1, 1])
    assert_allclose(
        effective_number_weights([5, 50], beta=1 - 1e-12),
        effective_number_weights([5, 50], beta=1),
    )
    with pytest.raises(ValueError, match="class_counts"):
        effective_number_weights([0, 5])
    with pytest.raises(ValueError, match="beta"):
        effective_number_weights([1, 5], beta=1.5)


# --- post-hoc correction of any classifier ---------------------------------------------------


def test_counted_prior_is_divided_out(tail):
    X, y = tail
    model = LogisticRegression(max_iter=3000).fit(X / 16, y)
    corrected = PriorCorrectedClassifier(model, prior="counts", tau=0.7).fit(X / 16, y)
    expected = model.predict_proba(X / 16) / (np.bincount(y) / len(y)) ** 0.7
    expected /= expected.sum(axis=1, keepdims=True)
    assert_allclose(corrected.predict_proba(X / 16), expected, rtol=1e-3, atol=1e-6)
    assert_array_equal(corrected.predict(X / 16), expected.argmax(axis=1))


def test_out_of_fold_prior_is_the_mean_of_cross_validated_probabilities(tail):
    X, y = tail
    folds = StratifiedKFold(3)
    forest = RandomForestClassifier(20, random_state=0)
    corrected = PriorCorrectedClassifier(forest, cv=folds).fit(X, y)
    expected = cross_val_predict(forest, X, y, cv=folds, method="predict_proba").mean(axis=0)
    assert_allclose(corrected.class_prior_, expected)
    in_sample = PriorCorrectedClassifier(forest, cv=None).fit(X, y)
    assert_allclose(in_sample.class_prior_, corrected.estimator_.predict_proba(X).mean(axis=0))


def test_tau_zero_and_given_priors(tail):
    X, y = tail
    forest = RandomForestClassifier(20, min_samples_leaf=3, random_state=0)
    plain = forest.fit(X, y).predict(X)
    assert_array_equal(PriorCorrectedClassifier(forest, tau=0).fit(X, y).predict(X), plain)
    even = PriorCorrectedClassifier(forest, prior=np.ones(10)).fit(X, y)
    assert_array_equal(even.predict(X), plain)
    assert_allclose(even.class_prior_, 0.1)
    share = np.arange(1, 11) / 55
    by_label = pd.Series(share).sort_values(ascending=False)
    given = PriorCorrectedClassifier(forest, prior=by_label).fit(X, y)
    assert_allclose(given.class_prior_, share)


def test_frozen_estimator_is_left_alone(tail):
    X, y = tail
    model = LogisticRegression(max_iter=3000).fit(X / 16, y)
    before = model.coef_.copy()
    corrected = PriorCorrectedClassifier(FrozenEstimator(model)).fit(X[1::2] / 16, y[1::2])
    assert_array_equal(corrected.estimator_.estimator.coef_, before)
    assert_allclose(
        corrected.class_prior_, model.predict_proba(X[1::2] / 16).mean(axis=0), rtol=1e-5
    )


def test_fewer_rows_than_folds_and_class_names():
    rng = np.random.default_rng(0)
    y = np.array(["many"] * 30 + ["some"] * 6 + ["one"])
    X = pd.DataFrame(rng.normal(size=(37, 3)) + (y == "some")[:, None], columns=list("abc"))
    clf = PriorCorrectedClassifier(RandomForestClassifier(5), cv=5, random_state=0).fit(X, y)
    assert clf.classes_.tolist() == ["many", "one", "some"]
    assert clf.feature_names_in_.tolist() == ["a", "b", "c"]
    assert np.isfinite(clf.predict_proba(X)).all()
    assert set(clf.predict(X)) <= set(y)


@pytest.mark.parametrize(
    "arguments, name",
    [
        ({"tau": -1.0}, "tau"),
        ({"prior": "shares"}, "prior"),
        ({"prior": [0.5, 0.5]}, "prior has shape .2,., expected .10,"),
        ({"prior": np.zeros(10)}, "prior"),
        ({"cv": 1}, "cv"),
        ({"estimator": RidgeClassifier()}, "estimator"),
        ({"n_jobs": 1.5}, "n_jobs"),
    ],
)
def test_prior_corrected_names_the_bad_parameter(tail, arguments, name):
    model = PriorCorrectedClassifier(DecisionTreeClassifier()).set_params(**arguments)
    with pytest.raises(ValueError, match=name):
        model.fit(*tail)


@pytest.mark.parametrize("prior", [[0.5, 0.5], {0: 1, 1: 1, 3: 1}, [1, 1, 0]])
def test_a_bad_prior_fails_before_any_fit_and_leaves_nothing_fitted(prior):
    class Unfitted(DecisionTreeClassifier):
        def fit(self, X, y, sample_weight=None):
            raise AssertionError

    X, y = load_iris(return_X_y=True)
    clf = PriorCorrectedClassifier(DecisionTreeClassifier()).fit(X, y)
    with pytest.raises(ValueError, match="prior"):
        clf.set_params(estimator=Unfitted(), prior=prior).fit(X, y)
    with pytest.raises(NotFittedError):
        clf.predict(X)


def test_weights_reach_the_estimator_or_a_warning_says_so(tail):
    X, y = tail
    weight = np.where(y == 9, 50.0, 1.0)
    tree = DecisionTreeClassifier(max_depth=2, random_state=0)
    weighted = PriorCorrectedClassifier(tree, prior=np.ones(10)).fit(X, y, sample_weight=weight)
    plain = PriorCorrectedClassifier(tree, prior=np.ones(10)).fit(X, y)
    assert np.mean(weighted.predict(X) == 9) > np.mean(plain.predict(X) == 9)
    pipeline = make_pipeline(StandardScaler(), tree)
    in_pipeline = PriorCorrectedClassifier(pipeline, prior=np.ones(10))
    in_pipeline.fit(X, y, sample_weight=weight)
    assert_array_equal(in_pipeline.predict(X), weighted.predict(X))
    with pytest.warns(UserWarning, match="takes no sample_weight"):
        PriorCorrectedClassifier(KNeighborsClassifier()).fit(X, y, sample_weight=weight)
    with pytest.raises(TypeError, match="metadata routing"):
        PriorCorrectedClassifier(tree).fit(X, y, groups=y)


def test_metadata_routing(tail):
    X, y = tail
    weight = np.where(y == 9, 50.0, 1.0)
    with sklearn.config_context(enable_metadata_routing=True):
        tree = DecisionTreeClassifier(max_depth=2, random_state=0)
        asking = PriorCorrectedClassifier(
            tree.set_fit_request(sample_weight=True), prior=np.ones(10)
        ).fit(X, y, sample_weight=weight)
        refusing = PriorCorrectedClassifier(
            clone(tree).set_fit_request(sample_weight=False), prior=np.ones(10)
        ).fit(X, y, sample_weight=weight)
    assert np.mean(asking.predict(X) == 9) > np.mean(refusing.predict(X) == 9)


def test_routed_weights_reach_fits_side_by_side(tail):
    X, y = tail
    weight = np.where(y == 9, 50.0, 1.0)
    with sklearn.config_context(enable_metadata_routing=True), parallel_config("threading"):
        pipeline = make_pipeline(
            StandardScaler().set_fit_request(sample_weight=False),
            DecisionTreeClassifier(max_depth=2).set_fit_request(sample_weight=True),
        )
        one, two = (
            PriorCorrectedClassifier(pipeline, cv=2, n_jobs=n_jobs, random_state=0)
            .fit(X, y, sample_weight=weight)
            .class_prior_
            for n_jobs in (1, 2)
        )
    assert_array_equal(one, two)


def test_a_fold_may_be_left_with_one_class():
    X = np.arange(30.0).reshape(-1, 1)
    y = np.repeat(["many", "one"], [29, 1])
    clf = PriorCorrectedClassifier(LogisticRegression(), random_state=0).fit(X, y)
    assert_allclose(clf.class_prior_, [29 / 30, 1 / 30], atol=0.02)
    assert clf.predict([[29.0]]) == ["one"]


def test_rows_of_weight_zero_teach_nothing():
    X, y = load_iris(return_X_y=True)
    X_more, y_more = np.concatenate([X, X, X]), np.concatenate([y, (y + 1) % 3, (y + 1) % 3])
    weight = np.repeat([1.0, 0.0, 0.0], len(y))
    knn = PriorCorrectedClassifier(KNeighborsClassifier(), random_state=0)
    with pytest.warns(UserWarning, match="takes no sample_weight"):
        knn.fit(X_more, y_more, sample_weight=weight)
    assert knn.score(X, y) > 0.9
    # Nor do they add to the rows that a class of none has half a share of.
    frozen = PriorCorrectedClassifier(FrozenEstimator(LogisticRegression(max_iter=500).fit(X, y)))
    rows = np.flatnonzero(y < 2)
    without = frozen.set_params(prior="counts").fit(X[rows], y[rows]).class_prior_
    longer = frozen.fit(X, y, sample_weight=(y < 2).astype(float)).class_prior_
    assert_allclose(longer, [*(without / (1 + 0.005)), 0.005 / (1 + 0.005)])


def test_errors_name_the_parameter_and_the_fold():
    class Picky(DecisionTreeClassifier):
        def fit(self, X, y, sample_weight=None):
            if len(X) < 150:
                raise RuntimeError("too few rows")
            return super().fit(X, y, sample_weight)

    with pytest.raises(ValueError, match=r"(?s)estimator=.*all but fold 1 of 5.*too few rows"):
        PriorCorrectedClassifier(Picky()).fit(*load_iris(return_X_y=True))


@pytest.mark.parametrize("prior", ["counts", [1, 1, 1]])
def test_other_priors_ask_for_no_probabilities(prior):
    class Silent(KNeighborsClassifier):
        def predict_proba(self, X):
            raise AssertionError

    X, y = load_iris(return_X_y=True)
    for estimator in (Silent(), FrozenEstimator(Silent().fit(X, y))):
        clf = PriorCorrectedClassifier(estimator, prior=prior).fit(X, y)
        assert_allclose(clf.class_prior_, 1 / 3)
    clf = PriorCorrectedClassifier(KernelClassifier(), prior=prior).fit(X, y)
    assert clf.score(X, y) > 0.9


def test_frozen_estimators_swallow_no_arguments():
    X, y = load_iris(return_X_y=True)
    tree = FrozenEstimator(DecisionTreeClassifier().fit(X, y))
    with pytest.raises(TypeError, match="unexpected arguments"):
        PriorCorrectedClassifier(tree).fit(X, y, groups=y)


def test_a_given_prior_is_taken_as_it_is():
    X, y = np.zeros((100, 1)), np.r_[np.zeros(99), 1]
    given = PriorCorrectedClassifier(DecisionTreeClassifier(), prior={0: 0.999, 1: 0.001})
    assert_allclose(given.fit(X, y).class_prior_, [0.999, 0.001])


def test_em_refuses_negative_weights():
    with pytest.raises(ValueError, match="Negative values"):
        estimate_class_prior_em(np.full((2, 2), 0.5), [0.5, 0.5], sample_weight=[-1, 2])
