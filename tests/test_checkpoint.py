"""An interrupted fit ends as an unbroken one, and does nothing twice."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from functools import wraps
from pathlib import Path

import _interrupted
import numpy as np
import pandas as pd
import pytest
import torch
from _interrupted import N_EPOCHS, N_FITS, PAUSE, LoggedBayes, X, Y, classifier
from _quick import TinyModule, quick, tiny_net
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from skorch import NeuralNetClassifier
from skorch.callbacks import EarlyStopping, Freezer, LRScheduler
from skorch.dataset import ValidSplit
from torch import nn

from sklearn_dsink import DSinkClassifier, checkpoint
from sklearn_dsink.imbalance import (
    CRTClassifier,
    KernelClassifier,
    LWSClassifier,
    TauNormClassifier,
)
from sklearn_dsink.inputs import TabularEncoder


@pytest.fixture(autouse=True)
def fit_log(tmp_path, monkeypatch):
    """Count the fits of a test's auxiliaries."""
    path = tmp_path / "fits.txt"
    path.touch()
    monkeypatch.setenv("FIT_LOG", str(path))
    return path


def taken_log(path: Path) -> int:
    """Return the number of fits so far, and start counting again."""
    n_fits = len(path.read_text(encoding="utf-8").splitlines())
    path.write_text("", encoding="utf-8")
    return n_fits


def kept_fits(folder: Path) -> int:
    return len([*folder.glob("fit-*.npy"), *folder.glob("fit-*.dsink")])


def history(fitted):
    return [{k: v for k, v in epoch.items() if k != "dur"} for epoch in fitted.history_]


def assert_same(first, second):
    np.testing.assert_array_equal(first.predict_proba(X), second.predict_proba(X))
    np.testing.assert_array_equal(first.surrogate_labels_, second.surrogate_labels_)
    np.testing.assert_array_equal(first.class_potentials_, second.class_potentials_)
    assert history(first) == history(second)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FIT_LOG", str(tmp_path_factory.mktemp("log") / "fits.txt"))
        return classifier().fit(X, Y)


@pytest.mark.parametrize(
    "seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 12))]
)
def test_a_killed_fit_ends_as_an_unbroken_one_and_repeats_no_finished_fit(
    seed, unbroken, tmp_path, fit_log
):
    folder = tmp_path / "checkpoint"
    paths = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    with subprocess.Popen(
        [sys.executable, "-c", "import _interrupted as i; i.main()", str(folder)],
        env={**os.environ, "PAUSE": str(PAUSE), "PYTHONPATH": paths},
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout.readline() == b"ready\n"
        # It pauses in each fit and each epoch, so that it cannot have ended by then.
        time.sleep(random.Random(seed).uniform(0, PAUSE * (N_FITS + N_EPOCHS)))
        process.kill()
    assert process.returncode == -signal.SIGKILL
    done = kept_fits(folder)
    begun = taken_log(fit_log)
    assert begun - 1 <= done <= begun
    resumed = classifier(folder).fit(X, Y)
    assert taken_log(fit_log) == N_FITS - done
    assert_same(resumed, unbroken)


def interrupt_at_write(monkeypatch, number, name="target.pt"):
    """Let the fit stop dead when it is about to write a file for the n-th time."""
    replacing = checkpoint.replacing
    seen = []

    def interrupted(path):
        seen.append(Path(path).name)
        if seen.count(name) == number:
            raise KeyboardInterrupt
        return replacing(path)

    monkeypatch.setattr(checkpoint, "replacing", interrupted)


def test_a_finished_fit_is_read_back(unbroken, tmp_path, fit_log):
    first = classifier(tmp_path / "a" / "b").fit(X, Y)
    assert taken_log(fit_log) == N_FITS
    assert_same(first, unbroken)
    second = classifier(tmp_path / "a" / "b").fit(X, Y)
    assert taken_log(fit_log) == 0
    assert second.history_ == first.history_  # durations too: no epoch was trained again
    assert_same(second, unbroken)


def test_the_default_classifier_goes_on(tmp_path, monkeypatch):
    settings = {"cv": 2, "random_state": 0}
    whole = DSinkClassifier(**settings).fit(X, Y)
    interrupt_at_write(monkeypatch, 30)
    with pytest.raises(KeyboardInterrupt):
        DSinkClassifier(**settings, checkpoint_dir=tmp_path / "c").fit(X, Y)
    assert_same(DSinkClassifier(**settings, checkpoint_dir=tmp_path / "c").fit(X, Y), whole)


def test_an_auxiliary_and_what_it_leaves_out_are_one_fit(tmp_path, monkeypatch):
    fits, fit = [], KernelClassifier.fit

    @wraps(fit)
    def counted(self, *args, **kwargs):
        fits.append(self)
        return fit(self, *args, **kwargs)

    monkeypatch.setattr(KernelClassifier, "fit", counted)
    clf = quick(imb_aux=KernelClassifier(), cv=3, refine=False, random_state=0)
    clf.set_params(checkpoint_dir=tmp_path / "c")
    first = clone(clf).fit(X, Y)
    assert len(fits) == 1
    assert_same(clone(clf).fit(X, Y), first)
    assert len(fits) == 1
    (left_out,) = (tmp_path / "c").glob("*-left-out.npy")
    left_out.unlink()  # as if killed between the two
    assert_same(clone(clf).fit(X, Y), first)
    assert len(fits) == 2


class Deep(nn.Module):
    """Something of each kind that has a state: batch statistics, dropout, a second output."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 3)
        )

    def forward(self, X):
        return self.layers(X), X


@pytest.mark.parametrize("renew_every", [1, 3])
@pytest.mark.parametrize(
    "schedule",
    [
        LRScheduler("StepLR", step_size=2, gamma=0.5),
        LRScheduler("ReduceLROnPlateau", monitor="valid_loss", patience=0),
        LRScheduler("MultiStepLR", milestones=[2, 2, 5], gamma=0.7),
    ],
    ids=["StepLR", "ReduceLROnPlateau", "MultiStepLR"],
)
def test_a_net_of_the_users_goes_on_with_its_callbacks(
    tmp_path, monkeypatch, schedule, renew_every
):
    net = NeuralNetClassifier(
        Deep,
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.SGD,
        optimizer__momentum=0.9,
        lr=0.05,
        max_epochs=40,
        batch_size=32,
        iterator_train__shuffle=True,
        train_split=ValidSplit(0.25),  # drawn from the global generator
        callbacks=[schedule, EarlyStopping(patience=3, threshold=0.1, load_best=True)],
        verbose=0,
    )
    settings = {"target": net, "renew_every": renew_every}
    whole = quick(**settings).fit(X, Y)
    assert 5 < len(whole.history_) < 40  # stopped early, but after both interruptions
    for stop in (2, 3):
        with monkeypatch.context() as patch:
            interrupt_at_write(patch, stop)
            with pytest.raises(KeyboardInterrupt):
                quick(**settings, checkpoint_dir=tmp_path / "c").fit(X, Y)
    assert_same(quick(**settings, checkpoint_dir=tmp_path / "c").fit(X, Y), whole)


class Clip(_interrupted.Pause):
    """Change the weights at an epoch's end, when labels have been renewed from those before."""

    def on_epoch_end(self, net, **kwargs):
        with torch.no_grad():
            for weight in net.module_.parameters():
                weight.clamp_(-0.2, 0.2)


class OwnRate(_interrupted.Pause):
    """Set a learning rate by an array of its own."""

    def initialize(self):
        self.n_epochs_ = np.zeros(1)
        return self

    def on_epoch_begin(self, net, **kwargs):
        self.n_epochs_ = self.n_epochs_ + 1
        net.optimizer_.param_groups[0]["lr"] = 0.02 / float(self.n_epochs_[0])


@pytest.mark.parametrize(
    "callback",
    [
        LRScheduler(),  # its state holds arrays
        Freezer("layers.0.*"),
        Clip(),
        OwnRate(),
        ("renewal", LRScheduler("ExponentialLR", gamma=0.5)),
    ],
    ids=["arrays", "frozen layer", "clipped weights", "array", "named as ours"],
)
def test_what_callbacks_do_goes_on(tmp_path, monkeypatch, callback):
    settings = {"target": tiny_net(max_epochs=6, callbacks=[callback])}
    whole = quick(**settings).fit(X, Y)
    with monkeypatch.context() as patch:
        interrupt_at_write(patch, 4)
        with pytest.raises(KeyboardInterrupt):
            quick(**settings, checkpoint_dir=tmp_path / "c").fit(X, Y)
    assert_same(quick(**settings, checkpoint_dir=tmp_path / "c").fit(X, Y), whole)


@pytest.mark.gpu
@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam])
def test_a_target_on_a_gpu_goes_on(tmp_path, monkeypatch, optimizer):
    net = NeuralNetClassifier(
        Deep,
        criterion=nn.CrossEntropyLoss,
        optimizer=optimizer,
        max_epochs=6,
        batch_size=32,
        iterator_train__shuffle=True,
        device="cuda",
        verbose=0,
    )
    whole = quick(target=net).fit(X, Y)
    with monkeypatch.context() as patch:
        interrupt_at_write(patch, 4)
        with pytest.raises(KeyboardInterrupt):
            quick(target=net, checkpoint_dir=tmp_path / "c").fit(X, Y)
    resumed = quick(target=net, checkpoint_dir=tmp_path / "c").fit(X, Y)
    parameters = [*resumed.target_.module_.parameters()]
    assert {p.device.type for p in parameters} == {"cuda"}
    state = resumed.target_.optimizer_.state
    moments = [part for p in parameters for name, part in state[p].items() if name != "step"]
    assert {part.device.type for part in moments if part is not None} <= {"cuda"}
    losses = [[epoch["train_loss"] for epoch in fit.history_] for fit in (resumed, whole)]
    np.testing.assert_allclose(*losses, rtol=1e-3)
    np.testing.assert_allclose(resumed.predict_proba(X), whole.predict_proba(X), atol=1e-3)


def test_fits_in_other_processes_are_kept_by_them(unbroken, tmp_path, fit_log):
    assert_same(classifier(tmp_path / "c", n_jobs=2).fit(X, Y), unbroken)
    assert taken_log(fit_log) == N_FITS
    assert_same(classifier(tmp_path / "c").fit(X, Y), unbroken)
    assert taken_log(fit_log) == 0


SCRIPT = """
import sys, warnings
from _interrupted import LoggedBayes, X, Y, classifier

class Mine(LoggedBayes):
    pass

if __name__ == "__main__":
    warnings.simplefilter("error")
    classifier("c", noise_aux=Mine(), n_jobs=int(sys.argv[1])).fit(X, Y)
"""


def test_a_script_goes_on_with_its_own_classes_in_any_number_of_processes(tmp_path, fit_log):
    (tmp_path / "script.py").write_text(SCRIPT)
    paths = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    for n_jobs, n_fits in ((2, N_FITS), (1, 0), (2, 0)):
        subprocess.run(
            [sys.executable, "script.py", str(n_jobs)],
            env={**os.environ, "PYTHONPATH": paths},
            cwd=tmp_path,
            check=True,
        )
        assert taken_log(fit_log) == n_fits


def test_workers_find_a_folder_named_from_here(tmp_path, monkeypatch, unbroken):
    for place in ("a", "b"):  # joblib's workers, if they live still, are in the first
        (tmp_path / place).mkdir()
        monkeypatch.chdir(tmp_path / place)
        assert_same(classifier("c", n_jobs=2).fit(X, Y), unbroken)
        assert kept_fits(tmp_path / place / "c") == N_FITS


class Opaque(LoggedBayes):
    """A model with something in it that has no safe form on disk."""

    def fit(self, X, y, sample_weight=None):
        super().fit(X, y, sample_weight)
        self.hidden_ = memoryview(b"")
        return self


def test_a_model_without_a_safe_form_is_fitted_again_and_the_user_is_told(tmp_path, fit_log):
    settings = {"imb_aux": Opaque(), "refine": False, "checkpoint_dir": tmp_path / "c"}
    with pytest.warns(UserWarning, match="imb_aux, fitted on all rows, is not kept"):
        first = quick(**settings).fit(X, Y)
    assert taken_log(fit_log) == 3
    with pytest.warns(UserWarning, match="imb_aux, fitted on all rows, is not kept"):
        second = quick(**settings).fit(X, Y)
    assert taken_log(fit_log) == 1
    assert_same(first, second)


class Untidy(_interrupted.Pause):
    """A callback that writes into the history what only a pickle could keep."""

    def on_epoch_end(self, net, **kwargs):
        net.history.record("whole", np.zeros(2))


class OpaqueState(_interrupted.Pause):
    """A callback whose state only a pickle could keep."""

    def state_dict(self):
        return {"key": memoryview(b"")}

    def on_train_begin(self, net, **kwargs):
        self.state_ = self


class OpaqueModule(TinyModule):
    """A module with more in its state than tensors."""

    def get_extra_state(self):
        return np.zeros(1)

    def set_extra_state(self, state):
        pass


@pytest.mark.parametrize(
    "part, net",
    [
        ("history", tiny_net(callbacks=[Untidy()])),
        ("callbacks", tiny_net(callbacks=[OpaqueState()])),
        ("modules", tiny_net().set_params(module=OpaqueModule)),
    ],
)
def test_what_has_no_safe_form_is_refused_after_the_first_epoch(tmp_path, part, net):
    with pytest.raises(ValueError, match=f"after epoch 1 its {part} hold more than numbers"):
        quick(target=net, checkpoint_dir=tmp_path).fit(X, Y)


def test_nets_and_frozen_models_as_auxiliaries(tmp_path):
    def settings():  # fitted anew, as a script that is started again does
        frozen = FrozenEstimator(LogisticRegression().fit(X, Y))
        return {"noise_aux": tiny_net(max_epochs=1), "imb_aux": frozen, "refine": False}

    whole = quick(**settings()).fit(X, Y)
    for _ in range(2):
        assert_same(quick(**settings(), checkpoint_dir=tmp_path).fit(X, Y), whole)
    other = {**settings(), "imb_aux": FrozenEstimator(LogisticRegression(C=0.01).fit(X, Y))}
    with pytest.raises(ValueError, match="other imb_aux"):
        quick(**other, checkpoint_dir=tmp_path).fit(X, Y)


@pytest.mark.parametrize("method", [CRTClassifier, LWSClassifier, TauNormClassifier])
def test_auxiliaries_of_two_stages_are_kept(method, tmp_path):
    clf = quick(imb_aux=method(max_epochs=2, hidden_layer_sizes=(8,)), refine=False)
    whole = clone(clf).fit(X, Y)
    for _ in range(2):
        assert_same(clone(clf).set_params(checkpoint_dir=tmp_path).fit(X, Y), whole)


def test_auxiliaries_that_encode_tables_are_kept(tmp_path, fit_log):
    frame = pd.DataFrame(X, columns=list("abcd")).assign(kind=np.where(X[:, 0] > 0, "u", "v"))
    auxiliary = make_pipeline(TabularEncoder(), LoggedBayes())
    settings = {"noise_aux": auxiliary, "imb_aux": auxiliary, "refine": False}
    net = tiny_net(TabularEncoder().fit(frame).n_features_out_)
    for n_fits in (6, 0):
        quick(**settings, target=net, checkpoint_dir=tmp_path / "c").fit(frame, Y)
        assert taken_log(fit_log) == n_fits


def test_cloned_classifiers_share_the_folder(tmp_path):
    model = quick(checkpoint_dir=tmp_path)
    assert_same(model.fit(X, Y), clone(model).fit(X, Y))
