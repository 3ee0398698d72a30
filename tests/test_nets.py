"""The tabular net, and how it is built."""

from __future__ import annotations

import pickle
import warnings

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_iris
from skorch import NeuralNetClassifier
from skorch.callbacks import Callback
from torch import nn

from sklearn_dsink._threads import few_threads
from sklearn_dsink.nets import (
    CosineHead,
    CosineSchedule,
    TabularNet,
    default_batch_size,
    make_net,
    quantile_bins,
)
from sklearn_dsink.noise._twin import TwinNet


def test_net_is_head_of_features():
    net = TabularNet(4, 3, hidden_layer_sizes=(8, 6)).eval()
    X = torch.randn(5, 4)
    assert net.features(X).shape == (5, 6)
    torch.testing.assert_close(net(X), net.head(net.features(X)))


@pytest.mark.parametrize("with_bins", [False, True])
def test_net_does_not_depend_on_the_units_of_its_inputs(with_bins):
    X = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    outputs = []
    for factor, shift in [(1.0, 0.0), (100.0, -7.0)]:
        inputs = (factor * X + shift).astype(np.float32)
        center, scale = inputs.mean(axis=0), inputs.std(axis=0)
        bins = quantile_bins(inputs, center, scale) if with_bins else None
        with torch.random.fork_rng():
            torch.manual_seed(0)
            net = TabularNet(3, 2, center=center, scale=scale, bins=bins).eval()
        outputs.append(net(torch.from_numpy(inputs)))
    torch.testing.assert_close(outputs[0], outputs[1], rtol=1e-3, atol=1e-3)


def test_an_outlier_does_not_drown_the_other_features():
    net = TabularNet(3, 2, hidden_layer_sizes=()).eval()
    huge = net(torch.tensor([[1e6, 0.5, -0.5]]))
    torch.testing.assert_close(huge, net(torch.tensor([[1e9, 0.5, -0.5]])))
    assert huge.abs().max() < 10


def test_values_whose_square_is_infinite_are_far_away_too():
    net = TabularNet(2, 3, center=[0.0, 0.0], scale=[1e-3, 1.0]).eval()
    logits = net(torch.tensor([[far, 0.0] for far in (1e15, 1e20, 1e36, torch.inf)]))
    torch.testing.assert_close(logits, logits[:1].expand_as(logits))


@pytest.mark.parametrize("head", ["linear", "cosine"])
def test_the_dtype_is_that_of_the_inputs_whatever_torchs_default(head):
    torch.set_default_dtype(torch.float64)
    try:
        bins = [torch.tensor([-1.0, 1.0])] * 2
        scales = {"center": [0.0, 0.0], "scale": [1.0, 1.0], "head": head}
        nets = TabularNet(2, 3, **scales), TabularNet(2, 3, **scales, bins=bins)
    finally:
        torch.set_default_dtype(torch.float32)
    for net in nets:
        assert net(torch.zeros(4, 2)).dtype == torch.float32


def test_standardisation_travels_with_the_state():
    net = TabularNet(2, 2, center=[1.0, 2.0], scale=[3.0, 4.0])
    fresh = TabularNet(2, 2)
    fresh.load_state_dict(net.state_dict())
    assert fresh.center.tolist() == [1.0, 2.0]
    assert fresh.scale.tolist() == [3.0, 4.0]


def test_cosine_head_gives_scaled_cosines():
    head = CosineHead(5, 3, scale=30.0)
    h = torch.randn(20, 5)
    cosine = torch.nn.functional.cosine_similarity(h[:, None], head.weight[None], dim=2)
    torch.testing.assert_close(head(h), 30 * cosine)
    torch.testing.assert_close(head(10 * h), head(h))
    assert isinstance(TabularNet(4, 3, head="cosine").head, CosineHead)


def test_unknown_head_is_refused():
    with pytest.raises(ValueError, match="head must be 'linear' or 'cosine', got 'square'"):
        TabularNet(2, 2, head="square")


def test_bins_are_increasing_whatever_the_feature():
    X = np.column_stack(
        [np.ones(50), np.arange(50) % 2, np.arange(50), np.r_[np.zeros(49), 1]]
    ).astype(np.float32)
    bins = quantile_bins(X, np.zeros(4), np.ones(4), n_bins=8)
    assert [len(b) for b in bins] == [2, 3, 9, 2]
    assert all((b.diff() > 0).all() for b in bins)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net = TabularNet(4, 2, bins=bins)
    assert net(torch.from_numpy(X)).isfinite().all()


def test_bins_follow_the_quantiles_of_a_sample_of_rows():
    X = np.random.default_rng(0).exponential(size=(5000, 1)).astype(np.float32)
    (edges,) = quantile_bins(X, [0.0], [1.0], n_bins=4, max_rows=2500)
    np.testing.assert_allclose(edges[1:-1], np.quantile(X, [0.25, 0.5, 0.75]), atol=0.1)


# --- make_net -----------------------------------------------------------------------------


def test_make_net_trains_a_plain_criterion():
    X, y = load_iris(return_X_y=True)
    X = X.astype(np.float32)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = make_net(
            4,
            3,
            criterion=nn.CrossEntropyLoss,
            n_samples=len(X),
            max_epochs=15,
            lr=1e-2,
            center=X.mean(axis=0),
            scale=X.std(axis=0),
        ).fit(X, y)
    assert isinstance(net, NeuralNetClassifier)
    assert net.score(X, y) > 0.9
    np.testing.assert_allclose(net.predict_proba(X).sum(axis=1), 1, rtol=1e-5)


def test_nets_can_be_cloned_and_pickled():
    net = make_net(4, 3, criterion=nn.CrossEntropyLoss, n_samples=50, center=np.ones(4))
    copy = clone(net).set_params(max_epochs=1, module__dropout=0.5)
    X = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    y = np.arange(50) % 3
    with torch.random.fork_rng():
        copy.fit(X, y)
    assert copy.module_.center.tolist() == [1.0] * 4
    restored = pickle.loads(pickle.dumps(copy))
    np.testing.assert_array_equal(restored.predict_proba(X), copy.predict_proba(X))


@pytest.mark.parametrize(
    ("n_samples", "expected"), [(1, 16), (400, 16), (1300, 64), (5000, 256), (10**6, 512)]
)
def test_batch_size_grows_with_the_data(n_samples, expected):
    assert default_batch_size(n_samples) == expected


class RateLog(Callback):
    def on_train_begin(self, net, **kwargs):
        self.rates_ = []

    def on_grad_computed(self, net, **kwargs):
        self.rates_.append(net.optimizer_.param_groups[0]["lr"])


def test_learning_rate_rises_and_falls_to_zero():
    log = RateLog()
    net = make_net(
        2,
        2,
        criterion=nn.CrossEntropyLoss,
        n_samples=64,
        batch_size=16,
        max_epochs=10,
        lr=0.5,
        callbacks=[("log", log)],
    )
    X = np.random.default_rng(0).normal(size=(64, 2)).astype(np.float32)
    with torch.random.fork_rng():
        net.fit(X, np.arange(64) % 2)
    rates = np.array(log.rates_)
    top = rates.argmax()
    assert len(rates) == 40
    assert rates[top] == pytest.approx(0.5)
    assert (np.diff(rates[: top + 1]) > 0).all()
    assert (np.diff(rates[top:]) < 0).all()
    assert rates[-1] < 0.01
    assert isinstance(dict(net.callbacks_)["schedule"], CosineSchedule)


def untrained(n_classes=2, **options):
    """Give an initialized net of 100 inputs and 100 hidden units, 10,500 weights and more."""
    with torch.random.fork_rng():
        return make_net(
            100,
            n_classes,
            n_samples=64,
            hidden_layer_sizes=(100,),
            criterion=nn.CrossEntropyLoss,
            **options,
        ).initialize()


def test_small_nets_use_one_thread_and_give_the_others_back(two_threads):
    net = untrained()
    with few_threads(net, 64):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2
    with few_threads(net, 100_000):
        assert torch.get_num_threads() == 2
    with pytest.raises(RuntimeError, match="inside"), few_threads(net, 64):
        raise RuntimeError("inside")
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize(
    "options",
    [
        {"module": TwinNet},
        {"n_classes": 1000},
        {"bins": [torch.linspace(-1, 1, 33)] * 100},
    ],
    ids=["two nets", "a wide head", "embeddings"],
)
def test_all_weights_of_a_net_count_where_threads_are_chosen(options, two_threads):
    rows = 5_000
    with few_threads(untrained(), rows):
        assert torch.get_num_threads() == 1
    with few_threads(untrained(**options), rows):
        assert torch.get_num_threads() == 2
