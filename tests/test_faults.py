"""What breaks from outside reaches the user, and leaves nothing that claims to be whole."""

from __future__ import annotations

import os
import pickle
import resource
import signal
from contextlib import contextmanager

import pytest
import torch
from _quick import TinyModule, make_blobs, quick, tiny_net
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import NotFittedError
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import Callback

from sklearn_dsink import NetClassifier
from sklearn_dsink._progress import Progress
from sklearn_dsink.export import export_onnx
from sklearn_dsink.persistence import save_model

X, Y, _ = make_blobs()


def check_unfitted(clf):
    with pytest.raises(NotFittedError):
        clf.predict(X)
    assert not hasattr(clf, "target_")


# Ctrl-C, wherever the fit is -------------------------------------------------------------------


def interrupt(*args, **kwargs):
    raise KeyboardInterrupt


class Interrupted(ClassifierMixin, BaseEstimator):
    """The user loses patience while it is fitted."""

    fit = interrupt
    predict_proba = interrupt


class ModuleInterrupted(TinyModule):
    """The user loses patience while it computes."""

    forward = interrupt


class Pressed(Callback):
    """The user loses patience at an epoch's end; this is what Python itself calls then."""

    def on_epoch_end(self, net, **kwargs):
        signal.default_int_handler(signal.SIGINT, None)


class Stop(Callback):
    """Ends the training as skorch's callbacks do."""

    def on_epoch_end(self, net, **kwargs):
        raise KeyboardInterrupt


def interrupted_net(**params):
    return tiny_net(**params).set_params(module=ModuleInterrupted)


@pytest.mark.parametrize(
    "params",
    [
        {"noise_aux": Interrupted()},
        {"imb_aux": interrupted_net()},
        {"imb_aux": make_pipeline(StandardScaler(), interrupted_net())},
        {"imb_aux": tiny_net(callbacks=[Pressed()])},
        {"noise_aux": NetClassifier(early_stopping=True, callbacks=[Pressed()])},
        {"target": interrupted_net()},
        {"target": tiny_net(callbacks=[Pressed()])},
    ],
    ids=[
        "auxiliary",
        "net as auxiliary",
        "net in a pipeline",
        "net as auxiliary, at an epoch's end",
        "classifier with a net, at an epoch's end",
        "target",
        "target, at an epoch's end",
    ],
)
def test_ctrl_c_in_an_estimator(params):
    clf = quick().fit(X, Y).set_params(**params)
    with pytest.raises(KeyboardInterrupt):
        clf.fit(X, Y)
    check_unfitted(clf)


@pytest.mark.parametrize(
    "stage",
    [
        "sklearn_dsink.evidence.fit_label_model",
        "sklearn_dsink.refinement.run_jobs",
        "sklearn_dsink.surrogate.solve_labels",
        "sklearn_dsink.shared_encoding.TabularEncoder.fit_transform",
        "sklearn_dsink.target.log_probabilities",
    ],
    ids=["label model", "second fits", "transport", "encoder", "renewal"],
)
def test_ctrl_c_in_each_stage(stage, monkeypatch):
    clf = quick().fit(X, Y)
    with monkeypatch.context() as patch:
        patch.setattr(stage, interrupt)
        with pytest.raises(KeyboardInterrupt):
            clf.fit(X, Y)
    check_unfitted(clf)
    clf.fit(X, Y).predict(X)


def test_a_callback_may_end_the_training_of_an_auxiliary():
    net = tiny_net(callbacks=[Stop()], max_epochs=9)
    clf = quick(noise_aux=net).fit(X, Y)
    inner = clf.noise_aux_.estimator_
    assert len(inner.history) == 1
    assert "fit_loop" not in vars(pickle.loads(pickle.dumps(inner)))


# Code of the user's that fails -----------------------------------------------------------------


class Breaks(Callback):
    """A callback with a mistake in it."""

    def on_epoch_end(self, net, **kwargs):
        raise ZeroDivisionError("no such epoch")


def test_a_callback_that_raises():
    clf = quick(target=tiny_net(callbacks=[Breaks()]))
    with pytest.raises(ZeroDivisionError, match="no such epoch"):
        clf.fit(X, Y)
    check_unfitted(clf)
    with pytest.raises(ValueError, match=r"noise_aux=.*ZeroDivisionError: no such epoch"):
        quick(noise_aux=tiny_net(callbacks=[Breaks()])).fit(X, Y)


def test_a_fit_that_fails_closes_its_bar(monkeypatch):
    closed = []
    monkeypatch.setattr(Progress, "close", lambda bar: closed.append((bar.done, bar.total)))
    with pytest.raises(ValueError, match="no such epoch"):
        quick(noise_aux=GaussianNB(), imb_aux=tiny_net(callbacks=[Breaks()])).fit(X, Y)
    [(done, total)] = closed
    assert 0 < done < total


class Killed(GaussianNB):
    """The system kills the process that fits it, as it does when memory is short."""

    def fit(self, X, y, sample_weight=None):
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_worker_is_an_error_and_no_hang():
    clf = quick(noise_aux=Killed(), n_jobs=2)
    with pytest.raises(RuntimeError, match=r"worker process .*unexpectedly terminated"):
        clf.fit(X, Y)
    check_unfitted(clf)


# Memory and disk that end ----------------------------------------------------------------------


class TooLarge(TinyModule):
    """Asks for more memory than the device has, in training or only to predict."""

    def __init__(self, *args, train=True, **kwargs):
        super().__init__(*args, **kwargs)
        self.train_only = train

    def forward(self, X):
        if self.training == self.train_only:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return super().forward(X)


@pytest.mark.parametrize("train", [True, False])
def test_a_target_too_large_for_its_device(train):
    net = tiny_net(batch_size=64, module__train=train).set_params(module=TooLarge)
    clf = quick(target=net, warmup=0)
    with pytest.raises(ValueError, match=r"out of memory.*Lower.*batch_size=64"):
        clf.fit(X, Y)
    check_unfitted(clf)


def test_an_auxiliary_too_large_for_its_device(monkeypatch):
    monkeypatch.setattr("sklearn_dsink.nets.TabularNet.forward", TooLarge.forward)
    monkeypatch.setattr("sklearn_dsink.nets.TabularNet.train_only", True, raising=False)
    with pytest.raises(ValueError, match=r"imb_aux=NetClassifier.*Lower batch_size \(now 48\)"):
        quick(imb_aux=NetClassifier(batch_size=48)).fit(X, Y)


@contextmanager
def disk_of(n_bytes):
    """Let no file grow beyond so many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("n_bytes", [500, 3000], ids=["at once", "in the first epoch"])
def test_a_full_disk_under_a_checkpoint(n_bytes, tmp_path):
    clf = quick(checkpoint_dir=tmp_path)
    with disk_of(n_bytes), pytest.raises(OSError, match="File too large"):
        clf.fit(X, Y)
    check_unfitted(clf)
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".")]
    assert (clf.fit(X, Y).predict_proba(X) == quick().fit(X, Y).predict_proba(X)).all()


@pytest.mark.parametrize("name", ["model", "onnx", "report"])
def test_a_full_disk_leaves_the_old_file_whole(name, tmp_path):
    if name == "onnx":
        pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    clf, path = quick().fit(X, Y), tmp_path / "file"
    path.write_bytes(b"old")
    write = {"model": save_model, "onnx": export_onnx, "report": type(clf).report}[name]
    with disk_of(1000), pytest.raises(OSError, match="File too large"):
        write(clf, path)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
