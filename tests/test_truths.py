"""The mathematics of D-SINK, held by whole fits of the classifier."""

from __future__ import annotations

import numpy as np
import ot
import pandas as pd
import pytest
import torch
from _quick import make_blobs, quick, tiny_net
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax, softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import balanced_accuracy_score
from sklearn.naive_bayes import GaussianNB
from skorch import NeuralNetClassifier
from torch import nn

from sklearn_dsink import PAPER, DSinkClassifier
from sklearn_dsink.iterators import TensorIterator
from sklearn_dsink.surrogate import SurrogateLabeler
from sklearn_dsink.target import DistillationLoss, fit_target, log_probabilities
from sklearn_dsink.transport import mean_log_proba, solve, surrogate_labels

X, Y, TRUE = make_blobs(flip=0.2)


class Table(ClassifierMixin, BaseEstimator):
    """A fitted classifier that looks its answer up: column 0 of X is the row's number."""

    def __init__(self, proba):
        self.proba = proba
        self.classes_ = np.arange(proba.shape[1])

    def fit(self, X, y):
        raise AssertionError("a frozen estimator is not refitted")

    def predict_proba(self, X):
        return self.proba[np.asarray(X)[:, 0].astype(int)]


class LogitTable(nn.Module):
    """A target that can answer anything for each row."""

    def __init__(self, n_rows, n_classes):
        super().__init__()
        self.logits = nn.Embedding(n_rows, n_classes)
        nn.init.zeros_(self.logits.weight)

    def forward(self, X):
        return self.logits(X[:, 0].long())


def table_target(n_rows, n_classes, max_epochs=300):
    return NeuralNetClassifier(
        LogitTable,
        module__n_rows=n_rows,
        module__n_classes=n_classes,
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.SGD,
        lr=2.0 * n_rows / (1 + max_epochs / 300),
        batch_size=-1,
        max_epochs=max_epochs,
        verbose=0,
    )


def random_rows(rng, n_rows, n_classes):
    return softmax(2 * rng.normal(size=(n_rows, n_classes)), axis=1)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("settings", [{}, PAPER], ids=["default", "PAPER"])
def test_surrogate_rows_and_their_mean(settings, weighted):
    weight = 1.0 + Y if weighted else None
    clf = quick(**settings).fit(X, Y, sample_weight=weight)
    labels = clf.surrogate_labels_
    assert labels.shape == (len(X), 3)
    assert (labels >= 0).all()
    np.testing.assert_allclose(labels.sum(axis=1), 1, rtol=1e-6)
    totals = np.average(labels, axis=0, weights=weight)
    assert np.abs(totals - clf.class_marginal_).sum() <= 2 * clf.tol
    assert clf.transport_error_ <= clf.tol
    np.testing.assert_allclose(clf.class_marginal_.sum(), 1)


@pytest.mark.parametrize("solver", ["pot", "potentials"])
def test_published_labels_are_pots_plan(solver):
    clf = quick(**PAPER, solver=solver, tol=1e-9).fit(X, Y)
    log_target = log_probabilities(clf.target_, X.astype(np.float32), corrected=True)
    cost = -np.log(np.clip(clf.noise_aux_proba_, 1e-6, None)) - log_target
    rows = np.full(len(X), 1 / len(X))
    plan = ot.sinkhorn(rows, clf.class_marginal_, cost, reg=2, stopThr=1e-12)
    np.testing.assert_allclose(clf.surrogate_labels_, len(X) * plan, atol=1e-6)


def test_published_settings_without_base_loss_end_at_f_n_with_refitted_offsets(rng):
    n_rows, n_classes = 12, 3
    f_n, f_l = random_rows(rng, n_rows, n_classes), random_rows(rng, n_rows, n_classes)
    ids = np.arange(n_rows, dtype=float)[:, None]
    clf = DSinkClassifier(
        FrozenEstimator(Table(f_n)),
        FrozenEstimator(Table(f_l)),
        table_target(n_rows, n_classes),
        **{**PAPER, "base_loss": None},
        warmup=0,
        random_state=0,
    ).fit(ids, np.arange(n_rows) % n_classes)
    offsets = solve(np.log(f_n), f_l.mean(axis=0), tol=1e-9).potentials
    expected = softmax(np.log(f_n) + offsets, axis=1)
    np.testing.assert_allclose(expected.mean(axis=0), f_l.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(clf.predict_proba(ids), expected, atol=1e-3)
    np.testing.assert_allclose(clf.surrogate_labels_, expected, atol=1e-3)


@pytest.mark.parametrize("alpha", [0.5, 4.0])
def test_a_flexible_target_weighs_the_given_label_against_the_surrogate(alpha, rng):
    n_rows, n_classes = 12, 3
    ids = np.arange(n_rows, dtype=float)[:, None]
    y = np.arange(n_rows) % n_classes
    clf = DSinkClassifier(
        FrozenEstimator(Table(random_rows(rng, n_rows, n_classes))),
        FrozenEstimator(Table(random_rows(rng, n_rows, n_classes))),
        table_target(n_rows, n_classes),
        **{**PAPER, "alpha": alpha},
        random_state=0,
    ).fit(ids, y)
    given = np.eye(n_classes)[y]
    expected = (given + alpha * clf.surrogate_labels_) / (1 + alpha)
    np.testing.assert_allclose(clf.predict_proba(ids), expected, atol=1e-3)


@settings(max_examples=10)
@given(seed=st.integers(0, 10**6), n_classes=st.integers(2, 5))
def test_gradient_with_q_held_fixed_is_that_of_the_whole_objective(seed, n_classes):
    rng = np.random.default_rng(seed)
    n_rows = 6
    log_noise = np.log(random_rows(rng, n_rows, n_classes))
    marginal = random_rows(rng, 1, n_classes)[0]
    z = rng.normal(size=(n_rows, n_classes))

    def objective(z):
        """min over Q of mean_i KL(q_i || f_N) + KL(q_i || f), which distills into f."""
        log_f = log_softmax(z, axis=1)
        scores = mean_log_proba(log_noise, log_f)
        result = solve(scores, marginal, tol=1e-12, max_iter=10_000)
        q = surrogate_labels(scores, result.potentials)
        return np.sum(q * (2 * np.log(q) - log_noise - log_f)) / n_rows, q

    _, q = objective(z)
    logits = torch.tensor(z, requires_grad=True)
    target = {
        "label": torch.zeros(n_rows, dtype=torch.int64),
        "surrogate": torch.tensor(q),
        "weight": torch.ones(n_rows),
    }
    loss = DistillationLoss(alpha=1.0, base_loss=None)
    loss.logits = lambda output, corrected: output  # the loss rounds to float32, a test must not
    loss(logits, target).backward()

    numeric, step = np.empty_like(z), 1e-4
    for index in np.ndindex(z.shape):
        up, down = z.copy(), z.copy()
        up[index] += step
        down[index] -= step
        numeric[index] = (objective(up)[0] - objective(down)[0]) / (2 * step)
    np.testing.assert_allclose(logits.grad.numpy(), numeric, atol=1e-6)


@pytest.mark.parametrize("shuffle", [False, True])
def test_alpha_0_is_the_plainly_trained_net_bit_for_bit(shuffle):
    net = tiny_net(train_split=None, iterator_train__shuffle=shuffle)
    if shuffle:  # skorch's own loader draws another order from the same seed
        net.set_params(iterator_train=TensorIterator)
    inputs = X.astype(np.float32)

    def renew(log_target):
        raise AssertionError("without alpha nobody reads the surrogate labels")

    target = fit_target(
        net,
        inputs,
        Y,
        np.full((len(X), 3), 1 / 3, dtype=np.float32),
        sample_weight=None,
        alpha=0.0,
        base_loss=nn.CrossEntropyLoss(reduction="none"),
        log_prior=None,
        renew=renew,
        warmup=0,
        every=1,
        seed=7,
    )
    with torch.random.fork_rng():
        torch.manual_seed(7)
        plain = net.fit(inputs, Y)
    for ours, theirs in zip(target.module_.parameters(), plain.module_.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_alpha_0_does_not_hear_the_auxiliaries():
    options = {"alpha": 0.0, "base_loss": "cross_entropy", "prior_correction": False}
    inputs = X.astype(np.float32)
    outputs = [
        log_probabilities(
            quick(noise_aux=GaussianNB(var_smoothing=smoothing), **options).fit(X, Y).target_,
            inputs,
            corrected=False,
        )
        for smoothing in (1e-9, 1.0)
    ]
    np.testing.assert_array_equal(*outputs)


def test_two_fits_are_identical_and_global_state_is_untouched():
    np.random.seed(3)  # noqa: NPY002
    torch.manual_seed(3)
    numpy_state, torch_state = np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    threads, grad = torch.get_num_threads(), torch.is_grad_enabled()
    first, second = (
        quick(noise_aux=tiny_net(), alpha=2.0).fit(X, Y).predict_proba(X) for _ in range(2)
    )
    np.testing.assert_array_equal(first, second)
    assert all(map(np.array_equal, numpy_state, np.random.get_state()))  # noqa: NPY002
    assert torch.equal(torch_state, torch.get_rng_state())
    assert (threads, grad) == (torch.get_num_threads(), torch.is_grad_enabled())
    other = quick(noise_aux=tiny_net(), random_state=1).fit(X, Y).predict_proba(X)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize(
    "names",
    [["ant", "bee", "cow"], [-7, 0, 1000], np.array(["a", "b", "c"], object)],
    ids=["strings", "gaps", "objects"],
)
def test_renaming_classes_with_their_order_kept_changes_nothing(names):
    names = np.asarray(names)
    codes = quick().fit(X, Y)
    named = quick().fit(X, names[Y])
    np.testing.assert_array_equal(named.classes_, names)
    np.testing.assert_array_equal(named.predict_proba(X), codes.predict_proba(X))
    np.testing.assert_array_equal(named.surrogate_labels_, codes.surrogate_labels_)
    np.testing.assert_array_equal(named.predict(X), names[codes.predict(X)])


def test_bool_labels():
    clf = quick(4, 2).fit(X, Y > 0)
    assert clf.classes_.dtype == bool
    assert clf.predict(X).dtype == bool


def test_frozen_auxiliaries_are_used_untouched():
    fitted = GaussianNB().fit(X, TRUE)
    before = {key: np.copy(value) for key, value in vars(fitted).items()}
    clf = quick(noise_aux=FrozenEstimator(fitted), cv=3).fit(X, Y)
    assert clf.noise_aux_.estimator is fitted
    np.testing.assert_allclose(clf.noise_aux_proba_, fitted.predict_proba(X), atol=1e-7)
    for key, value in vars(fitted).items():
        np.testing.assert_array_equal(value, before[key])


def test_probabilities_under_another_prior_are_those_of_bayes():
    clf = quick().fit(X, Y)
    uniform = clf.predict_proba(X)
    prior = np.array([0.7, 0.2, 0.1])
    expected = uniform * prior / (uniform * prior).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(clf.set_params(class_prior=prior).predict_proba(X), expected)
    np.testing.assert_allclose(clf.set_params(class_prior=10 * prior).predict_proba(X), expected)
    by_label = pd.Series(prior, clf.classes_).sort_values()
    np.testing.assert_allclose(clf.set_params(class_prior=by_label).predict_proba(X), expected)
    train = clf.set_params(class_prior="train").predict_proba(X)
    same = clf.set_params(class_prior=clf.class_marginal_).predict_proba(X)
    np.testing.assert_allclose(train, same)
    np.testing.assert_array_equal(clf.set_params(class_prior="uniform").predict_proba(X), uniform)


def test_paper_is_in_sample_with_f_ls_totals_and_predicts_by_the_target_alone():
    assert PAPER.keys() <= DSinkClassifier().get_params(deep=False).keys()
    clf = quick(**PAPER).fit(X, Y)
    np.testing.assert_allclose(clf.noise_aux_proba_, clf.noise_aux_.predict_proba(X), atol=1e-7)
    np.testing.assert_allclose(clf.imb_aux_proba_, clf.imb_aux_.predict_proba(X), atol=1e-7)
    np.testing.assert_allclose(clf.class_marginal_, clf.imb_aux_proba_.mean(axis=0), atol=1e-6)
    with torch.no_grad():
        logits = clf.target_.module_(torch.from_numpy(X.astype(np.float32)))
    np.testing.assert_allclose(clf.predict_proba(X), logits.softmax(dim=1).numpy(), atol=1e-6)


def test_published_loss_is_cross_entropy_of_both_labels():
    rng = np.random.default_rng(0)
    logits = torch.from_numpy(rng.normal(size=(5, 3))).float()
    target = {
        "label": torch.tensor([0, 1, 2, 0, 1]),
        "surrogate": torch.from_numpy(random_rows(rng, 5, 3)).float(),
        "weight": torch.ones(5),
    }
    cross_entropy = nn.CrossEntropyLoss()
    expected = cross_entropy(logits, target["label"]) + PAPER["alpha"] * cross_entropy(
        logits, target["surrogate"]
    )
    loss = DistillationLoss(PAPER["alpha"], nn.CrossEntropyLoss(reduction="none"))
    torch.testing.assert_close(loss(logits, target), expected)


@pytest.mark.parametrize("settings", [{}, PAPER], ids=["default", "PAPER"])
def test_surrogate_labels_are_better_than_the_given_ones(settings):
    X, given, true = make_blobs((300, 100, 40), flip=0.3)
    clf = quick(**settings).fit(X, given)
    right = clf.surrogate_labels_.argmax(axis=1) == true
    assert right.mean() > (given == true).mean() + 0.15
    assert balanced_accuracy_score(true, clf.predict(X)) > 0.85


@pytest.mark.parametrize("relaxation", [None, 1.0])
def test_class_shares_of_the_labels_are_those_asked_for_unless_these_are_relaxed(relaxation, rng):
    log_noise, weight = np.log(random_rows(rng, 50, 3)), rng.uniform(0.1, 2, 50)
    asked = np.array([0.6, 0.3, 0.1])
    labeler = SurrogateLabeler(log_noise, asked, weight, relaxation=relaxation)
    labels, facts = labeler()
    shares = np.average(labels, axis=0, weights=weight)
    if relaxation is None:
        np.testing.assert_array_equal(labeler.shares(labels), asked)
    else:
        np.testing.assert_allclose(labeler.shares(labels), shares)
        assert np.abs(shares - asked).sum() > 0.05
    np.testing.assert_allclose(facts["marginal_error"], np.abs(shares - asked).sum(), atol=2e-6)


def test_a_class_that_relaxed_labels_leave_out_keeps_half_a_row():
    labeler = SurrogateLabeler(
        np.tile([0.0, 0.0, -200.0], (10, 1)), np.full(3, 1 / 3), relaxation=0
    )
    labels, _ = labeler()
    np.testing.assert_allclose(labeler.shares(labels), [0.475, 0.475, 0.05])


def test_labels_are_renewed_from_where_the_last_ones_ended(rng):
    log_noise, log_target = np.log(random_rows(rng, 2, 150).reshape(2, 50, 3))
    labeler = SurrogateLabeler(log_noise, np.array([0.6, 0.3, 0.1]), solver="potentials")
    facts = [labeler(log_target.copy())[1]["transport_n_iter"] for _ in range(2)]
    assert facts[0] > facts[1] == 1


def test_a_target_surer_than_any_float32_is_no_surer_than_one(rng):
    log_noise, asked = np.log(random_rows(rng, 20, 2)), np.array([0.5, 0.5])
    sure = np.tile([0.0, -1e9], (20, 1))
    least = np.tile([0.0, np.log(np.finfo(np.float32).tiny)], (20, 1))
    expected, _ = SurrogateLabeler(log_noise, asked)(least)
    found, _ = SurrogateLabeler(log_noise, asked)(sure.copy())
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_allclose(found.mean(axis=0), asked, atol=1e-6)
    apart = np.where(np.eye(2)[np.arange(20) % 2], 0.0, -1e9).astype(np.float32)
    labels, _ = SurrogateLabeler(log_noise, np.array([0.7, 0.3]))(apart)
    np.testing.assert_allclose(labels.mean(axis=0), [0.7, 0.3], atol=1e-6)
    assert labels[::2, 0].min() > 1 - 1e-6
