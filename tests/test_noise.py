"""The noise-robust classifiers: their parts in closed form, and how they behave."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from _quick import noisy_digits
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import BatchScoring, Callback, EpochScoring

from sklearn_dsink import DSinkClassifier
from sklearn_dsink.datasets import flip_labels
from sklearn_dsink.noise import (
    ActivePassiveClassifier,
    AGCEClassifier,
    CoTeachingClassifier,
    DivideMixClassifier,
    EarlyStoppedNet,
    ELRClassifier,
    GCEClassifier,
    NeighborSmoothingClassifier,
    NoiseCorrectedClassifier,
    SCEClassifier,
)
from sklearn_dsink.noise._co_teaching import CoTeachingLoss
from sklearn_dsink.noise._cross_fit import wrong_label_rates
from sklearn_dsink.noise._divide_mix import DivideMixLoss, clean_probabilities
from sklearn_dsink.noise._neighbor_smoothing import neighbor_label_shares
from sklearn_dsink.noise._twin import TwinNet

SHORT = {"max_epochs": 30, "hidden_layer_sizes": (128,)}

# Those that remember something of each training row.
WITH_MEMORY = [
    ELRClassifier(**SHORT),
    CoTeachingClassifier(0.4, **SHORT),
    NeighborSmoothingClassifier(**SHORT),
    DivideMixClassifier(**SHORT),
]


# --- Every one of them --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("estimator", "parameter", "value"),
    [
        (GCEClassifier(), "q", 1.5),
        (GCEClassifier(), "truncation", 1.0),
        (SCEClassifier(), "alpha", -1),
        (ActivePassiveClassifier(), "beta", "one"),
        (AGCEClassifier(), "a", 0),
        (ELRClassifier(), "memory", 1.0),
        (CoTeachingClassifier(), "noise_rate", 1.0),
        (CoTeachingClassifier(), "selection", "all"),
        (DivideMixClassifier(), "sharpening", 0),
        (DivideMixClassifier(), "warm_up", 0),
        (EarlyStoppedNet(), "cv", 1),
        (NeighborSmoothingClassifier(), "smoothing", 1.1),
        (NoiseCorrectedClassifier(), "correction", "invert"),
        (NoiseCorrectedClassifier(), "sharpening", 0),
        (ELRClassifier(), "lr", -1),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_parameters_are_named(estimator, parameter, value, noisy_iris):
    with pytest.raises(ValueError, match=f"'{parameter}' parameter of {type(estimator).__name__}"):
        estimator.set_params(**{parameter: value}).fit(*noisy_iris[:2])


@pytest.mark.parametrize("estimator", WITH_MEMORY, ids=str)
def test_pickled_nets_with_memories_predict_alike(estimator, noisy_iris):
    X, y, _ = noisy_iris
    fitted = clone(estimator).set_params(max_epochs=3, random_state=0).fit(X, y)
    restored = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(restored.predict_proba(X), fitted.predict_proba(X))


def test_a_grid_search_on_noisy_labels_finds_the_robust_end(noisy_iris):
    X, y, _ = noisy_iris
    search = GridSearchCV(GCEClassifier(random_state=0, **SHORT), {"lr": [1e-6, 5e-3]}, cv=2)
    assert search.fit(X, y).best_params_ == {"lr": 5e-3}


# --- Co-teaching --------------------------------------------------------------------------


def test_twins_average_their_probabilities():
    net = TwinNet(n_features=3, n_classes=4)
    X = torch.randn(5, 3)
    assert net(X).shape == (5, 2, 4)
    net.eval()
    expected = torch.softmax(net.both(X), dim=2).mean(dim=1)
    torch.testing.assert_close(net(X).exp(), expected)
    assert (net.both(X)[:, 0] - net.both(X)[:, 1]).abs().max() > 0.01


def logits_of_loss(losses):
    """Two-class logits whose cross-entropy for label 0 is the one wanted."""
    p = torch.exp(-losses)
    return torch.stack([torch.log(p), torch.log1p(-p)], dim=-1)


def test_co_teaching_batch_rule_is_the_published_one():
    """Each net's gradient comes from the rows of smallest loss under the other."""
    losses = torch.tensor([[0.1, 0.9], [0.2, 0.8], [0.7, 0.3], [0.6, 0.4]], dtype=torch.float64)
    loss = CoTeachingLoss(torch.tensor([0.5, 0.5]), ramp_epochs=10, selection="batch")
    loss.prepare(torch.tensor([2.0, 2.0]), 4)
    loss.set_epoch(10, 30)
    z = logits_of_loss(losses).requires_grad_(True)
    value = loss(z, torch.zeros(4, dtype=torch.int64), torch.arange(4))
    # Net 0 learns rows 2, 3 (net 1's choice), net 1 rows 0, 1: the mean over the chosen.
    assert value.mean().item() == pytest.approx((0.7 + 0.6) / 2 + (0.9 + 0.8) / 2)
    value.mean().backward()
    assert (z.grad[:2, 0] == 0).all()
    assert (z.grad[2:, 0] != 0).all()
    assert (z.grad[2:, 1] == 0).all()
    assert (z.grad[:2, 1] != 0).all()


def test_co_teaching_by_class_chooses_within_each_class_and_ramps_up():
    labels = torch.tensor([0] * 10 + [1] * 4)
    # Class 1 is hard: all its losses are above all those of class 0.
    losses = torch.cat([torch.linspace(0.1, 1.0, 10), torch.linspace(2.0, 3.0, 4)])
    both = losses[:, None].expand(-1, 2)
    z = logits_of_loss(both)
    z[10:] = z[10:].flip(-1)
    loss = CoTeachingLoss(torch.tensor([0.2, 0.5]), ramp_epochs=10)
    loss.prepare(torch.tensor([10.0, 4.0]), 14)
    loss.set_epoch(0, 30)
    value = loss(z, labels, torch.arange(14))
    torch.testing.assert_close(value, 2 * losses)
    for epoch, n_kept in [(0, (10, 4)), (5, (9, 3)), (10, (8, 2)), (20, (8, 2))]:
        loss.set_epoch(epoch, 30)
        kept = loss.chosen[:, 0]
        assert (int(kept[:10].sum()), int(kept[10:].sum())) == n_kept
        assert kept[: n_kept[0]].all()
        assert kept[10 : 10 + n_kept[1]].all()
    value = loss(z, labels, torch.arange(14))
    expected = 2 * torch.cat([losses[:8], losses[10:12]]).mean()
    torch.testing.assert_close(value.mean(), expected)


def test_co_teaching_estimates_the_noise_rate():
    for rate in (0.0, 0.4):
        X, y, *_ = noisy_digits("symmetric", rate, 0)
        estimate = wrong_label_rates(X, y, 10, seed=0)
        assert estimate.shape == (10,)
        assert estimate.mean() == pytest.approx(rate, abs=0.08)


def test_labels_that_weigh_next_to_nothing_are_not_counted_as_wrong():
    X, true = load_digits(return_X_y=True)
    given, _ = flip_labels(true, 0.4, random_state=0)
    weight = np.where(given == true, 1.0, 1e-3)
    assert wrong_label_rates(X, given, 10, seed=0, weight=weight).mean() < 0.15


def test_co_teaching_stores_the_rates(noisy_iris):
    X, y, _ = noisy_iris
    short = {"max_epochs": 2, "random_state": 0}
    given = CoTeachingClassifier(0.25, **short).fit(X, y)
    np.testing.assert_array_equal(given.noise_rates_, np.full(3, 0.25))
    estimated = CoTeachingClassifier(**short).fit(X, y)
    assert estimated.noise_rates_.mean() == pytest.approx(0.3, abs=0.12)


@pytest.mark.parametrize(
    "callback",
    [
        EpochScoring("accuracy", on_train=True, name="found"),
        EpochScoring("accuracy", on_train=True, name="found", use_caching=False),
        BatchScoring("accuracy", on_train=True, name="found"),
    ],
    ids=["cached", "predicted", "by batch"],
)
@pytest.mark.parametrize(
    "clf",
    [CoTeachingClassifier(0.3), DivideMixClassifier(warm_up=10)],
    ids=["co-teaching", "dividemix"],
)
def test_two_nets_are_scored_on_training_rows(clf, callback, noisy_iris):
    X, y, _ = noisy_iris
    clf = clone(clf).set_params(max_epochs=20, random_state=0, callbacks=[callback]).fit(X, y)
    found = [epoch["found"] for epoch in clf.history_]
    assert len(found) == 20
    assert 0.6 < found[-1] < 0.8  # of the labels given, of which three in ten are wrong


# --- DivideMix ----------------------------------------------------------------------------


def test_mixture_tells_small_from_large_losses():
    rng = np.random.default_rng(0)
    losses = np.r_[rng.normal(0.3, 0.1, 300), rng.normal(2.0, 0.3, 100)]
    clean = clean_probabilities(losses)
    assert clean[:300].min() > 0.5
    assert clean[300:].max() < 0.5
    np.testing.assert_array_equal(clean_probabilities(np.ones(30)), np.ones(30))


def test_mixture_by_class_spares_a_hard_class():
    """All losses of a rare, hard class are large: one mixture for all sets it aside."""
    rng = np.random.default_rng(0)
    easy = np.r_[rng.normal(0.2, 0.05, 350), rng.normal(2.5, 0.2, 50)]
    hard = np.r_[rng.normal(1.8, 0.1, 30), rng.normal(3.0, 0.1, 10)]
    losses, labels = np.r_[easy, hard], np.repeat([0, 1], [400, 40])
    overall, by_class = clean_probabilities(losses), clean_probabilities(losses, labels)
    assert (overall[400:430] > 0.5).mean() < 0.1
    assert (by_class[400:430] > 0.5).mean() > 0.9
    assert (by_class[430:] > 0.5).mean() < 0.1


def test_divide_mix_targets_follow_the_paper():
    """Refinement and guessing, equations 3 to 6, at two samples: one label kept, one not."""
    loss = DivideMixLoss(warm_up=1, sharpening=0.5, unlabeled_weight=25.0)
    loss.prepare(torch.tensor([1.0, 1.0]), 2)
    # Columns: what either net's losses say. Each net relies on the other's.
    loss.clean = torch.tensor([[0.2, 0.8], [0.1, 0.4]])
    p = torch.tensor([[[0.6, 0.4], [0.3, 0.7]], [[0.9, 0.1], [0.5, 0.5]]])
    targets, kept = loss.guess(torch.log(p), torch.tensor([0, 1]), torch.tensor([0, 1]))
    assert kept.tolist() == [[True, False], [False, False]]
    mean = p.mean(dim=1)
    refined = 0.8 * torch.tensor([1.0, 0.0]) + 0.2 * p[0, 0]
    for row, expected in [
        (targets[0, 0], refined),
        (targets[0, 1], mean[0]),
        (targets[1, 0], mean[1]),
    ]:
        torch.testing.assert_close(row, expected**2 / (expected**2).sum())


def test_divide_mix_loss_follows_the_paper():
    loss = DivideMixLoss(warm_up=4, sharpening=0.5, unlabeled_weight=10.0)
    loss.prepare(torch.tensor([30.0, 10.0]), 2)
    loss.set_epoch(4 + 7, 60)  # ramp at 8 / 16
    logits = torch.randn(2, 2, 2, dtype=torch.float64)
    targets = torch.softmax(torch.randn(2, 2, 2, dtype=torch.float64), dim=2)
    kept = torch.tensor([[True, False], [False, True]])
    p = torch.softmax(logits, dim=2)
    entropy = -(targets * torch.log(p)).sum(dim=2)
    squares = ((targets - p) ** 2).mean(dim=2)
    prior = torch.tensor([0.75, 0.25])
    penalty = sum((prior * torch.log(prior / p[:, net].mean(dim=0))).sum() for net in range(2))
    data = (entropy[0, 0] + 5 * squares[0, 1] + 5 * squares[1, 0] + entropy[1, 1]) / 2
    value = loss.mixed(logits, targets, kept, torch.ones(2, dtype=torch.float64))
    assert value.item() == pytest.approx((data + penalty).item())


def test_divide_mix_takes_a_weight_for_so_many_copies():
    loss = DivideMixLoss(warm_up=1, sharpening=0.5, unlabeled_weight=25.0)
    loss.prepare(torch.tensor([30.0, 10.0]), 40)
    loss.set_epoch(5, 10)
    logits = torch.randn(4, 2, 2, dtype=torch.float64)
    targets = torch.softmax(torch.randn(4, 2, 2, dtype=torch.float64), dim=2)
    kept = torch.tensor([[True, False], [True, True], [False, False], [True, True]])
    weight = torch.tensor([3.0, 1.0, 1.0, 2.0], dtype=torch.float64)
    copies = torch.repeat_interleave(torch.arange(4), weight.long())
    ones = torch.ones(7, dtype=torch.float64)
    torch.testing.assert_close(
        loss.mixed(logits, targets, kept, weight * 4 / 7),
        loss.mixed(logits[copies], targets[copies], kept[copies], ones),
    )


def test_divide_mix_finds_the_wrong_labels():
    X, y = load_digits(return_X_y=True)
    y_noisy, _ = flip_labels(y[:600], 0.3, random_state=0)
    clf = DivideMixClassifier(random_state=0, max_epochs=15).fit(X[:600], y_noisy)
    clean = clf.clean_probabilities_.mean(axis=1)
    right = y_noisy == y[:600]
    assert np.mean((clean > 0.5) == right) > 0.9


# --- Early stopping -----------------------------------------------------------------------


def test_early_stopping_takes_the_minimum_of_the_validation_curve(noisy_iris):
    X, y, _ = noisy_iris
    clf = EarlyStoppedNet(random_state=0, lr=2e-2, max_epochs=40).fit(X, y)
    assert clf.validation_curve_.shape == (40,)
    assert clf.best_epoch_ == clf.validation_curve_.argmin() + 1
    assert clf.n_iter_ == clf.best_epoch_ < 40
    assert "valid_loss" not in clf.history_[0]


def test_early_stopping_without_an_epoch_says_so(noisy_iris):
    class StopAtOnce(Callback):
        def on_batch_end(self, net, **kwargs):
            raise KeyboardInterrupt

    X, y, _ = noisy_iris
    with pytest.raises(ValueError, match="no epoch to choose: one of its callbacks ended"):
        EarlyStoppedNet(callbacks=[StopAtOnce()], random_state=0).fit(X, y)


# --- Neighbours ---------------------------------------------------------------------------


def test_neighbour_shares_count_the_other_rows():
    X = np.array([[0.0], [1.0], [2.1], [10.0]])
    codes = np.array([0, 1, 1, 1])
    options = {"n_neighbors": 2, "metric": "euclidean"}
    even = neighbor_label_shares(X, codes, 2, balance=0.0, **options)
    np.testing.assert_allclose(even, [[0, 1], [0.5, 0.5], [0.5, 0.5], [0, 1]])
    balanced = neighbor_label_shares(X, codes, 2, balance=1.0, **options)
    np.testing.assert_allclose(balanced[1], [0.75, 0.25])
    weight = np.array([3.0, 1.0, 1.0, 1.0])
    weighted = neighbor_label_shares(X, codes, 2, balance=0.0, sample_weight=weight, **options)
    np.testing.assert_allclose(weighted[1], [0.75, 0.25])
    many = neighbor_label_shares(X, codes, 2, n_neighbors=99, metric="euclidean", balance=0.0)
    np.testing.assert_allclose(many[0], [0, 1])


@pytest.mark.parametrize("balance", [0.0, 0.5, 1.0])
def test_neighbours_of_rows_that_stand_for_many_vote_as_these_would(balance):
    rng = np.random.default_rng(0)
    X, codes = rng.normal(size=(800, 2)), np.repeat([0, 1], [600, 200])
    fewer = np.r_[np.arange(600), 600 + np.arange(40) * 5]
    weight = np.where(codes[fewer] == 1, 5.0, 1.0)
    options = {"n_neighbors": 20, "metric": "euclidean", "balance": balance}
    whole = neighbor_label_shares(X, codes, 2, **options)
    thinned = neighbor_label_shares(X[fewer], codes[fewer], 2, sample_weight=weight, **options)
    assert thinned[:600, 1].mean() == pytest.approx(whole[:600, 1].mean(), abs=0.12)


def test_the_validation_curve_goes_by_weight(noisy_iris):
    X, y, _ = noisy_iris
    weight = np.random.default_rng(0).lognormal(0, 1.5, len(y))
    clf = EarlyStoppedNet(random_state=0, max_epochs=3, lr=1e-3).fit(X, y, sample_weight=weight)
    # A net that has hardly learnt says the same of all rows, however they weigh.
    assert clf.validation_curve_[0] == pytest.approx(np.log(3), abs=0.25)


def test_cosine_distance_ignores_length():
    X = np.array([[1.0, 0.1], [100.0, 9.0], [0.1, 1.0], [9.0, 100.0]])
    shares = neighbor_label_shares(X, np.array([0, 1, 2, 3]), 4, n_neighbors=1, balance=0.0)
    assert shares.argmax(axis=1).tolist() == [1, 0, 3, 2]


def test_smoothing_interpolates_between_given_and_neighbours(noisy_iris):
    X, y, _ = noisy_iris
    kept = NeighborSmoothingClassifier(smoothing=0.0, max_epochs=1, random_state=0).fit(X, y)
    np.testing.assert_array_equal(kept.smoothed_labels_, np.eye(3)[y])
    mixed = NeighborSmoothingClassifier(
        smoothing=0.7, metric="euclidean", max_epochs=1, random_state=0
    ).fit(X, y)
    shares = neighbor_label_shares(X.astype(np.float32), y, 3, metric="euclidean")
    np.testing.assert_allclose(mixed.smoothed_labels_, 0.3 * np.eye(3)[y] + 0.7 * shares)


def test_neighbours_outvote_wrong_labels(noisy_iris):
    X, y, y_true = noisy_iris
    shares = neighbor_label_shares(X, y, 3, metric="euclidean")
    assert np.mean(shares.argmax(axis=1) == y_true) > np.mean(y == y_true) + 0.1


@pytest.mark.parametrize(
    "estimator",
    [
        CoTeachingClassifier(0.3, max_epochs=3),
        *(
            pytest.param(clf, marks=pytest.mark.slow)
            for clf in (
                GCEClassifier(max_epochs=3),
                SCEClassifier(max_epochs=3),
                ActivePassiveClassifier(max_epochs=3),
                AGCEClassifier(max_epochs=3),
                ELRClassifier(max_epochs=3),
                DivideMixClassifier(max_epochs=3, warm_up=1),
                EarlyStoppedNet(max_epochs=3),
                NeighborSmoothingClassifier(max_epochs=3),
                NoiseCorrectedClassifier(ExtraTreesClassifier(10)),
            )
        ),
    ],
    ids=str,
)
def test_every_one_serves_as_noise_aux(estimator, noisy_iris):
    X, y, _ = noisy_iris
    names = np.array(["setosa", "versicolor", "virginica"])[y]
    imb_aux = LogisticRegression(class_weight="balanced", max_iter=500)
    clf = DSinkClassifier(estimator, imb_aux, cv=2, refine=False, random_state=0)
    clf.fit(X, names, sample_weight=np.linspace(0.5, 1.5, len(y)))
    assert type(clf.noise_aux_) is type(estimator)
    assert clf.noise_aux_proba_.shape == (150, 3)
    assert clf.score(X, names) > 0.5


def test_cleanlab_itself_serves_as_an_auxiliary():
    """CleanLearning reads integer labels only and predicts after pruning."""
    pytest.importorskip("cleanlab")
    from cleanlab.classification import CleanLearning

    from sklearn_dsink._seeding import seeded

    X, y, X_test, y_test = noisy_digits("symmetric", 0.4, 0)
    with seeded(0):
        clf = CleanLearning(ExtraTreesClassifier(50, random_state=0), seed=0).fit(X, y)
    assert np.mean(clf.predict(X_test) == y_test) > 0.85


@pytest.mark.gpu
@pytest.mark.parametrize("estimator", [*WITH_MEMORY, EarlyStoppedNet(**SHORT)], ids=str)
def test_training_on_a_gpu(estimator, noisy_iris):
    X, y, y_true = noisy_iris
    clf = clone(estimator).set_params(device="cuda", random_state=0).fit(X, y)
    assert clf.score(X, y_true) > 0.85
