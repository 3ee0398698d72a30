"""What DSinkClassifier promises: its parameters, its attributes, and what it leaves alone."""

from __future__ import annotations

import io
import pickle
import signal
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
import torch
from _quick import make_blobs, quick, tiny_net
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin, clone, is_classifier
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted
from skorch.callbacks import Callback

from sklearn_dsink import PAPER, DSinkClassifier, losses
from sklearn_dsink.classifier import TARGET_SHARE
from sklearn_dsink.inspection import find_label_issues
from sklearn_dsink.target import log_probabilities
from sklearn_dsink.transport import solve_labels

NAMES = ["ant", "bee", "cow"]
X, Y, TRUE = make_blobs(flip=0.1, names=NAMES)


def test_the_constructor_only_stores():
    values = {name: object() for name in DSinkClassifier().get_params(deep=False)}
    clf = DSinkClassifier(**values)
    assert clf.get_params(deep=False) == values
    assert vars(clf) == values


def test_clone_and_nested_parameters():
    clf = quick()
    twin = clone(clf).set_params(target__lr=0.5, noise_aux__C=7.0)
    assert twin.target.lr == 0.5
    assert twin.noise_aux.C == 7.0
    assert clf.target.lr != 0.5
    fitted = twin.fit(X, Y)
    assert fitted.target_.lr == 0.5
    assert fitted.noise_aux_.C == 7.0


@pytest.mark.parametrize("settings", [{}, PAPER], ids=["default", "PAPER"])
def test_fitted_attributes(settings):
    clf = quick(**settings).fit(X, Y)
    n, k = len(X), 3
    assert is_classifier(clf)
    np.testing.assert_array_equal(clf.classes_, NAMES)
    assert clf.n_features_in_ == 4
    assert not hasattr(clf, "feature_names_in_")
    for name in ("surrogate_labels_", "noise_aux_proba_", "imb_aux_proba_"):
        rows = getattr(clf, name)
        assert rows.shape == (n, k), name
        np.testing.assert_allclose(rows.sum(axis=1), 1, rtol=1e-5, err_msg=name)
    for name in ("class_marginal_", "class_potentials_"):
        assert getattr(clf, name).shape == (k,), name
    np.testing.assert_allclose(clf.class_marginal_.sum(), 1)
    assert (clf.class_marginal_ > 0).all()
    np.testing.assert_allclose(clf.class_potentials_.mean(), 0, atol=1e-9)
    assert clf.noise_matrix_.shape == (k, k)
    np.testing.assert_allclose(clf.noise_matrix_.sum(axis=1), 1)
    assert clf.transport_n_iter_ >= 1
    assert 0 <= clf.transport_error_ <= clf.tol
    assert len(clf.history_) == 3
    assert [epoch["epoch"] for epoch in clf.history_] == [1, 2, 3]
    assert all(np.isfinite(epoch["train_loss"]) for epoch in clf.history_)
    assert "marginal_error" in clf.history_[1]


def test_the_ways_to_predict_agree():
    clf = quick().fit(X, Y)
    proba = clf.predict_proba(X)
    assert proba.dtype == np.float64
    np.testing.assert_allclose(proba.sum(axis=1), 1)
    np.testing.assert_allclose(np.exp(clf.predict_log_proba(X)), proba)
    np.testing.assert_array_equal(clf.predict(X), clf.classes_[proba.argmax(axis=1)])
    np.testing.assert_allclose(clf.score(X, TRUE), np.mean(clf.predict(X) == TRUE))
    np.testing.assert_allclose(clf.predict_proba(X[:1]), proba[:1], rtol=1e-5)


@pytest.mark.parametrize(
    "settings",
    [
        {"noise_correction": False},
        {"refine": False},
        {"class_marginal": "imb_aux"},
        {"class_marginal": "noise_aux"},
        {"class_marginal": [5, 3, 2]},
        {"base_loss": "cross_entropy"},
        {"base_loss": losses.GCE()},
        {"base_loss": torch.nn.CrossEntropyLoss(reduction="none")},
        {"prior_correction": False},
        {"combine": False},
        {"relaxation": 0},
        {"relaxation": 10.0},
        {"warmup": 99},
        {"warmup": 0, "renew_every": 2},
        {"solver": "pot", "max_iter": 20_000},
        {"cv": None},
        {"cv": 4},
        {"alpha": 0, "base_loss": "cross_entropy"},
        {"random_state": np.random.RandomState(0)},
    ],
    ids=lambda settings: "-".join(
        f"{key}={type(value).__name__}" for key, value in settings.items()
    ),
)
def test_every_setting_gives_a_working_classifier(settings):
    clf = quick(**settings).fit(X, Y)
    proba = clf.predict_proba(X)
    assert np.isfinite(proba).all()
    np.testing.assert_allclose(proba.sum(axis=1), 1)
    assert clf.score(X, TRUE) > 0.6


@pytest.mark.parametrize("shares", [[5, 3, 2], dict(zip(reversed(NAMES), [2, 3, 5], strict=True))])
def test_given_class_shares_are_met(shares):
    clf = quick(class_marginal=shares).fit(X, Y)
    np.testing.assert_allclose(clf.surrogate_labels_.mean(axis=0), [0.5, 0.3, 0.2], atol=1e-5)


@pytest.mark.parametrize("prior_correction", [True, False])
def test_class_shares_that_are_dropped_say_nothing_to_the_prediction(prior_correction):
    def fit(**params):
        clf = quick(relaxation=0, prior_correction=prior_correction, combine=False, **params)
        return clf.fit(X, Y)

    asked = fit(class_marginal=[0.01, 0.01, 0.98])
    np.testing.assert_allclose(asked.predict_proba(X), fit().predict_proba(X), atol=1e-6)
    shares = asked.surrogate_labels_.mean(axis=0)
    np.testing.assert_allclose(asked.class_marginal_, shares, atol=0.1)


def test_relaxation_goes_from_the_evidence_to_the_class_shares():
    shares = np.array([0.2, 0.2, 0.6])
    gaps = [
        np.abs(
            quick(class_marginal=shares, relaxation=relaxation)
            .fit(X, Y)
            .surrogate_labels_.mean(axis=0)
            - shares
        ).sum()
        for relaxation in (0, 1.0, 1e6, None)
    ]
    assert gaps[0] > gaps[1] > gaps[2] > gaps[3] - 1e-6
    assert gaps[3] < 1e-5


def test_without_combination_the_target_speaks_alone():
    first = quick(combine=False).fit(X, Y)
    second = pickle.loads(pickle.dumps(first))
    second._experts_ = None
    np.testing.assert_array_equal(first.predict_proba(X), second.predict_proba(X))


def test_the_combination_is_a_geometric_mean_of_target_and_pool():
    clf = quick().fit(X, Y)
    both = clf.predict_log_proba(X)
    target = clf.set_params(combine=False).predict_log_proba(X)
    pool = clf._experts_.log_proba(X)
    mean = TARGET_SHARE * target + (1 - TARGET_SHARE) * pool
    # Up to a constant a row, which normalizes.
    np.testing.assert_allclose(np.ptp(both - mean, axis=1), 0, atol=1e-5)


def test_another_class_prior_is_bayes_rule_on_the_fitted_classifier():
    clf = quick().fit(X, Y)
    uniform, prior = clf.predict_log_proba(X), np.array([0.2, 0.3, 0.5])
    for scale in (1, 10):  # it is a ratio
        log_proba = clf.set_params(class_prior=scale * prior).predict_log_proba(X)
        np.testing.assert_allclose(np.exp(log_proba).sum(axis=1), 1)
        odds = log_proba - uniform - np.log(prior)
        np.testing.assert_allclose(np.ptp(odds, axis=1), 0, atol=1e-9)
    with pytest.raises(ValueError, match="class_prior must be 'uniform', 'train' or numbers"):
        clf.set_params(class_prior="trian").predict(X)


def test_both_auxiliaries_play_a_part():
    base = quick().fit(X, Y).predict_proba(X)
    for name in ("noise_aux", "imb_aux"):
        other = quick(**{name: GaussianNB(var_smoothing=0.5)}).fit(X, Y).predict_proba(X)
        assert np.abs(other - base).max() > 1e-3, name


def test_base_loss_of_the_user_stays_as_it_is():
    loss = losses.GCE()
    before = pickle.dumps(loss)
    quick(base_loss=loss).fit(X, Y)
    assert pickle.dumps(loss) == before


def test_the_scale_of_the_weights_does_not_matter():
    weight = 1.0 + (Y == "cow")
    first = quick().fit(X, Y, sample_weight=weight).predict_proba(X)
    second = quick().fit(X, Y, sample_weight=8 * weight).predict_proba(X)
    np.testing.assert_allclose(first, second, rtol=1e-6)
    assert not np.allclose(first, quick().fit(X, Y).predict_proba(X))
    ones = quick().fit(X, Y, sample_weight=np.ones(len(X))).predict_proba(X)
    np.testing.assert_allclose(ones, quick().fit(X, Y).predict_proba(X), rtol=1e-4)


def test_rows_of_no_weight_do_not_count():
    garbage = np.vstack([X, 50 + X[:20]])
    labels = np.append(Y, np.repeat("cow", 20))
    weight = np.repeat([1.0, 0.0], [len(X), 20])
    plain = quick(**{**PAPER, "alpha": 2.0}).fit(X, Y)
    clf = quick(**{**PAPER, "alpha": 2.0}).fit(garbage, labels, sample_weight=weight)
    np.testing.assert_allclose(clf.noise_aux_.coef_, plain.noise_aux_.coef_, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(clf.class_marginal_, plain.class_marginal_, rtol=1e-3)
    assert clf.surrogate_labels_.shape == (len(garbage), 3)


@pytest.mark.parametrize("container", [np.asarray, pd.DataFrame])
def test_rows_of_no_weight_do_not_move_the_targets_scales(container):
    garbage = np.vstack([X, np.full((3, X.shape[1]), 1e7)])
    weight = np.repeat([1.0, 0.0], [len(X), 3])
    clf = DSinkClassifier(LogisticRegression(), GaussianNB(), combine=False, cv=2, random_state=0)
    clf.fit(container(garbage), np.append(Y, Y[:3]), sample_weight=weight)
    assert clf.score(container(X), TRUE) > 0.8


def test_a_class_of_no_weight_is_still_a_class():
    clf = quick().fit(X, Y, sample_weight=(Y != "cow").astype(float))
    np.testing.assert_array_equal(clf.classes_, NAMES)
    # Of which nothing was taught, so that no row is predicted to be one, unless a prior says so.
    assert np.all(clf.predict_proba(X)[:, list(clf.classes_).index("cow")] == 0)
    assert "cow" not in clf.set_params(class_prior="train").predict(X)
    only = {name: 1.0 if name == "cow" else 1e-9 for name in NAMES}
    assert set(clf.set_params(class_prior=only).predict(X)) == {"cow"}


def test_frozen_auxiliaries_only():
    frozen = FrozenEstimator(GaussianNB().fit(X, TRUE))
    clf = quick(noise_aux=frozen, imb_aux=frozen).fit(X, Y)
    assert clf.score(X, TRUE) > 0.8


def test_predict_leaves_the_object_and_the_seeds_as_they_are():
    clf = quick(noise_aux=tiny_net()).fit(X, Y)
    before, state = pickle.dumps(clf), torch.get_rng_state()
    expected = clf.predict_proba(X)
    clf.predict(X), clf.predict_log_proba(X), clf.score(X, Y)
    assert pickle.dumps(clf) == before
    assert torch.equal(torch.get_rng_state(), state)
    np.testing.assert_array_equal(pickle.loads(before).predict_proba(X), expected)


def test_threads_may_predict_on_one_object():
    clf = quick(noise_aux=tiny_net()).fit(X, Y)
    expected = clf.predict_proba(X)
    with ThreadPoolExecutor(10) as pool:
        for answer in pool.map(clf.predict_proba, [X] * 30):
            np.testing.assert_array_equal(answer, expected)


def test_fits_in_threads_are_those_of_one_after_another():
    expected = quick(noise_aux=tiny_net()).fit(X, Y).predict_proba(X)
    state = torch.get_rng_state()
    with ThreadPoolExecutor(2) as pool:
        fits = pool.map(lambda _: quick(noise_aux=tiny_net()).fit(X, Y), range(3))
        for clf in fits:
            np.testing.assert_allclose(clf.predict_proba(X), expected, rtol=1e-6)
    assert torch.equal(torch.get_rng_state(), state)


class InterruptedFit(ClassifierMixin, BaseEstimator):
    def fit(self, X, y, sample_weight=None):
        raise KeyboardInterrupt

    def predict_proba(self, X):
        raise AssertionError("never fitted")


class InterruptedEpoch(Callback):
    def on_epoch_end(self, net, **kwargs):
        signal.default_int_handler(signal.SIGINT, None)


@pytest.mark.parametrize(
    "settings",
    [
        {"noise_aux": InterruptedFit()},
        {"imb_aux": InterruptedFit(), "cv": None},
        {"target": tiny_net(callbacks=[InterruptedEpoch()])},
    ],
    ids=["noise_aux", "imb_aux", "target"],
)
def test_ctrl_c_reaches_the_user_and_leaves_nothing_fitted(settings):
    clf = quick().fit(X, Y).set_params(**settings)
    with pytest.raises(KeyboardInterrupt):
        clf.fit(X, Y)
    with pytest.raises(NotFittedError):
        check_is_fitted(clf)


def test_a_fitted_object_holds_no_training_rows():
    n_rows, n_features = 500, 40
    rng = np.random.default_rng(0)
    wide, y = rng.normal(size=(n_rows, n_features)), rng.integers(3, size=n_rows)
    clf = quick(n_features).fit(wide, y)
    held = []

    class Watch(pickle.Pickler):
        def reducer_override(self, obj):
            if isinstance(obj, np.ndarray):
                held.append(obj.size)
            elif isinstance(obj, torch.Tensor):
                held.append(obj.numel())
            return NotImplemented

    Watch(io.BytesIO()).dump(clf)
    assert 3 * n_rows in held, "the surrogate labels are there, so that the walk sees arrays"
    assert max(held) < n_rows * n_features


def test_tags_are_those_of_the_auxiliaries():
    tolerant = HistGradientBoostingClassifier()
    assert get_tags(quick(noise_aux=tolerant, imb_aux=tolerant)).input_tags.allow_nan
    assert not get_tags(quick(noise_aux=tolerant)).input_tags.allow_nan
    sparse_ready = LogisticRegression()
    assert get_tags(quick(imb_aux=sparse_ready)).input_tags.sparse
    assert not get_tags(quick()).input_tags.sparse
    assert get_tags(DSinkClassifier()).input_tags.allow_nan
    assert get_tags(DSinkClassifier()).input_tags.sparse


def test_missing_values_where_both_auxiliaries_take_them():
    gaps = X.copy()
    gaps[::7, 0] = np.nan
    boosting = HistGradientBoostingClassifier(max_iter=5)
    target = tiny_net(5)  # four columns and one that says where the gaps were
    clf = quick(noise_aux=boosting, imb_aux=boosting, target=target).fit(gaps, Y)
    assert np.isfinite(clf.predict_proba(gaps)).all()


def test_silent_unless_asked(capsys):
    quick().fit(X, Y)
    assert capsys.readouterr() == ("", "")
    quick(verbose=1).fit(X, Y)
    said = capsys.readouterr()
    assert "target epochs 3/3" in said.err
    assert "fits" in said.err
    assert said.out == ""


def test_two_is_a_line_an_epoch_whose_columns_stay_where_they_are(capsys):
    clf = quick(verbose=2, warmup=1).fit(X, Y)
    said = capsys.readouterr()
    assert said.out == ""
    lines = said.err.splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("epoch  train loss"))
    table = lines[first : first + 1 + len(clf.history_)]
    assert {len(line) for line in table} == {len(table[0])}
    edges = [i for i, char in enumerate(table[0]) if table[0][i : i + 2] == "  "]
    assert all(line[i] == " " for line in table[1:] for i in edges)
    for number, line in enumerate(table[1:], start=1):
        assert line.split()[0] == str(number)
    assert table[0].index("labels moved") < table[0].index("seconds")
    moved = [epoch for epoch in clf.history_ if "labels_moved" in epoch]
    assert moved
    assert sum("%" in line for line in table[1:]) == len(moved)


def test_frames_are_checked_by_name():
    frame = pd.DataFrame(X, columns=list("abcd"))
    clf = quick().fit(frame, Y)
    np.testing.assert_array_equal(clf.feature_names_in_, list("abcd"))


def test_two_rows_are_enough():
    frozen = FrozenEstimator(GaussianNB().fit(X, Y == "ant"))
    clf = quick(4, 2, noise_aux=frozen, imb_aux=frozen).fit(X[:2], [False, True])
    assert clf.predict_proba(X[:2]).shape == (2, 2)


@pytest.mark.parametrize("prior_correction", [True, False])
def test_the_target_alone_answers_for_equal_classes(prior_correction):
    clf = quick(combine=False, prior_correction=prior_correction).fit(X, Y)
    with torch.no_grad():
        logits = clf.target_.module_(torch.from_numpy(X.astype(np.float32))).numpy()
    if not prior_correction:  # the net has learnt the class shares with the rest
        logits = logits - np.log(clf.class_marginal_)
    np.testing.assert_allclose(clf.predict_proba(X), softmax(logits, axis=1), atol=1e-6)
    before = clf.predict_proba(X)
    clf.set_params(prior_correction=not prior_correction)  # of a fit to come
    np.testing.assert_array_equal(clf.predict_proba(X), before)


def test_surrogate_labels_are_those_of_the_target_for_the_class_shares():
    clf = quick(noise_correction=False).fit(X, Y)
    log_target = log_probabilities(clf.target_, X.astype(np.float32), corrected=True)
    scores = (np.log(np.clip(clf.noise_aux_proba_, 1e-6, None)) + log_target) / 2
    labels, result = solve_labels(scores, clf.class_marginal_)
    np.testing.assert_allclose(clf.surrogate_labels_, labels, atol=1e-5)
    np.testing.assert_allclose(clf.class_potentials_, result.potentials, atol=1e-4)


def test_labels_are_renewed_as_often_as_asked():
    clf = quick(warmup=2, renew_every=2, target=tiny_net(max_epochs=7)).fit(X, Y)
    renewed = [epoch["epoch"] for epoch in clf.history_ if "labels_moved" in epoch]
    assert renewed == [2, 4, 6]


def test_label_issues_are_those_of_the_given_labels_and_both_auxiliaries():
    frame = pd.DataFrame(X, index=[f"row {i}" for i in range(len(X))])
    clf = quick().fit(frame, Y)
    expected = find_label_issues(
        Y,
        clf.surrogate_labels_,
        noise_proba=clf.noise_aux_proba_,
        imb_proba=clf.imb_aux_proba_,
        index=frame.index,
        threshold=0.45,
    )
    pd.testing.assert_frame_equal(clf.label_issues(threshold=0.45), expected)


def test_rows_of_no_weight_have_no_say_in_what_the_target_reads():
    garbage = np.vstack([X, np.full((60, X.shape[1]), 1e3)])
    weight = np.repeat([1.0, 0.0], [len(X), 60])
    clf = quick().fit(garbage, np.append(Y, Y[:60]), sample_weight=weight)
    plain = quick().fit(X, Y)
    np.testing.assert_allclose(clf.encoder_.encode(X), plain.encoder_.encode(X), rtol=1e-5)
    assert clf.n_iter_ == clf.transport_n_iter_ > 1


def test_rows_that_weigh_are_spread_over_the_folds_whatever_the_others_are():
    """Class "cow" has two such rows, and a model that has not seen one has seen the other."""
    cows = np.flatnonzero(TRUE == "cow")
    weight = (TRUE != "cow").astype(float)
    weight[cows[:2]] = 1.0
    for seed in range(6):
        clf = quick(random_state=seed, refine=False).fit(X, TRUE, sample_weight=weight)
        said, share = clf.imb_aux_proba_[cows[:2], 2], 2 / weight.sum()
        assert np.abs(said - share).min() > 1e-3  # the guess of one who knows no cow
