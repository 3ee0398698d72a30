"""Memory that does not grow where it must not: one copy of the scores, one block of a stream."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.exceptions import ConvergenceWarning

from sklearn_dsink import DSinkClassifier
from sklearn_dsink.defaults import default_target
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
