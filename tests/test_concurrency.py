"""Many threads on one fitted object, and fits side by side, answer as one does."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import joblib
import numpy as np
import pytest
import torch
from _quick import make_blobs, quick, tiny_net
from sklearn.ensemble import BaggingClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_dsink import NetClassifier
from sklearn_dsink.nets import threads_for

X, Y, _ = make_blobs()
NETS = {
    "noise_aux": make_pipeline(StandardScaler(), tiny_net(train_split=None)),
    "imb_aux": NetClassifier(max_epochs=1, hidden_layer_sizes=(8,)),
}


def answers(seed):
    """Fit with nets everywhere: all of them draw from the one global generator."""
    return quick(**NETS, random_state=seed).fit(X, Y).predict_proba(X)


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


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
