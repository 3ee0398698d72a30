"""Many threads on one fitted object, and fits side by side, answer as one does."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from threading import Barrier, Event

import joblib
import numpy as np
import pytest
import torch
from _quick import make_blobs, quick, tiny_net
from sklearn.ensemble import BaggingClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch.dataset import Dataset

from sklearn_dsink import NetClassifier, _threads, export
from sklearn_dsink._seeding import seeded
from sklearn_dsink._threads import threads_for
from sklearn_dsink.iterators import TensorIterator
from sklearn_dsink.nets import TabularNet

X, Y, _ = make_blobs()
NETS = {
    "noise_aux": make_pipeline(StandardScaler(), tiny_net(train_split=None)),
    "imb_aux": NetClassifier(max_epochs=1, hidden_layer_sizes=(8,)),
}


def answers(seed):
    """Fit with nets everywhere: all of them draw from the one global generator."""
    return quick(**NETS, random_state=seed).fit(X, Y).predict_proba(X)


def test_ten_threads_predict_as_one_and_change_nothing(two_threads):
    clf = quick(**NETS).fit(X, Y)
    before = joblib.hash(clf)
    expected = clf.predict_proba(X)
    assert joblib.hash(clf) == before
    start = Barrier(10)

    def predict(_):
        start.wait()
        return [clf.predict_proba(X) for _ in range(5)]

    with ThreadPoolExecutor(10) as pool:
        found = [proba for part in pool.map(predict, range(10)) for proba in part]
    for proba in found:
        np.testing.assert_array_equal(proba, expected)
    assert joblib.hash(clf) == before
    assert torch.get_num_threads() == 2


def seed_and_count():
    with seeded(0), threads_for(1):
        pass


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_forked_process_does_not_wait_for_a_thread_of_its_parent():
    held, done = Event(), Event()

    def hold():
        with seeded(0), _threads._INSIDE.lock:
            held.set()
            done.wait()

    with ThreadPoolExecutor(1) as pool:
        pool.submit(hold)
        held.wait()
        child = get_context("fork").Process(target=seed_and_count)
        child.start()
        child.join(20)
        child.kill()
        done.set()
    child.join()
    assert child.exitcode == 0


def test_fits_in_threads_are_those_of_one(two_threads):
    state = torch.get_rng_state()
    expected = [answers(seed) for seed in range(3)]
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(answers, range(3)))
    np.testing.assert_array_equal(found, expected)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == 2


@pytest.mark.slow  # each process imports torch
def test_fits_in_processes_are_those_of_one():
    expected = [answers(seed) for seed in range(3)]
    found = joblib.Parallel(2)(joblib.delayed(answers)(seed) for seed in range(3))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_torch_gets_its_threads_back_whoever_leaves_first(two_threads):
    inside = Barrier(8)

    def enter(_):
        for _ in range(20):
            with threads_for(1.0):
                inside.wait()
                assert torch.get_num_threads() == 1
            assert torch.get_num_threads() == 2

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(enter, range(8)))
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(torch.get_num_threads).result() == 2


@pytest.mark.parametrize(
    "work",
    [
        lambda: TensorIterator(Dataset(np.frombuffer(bytes(8)))),  # cannot be written to
        lambda: TabularNet(1, 2, (), bins=[torch.tensor([0.0, 1.0])]),
        lambda: export._as_onnx(None, None),
    ],
    ids=["batches", "bins", "ONNX"],
)
def test_threads_leave_the_filters_of_warnings_as_they_were(work, monkeypatch):
    leave = warnings.catch_warnings.__exit__

    def linger_and_leave(self, *error):  # so that another thread comes in, where one can
        time.sleep(1e-3)
        leave(self, *error)

    monkeypatch.setattr("torch.onnx.export", lambda *args, **options: None)
    monkeypatch.setattr(warnings.catch_warnings, "__exit__", linger_and_leave)
    before = list(warnings.filters)
    with ThreadPoolExecutor(4) as pool:
        for _ in range(10):
            list(pool.map(lambda _: work(), range(8)))
            assert warnings.filters == before


PARTS_IN_THREADS = """
import joblib
from sklearn.datasets import make_classification
from sklearn.ensemble import BaggingClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn_dsink import DSinkClassifier, NetClassifier
X, y = make_classification(60, random_state=0)
parts = BaggingClassifier(NetClassifier(max_epochs=1), n_estimators=2, n_jobs=2, random_state=0)
with joblib.parallel_config("threading"):
    DSinkClassifier(parts, GaussianNB(), cv=2, refine=False, random_state=0).fit(X, y)
"""


def test_an_auxiliary_that_fits_seeded_parts_in_threads_does_not_wait_for_itself():
    subprocess.run([sys.executable, "-c", PARTS_IN_THREADS], check=True, timeout=120)


def test_parts_in_threads_are_those_of_one_thread():
    net = NetClassifier(max_epochs=1, hidden_layer_sizes=(8,))
    alone, threads = (BaggingClassifier(net, n_estimators=2, n_jobs=n) for n in (1, 2))
    expected = quick(imb_aux=alone).fit(X, Y).predict_proba(X)
    with joblib.parallel_config("threading"):
        found = quick(imb_aux=threads).fit(X, Y).predict_proba(X)
    np.testing.assert_array_equal(found, expected)
