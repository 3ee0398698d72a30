"""Memory that does not grow where it must not: one copy of the scores, one block of a stream."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.exceptions import ConvergenceWarning
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB

from sklearn_dsink import DSinkClassifier, _casting, crossfit, inputs, jobs, label_model
from sklearn_dsink._arrays import is_mapped
from sklearn_dsink.defaults import default_target
from sklearn_dsink.folds import deal_folds
from sklearn_dsink.transport import solve, solve_blocks, surrogate_labels


def peak_of(function):
    tracemalloc.start()
    try:
        return function(), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def make_block(number, n_rows=2000, n_classes=20):
    rng = np.random.default_rng(number)
    return rng.normal(size=(n_rows, n_classes)).astype(np.float32)


def test_transport_takes_one_float32_copy_of_the_scores():
    scores = np.concatenate([make_block(i) for i in range(200)])
    marginal = np.linspace(1, 3, 20) / 40
    solve(scores[:100], marginal, solver="potentials")  # what is imported once is not counted
    result, peak = peak_of(lambda: solve(scores, marginal, solver="potentials"))
    assert result.converged
    assert peak < 1.1 * scores.nbytes
    _, peak = peak_of(lambda: surrogate_labels(scores, result.potentials, out=scores))
    assert peak < 0.1 * scores.nbytes


def test_streamed_transport_holds_one_block_at_a_time():
    n_blocks, marginal = 100, np.linspace(1, 3, 20) / 40

    def stream():
        return (make_block(number) for number in range(n_blocks))

    result, peak = peak_of(lambda: solve_blocks(stream, marginal))
    assert result.converged
    assert peak < 0.2 * n_blocks * make_block(0).nbytes
    labels = [surrogate_labels(block, result.potentials) for block in stream()]
    shares = np.concatenate(labels).mean(axis=0, dtype=np.float64)
    np.testing.assert_allclose(shares, marginal, atol=1e-6)


def test_stream_that_does_not_converge_says_so():
    with pytest.warns(ConvergenceWarning, match="stopped after 1 iterations"):
        result = solve_blocks(lambda: [make_block(0)], np.linspace(1, 3, 20) / 40, max_iter=1)
    assert not result.converged


def test_read_only_memmap_gives_what_the_array_gives(tmp_path):
    rng = np.random.default_rng(0)
    y = rng.integers(3, size=300)
    X = (rng.normal(size=(300, 5)) + y[:, None]).astype(np.float32)
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    proba = []
    for data in (X, mapped):
        net = default_target(X, 3).set_params(max_epochs=2)
        clf = DSinkClassifier(
            LinearDiscriminantAnalysis(),
            LinearDiscriminantAnalysis(priors=[1 / 3] * 3),
            net,
            cv=2,
            warmup=1,
            random_state=0,
        )
        proba.append(clf.fit(data, y).predict_proba(data))
    np.testing.assert_array_equal(*proba)


def frozen_pair(X, y, n_classes):
    """Fit the auxiliaries on a sample, as one does for data larger than memory."""
    return [
        FrozenEstimator(LinearDiscriminantAnalysis(priors=priors).fit(X[:2000], y[:2000]))
        for priors in (None, np.full(n_classes, 1 / n_classes))
    ]


def test_results_of_folds_are_not_kept_beside_the_matrix_they_are_for(monkeypatch):
    n_rows, n_classes, n_folds = 40_000, 100, 10
    monkeypatch.setattr(jobs, "HALF_PRECISION_SIZE", n_rows * n_classes)
    rng = np.random.default_rng(0)
    y = rng.integers(n_classes, size=n_rows)
    X = rng.normal(size=(n_rows, 2)).astype(np.float32)
    auxiliaries = {name: GaussianNB() for name in ("noise_aux", "imb_aux")}
    share = np.bincount(y) / n_rows
    folds = deal_folds(y, n_folds, np.random.RandomState(0))

    def fit(folds):
        rng, classes = np.random.RandomState(0), np.arange(n_classes)
        return crossfit.fit_auxiliaries(
            auxiliaries, X, y, classes=classes, class_share=share, folds=folds, random_state=rng
        )

    fit(folds[:1])  # what is imported once is not counted
    fitted, peak = peak_of(lambda: fit(folds))
    kept = sum(auxiliary.proba.nbytes for auxiliary in fitted.values())
    assert kept == 2 * 4 * n_rows * n_classes
    assert peak < 1.8 * kept  # 2.3 with all results beside them


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_mapped_rows_leave_nothing_of_their_size_in_memory(tmp_path, monkeypatch, dtype):
    """Neither a copy of X nor a matrix of rows by classes: they are in files, as X is."""
    monkeypatch.setattr(label_model, "_MAX_ROWS", 1000)
    monkeypatch.setattr(jobs, "_PREDICTED_SIZE", 2**16)
    monkeypatch.setattr(_casting, "_BLOCK_SIZE", 2**16)
    monkeypatch.setattr(inputs, "_MEDIAN_ROWS", 1000)
    n_rows, n_classes = 60_000, 40
    rng = np.random.default_rng(0)
    y = rng.integers(n_classes, size=n_rows)
    X = rng.normal(size=(n_rows, 40)).astype(dtype)
    X[np.arange(n_rows), y] += 3
    np.save(tmp_path / "X.npy", X)
    auxiliaries = frozen_pair(X, y, n_classes)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    net = default_target(X[:100].astype(np.float32), n_classes)
    net.set_params(max_epochs=2, batch_size=1024, module__hidden_layer_sizes=(16,))
    clf = DSinkClassifier(*auxiliaries, net, cv=None, warmup=1, random_state=0)
    in_memory = clone(clf).fit(X, y)
    matrix = 4 * n_rows * n_classes
    fitted, peak = peak_of(lambda: clf.fit(mapped, y))
    assert peak < 0.75 * matrix
    assert is_mapped(fitted.surrogate_labels_)
    np.testing.assert_array_equal(fitted.surrogate_labels_, in_memory.surrogate_labels_)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(fitted)).predict(X), fitted.predict(X))


def test_sparse_rows_are_made_dense_by_batches_only():
    rng = np.random.default_rng(0)
    y = rng.integers(3, size=20_000)
    X = sparse.random(len(y), 400, density=0.01, format="lil", random_state=0, dtype=np.float32)
    X[np.arange(len(y)), y] = 1.0
    X = sparse.csr_array(X)
    auxiliary = FrozenEstimator(LogisticRegression().fit(X[:500], y[:500]))
    net = default_target(X, 3)
    net.set_params(max_epochs=2, batch_size=256, iterator_valid__batch_size=256)
    net.set_params(module__hidden_layer_sizes=(16,))
    clf = DSinkClassifier(auxiliary, auxiliary, net, cv=None, warmup=1, random_state=0)
    clone(clf).fit(X[:100], y[:100])  # what is imported once is not counted
    accuracy, peak = peak_of(lambda: clf.fit(X, y).score(X, y))
    assert accuracy > 0.9
    assert peak < 0.4 * 4 * X.shape[0] * X.shape[1]


LARGER_THAN_THE_LIMIT = """
import resource, sys
import numpy as np
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.frozen import FrozenEstimator
from torch.utils.data import DataLoader, IterableDataset
from sklearn_dsink import DSinkClassifier
from sklearn_dsink.blocks import store_blocks
from sklearn_dsink.defaults import default_target
from sklearn_dsink.folds import deal_folds

class Blocks(IterableDataset):
    def __iter__(self):
        rng = np.random.default_rng(0)
        for _ in range(120):
            y = rng.integers(4, size=10_000)
            X = rng.standard_normal((10_000, 200), dtype=np.float32)
            X[:, :4] += 4 * np.eye(4)[y]
            yield X, y

limit, folder = int(sys.argv[1]), sys.argv[2]
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
X, y = store_blocks(DataLoader(Blocks(), batch_size=None), folder)
assert X.nbytes > limit
try:
    np.array(X)
except MemoryError:
    pass
else:
    sys.exit("the limit does not hold")
aux = FrozenEstimator(LinearDiscriminantAnalysis().fit(X[:2000], y[:2000]))
net = default_target(X[:2000], 4)
net.set_params(max_epochs=1, batch_size=4096, module__hidden_layer_sizes=(16,))
clf = DSinkClassifier(aux, aux, net, cv=None, warmup=0, random_state=0).fit(X, y)
print(np.mean(clf.surrogate_labels_.argmax(axis=1) == y))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit on a process's data")
def test_fit_of_more_than_the_process_may_hold(tmp_path):
    """A Dataset's blocks go to a file, and the fit reads it, in a process that cannot hold X."""
    limit = 900 * 2**20
    done = subprocess.run(
        [sys.executable, "-c", LARGER_THAN_THE_LIMIT, str(limit), str(tmp_path / "data")],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) > 0.95


def test_half_precision_changes_next_to_nothing(monkeypatch):
    rng = np.random.default_rng(0)
    y = rng.integers(5, size=500)
    X = (rng.normal(size=(500, 5)) + 2 * np.eye(5)[y]).astype(np.float32)
    fits = []
    for size in (jobs.HALF_PRECISION_SIZE, 0):
        monkeypatch.setattr(jobs, "HALF_PRECISION_SIZE", size)
        net = default_target(X, 5).set_params(max_epochs=3)
        aux = LinearDiscriminantAnalysis()
        fits.append(DSinkClassifier(aux, aux, net, cv=3, warmup=1, random_state=0).fit(X, y))
    full, half = fits
    assert half.noise_aux_proba_.dtype == np.float32
    np.testing.assert_allclose(half.noise_aux_proba_.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(half.noise_aux_proba_, full.noise_aux_proba_, atol=1e-3)
    np.testing.assert_allclose(half.surrogate_labels_, full.surrogate_labels_, atol=0.02)
    np.testing.assert_allclose(half.predict_proba(X), full.predict_proba(X), atol=0.02)
    assert (half.noise_aux_proba_ != full.noise_aux_proba_).any()
