"""NetClassifier, and what may end its training."""

from __future__ import annotations

import pickle
import shutil
import signal

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
from skorch.callbacks import BatchScoring, Callback, EpochScoring, EpochTimer

from sklearn_dsink import NetClassifier, _base_net
from sklearn_dsink._loss_epochs import LossEpochs
from sklearn_dsink.imbalance import CRTClassifier, LWSClassifier
from sklearn_dsink.losses import GCE, LOSSES, LogitAdjusted
from sklearn_dsink.nets import CosineSchedule, make_net, plain_history
from sklearn_dsink.noise import EarlyStoppedNet
from sklearn_dsink.persistence import _own_parts

QUICK = {"hidden_layer_sizes": (32,), "max_epochs": 10, "lr": 1e-2, "random_state": 0}


@pytest.fixture(scope="module")
def iris():
    X, y = load_iris(return_X_y=True)
    return X.astype(np.float32), y


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


def test_samples_of_weight_zero_do_not_count_for_class_weights(iris):
    X, y = iris
    weight = np.where(y == 0, np.arange(150) % 5 == 0, 1).astype(float)
    clf = NetClassifier(**QUICK, class_weight="balanced")
    weighted = clone(clf).fit(X, y, sample_weight=weight)
    without = clone(clf).fit(X[weight > 0], y[weight > 0])
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


@pytest.mark.parametrize("batch_size", [16, 256])
def test_balanced_weights_do_what_they_do_elsewhere_in_batches_of_any_size(batch_size):
    # Most batches of 16 have no row of the small class.
    rng = np.random.default_rng(0)
    y = np.r_[np.zeros(980, int), np.ones(20, int)]
    X = rng.normal(size=(1000, 2)) + 1.5 * y[:, None]
    linear = NetClassifier(
        hidden_layer_sizes=(),
        class_weight="balanced",
        batch_size=batch_size,
        lr=0.01,
        random_state=0,
    ).fit(X, y)
    reference = LogisticRegression(class_weight="balanced").fit(X, y)
    assert np.mean(linear.predict(X) == reference.predict(X)) > 0.97


def test_balanced_class_weights_go_by_weight():
    rng = np.random.default_rng(0)
    y = np.r_[np.zeros(300, int), np.ones(30, int)]
    X = rng.normal(size=(330, 2)) + y[:, None]
    weight = np.where(y == 1, 10.0, 1.0)
    copies = np.repeat(np.arange(330), weight.astype(int))
    clf = NetClassifier(**QUICK, class_weight="balanced")
    weighted = clone(clf).fit(X, y, sample_weight=weight).predict_proba(X)[:, 1].mean()
    repeated = clone(clf).fit(X[copies], y[copies]).predict_proba(X)[:, 1].mean()
    assert weighted == pytest.approx(repeated, abs=0.06)


def test_weights_whose_sum_float32_cannot_hold(iris):
    X, y = iris
    huge = NetClassifier(**QUICK).fit(X, y, sample_weight=np.full(150, 1e37))
    np.testing.assert_array_equal(
        huge.predict_proba(X), NetClassifier(**QUICK).fit(X, y).predict_proba(X)
    )


def test_early_stopping_keeps_the_best_epoch():
    X, y = make_classification(300, flip_y=0.4, random_state=0)
    clf = NetClassifier(early_stopping=True, patience=5, random_state=0, lr=1e-2).fit(X, y)
    losses = [epoch["valid_loss"] for epoch in clf.history_]
    assert clf.n_iter_ == len(losses) < 60
    assert clf.n_iter_ == np.argmin(losses) + 1 + 5
    full = NetClassifier(random_state=0, lr=1e-2).fit(X, y)
    assert full.n_iter_ == 60
    assert "valid_loss" not in full.history_[0]


def test_a_net_that_stopped_early_keeps_no_rows_and_can_go_on(iris):
    X, y = iris
    clf = NetClassifier(**QUICK, early_stopping=True, callbacks=[EpochTimer()]).fit(X, y)
    data = pickle.dumps(clf)
    assert not any(row.tobytes() in data for row in X)
    np.testing.assert_array_equal(pickle.loads(data).predict_proba(X), clf.predict_proba(X))
    assert any(isinstance(callback, EpochTimer) for callback in clf.net_.callbacks)
    weight = np.ones(len(X), dtype=np.float32)
    clf.net_.partial_fit(X, {"label": y, "weight": weight, "index": np.arange(len(X))})
    assert len(clf.net_.history) == len(clf.history_) + QUICK["max_epochs"]
    assert "valid_loss" not in clf.net_.history[-1]


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


@pytest.mark.parametrize(
    ("callback", "params"),
    [
        (EpochScoring("accuracy", on_train=True, name="found"), {}),
        (EpochScoring("accuracy", on_train=True, name="found", use_caching=False), {}),
        (EpochScoring("accuracy", name="found"), {"early_stopping": True}),
        (EpochScoring("accuracy", name="found", use_caching=False), {"early_stopping": True}),
        (EpochScoring("roc_auc_ovr", name="found"), {"early_stopping": True}),
        (BatchScoring("accuracy", on_train=True, name="found"), {}),
        (BatchScoring("accuracy", name="found"), {"early_stopping": True}),
    ],
)
def test_scoring_callbacks_score_by_the_given_labels(callback, params, iris):
    X, y = iris
    names = np.array(["setosa", "versicolor", "virginica"])
    clf = NetClassifier(**QUICK, **params, callbacks=[callback]).fit(X, names[y])
    assert clf.history_[-1]["found"] > 0.7
    clf.net_.partial_fit(X, y)  # labels alone, as skorch has them
    assert len(clf.net_.history) > clf.n_iter_


def test_a_fitted_net_forgets_the_labels(iris):
    X, y = iris
    clf = NetClassifier(**QUICK).fit(X, y)
    assert np.asarray(y, dtype=np.int64).tobytes() not in pickle.dumps(clf)
    np.testing.assert_array_equal(clf.net_.classes_, [0, 1, 2])


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


def amid_any(net):
    return True


def amid_the_last(net):
    """Whether all rows are trained on: EarlyStoppedNet holds a fold back before that."""
    return net.train_split is None


@pytest.mark.parametrize("when", ["on_batch_begin", "on_batch_end", "on_epoch_end"])
@pytest.mark.parametrize(
    ("clf", "amid"),
    [
        (NetClassifier(**QUICK), amid_any),
        (NetClassifier(**QUICK, early_stopping=True), amid_any),
        (NetClassifier(**QUICK, callbacks=[EpochTimer()]), amid_any),
        (EarlyStoppedNet(**QUICK, cv=2), amid_any),
        (EarlyStoppedNet(**QUICK, cv=2), amid_the_last),
    ],
    ids=["plain", "early stopping", "callbacks", "a fold", "after the folds"],
)
def test_the_users_interrupt_is_not_swallowed(clf, amid, when, iris, monkeypatch):
    clf = clone(clf).fit(*iris)
    with monkeypatch.context() as patch:
        patch.setattr(CosineSchedule, when, lambda self, net, **kwargs: amid(net) and ctrl_c())
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
        ("hidden_layer_sizes", (-1,)),
        ("hidden_layer_sizes", (6.5,)),
        ("hidden_layer_sizes", [True]),
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
