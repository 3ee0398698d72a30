"""The target's loss, the renewal of its surrogate labels, and what it leaves alone."""

from __future__ import annotations

import gc
import pickle
import signal
import weakref

import numpy as np
import pytest
import torch
from _quick import make_blobs, quick, tiny_net
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_softmax, softmax
from skorch import NeuralNetClassifier
from skorch.callbacks import Callback, EarlyStopping
from torch import nn
from torch.utils.data import DataLoader, RandomSampler

from sklearn_dsink import NetClassifier
from sklearn_dsink._target_net import module_outputs
from sklearn_dsink.defaults import default_target
from sklearn_dsink.iterators import TensorIterator
from sklearn_dsink.losses import GCE, LDAM, ClassBalanced, CrossEntropy
from sklearn_dsink.target import (
    DistillationLoss,
    RenewSurrogate,
    fit_target,
    log_probabilities,
)

X, Y, _ = make_blobs()
X = X.astype(np.float32)
CROSS_ENTROPY = nn.CrossEntropyLoss(reduction="none")


def batch(seed, n_rows=6, n_classes=3):
    rng = np.random.default_rng(seed)
    return {
        "logits": rng.normal(size=(n_rows, n_classes)),
        "label": rng.integers(n_classes, size=n_rows),
        "surrogate": softmax(rng.normal(size=(n_rows, n_classes)), axis=1),
        "weight": rng.random(n_rows),
        "log_prior": log_softmax(rng.normal(size=n_classes)),
    }


def evaluate(loss, output, data):
    target = {key: torch.from_numpy(data[key]) for key in ("label", "surrogate", "weight")}
    return loss(output, target)


def train(net, **options):
    """Train on surrogate labels that always say class 0 once they are renewed."""
    calls = []

    def renew(log_target):
        calls.append(log_target.copy())
        rows = np.zeros((len(X), 3))
        rows[:, 0] = 1.0
        return rows, {"marginal_error": 0.0}

    settings = {
        "sample_weight": None,
        "alpha": 1.0,
        "base_loss": CROSS_ENTROPY,
        "log_prior": None,
        "renew": renew,
        "warmup": 1,
        "every": 1,
        "seed": 0,
        **options,
    }
    surrogate = np.full((len(X), 3), 1 / 3, dtype=np.float32)
    return fit_target(net, X, Y, surrogate, **settings), surrogate, calls


@given(st.integers(0, 10**6), st.sampled_from([0.0, 0.5, 4.0]), st.booleans(), st.booleans())
def test_loss_is_its_formula(seed, alpha, with_base, with_prior):
    data = batch(seed)
    prior = data["log_prior"] if with_prior else 0.0
    log_proba = log_softmax(data["logits"] + prior, axis=1)
    rows = np.arange(len(log_proba))
    per_row = -alpha * (data["surrogate"] * log_proba).sum(axis=1)
    if with_base:
        per_row -= log_proba[rows, data["label"]]
    expected = (data["weight"] * per_row).mean()
    loss = DistillationLoss(
        alpha, CROSS_ENTROPY if with_base else None, prior if with_prior else None
    )
    value = evaluate(loss, torch.from_numpy(data["logits"]), data)
    np.testing.assert_allclose(value.item(), expected, rtol=1e-5, atol=1e-6)


@given(st.integers(0, 10**6))
def test_probabilities_and_their_logarithms_are_one_loss(seed):
    data = batch(seed)
    logits = torch.from_numpy(data["logits"]).float()
    losses = [
        evaluate(DistillationLoss(2.0, CROSS_ENTROPY, data["log_prior"], outputs), output, data)
        for outputs, output in (
            ("logits", logits),
            ("proba", logits.softmax(dim=1)),
            ("logits", (logits, "attention", None)),
        )
    ]
    torch.testing.assert_close(losses[1], losses[0])
    torch.testing.assert_close(losses[2], losses[0])


def test_exact_zeros_keep_the_loss_and_its_gradient_finite():
    data = batch(0)
    proba = torch.eye(3)[[0, 1, 2, 0, 1, 2]].requires_grad_()
    loss = evaluate(DistillationLoss(1.0, CROSS_ENTROPY, outputs="proba"), proba, data)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(proba.grad).all()


def test_prior_correction_leaves_the_balanced_posterior_in_the_net():
    """With log prior in the loss, softmax(z) is the posterior over the prior."""
    posterior = torch.tensor([[0.9, 0.1], [0.6, 0.4]])
    prior = torch.tensor([0.8, 0.2])
    z = torch.zeros(2, 2, requires_grad=True)
    loss = DistillationLoss(1.0, None, prior.log())
    optimizer = torch.optim.LBFGS([z], max_iter=100)
    target = {
        "label": torch.zeros(2, dtype=torch.int64),
        "surrogate": posterior,
        "weight": torch.ones(2),
    }

    def step():
        optimizer.zero_grad()
        value = loss(z, target)
        value.backward()
        return value

    optimizer.step(step)
    expected = posterior / prior
    expected = expected / expected.sum(dim=1, keepdim=True)
    torch.testing.assert_close(z.softmax(dim=1).detach(), expected, atol=1e-3, rtol=0)


def test_the_criterion_tells_what_the_module_returns():
    assert module_outputs(NeuralNetClassifier(nn.Linear)) == "proba"
    assert module_outputs(tiny_net(criterion=nn.NLLLoss())) == "proba"
    assert module_outputs(tiny_net()) == "logits"
    assert module_outputs(tiny_net(criterion=nn.CrossEntropyLoss())) == "logits"


@pytest.mark.parametrize(
    "warmup, every, expected",
    [(0, 1, [1, 2, 3, 4]), (2, 1, [2, 3, 4]), (1, 2, [1, 3]), (9, 1, []), (5, 1, [])],
)
def test_surrogate_rows_are_renewed_in_time(warmup, every, expected):
    net, surrogate, calls = train(tiny_net(max_epochs=5), warmup=warmup, every=every)
    renewed = [e["epoch"] for e in net.history if "labels_moved" in e]
    assert renewed == expected
    assert len(calls) == len(expected)
    assert surrogate[0, 0] == (1.0 if expected else np.float32(1 / 3))
    moved = [e["labels_moved"] for e in net.history if "labels_moved" in e]
    assert moved == [0.0] * len(expected)  # from a draw, whose first class counts, to class 0
    for log_target in calls:
        np.testing.assert_allclose(np.exp(log_target).sum(axis=1), 1, rtol=1e-5)


def test_renewed_rows_teach_the_net():
    net, _, _ = train(tiny_net(max_epochs=30, lr=0.1), base_loss=None)
    assert (log_probabilities(net, X, corrected=True).argmax(axis=1) == 0).mean() > 0.9


def test_corrected_log_probabilities_hold_the_prior():
    log_prior = np.log([0.7, 0.2, 0.1])
    net, _, _ = train(tiny_net(), log_prior=log_prior)
    plain = log_probabilities(net, X, corrected=False)
    np.testing.assert_allclose(
        log_probabilities(net, X, corrected=True),
        log_softmax(plain + log_prior, axis=1),
        atol=1e-5,
    )


def test_rows_of_weight_0_teach_nothing():
    weight = np.where(Y == 2, 0.0, 1.0)
    noisy = np.where(Y == 2, 0, Y)  # the labels of the rows that do not count
    options = {
        "sample_weight": weight,
        "alpha": 0.0,
        "base_loss": CROSS_ENTROPY,
        "log_prior": None,
        "renew": None,
        "warmup": 0,
        "every": 1,
        "seed": 0,
    }
    surrogate = np.full((len(X), 3), 1 / 3, dtype=np.float32)
    first = fit_target(tiny_net(), X, Y, surrogate, **options)
    second = fit_target(tiny_net(), X, noisy, surrogate, **options)
    np.testing.assert_array_equal(
        log_probabilities(first, X, corrected=False), log_probabilities(second, X, corrected=False)
    )


def test_the_net_given_stays_as_it_is():
    net = tiny_net()
    before = dict(vars(net))
    train(net)
    assert vars(net) == before
    module = nn.Linear(4, 3)
    weights = module.weight.detach().clone()
    train(NeuralNetClassifier(module, criterion=nn.CrossEntropyLoss, max_epochs=2, verbose=0))
    assert torch.equal(module.weight, weights), "a module given as an instance is not trained"


class Loader(DataLoader):
    """A loader of one's own."""


def collate(rows):
    return torch.utils.data.default_collate(rows)


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"iterator_train__drop_last": True, "iterator_train__batch_size": 50}, TensorIterator),
        ({"iterator_train": Loader}, Loader),
        ({"iterator_train__num_workers": 0}, DataLoader),
        ({"iterator_train__collate_fn": collate}, DataLoader),
        (
            {"iterator_train__sampler": RandomSampler(X), "iterator_train__shuffle": None},
            DataLoader,
        ),
    ],
    ids=["ours can do the same", "another class", "workers", "collate_fn", "sampler"],
)
def test_a_loader_stays_where_ours_cannot_do_the_same(params, expected):
    net, surrogate, _ = train(tiny_net(max_epochs=30, lr=0.1, **params), base_loss=None)
    assert net.iterator_train is expected
    assert net.iterator_valid is TensorIterator
    assert (surrogate[:, 0] == 1).all()
    found = log_probabilities(net, X, corrected=True).argmax(axis=1)
    assert (found == 0).mean() > 0.9, "what it was taught by the renewed rows"


class OwnLoader(DataLoader):
    """A loader that is not torch's own."""


@pytest.mark.parametrize(
    "options",
    [{"iterator_valid": OwnLoader}, {"iterator_valid__num_workers": 0}],
    ids=["own loader", "own option"],
)
def test_a_loader_of_the_users_leaves_the_global_generator_alone(options):
    state = torch.get_rng_state()
    quick(target=tiny_net(**options)).fit(X, Y).predict(X)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("loader", ["iterator_train", "iterator_valid"])
def test_workers_that_would_keep_the_first_surrogate_rows_are_refused(loader):
    options = {f"{loader}__num_workers": 1, f"{loader}__persistent_workers": True}
    with pytest.raises(ValueError, match=rf"target: with {loader}__persistent_workers=True"):
        train(tiny_net(**options))


@pytest.mark.parametrize(
    "params", [{}, {"module__softmax": True, "criterion": nn.NLLLoss}], ids=["logits", "proba"]
)
def test_the_classes_of_a_users_net_are_codes_and_its_outputs_probabilities(params):
    target = tiny_net(classes=["a", "b", "c"], **params)
    model = quick(target=target, warm_start=True).fit(X, np.array(["x", "y", "z"])[Y])
    for _ in range(2):
        np.testing.assert_array_equal(model.target_.classes_, [0, 1, 2])
        proba = model.target_.predict_proba(X)
        expected = np.exp(log_probabilities(model.target_, X, corrected=False))
        np.testing.assert_allclose(proba, expected, atol=1e-6)
        model.fit(X, np.array(["x", "y", "z"])[Y])


def test_a_nonlinearity_of_ones_own_stays():
    net, _, _ = train(tiny_net(predict_nonlinearity=None))
    assert net.predict_nonlinearity is None


@pytest.mark.parametrize(
    "net", [tiny_net(), default_target(X, 3).set_params(max_epochs=1)], ids=["own", "default"]
)
def test_the_training_data_do_not_travel_in_a_fitted_net(net):
    net, _, _ = train(net)
    for _ in range(2):
        data = pickle.dumps(net)
        assert Y.tobytes() not in data
        np.testing.assert_array_equal(pickle.loads(data).classes_, [0, 1, 2])
        train(net, further=True)


class Interrupt(Callback):
    """Press Ctrl-C at the end of the second epoch, by what Python itself calls then."""

    def on_epoch_end(self, net, **kwargs):
        if len(net.history) == 2:
            signal.default_int_handler(signal.SIGINT, None)


def test_ctrl_c_reaches_the_user():
    with pytest.raises(KeyboardInterrupt):
        train(tiny_net(callbacks=[Interrupt()]))
    with pytest.raises(KeyboardInterrupt):
        train(tiny_net(callbacks=[EarlyStopping("train_loss", patience=50), Interrupt()]))


def test_early_stopping_ends_the_training():
    stop = EarlyStopping("train_loss", patience=1, threshold=10.0)
    net, _, _ = train(tiny_net(max_epochs=50, callbacks=[stop]))
    assert 1 < len(net.history) < 50


def test_callbacks_may_end_the_training():
    class Stop(Callback):
        def on_epoch_end(self, net, **kwargs):
            if len(net.history) == 2:
                raise KeyboardInterrupt

    net, _, _ = train(tiny_net(callbacks=[Stop()]))
    assert len(net.history) == 2
    assert not any(isinstance(callback, RenewSurrogate) for _, callback in net.callbacks_)


class Noted(CrossEntropy):
    """Write down what it is told of the epochs."""

    told: list[tuple[int, int]] = []

    def set_epoch(self, epoch, n_epochs):
        self.told.append((epoch, n_epochs))


def test_a_scheduled_base_loss_is_told_the_epochs_that_a_net_of_its_own_is():
    Noted.told.clear()
    NetClassifier(Noted(), max_epochs=4, random_state=0).fit(X, Y)
    expected = list(Noted.told)
    Noted.told.clear()
    net, _, _ = train(tiny_net(max_epochs=4), base_loss=Noted())
    assert Noted.told == expected == [(epoch, 4) for epoch in range(4)]
    train(net, further=True)
    assert Noted.told[4:] == [(epoch, 4) for epoch in range(4, 8)]


class Phases(Callback):
    """Write down in which epochs a loss is in its second phase."""

    seen: list[bool] = []

    def on_batch_begin(self, net, **kwargs):
        loss = net.criterion_.base_loss
        self.seen.append(getattr(loss, "weighing", None) or getattr(loss, "truncating", False))


@pytest.mark.parametrize(
    "loss",
    [ClassBalanced(LDAM(), start=0.5), GCE(truncation=0.5, truncate_from=0.5)],
    ids=["LDAM-DRW", "truncated GCE"],
)
def test_the_phases_of_a_base_loss_begin_when_they_should(loss):
    Phases.seen.clear()
    net = tiny_net(max_epochs=4, batch_size=len(X), callbacks=[Phases()])
    net, _, _ = train(net, base_loss=loss)
    assert Phases.seen == [False, False, True, True]
    train(net, further=True)
    assert Phases.seen[4:] == [True] * 4, "and do not end where a training goes on"


def test_the_weights_of_a_base_loss_move_the_net_once_they_begin():
    def weights(start):
        loss = ClassBalanced(start=start)
        net, _, _ = train(tiny_net(max_epochs=4), base_loss=loss, alpha=0.0)
        return torch.cat([p.detach().flatten() for p in net.module_.parameters()])

    from_the_first, late, never = weights(0.0), weights(0.5), weights(1.0)
    assert not torch.equal(late, never)
    assert not torch.equal(late, from_the_first)


def test_callbacks_see_the_renewal_and_the_fitted_net_forgets_the_data():
    seen = []

    class Watch(Callback):
        def on_epoch_end(self, net, **kwargs):
            seen.append(net.history[-1].get("marginal_error"))

    features = X.copy()
    alive = weakref.ref(features)

    def renew(log_target):
        return np.full((len(X), 3), 1 / 3), {"marginal_error": 0.5}

    net = fit_target(
        tiny_net(callbacks=[Watch()]),
        features,
        Y,
        np.full((len(X), 3), 1 / 3, dtype=np.float32),
        sample_weight=None,
        alpha=1.0,
        base_loss=None,
        log_prior=None,
        renew=renew,
        warmup=0,
        every=1,
        seed=0,
    )
    assert seen == [0.5, 0.5, None]
    del features
    gc.collect()
    assert alive() is None
    assert np.isfinite(log_probabilities(net, X, corrected=True)).all()


def test_dropout_is_off_in_prediction():
    class Noisy(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.Sequential(nn.Dropout(0.5), nn.Linear(4, 3))

        def forward(self, X):
            return self.layers(X)

    net, _, _ = train(NeuralNetClassifier(Noisy, criterion=nn.CrossEntropyLoss, verbose=0))
    first, second = (log_probabilities(net, X, corrected=True) for _ in range(2))
    np.testing.assert_array_equal(first, second)


class CountThreads(Callback):
    seen: list[int] = []

    def on_batch_end(self, net, **kwargs):
        self.seen.append(torch.get_num_threads())


def test_a_small_net_of_our_own_trains_on_one_thread_and_gives_the_others_back(two_threads):
    for net, expected in ((default_target(X, 3), 1), (tiny_net(), 2)):
        CountThreads.seen.clear()
        train(net.set_params(max_epochs=1, callbacks=[CountThreads()]))
        assert set(CountThreads.seen) == {expected}
        assert torch.get_num_threads() == 2
    with pytest.raises(KeyboardInterrupt):
        train(default_target(X, 3).set_params(callbacks=[Interrupt()]))
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("last", [nn.Identity(), nn.LogSoftmax(dim=1)], ids=["logits", "log"])
def test_a_module_that_returns_no_probabilities_has_to_say_so(last):
    module = nn.Sequential(nn.Linear(X.shape[1], 3), last)
    with pytest.raises(ValueError, match=r"no probabilities.*criterion=torch\.nn\.CrossEntropyL"):
        train(NeuralNetClassifier(module, max_epochs=1))
    train(NeuralNetClassifier(nn.Sequential(module, nn.Softmax(dim=1)), max_epochs=1, verbose=0))


def test_labels_are_renewed_for_the_class_shares_of_the_training_rows():
    net, surrogate, _ = train(tiny_net(), log_prior=np.log([0.7, 0.2, 0.1]))
    seen = []

    def renew(log_target):
        seen.append(log_target.copy())
        return np.eye(3)[np.full(len(X), 2)], {}

    facts = RenewSurrogate(renew, X, surrogate, 0, 1).update(net)
    np.testing.assert_allclose(seen[0], log_probabilities(net, X, corrected=True), atol=1e-6)
    assert facts == {"labels_moved": 1.0}  # from class 0 to class 2
    assert (surrogate[:, 2] == 1).all()


def test_a_base_loss_hears_of_the_weight_of_the_classes():
    weight = np.where(Y == 2, 3.0, 1.0)
    net, _, _ = train(tiny_net(), base_loss=LDAM(), sample_weight=weight)
    expected = LDAM()
    expected.prepare(torch.as_tensor(np.bincount(Y, weight)), len(Y))
    torch.testing.assert_close(net.criterion_.base_loss.margins, expected.margins)
