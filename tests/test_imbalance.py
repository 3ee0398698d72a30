"""The imbalance-robust classifiers: their mathematics, their manners and their use."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from imblearn.ensemble import (
    BalancedRandomForestClassifier,
    EasyEnsembleClassifier,
    RUSBoostClassifier,
)
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import norm
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from sklearn_dsink import NetClassifier
from sklearn_dsink.crossfit import fit_auxiliaries
from sklearn_dsink.datasets import make_long_tailed
from sklearn_dsink.folds import make_folds
from sklearn_dsink.imbalance import (
    ClassBalancedClassifier,
    CRTClassifier,
    FocalClassifier,
    LDAMClassifier,
    LogitAdjustedClassifier,
    LWSClassifier,
    PriorCorrectedClassifier,
    TauNormClassifier,
    adjust_prior,
    effective_number_weights,
    estimate_class_prior_em,
)
from sklearn_dsink.imbalance._decoupled import class_aware_weights
from sklearn_dsink.metrics import shot_accuracy_score

NETS = [
    ClassBalancedClassifier,
    CRTClassifier,
    FocalClassifier,
    LDAMClassifier,
    LogitAdjustedClassifier,
    LWSClassifier,
    TauNormClassifier,
]
SMALL = {"hidden_layer_sizes": (16,), "max_epochs": 3, "random_state": 0}


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
    with pytest.raises(ValueError, match="prior has 3 entries for 2 classes"):
        adjust_prior(proba, [0.5, 0.3, 0.2])
    with pytest.raises(ValueError, match="prior must hold finite, positive"):
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
        ({"prior": [0.5, 0.5]}, "prior has 2 entries for 10"),
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
    from sklearn.neighbors import KNeighborsClassifier

    with pytest.warns(UserWarning, match="takes no sample_weight"):
        PriorCorrectedClassifier(KNeighborsClassifier()).fit(X, y, sample_weight=weight)
    with pytest.raises(TypeError, match="metadata routing"):
        PriorCorrectedClassifier(tree).fit(X, y, groups=y)


def test_metadata_routing(tail):
    import sklearn

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


# --- nets ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "balanced",
    [
        LogitAdjustedClassifier(tau=0, **SMALL),
        LogitAdjustedClassifier(class_prior=np.ones(10), **SMALL),
        ClassBalancedClassifier(beta=0, **SMALL),
        ClassBalancedClassifier(start=1, **SMALL),
        FocalClassifier(gamma=0, beta=0, **SMALL),
    ],
    ids=["tau=0", "even prior", "beta=0", "never started", "gamma=0"],
)
def test_limits_are_the_plain_net(tail, balanced):
    plain = NetClassifier(**SMALL).fit(*tail)
    balanced.fit(*tail)
    assert_allclose(
        balanced.predict_proba(tail[0]), plain.predict_proba(tail[0]), rtol=1e-3, atol=1e-5
    )


def test_ldam_answers_with_cosines(tail):
    clf = LDAMClassifier(scale=12.0, **SMALL).fit(*tail)
    scores = clf.decision_function(tail[0])
    assert np.abs(scores).max() <= 12.0 + 1e-4
    head = clf.net_.module_.head
    with torch.no_grad():
        h = clf.net_.module_.eval().features(torch.as_tensor(tail[0]))
        cosine = torch.cosine_similarity(h[:, None], head.weight[None], dim=2)
    assert_allclose(scores, 12 * cosine.numpy(), atol=1e-3)


@pytest.mark.parametrize("method", [CRTClassifier, LWSClassifier, TauNormClassifier])
def test_second_stage_leaves_the_features_alone(tail, method):
    plain = NetClassifier(**SMALL).fit(*tail)
    refitted = method(**SMALL).fit(*tail)
    features = dict(plain.net_.module_.body.named_parameters())
    for name, values in refitted.net_.module_.body.named_parameters():
        assert_array_equal(values.detach().numpy(), features[name].detach().numpy())
    assert not np.allclose(refitted.predict_proba(tail[0]), plain.predict_proba(tail[0]))


def test_lws_learns_factors_and_nothing_else(tail):
    plain = NetClassifier(**SMALL).fit(*tail)
    clf = LWSClassifier(**SMALL).fit(*tail)
    head = clf.net_.module_.head
    assert_array_equal(
        head.head.weight.detach().numpy(), plain.net_.module_.head.weight.detach().numpy()
    )
    assert_allclose(
        clf.decision_function(tail[0]),
        plain.decision_function(tail[0]) * head.factor.detach().numpy(),
        rtol=1e-4,
        atol=1e-5,
    )
    assert len(clf.head_history_) == 20
    # Even draws raise the classes that are rare.
    assert head.factor[7:].mean() > head.factor[:3].mean()


def test_tau_norm_makes_lengths_equal(tail):
    plain = NetClassifier(**SMALL).fit(*tail)
    weight = plain.net_.module_.head.weight.detach().numpy()
    length = np.linalg.norm(weight, axis=1)
    for tau in (0.0, 0.5, 1.0):
        clf = TauNormClassifier(tau=tau, **SMALL).fit(*tail)
        head = clf.net_.module_.head
        expected = weight * (np.exp(np.log(length).mean()) / length[:, None]) ** tau
        assert_allclose(head.weight.detach().numpy(), expected, rtol=1e-4)
        assert_array_equal(head.bias.detach().numpy(), 0)


def test_crt_draws_classes_evenly():
    codes = np.repeat([0, 1, 3], [6, 3, 1])
    chance = class_aware_weights(codes, np.array([1.0] * 6 + [1, 2, 3] + [5]))
    assert_allclose(np.bincount(codes, weights=chance), [1 / 3, 1 / 3, 0, 1 / 3])
    assert_allclose(chance[6:9], np.array([1, 2, 3]) / 18)


@pytest.mark.parametrize("method", NETS)
def test_manners(tail, method):
    X, y = tail
    names = np.array([f"digit {c}" for c in "0123456789"])[y]
    frame = pd.DataFrame(X, columns=[f"pixel {i}" for i in range(64)])
    torch.manual_seed(5)
    before = torch.random.get_rng_state().clone()
    clf = method(**SMALL).fit(frame, names)
    assert torch.equal(before, torch.random.get_rng_state())
    assert clf.classes_.tolist() == sorted(set(names))
    proba = clf.predict_proba(frame)
    assert_allclose(proba.sum(axis=1), 1, rtol=1e-5)
    # The same answer from the codes, from a clone, and after a pickle.
    assert_array_equal(method(**SMALL).fit(X, y).predict_proba(X), proba)
    assert_array_equal(clone(clf).fit(frame, names).predict_proba(frame), proba)
    assert_array_equal(pickle.loads(pickle.dumps(clf)).predict_proba(frame), proba)
    other = clone(clf).set_params(random_state=1).fit(frame, names)
    assert not np.array_equal(other.predict_proba(frame), proba)


@pytest.mark.parametrize("method", NETS)
def test_a_class_of_weight_zero_is_hardly_predicted(tail, method):
    X, y = tail
    clf = method(**(SMALL | {"max_epochs": 20, "lr": 1e-2}))
    clf.fit(X, y, sample_weight=(y != 0).astype(float))
    assert len(clf.classes_) == 10
    assert np.mean(clf.predict(X) == 0) < 0.05


@pytest.mark.parametrize("method", [CRTClassifier, LDAMClassifier])
def test_early_stopping(tail, method):
    clf = method(**(SMALL | {"max_epochs": 60, "lr": 0.02}), early_stopping=True, patience=2)
    clf.fit(*tail)
    assert clf.n_iter_ < 60
    assert "valid_loss" in clf.history_[0]


@pytest.mark.parametrize(
    "method, arguments",
    [
        (LogitAdjustedClassifier, {"tau": -1}),
        (LogitAdjustedClassifier, {"class_prior": [0.5, 0.5]}),
        (LogitAdjustedClassifier, {"class_prior": -np.ones(10)}),
        (ClassBalancedClassifier, {"beta": 1.0}),
        (ClassBalancedClassifier, {"start": 1.5}),
        (FocalClassifier, {"gamma": -1}),
        (FocalClassifier, {"beta": 2}),
        (LDAMClassifier, {"max_margin": -0.1}),
        (LDAMClassifier, {"scale": 0}),
        (LDAMClassifier, {"start": -1}),
        (CRTClassifier, {"head_epochs": 0}),
        (LWSClassifier, {"head_epochs": 0}),
        (LWSClassifier, {"head_lr": 0}),
        (TauNormClassifier, {"tau": "big"}),
    ],
)
def test_nets_name_the_bad_parameter(tail, method, arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        method(**SMALL, **arguments).fit(*tail)


def test_parameter_constraints_cover_every_parameter():
    for method in [*NETS, PriorCorrectedClassifier]:
        assert set(method._parameter_constraints) == set(method().get_params(deep=False))


def test_grid_search_over_a_net_in_a_pipeline(tail):
    search = GridSearchCV(
        make_pipeline(StandardScaler(), LogitAdjustedClassifier(**SMALL)),
        {"logitadjustedclassifier__tau": [0.0, 1.0]},
        cv=3,
        error_score="raise",
    ).fit(*tail)
    assert search.best_params_["logitadjustedclassifier__tau"] in (0.0, 1.0)


@pytest.mark.parametrize(
    "imb_aux",
    [
        *(method(**SMALL) for method in NETS),
        PriorCorrectedClassifier(RandomForestClassifier(10), cv=2),
        BalancedRandomForestClassifier(10),
        EasyEnsembleClassifier(3),
        # Its default, a stump, is worse than random on ten classes and gives up.
        RUSBoostClassifier(DecisionTreeClassifier(max_depth=4), n_estimators=5),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
@pytest.mark.filterwarnings("ignore:The number of samples:UserWarning")
def test_each_serves_as_an_auxiliary(tail, imb_aux):
    """Out-of-fold, with class names, and two classes smaller than the number of folds."""
    X, y = tail
    names = np.array([f"digit {c}" for c in "0123456789"])[y]
    rng = np.random.RandomState(0)
    fitted = fit_auxiliaries(
        {"imb_aux": imb_aux},
        X,
        names,
        classes=np.unique(names),
        class_share=np.bincount(y) / len(y),
        folds=make_folds(4, X, y, rng),
        random_state=rng,
    )["imb_aux"]
    assert fitted.proba.shape == (len(y), 10)
    assert_allclose(fitted.proba.sum(axis=1), 1, rtol=1e-5)
    # Better than a guess, which columns in another order would not be.
    assert np.mean(fitted.proba.argmax(axis=1) == y) > 0.2
    assert fitted.estimator.classes_.tolist() == np.unique(names).tolist()


# --- what they are for -----------------------------------------------------------------------


def _few_shot(model, seeds, imbalance_factor=50):
    """Few-shot accuracy on digits, a model over seeds."""
    X, y = load_digits(return_X_y=True)
    scores = []
    for seed in seeds:
        rows = np.random.default_rng(seed).permutation(len(y))
        train, test = rows[:1100], rows[1100:]
        X_lt, y_lt = make_long_tailed(
            X[train],
            y[train],
            imbalance_factor,
            n_max=90,
            n_min=2,
            class_order="random",
            random_state=seed,
        )
        fitted = clone(model).set_params(random_state=seed).fit(X_lt, y_lt)
        pred = fitted.predict(X[test])
        scores.append(shot_accuracy_score(y[test], pred, y_train=y_lt, group="few"))
    return np.array(scores)


BRIEF = {"hidden_layer_sizes": (128,), "max_epochs": 20}


@pytest.fixture(scope="module")
def plain_few_shot():
    return _few_shot(NetClassifier(**BRIEF), range(4))


@pytest.mark.parametrize(
    "method, margin",
    [
        (LogitAdjustedClassifier(**BRIEF), 0.10),
        (LDAMClassifier(**BRIEF), 0.10),
        (CRTClassifier(**BRIEF), 0.06),
        (ClassBalancedClassifier(**BRIEF), 0.05),
        (FocalClassifier(**BRIEF), 0.03),
        (PriorCorrectedClassifier(NetClassifier(**BRIEF), cv=3), 0.10),
    ],
    ids=lambda v: type(v).__name__ if hasattr(v, "fit") else "",
)
def test_few_shot_accuracy_rises(method, margin, plain_few_shot):
    gain = _few_shot(method, range(4)) - plain_few_shot
    assert gain.mean() > margin
    assert gain.mean() > 3 * gain.std(ddof=1) / np.sqrt(len(gain))


@pytest.mark.slow
@pytest.mark.parametrize("method", [LWSClassifier(**BRIEF), TauNormClassifier(**BRIEF)])
def test_few_shot_accuracy_rises_a_little(method):
    # On a frozen net a factor per class has little to move: small gains, seen over more seeds.
    seeds = range(8)
    gain = _few_shot(method, seeds) - _few_shot(NetClassifier(**BRIEF), seeds)
    assert gain.mean() > 0.005
    assert gain.mean() > 2 * gain.std(ddof=1) / np.sqrt(len(gain))
