"""Auxiliaries are cloned, seeded, and given what they can read."""

from __future__ import annotations

import numpy as np
import pytest
from _quick import make_blobs, quick, tiny_net
from cleanlab.classification import CleanLearning
from scipy import sparse
from sklearn import config_context
from sklearn.ensemble import RandomForestClassifier, StackingClassifier, VotingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, Perceptron
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_dsink import DSinkClassifier
from sklearn_dsink.auxiliaries import (
    IntegerLabelClassifier,
    accepts_sample_weight,
    as_read_by,
    check_auxiliary,
    draws_globally,
    prepare,
    request_weights,
    set_missing_random_states,
    weight_parameters,
)
from sklearn_dsink.imbalance import PriorCorrectedClassifier
from sklearn_dsink.noise import NoiseCorrectedClassifier

X, Y, _ = make_blobs(names=["ant", "bee", "cow"])


def test_preparing_clones_and_seeds_what_was_left_open():
    given = make_pipeline(StandardScaler(), RandomForestClassifier(3))
    first, second = (prepare(given, np.random.RandomState(0)) for _ in range(2))
    assert first is not given
    assert given[-1].random_state is None
    assert isinstance(first[-1].random_state, int)
    assert first[-1].random_state == second[-1].random_state
    fixed = prepare(RandomForestClassifier(random_state=5), np.random.RandomState(0))
    assert fixed.random_state == 5


def test_frozen_estimators_are_left_alone():
    frozen = FrozenEstimator(RandomForestClassifier(3).fit(X, Y))
    assert prepare(frozen, np.random.RandomState(0)) is frozen
    set_missing_random_states(frozen, np.random.RandomState(0))
    assert frozen.estimator.random_state is None


@pytest.mark.parametrize(
    "estimator, wrapped",
    [
        (LogisticRegression(), False),
        (tiny_net(), True),
        (make_pipeline(StandardScaler(), tiny_net()), True),
        (CleanLearning(LogisticRegression()), True),
    ],
)
def test_only_readers_of_integer_labels_are_wrapped(estimator, wrapped):
    ready = prepare(estimator, np.random.RandomState(0))
    assert isinstance(ready, IntegerLabelClassifier) == wrapped
    assert draws_globally(ready) == wrapped
    assert draws_globally(FrozenEstimator(estimator)) == wrapped


def test_weights_under_the_name_that_each_takes():
    weight = np.ones(3)
    assert weight_parameters(LogisticRegression(), None) == {}
    assert weight_parameters(KNeighborsClassifier(), weight) == {}
    assert weight_parameters(GaussianNB(), weight) == {"sample_weight": weight}
    inner = make_pipeline(StandardScaler(), GaussianNB())
    assert list(weight_parameters(inner, weight)) == ["gaussiannb__sample_weight"]
    outer = make_pipeline(StandardScaler(), inner)
    assert list(weight_parameters(outer, weight)) == ["pipeline__gaussiannb__sample_weight"]
    outer.fit(X, Y, **weight_parameters(outer, np.ones(len(X))))


def test_who_accepts_weights():
    assert accepts_sample_weight(LogisticRegression())
    assert accepts_sample_weight(make_pipeline(StandardScaler(), GaussianNB()))
    assert not accepts_sample_weight(KNeighborsClassifier())
    assert not accepts_sample_weight(tiny_net())


@pytest.mark.parametrize("corrected", [NoiseCorrectedClassifier, PriorCorrectedClassifier])
def test_what_corrects_another_weighs_the_rows_if_that_does(corrected):
    assert accepts_sample_weight(corrected())
    assert accepts_sample_weight(corrected(make_pipeline(StandardScaler(), GaussianNB())))
    assert not accepts_sample_weight(corrected(KNeighborsClassifier()))
    with config_context(enable_metadata_routing=True):
        clf = quick(noise_aux=corrected(), refine=True, cv=2).fit(X, Y)
    assert clf.score(X, Y) > 0.8


def test_voters_weigh_the_rows_if_all_of_them_do():
    voters = [("linear", LogisticRegression()), ("bayes", GaussianNB())]
    weight = np.where(Y == "cow", 5.0, 1.0)
    vote = make_pipeline(StandardScaler(), VotingClassifier(voters, voting="soft"))
    vote.fit(X, Y, **weight_parameters(vote, weight))
    for fitted, (_, voter) in zip(vote[-1].estimators_, voters, strict=True):
        scaled = vote[0].transform(X)
        codes = np.unique(Y, return_inverse=True)[1]
        alone = voter.fit(scaled, codes, sample_weight=weight).predict_proba(scaled)
        np.testing.assert_allclose(fitted.predict_proba(scaled), alone)
    neighbours = ("neighbours", KNeighborsClassifier())
    assert not accepts_sample_weight(VotingClassifier([*voters, neighbours]))
    assert accepts_sample_weight(VotingClassifier([*voters, ("neighbours", "drop")]))
    with config_context(enable_metadata_routing=True):
        vote = prepare(VotingClassifier(voters, voting="soft"), np.random.RandomState(0))
        routed = vote.fit(X, Y, **weight_parameters(vote, weight)).predict_proba(X)
    plain = VotingClassifier(voters, voting="soft").fit(X, Y, sample_weight=weight)
    np.testing.assert_allclose(routed, plain.predict_proba(X))


def test_weights_are_asked_for_only_where_metadata_is_routed():
    pipe = request_weights(make_pipeline(StandardScaler(), LogisticRegression()))
    assert pipe[-1].get_metadata_routing().fit.requests == {"sample_weight": None}
    with config_context(enable_metadata_routing=True):
        pipe = request_weights(pipe)
    assert pipe[-1].get_metadata_routing().fit.requests == {"sample_weight": True}
    assert pipe[0].get_metadata_routing().fit.requests == {"sample_weight": False}


def test_nets_get_dense_float32_and_all_others_what_there_is():
    wide = sparse.csr_matrix(X)
    for data in (X, wide, X.tolist()):
        seen = as_read_by(tiny_net(), data)
        assert seen.dtype == np.float32
        assert seen.flags.c_contiguous
        assert as_read_by(GaussianNB(), data) is data
    assert as_read_by(FrozenEstimator(tiny_net()), X).dtype == np.float32


@pytest.mark.parametrize("scaled", [False, True])
def test_a_net_behind_names_of_classes(scaled):
    net = make_pipeline(StandardScaler(), tiny_net(max_epochs=20)) if scaled else tiny_net()
    model = IntegerLabelClassifier(net).fit(X, Y)
    np.testing.assert_array_equal(model.classes_, ["ant", "bee", "cow"])
    assert set(model.predict(X)) <= set(Y)
    np.testing.assert_allclose(model.predict_proba(X).sum(axis=1), 1, rtol=1e-5)
    assert model.n_features_in_ == 4
    if scaled:
        assert model.score(X, Y) > 0.8
        assert len(net.steps) == 2, "the pipeline given stays as it is"


def test_a_net_has_outputs_for_classes_that_some_fits_do_not_see():
    """Of two rows of a class, folds left out two at a time leave none."""
    rare = np.where(np.arange(len(Y)) < 2, "yak", Y)
    net = tiny_net(n_classes=4, train_split=None)
    clf = quick(4, 4, noise_aux=net, imb_aux=net, cv=3, refine=True).fit(X, rare)
    assert clf.noise_aux_proba_.shape == (len(Y), 4)
    np.testing.assert_allclose(clf.noise_aux_proba_.sum(axis=1), 1, rtol=1e-5)


def test_stacking_says_only_after_its_fit_that_it_gives_probabilities():
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=60)
    X = rng.normal(size=(60, 2)) + y[:, None]
    stack = StackingClassifier([("bayes", GaussianNB())], cv=2)
    clf = DSinkClassifier(stack, make_pipeline(stack), cv=2, refine=False, random_state=0)
    assert clf.fit(X, y).score(X, y) > 0.6
    check_auxiliary(StackingClassifier([("bayes", GaussianNB())], GaussianNB()), "imb_aux")
    deciding = StackingClassifier([("bayes", GaussianNB())], Perceptron())
    with pytest.raises(TypeError, match="has no predict_proba"):
        check_auxiliary(deciding, "imb_aux")
