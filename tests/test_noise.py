"""The noise-robust classifiers: their parts in closed form, and how they behave."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest
import sklearn
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier
from skorch.callbacks import Callback

from sklearn_dsink import DSinkClassifier
from sklearn_dsink.datasets import flip_labels
from sklearn_dsink.inputs import TabularEncoder
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
from sklearn_dsink.noise._correction import cleanlab_noise_matrix, sharpen, undo_noise
from sklearn_dsink.noise._cross_fit import wrong_label_rates
from sklearn_dsink.noise._divide_mix import DivideMixLoss, clean_probabilities
from sklearn_dsink.noise._neighbor_smoothing import neighbor_label_shares
from sklearn_dsink.noise._twin import TwinNet

SHORT = {"max_epochs": 30, "hidden_layer_sizes": (128,)}
SEEDS = (0, 1, 2)

# Those that remember something of each training row.
WITH_MEMORY = [
    ELRClassifier(**SHORT),
    CoTeachingClassifier(0.4, **SHORT),
    NeighborSmoothingClassifier(**SHORT),
    DivideMixClassifier(**SHORT),
]


def noisy_digits(kind, rate, seed):
    X, y = load_digits(return_X_y=True)
    X, X_test, y, y_test = train_test_split(X, y, train_size=600, random_state=seed, stratify=y)
    y_noisy, _ = flip_labels(y, rate, kind=kind, random_state=seed)
    return X, y_noisy, X_test, y_test


@pytest.fixture(scope="module")
def noisy_iris():
    X, y = load_iris(return_X_y=True)
    y_noisy, _ = flip_labels(y, 0.3, random_state=0)
    return X, y_noisy, y


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


def test_co_teaching_stores_the_rates(noisy_iris):
    X, y, _ = noisy_iris
    short = {"max_epochs": 2, "random_state": 0}
    given = CoTeachingClassifier(0.25, **short).fit(X, y)
    np.testing.assert_array_equal(given.noise_rates_, np.full(3, 0.25))
    estimated = CoTeachingClassifier(**short).fit(X, y)
    assert estimated.noise_rates_.mean() == pytest.approx(0.3, abs=0.12)


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


# --- Noise correction ---------------------------------------------------------------------


def test_sharpening_keeps_the_order_and_does_not_underflow():
    proba = np.random.default_rng(0).dirichlet(np.full(5, 0.3), size=50)
    np.testing.assert_allclose(sharpen(proba, 1.0), proba)
    sharp = sharpen(proba, 400.0)
    np.testing.assert_allclose(sharp.sum(axis=1), 1)
    np.testing.assert_array_equal(sharp.argmax(axis=1), proba.argmax(axis=1))


def test_undoing_noise_inverts_the_matrix():
    rng = np.random.default_rng(0)
    matrix = 0.7 * np.eye(4) + 0.3 * rng.dirichlet(np.ones(4), size=4)
    true = rng.dirichlet(np.ones(4), size=20)
    found = undo_noise(true @ matrix, matrix, max_iter=5000)
    np.testing.assert_allclose(found, true, atol=0.01)
    # Without noise there is nothing to undo.
    np.testing.assert_allclose(undo_noise(true, np.eye(4), max_iter=1), true, atol=1e-9)


@pytest.mark.parametrize("joint", ["confident", "cleanlab"])
def test_noise_matrix_and_label_posterior_are_near_the_truth(joint):
    if joint == "cleanlab":
        pytest.importorskip("cleanlab")
    X, y = load_digits(return_X_y=True)
    y_noisy, matrix = flip_labels(y, 0.3, kind="pair", random_state=0)
    clf = NoiseCorrectedClassifier(
        ExtraTreesClassifier(50, min_samples_leaf=2), cv=3, joint=joint, random_state=0
    ).fit(X, y_noisy)
    np.testing.assert_allclose(clf.noise_matrix_.sum(axis=1), 1)
    assert np.abs(clf.noise_matrix_ - matrix).max() < 0.12
    restored = np.mean(clf.label_posterior_.argmax(axis=1) == y)
    assert restored > 0.9 > np.mean(y_noisy == y) + 0.15


@pytest.mark.parametrize("joint", ["confident", "cleanlab"])
def test_noise_estimate_counts_weights(joint):
    if joint == "cleanlab":
        pytest.importorskip("cleanlab")
    X, y = load_digits(return_X_y=True)
    y_noisy, _ = flip_labels(y, 0.3, kind="pair", random_state=0)
    trees = ExtraTreesClassifier(20, min_samples_leaf=2)
    clf = NoiseCorrectedClassifier(trees, cv=3, joint=joint, random_state=0)
    clf.fit(X, y_noisy, sample_weight=np.where(y == y_noisy, 1.0, 1e-3))
    assert clf.noise_matrix_.diagonal().min() > 0.9


def test_cleanlab_gets_rows_as_often_as_they_weigh():
    pytest.importorskip("cleanlab")
    rng = np.random.default_rng(0)
    codes = np.repeat([0, 1, 2], 200)
    proba = rng.dirichlet(np.ones(3), size=600) / 2 + np.eye(3)[codes] / 2
    weight = rng.integers(0, 4, size=600)
    repeated = np.repeat(np.arange(600), weight)
    found = cleanlab_noise_matrix(codes, proba, weight)
    expected = cleanlab_noise_matrix(codes[repeated], proba[repeated], np.ones(len(repeated)))
    np.testing.assert_allclose(found, expected, atol=0.02)
    # Rows of weight 0 do not count, and a class of no others is no noise.
    rows = np.flatnonzero(codes < 2)
    found = cleanlab_noise_matrix(codes, proba, np.where(codes < 2, 0.3, 0.0))
    np.testing.assert_array_equal(
        found[:2], cleanlab_noise_matrix(codes[rows], proba[rows], np.ones(len(rows)))[:2]
    )
    assert found[2, 2] > 0.99


@pytest.mark.parametrize("correction", ["sharpen", "transition"])
def test_corrected_probabilities_are_nearer_to_the_clean_labels(correction):
    for seed in SEEDS:
        X, y, X_test, y_test = noisy_digits("symmetric", 0.4, seed)
        trees = ExtraTreesClassifier(50, min_samples_leaf=2, random_state=seed)
        raw = trees.fit(X, y).predict_proba(X_test)
        clf = NoiseCorrectedClassifier(trees, correction=correction, cv=3, random_state=seed)
        corrected = clf.fit(X, y).predict_proba(X_test)
        assert log_loss(y_test, corrected) < log_loss(y_test, raw) - 0.2


def test_noise_correction_of_a_pipeline_of_strings(noisy_iris):
    X, y, y_true = noisy_iris
    names = np.array(["a", "b", "c"])
    pipeline = make_pipeline(StandardScaler(), LogisticRegression())
    clf = NoiseCorrectedClassifier(pipeline, random_state=0).fit(X, names[y])
    assert set(clf.predict(X)) == set(names)
    assert clf.score(X, names[y_true]) > np.mean(y == y_true)
    assert clf.noise_matrix_.shape == (3, 3)


def test_noise_correction_of_texts(noisy_iris):
    """Rows may be a list, of which there is one column only."""
    y = noisy_iris[1]
    texts = [f"{'red green blue'.split()[label]} thing" for label in y]
    pipeline = make_pipeline(CountVectorizer(), LogisticRegression())
    clf = NoiseCorrectedClassifier(pipeline, cv=3, random_state=0)
    assert clf.fit(texts, y).score(texts, y) == 1
    assert clf.fit(np.array(texts), y).score(texts, y) == 1


def test_noise_correction_of_tables_predicts_from_tables(noisy_iris):
    """The encoder is fitted once for all fits, and belongs to the estimator all the same."""
    X, y, _ = noisy_iris
    table = pd.DataFrame(X).add_prefix("column ").assign(kind=np.array(["a", "b", "c"])[y])
    trees = ExtraTreesClassifier(10, min_samples_leaf=2)
    clf = NoiseCorrectedClassifier(make_pipeline(TabularEncoder(), trees), cv=3, random_state=0)
    assert clf.fit(table, y).score(table, y) > 0.95
    assert clf.feature_names_in_.tolist() == table.columns.tolist()


def test_noise_correction_asks_for_folds(noisy_iris):
    with pytest.raises(ValueError, match="cv=None would estimate the noise from labels"):
        NoiseCorrectedClassifier(cv=None).fit(*noisy_iris[:2])


def test_metadata_routing(noisy_iris):
    X, y, _ = noisy_iris
    weight = np.where(y == 2, 50.0, 1.0)
    shares = []
    with sklearn.config_context(enable_metadata_routing=True):
        for asks in (True, False):
            tree = DecisionTreeClassifier(max_depth=2, random_state=0)
            clf = NoiseCorrectedClassifier(tree.set_fit_request(sample_weight=asks), cv=2)
            shares.append(np.mean(clf.fit(X, y, sample_weight=weight).predict(X) == 2))
    assert shares[0] > shares[1] + 0.1
    with pytest.raises(TypeError, match="metadata routing"):
        NoiseCorrectedClassifier(DecisionTreeClassifier()).fit(X, y, groups=y)


def test_frozen_estimators_are_corrected_as_they_are(noisy_iris):
    X, y, _ = noisy_iris
    tree = DecisionTreeClassifier(max_depth=2, random_state=0).fit(X[::2], y[::2])
    clf = NoiseCorrectedClassifier(FrozenEstimator(tree), sharpening=1.0).fit(X[1::2], y[1::2])
    np.testing.assert_allclose(clf.predict_proba(X), tree.predict_proba(X), atol=1e-5)


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
