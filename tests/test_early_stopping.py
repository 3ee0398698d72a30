"""A part held back from the target, and stopping by the likelihood of its surrogate labels."""

from __future__ import annotations

import numpy as np
import pytest
from _quick import make_blobs, quick, tiny_net
from scipy.special import log_softmax
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.model_selection import PredefinedSplit
from skorch.callbacks import BatchScoring, Callback, EarlyStopping, EpochScoring
from skorch.dataset import Dataset, ValidSplit
from skorch.helper import predefined_split
from torch import nn
from torch.utils.data import DataLoader

from sklearn_dsink.target import fit_target, log_probabilities

X, Y, _ = make_blobs(flip=0.2)
X = X.astype(np.float32)
HELD = np.random.default_rng(0).permutation(len(X)) < 30
WEIGHT = np.random.default_rng(1).uniform(0.5, 1.5, len(X))


def held_back(**params):
    """Give a net that holds the rows of `HELD` back, for 40 epochs at most."""
    split = ValidSplit(PredefinedSplit(np.where(HELD, 0, -1)))
    return tiny_net(**{"max_epochs": 40, "train_split": split, **params})


class Watch(Callback):
    """Work out by hand the loss of the rows held back, from the labels that an epoch had."""

    surrogate: np.ndarray
    prior = np.log([0.6, 0.3, 0.1])
    expected: list[float] = []

    def on_epoch_end(self, net, **kwargs):
        logits = np.concatenate([part.numpy() for part in net.forward_iter(X)])
        log_proba = log_softmax(logits + self.prior, axis=1)
        loss = -(self.before * log_proba).sum(axis=1)
        self.expected.append(float((WEIGHT * loss)[HELD].mean()))

    def on_epoch_begin(self, net, **kwargs):
        self.before = self.surrogate.copy()


@pytest.mark.parametrize("loader", [None, DataLoader], ids=["ours", "torch's"])
def test_valid_loss_is_the_cross_entropy_to_the_latest_surrogate_rows_held_back(loader):
    rng = np.random.default_rng(2)
    surrogate = rng.dirichlet(np.ones(3), len(X)).astype(np.float32)
    Watch.surrogate = surrogate  # on the class, for the net is cloned
    Watch.expected.clear()
    # An option that ours does not have keeps torch's.
    names = [] if loader is None else ["iterator_train", "iterator_valid"]
    loaders = {f"{name}__num_workers": 0 for name in names}
    fitted = fit_target(
        held_back(max_epochs=4, callbacks=[Watch()], batch_size=7, **loaders),
        X,
        Y,
        surrogate,
        sample_weight=WEIGHT,
        alpha=1.0,
        base_loss=None,
        log_prior=Watch.prior,
        renew=lambda log_target: (rng.dirichlet(np.ones(3), len(X)), {"marginal_error": 0.0}),
        warmup=1,
        every=1,
        seed=0,
    )
    np.testing.assert_allclose(fitted.history[:, "valid_loss"], Watch.expected, rtol=1e-5)
    assert len({round(loss, 4) for loss in Watch.expected}) == 4


def test_rows_held_back_teach_the_target_nothing():
    def train(surrogate, labels):
        net = fit_target(
            held_back(max_epochs=3),
            X,
            labels,
            surrogate,
            sample_weight=None,
            alpha=1.0,
            base_loss=nn.CrossEntropyLoss(reduction="none"),
            log_prior=None,
            renew=None,
            warmup=99,
            every=1,
            seed=0,
        )
        return log_probabilities(net, X, corrected=False), net.history[:, "valid_loss"]

    surrogate = np.eye(3, dtype=np.float32)[Y]
    others = np.where(HELD[:, None], surrogate[:, ::-1], surrogate)
    first, first_loss = train(surrogate, Y)
    second, second_loss = train(np.ascontiguousarray(others), np.where(HELD, 2 - Y, Y))
    np.testing.assert_array_equal(first, second)
    assert first_loss[-1] < second_loss[-1]


@pytest.mark.parametrize("load_best", [False, True])
def test_early_stopping_by_the_part_held_back(load_best):
    stop = EarlyStopping("valid_loss", patience=3, threshold=0.05, load_best=load_best)
    model = quick(target=held_back(callbacks=[stop])).fit(X, Y)
    losses = np.array([epoch["valid_loss"] for epoch in model.history_])
    assert 4 < len(losses) < 40
    stop = next(c for _, c in model.target_.callbacks_ if isinstance(c, EarlyStopping))
    assert stop.best_epoch_ == len(losses) - 3
    assert (losses[-3:] > 0.95 * losses[stop.best_epoch_ - 1]).all()
    # Rows held back have surrogate labels like all others.
    np.testing.assert_allclose(
        model.surrogate_labels_.mean(axis=0), model.class_marginal_, atol=1e-6
    )
    whole = quick(target=held_back(max_epochs=stop.best_epoch_)).fit(X, Y)
    same = np.array_equal(model.predict_proba(X), whole.predict_proba(X))
    assert same == load_best, "the weights are those of the best epoch only where asked for"


def test_the_split_sees_the_given_labels():
    seen = []

    def split(dataset, y, **params):
        seen.append(y)
        return ValidSplit(0.2, stratified=True, random_state=0)(dataset, y)

    model = quick(target=tiny_net(train_split=split)).fit(X, Y)
    np.testing.assert_array_equal(seen[0], Y)
    assert all(np.isfinite(epoch["valid_loss"]) for epoch in model.history_)


def test_skorchs_own_split_counts_only_where_somebody_looks_at_it():
    untouched = tiny_net()
    assert "valid_loss" not in quick(target=untouched).fit(X, Y).history_[0]
    watched = tiny_net(callbacks=[EarlyStopping("valid_loss")])
    assert "valid_loss" in quick(target=watched).fit(X, Y).history_[0]


@pytest.mark.parametrize(
    "callback",
    [
        EpochScoring("accuracy", name="found", lower_is_better=False),
        EpochScoring("accuracy", name="found", use_caching=False),
        EpochScoring("accuracy", name="found", on_train=True),
        BatchScoring("accuracy", name="found"),
    ],
    ids=["cached", "anew", "of the training rows", "by batch"],
)
def test_scoring_callbacks_score_by_the_given_labels(callback):
    net = held_back(callbacks=[callback])
    history = quick(target=net).fit(X, Y).history_
    assert history[-1]["found"] > 0.6
    if not getattr(callback, "on_train", False):
        assert history[-1]["found"] == pytest.approx(history[-1]["valid_acc"])


@pytest.mark.parametrize(
    ("scoring", "score", "n_classes"),
    [
        ("neg_log_loss", lambda y, proba: -log_loss(y, proba), 3),
        ("roc_auc_ovr", lambda y, proba: roc_auc_score(y, proba, multi_class="ovr"), 3),
        ("roc_auc", lambda y, proba: roc_auc_score(y, proba[:, 1]), 2),
    ],
)
def test_scoring_callbacks_may_ask_for_probabilities(scoring, score, n_classes):
    callback = EpochScoring(scoring, name="found", lower_is_better=False)
    net = held_back(module__n_classes=n_classes, max_epochs=5, callbacks=[callback])
    labels = np.minimum(Y, n_classes - 1)
    model = quick(target=net).fit(X, labels)
    proba = model.target_.predict_proba(X[HELD])
    assert model.history_[-1]["found"] == pytest.approx(score(labels[HELD], proba))


@pytest.mark.parametrize("watched", [True, False])
def test_rows_of_ones_own_cannot_be_the_part_held_back(watched):
    callbacks = [EarlyStopping("valid_loss")] if watched else []
    net = tiny_net(train_split=predefined_split(Dataset(X, Y)), callbacks=callbacks)
    with pytest.raises(ValueError, match=r"no surrogate labels.*ValidSplit\(\.\.\.\)"):
        quick(target=net).fit(X, Y)


def test_the_default_split_counts_where_a_callback_scores_it():
    net = held_back(
        train_split=ValidSplit(5, stratified=True), callbacks=[EpochScoring("accuracy")]
    )
    assert "accuracy" in quick(target=net).fit(X, Y).history_[-1]
    net.callbacks = [EpochScoring("accuracy", on_train=True)]
    assert "valid_loss" not in quick(target=net).fit(X, Y).history_[-1]


def test_early_stopping_may_watch_the_accuracy():
    stop = EarlyStopping("valid_acc", lower_is_better=False, patience=3)
    history = quick(target=held_back(callbacks=[stop])).fit(X, Y).history_
    assert len(history) < 40
