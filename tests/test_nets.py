"""The tabular net, how it is built, and NetClassifier around it."""

from __future__ import annotations

import pickle
import shutil
import signal
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris, load_wine, make_classification
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch import NeuralNetClassifier
from skorch.callbacks import Callback, EpochTimer
from torch import nn

from sklearn_dsink import NetClassifier, _base_net
from sklearn_dsink._base_net import StopAfter
from sklearn_dsink._loss_epochs import LossEpochs
from sklearn_dsink.imbalance import CRTClassifier, LWSClassifier
from sklearn_dsink.losses import GCE, LOSSES, LogitAdjusted
from sklearn_dsink.nets import (
    CosineHead,
    CosineSchedule,
    TabularNet,
    default_batch_size,
    few_threads,
    make_net,
    plain_history,
    quantile_bins,
)
from sklearn_dsink.noise import EarlyStoppedNet
from sklearn_dsink.persistence import _own_parts

QUICK = {"hidden_layer_sizes": (32,), "max_epochs": 10, "lr": 1e-2, "random_state": 0}


@pytest.fixture(scope="module")
def iris():
    X, y = load_iris(return_X_y=True)
    return X.astype(np.float32), y


# --- TabularNet ---------------------------------------------------------------------------


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


def test_make_net_trains_a_plain_criterion(iris):
    X, y = iris
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


def test_small_nets_use_one_thread_and_give_the_others_back():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with few_threads(10, (32,), 64):
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
        with few_threads(4096, (4096,), 1024):
            assert torch.get_num_threads() == 2
        with pytest.raises(RuntimeError, match="inside"), few_threads(10, (32,), 64):
            raise RuntimeError("inside")
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


# --- NetClassifier ------------------------------------------------------------------------


def test_defaults_are_as_good_as_a_linear_model_on_small_tables():
    for load in (load_wine, load_digits):
        X, y = load(return_X_y=True)
        X, X_test, y, y_test = train_test_split(
            X, y, train_size=min(400, len(y) // 2), stratify=y, random_state=0
        )
        linear = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)
        net = NetClassifier(random_state=0).fit(X, y)
        assert net.score(X_test, y_test) > linear.score(X_test, y_test) - 0.015


def test_piecewise_embedding_learns_what_is_not_smooth():
    """Stripes along one feature: many thresholds, which plain inputs fit slowly."""
    rng = np.random.default_rng(0)
    X = rng.uniform(size=(800, 4)).astype(np.float32)
    y = (np.floor(8 * X[:, 0]) % 2).astype(int)
    scores = [
        NetClassifier(numeric_embedding=kind, random_state=0)
        .fit(X[:600], y[:600])
        .score(X[600:], y[600:])
        for kind in (None, "piecewise")
    ]
    assert scores[1] > scores[0] + 0.1
    assert scores[1] > 0.85


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_every_loss_trains(name, iris):
    X, y = iris
    clf = NetClassifier(name, **QUICK | {"max_epochs": 20}).fit(X, y)
    assert clf.score(X, y) > 0.85
    assert clf.history_[-1]["train_loss"] < clf.history_[0]["train_loss"]


def test_same_seed_same_net_and_global_generators_untouched(iris):
    X, y = iris
    np.random.seed(7)  # noqa: NPY002
    torch.manual_seed(7)
    expected = np.random.rand(), torch.rand(1).item()  # noqa: NPY002
    np.random.seed(7)  # noqa: NPY002
    torch.manual_seed(7)
    first, second = (NetClassifier(**QUICK).fit(X, y).predict_proba(X) for _ in range(2))
    other = NetClassifier(**QUICK | {"random_state": 1}).fit(X, y).predict_proba(X)
    assert (np.random.rand(), torch.rand(1).item()) == expected  # noqa: NPY002
    np.testing.assert_array_equal(first, second)
    assert np.abs(first - other).max() > 1e-3


def test_labels_of_any_type_in_dataframes(iris):
    X, y = iris
    frame = pd.DataFrame(X, columns=list("abcd"))
    names = np.array(["setosa", "versicolor", "virginica"], dtype=object)[y]
    clf = NetClassifier(**QUICK).fit(frame, names)
    assert clf.feature_names_in_.tolist() == list("abcd")
    assert set(clf.predict(frame)) <= set(names)
    np.testing.assert_array_equal(
        clf.predict_proba(frame), NetClassifier(**QUICK).fit(X, 5 * y - 3).predict_proba(X)
    )


def test_decision_function_ranks_as_probabilities_do(iris):
    X, y = iris
    clf = NetClassifier(**QUICK).fit(X, y)
    scores = clf.decision_function(X)
    np.testing.assert_allclose(
        clf.predict_proba(X), torch.softmax(torch.as_tensor(scores), dim=1), rtol=1e-6
    )
    binary = NetClassifier(**QUICK).fit(X, y > 0)
    np.testing.assert_allclose(
        binary.predict_proba(X)[:, 1], 1 / (1 + np.exp(-binary.decision_function(X))), rtol=1e-4
    )


def test_sparse_rows_train_as_dense_ones_do():
    X = sparse.random(80, 30, density=0.2, format="csr", dtype=np.float32, random_state=0)
    y = np.asarray(X.sum(axis=1)).ravel() > 3
    clf = NetClassifier(**QUICK).fit(X, y)
    dense = NetClassifier(**QUICK).fit(X.toarray(), y)
    assert clf.score(X, y) > 0.9
    np.testing.assert_allclose(
        clf.predict_proba(X), dense.predict_proba(X.toarray()), rtol=1e-3, atol=1e-4
    )
    with pytest.raises(ValueError, match="numeric_embedding='piecewise' needs dense X"):
        clf.set_params(numeric_embedding="piecewise").fit(X, y)


def test_samples_of_weight_zero_are_left_out(iris):
    X, y = iris
    weight = (np.arange(150) % 3 > 0).astype(float)
    weighted = NetClassifier(**QUICK).fit(X, y, sample_weight=weight)
    without = NetClassifier(**QUICK).fit(X[weight > 0], y[weight > 0])
    np.testing.assert_allclose(
        weighted.predict_proba(X), without.predict_proba(X), rtol=1e-4, atol=1e-6
    )


def test_weights_and_class_weights_move_the_decision():
    rng = np.random.default_rng(0)
    y = np.r_[np.zeros(180, int), np.ones(20, int)]
    X = rng.normal(size=(200, 2)) + y[:, None]
    plain = NetClassifier(**QUICK).fit(X, y)
    balanced = NetClassifier(**QUICK, class_weight="balanced").fit(X, y)
    weighted = NetClassifier(**QUICK).fit(X, y, sample_weight=np.where(y == 1, 9.0, 1.0))
    adjusted = NetClassifier(LogitAdjusted(), **QUICK).fit(X, y)
    share = plain.predict(X).mean()
    for clf in (balanced, weighted, adjusted):
        assert clf.predict(X).mean() > share + 0.1


def test_early_stopping_keeps_the_best_epoch():
    X, y = make_classification(300, flip_y=0.4, random_state=0)
    clf = NetClassifier(early_stopping=True, patience=5, random_state=0, lr=1e-2).fit(X, y)
    losses = [epoch["valid_loss"] for epoch in clf.history_]
    assert clf.n_iter_ == len(losses) < 60
    assert clf.n_iter_ == np.argmin(losses) + 1 + 5
    full = NetClassifier(random_state=0, lr=1e-2).fit(X, y)
    assert full.n_iter_ == 60
    assert "valid_loss" not in full.history_[0]


def test_early_stopping_with_lone_and_with_only_lone_classes(iris):
    X, y = iris
    y = y.copy()
    y[0] = 9
    clf = NetClassifier(**QUICK, early_stopping=True).fit(X, y)
    assert 9 in clf.classes_
    with pytest.raises(ValueError, match="early_stopping=True needs a class of at least two"):
        NetClassifier(**QUICK, early_stopping=True).fit(X[:3], [0, 1, 2])


def test_callbacks_are_copied_and_may_stop_training(iris):
    class StopAtOnce(Callback):
        def on_epoch_end(self, net, **kwargs):
            self.seen_ = True
            raise KeyboardInterrupt

    callback = StopAtOnce()
    clf = NetClassifier(**QUICK, callbacks=[callback]).fit(*iris)
    assert clf.n_iter_ == 1
    assert not hasattr(callback, "seen_")


def test_callbacks_may_stop_training_amid_an_epoch(iris):
    class StopAtThird(Callback):
        def on_batch_end(self, net, **kwargs):
            if len(net.history) == 3:
                raise KeyboardInterrupt

    clf = NetClassifier(**QUICK, callbacks=[StopAtThird()]).fit(*iris)
    assert clf.n_iter_ == len(clf.history_) == 2
    clf.predict(iris[0])


def ctrl_c(*args, **kwargs):
    """Press it: this is what Python itself calls, between two instructions of a function."""
    signal.default_int_handler(signal.SIGINT, None)


# A callback of each net, which may do nothing else: the final one of EarlyStoppedNet has its own.
@pytest.mark.parametrize("when", ["on_batch_begin", "on_batch_end", "on_epoch_end"])
@pytest.mark.parametrize(
    ("clf", "callback"),
    [
        (NetClassifier(**QUICK), CosineSchedule),
        (NetClassifier(**QUICK, early_stopping=True), CosineSchedule),
        (NetClassifier(**QUICK, callbacks=[EpochTimer()]), CosineSchedule),
        (EarlyStoppedNet(**QUICK, cv=2), CosineSchedule),
        (EarlyStoppedNet(**QUICK, cv=2), StopAfter),
    ],
    ids=["plain", "early stopping", "callbacks", "a fold", "after the folds"],
)
def test_the_users_interrupt_is_not_swallowed(clf, callback, when, iris, monkeypatch):
    clf = clone(clf).fit(*iris)
    with monkeypatch.context() as patch:
        patch.setattr(callback, when, lambda self, *args, **kwargs: ctrl_c())
        with pytest.raises(KeyboardInterrupt):
            clf.fit(*iris)
    with pytest.raises(NotFittedError):
        clf.predict(iris[0])
    assert clf.fit(*iris).score(*iris) > 0.8


@pytest.mark.parametrize(
    "press", [ctrl_c, signal.default_int_handler], ids=["in a function", "in the callback itself"]
)
def test_an_interrupt_amid_a_callback_is_the_users(press, iris):
    class Busy(Callback):
        def on_epoch_end(self, net, **kwargs):
            press(signal.SIGINT, None)

    with pytest.raises(KeyboardInterrupt):
        NetClassifier(**QUICK, callbacks=[Busy()]).fit(*iris)


@pytest.mark.parametrize("method", [CRTClassifier, LWSClassifier])
def test_an_interrupt_in_the_second_stage_leaves_nothing_fitted(method, iris, monkeypatch):
    clf = method(**QUICK)
    monkeypatch.setattr("sklearn_dsink.imbalance._decoupled.class_aware_loader", ctrl_c)
    with pytest.raises(KeyboardInterrupt):
        clf.fit(*iris)
    with pytest.raises(NotFittedError):
        clf.predict(iris[0])


def test_a_callback_that_earlier_pickles_name_is_found():
    assert _base_net.LossEpochs is LossEpochs
    assert _own_parts({"sklearn_dsink._base_net.LossEpochs"})


def test_plain_history_has_an_entry_an_epoch_and_no_batches(iris):
    net = NetClassifier(**QUICK).fit(*iris).net_
    history = plain_history(net)
    assert [epoch["epoch"] for epoch in history] == list(range(1, 11))
    assert set(history[0]) == set(net.history[0]) - {"batches"}


def test_a_loss_instance_is_copied(iris):
    loss = LogitAdjusted()
    clf = NetClassifier(loss, **QUICK).fit(*iris)
    assert loss.log_prior.shape == (1,)
    assert clf.net_.criterion_.loss.log_prior.shape == (3,)


def test_pickle_and_grid_search(iris):
    X, y = iris
    search = GridSearchCV(NetClassifier(**QUICK), {"loss": ["cross_entropy", GCE()]}, cv=2)
    search.fit(X, y)
    assert search.best_score_ > 0.8
    restored = pickle.loads(pickle.dumps(search))
    np.testing.assert_array_equal(restored.predict_proba(X), search.predict_proba(X))


@pytest.mark.slow
def test_cross_validation_in_processes(iris):
    serial = cross_val_score(NetClassifier(**QUICK), *iris, cv=2)
    parallel = cross_val_score(NetClassifier(**QUICK), *iris, cv=2, n_jobs=2)
    np.testing.assert_allclose(serial, parallel)


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("loss", "absolute"),
        ("dropout", 1.0),
        ("max_epochs", 0),
        ("batch_size", 1),
        ("lr", 0),
        ("weight_decay", -1),
        ("numeric_embedding", "periodic"),
        ("validation_fraction", 0),
        ("class_weight", "inverse"),
        ("random_state", "lucky"),
        ("hidden_layer_sizes", 64),
    ],
)
def test_bad_parameters_are_named(parameter, value, iris):
    with pytest.raises(ValueError, match=f"'{parameter}' parameter of NetClassifier"):
        NetClassifier(**QUICK | {parameter: value}).fit(*iris)


def test_bad_data_is_named(iris):
    X, y = iris
    with pytest.raises(ValueError, match="only one class"):
        NetClassifier(**QUICK).fit(X, np.zeros(150))
    with pytest.raises(ValueError, match="only one class among the samples of positive weight"):
        NetClassifier(**QUICK).fit(X, y, sample_weight=y == 1)
    with pytest.raises(ValueError, match="Negative values in data passed to `sample_weight`"):
        NetClassifier(**QUICK).fit(X, y, sample_weight=-np.ones(150))


def test_divergence_is_reported(iris):
    class Broken(GCE):
        def forward(self, logits, labels):
            return super().forward(logits, labels) * float("nan")

    with pytest.raises(ValueError, match="Training diverged: the loss is nan after 10 epochs"):
        NetClassifier(Broken(), **QUICK).fit(*iris)


def net_of(data, **options):
    """Train a net for few epochs, from the same weights each time."""
    X, y = data
    torch.manual_seed(0)
    net = make_net(
        X.shape[1],
        3,
        criterion=torch.nn.CrossEntropyLoss,
        n_samples=len(X),
        max_epochs=10,
        dropout=0.0,
        center=X.mean(axis=0),
        scale=X.std(axis=0),
        **options,
    )
    return net.fit(X.astype(np.float32), y.astype(np.int64))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the compiler warns of what torch itself does inside
def test_compiled_net_predicts_the_same(iris):
    if not any(shutil.which(name) for name in ("c++", "g++", "clang++")):
        pytest.skip("torch.compile needs a C++ compiler on the CPU")
    X = iris[0].astype(np.float32)
    net = net_of(iris, compile=True)
    assert hasattr(net.module_, "_orig_mod")
    expected = net_of(iris).predict_proba(X)
    np.testing.assert_allclose(net.predict_proba(X), expected, atol=1e-3)


@pytest.mark.gpu
def test_training_on_a_gpu(iris):
    X, y = iris
    for loss in ("cross_entropy", "elr", "logit_adjusted"):
        clf = NetClassifier(loss, device="cuda", **QUICK | {"max_epochs": 20}).fit(X, y)
        assert next(clf.net_.module_.parameters()).is_cuda
        assert clf.score(X, y) > 0.85
        again = NetClassifier(loss, device="cuda", **QUICK | {"max_epochs": 20}).fit(X, y)
        np.testing.assert_allclose(clf.predict_proba(X), again.predict_proba(X), atol=1e-4)
