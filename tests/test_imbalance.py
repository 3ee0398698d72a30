"""The imbalance-robust nets: their mathematics, their manners and their use."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from imblearn.ensemble import (
    BalancedRandomForestClassifier,
    EasyEnsembleClassifier,
    RUSBoostClassifier,
)
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import GridSearchCV
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
    expected = plain.net_.module_.head.weight.detach().numpy() * clf.factors_[:, None]
    assert_array_equal(clf.net_.module_.head.weight.detach().numpy(), expected)
    assert_allclose(
        clf.decision_function(tail[0]),
        plain.decision_function(tail[0]) * clf.factors_,
        rtol=1e-4,
        atol=1e-5,
    )
    assert len(clf.head_history_) == 20
    # Even draws raise the classes that are rare.
    assert clf.factors_[7:].mean() > clf.factors_[:3].mean()


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


def test_logit_adjustment_reads_shares_by_label(tail):
    share = np.arange(1.0, 11.0)
    by_label = dict(zip(range(9, -1, -1), share[::-1].tolist(), strict=True))
    ordered, named = (
        LogitAdjustedClassifier(class_prior=prior, random_state=0, max_epochs=2).fit(*tail)
        for prior in (share, by_label)
    )
    assert_array_equal(named.predict_proba(tail[0]), ordered.predict_proba(tail[0]))


@pytest.mark.parametrize(
    "method, arguments",
    [
        (LogitAdjustedClassifier, {"tau": -1}),
        (LogitAdjustedClassifier, {"class_prior": {0: 1.0}}),
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


def test_the_second_stage_learns_through_all_of_its_last_epoch():
    # Its learning rate has to fall to zero with the batches that there are, not before.
    X, y = load_digits(return_X_y=True)
    X_lt, y_lt = make_long_tailed(X[::2], y[::2], 20, random_state=0)
    brief = CRTClassifier(**BRIEF, head_epochs=1, random_state=0).fit(X_lt, y_lt)
    assert brief.score(X[1::2], y[1::2]) > 0.4


@pytest.mark.slow
@pytest.mark.parametrize("method", [LWSClassifier(**BRIEF), TauNormClassifier(**BRIEF)])
def test_few_shot_accuracy_rises_a_little(method):
    # On a frozen net a factor per class has little to move: small gains, seen over more seeds.
    seeds = range(8)
    gain = _few_shot(method, seeds) - _few_shot(NetClassifier(**BRIEF), seeds)
    assert gain.mean() > 0.005
    assert gain.mean() > 2 * gain.std(ddof=1) / np.sqrt(len(gain))
