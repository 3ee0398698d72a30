"""SmoothClipper: mathematics of the squash, containers, and what it is good for."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.metrics import balanced_accuracy_score
from sklearn.pipeline import make_pipeline

from sklearn_dsink import scaling
from sklearn_dsink._arrays import is_mapped
from sklearn_dsink.imbalance import KernelClassifier
from sklearn_dsink.scaling import SmoothClipper, column_moments


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.floats(0.5, 10), st.sampled_from([np.float32, np.float64]))
def test_values_keep_their_order_and_stay_within_the_limit(seed, limit, dtype):
    rng = np.random.default_rng(seed)
    X = (rng.standard_cauchy((60, 3)) * rng.lognormal(sigma=5, size=3)).astype(dtype)
    squashed = SmoothClipper(limit=limit).fit_transform(X)
    assert squashed.dtype == dtype
    assert np.abs(squashed).max() <= limit * (1 + 1e-6)
    for before, after in zip(X.T, squashed.T, strict=True):
        assert (np.diff(after[np.argsort(before, kind="stable")]) >= 0).all()


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.floats(1e-3, 1e3), st.floats(-1e3, 1e3))
def test_units_of_the_columns_do_not_matter(seed, scale, shift):
    X = np.random.default_rng(seed).normal(size=(40, 2))
    np.testing.assert_allclose(
        SmoothClipper().fit_transform(scale * X + shift),
        SmoothClipper().fit_transform(X),
        atol=1e-7,
    )


def test_the_formula():
    X = np.array([[0.0], [1.0], [5.0]])
    z = (X - X.mean()) / X.std()
    np.testing.assert_allclose(
        SmoothClipper(limit=2).fit_transform(X), z / np.sqrt(1 + z**2 / 4), rtol=1e-12
    )


def test_a_far_limit_only_standardizes():
    X = np.random.default_rng(0).normal(3, 2, size=(100, 2))
    np.testing.assert_allclose(
        SmoothClipper(limit=1e6).fit_transform(X), (X - X.mean(0)) / X.std(0), rtol=1e-9
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_huge_new_values_are_far_and_no_more(dtype):
    clipper = SmoothClipper().fit(np.array([[0.0], [1.0], [2.0]], dtype))
    squashed = clipper.transform(np.array([[1e37], [-1e37]], dtype))
    np.testing.assert_allclose(squashed[:, 0], [4, -4], rtol=1e-6)


def test_zeros_of_sparse_rows_stay_zeros_and_columns_keep_their_sign():
    X = sparse.random(200, 5, density=0.2, random_state=0, format="csr")
    squashed = SmoothClipper().fit_transform(X)
    assert sparse.issparse(squashed)
    np.testing.assert_array_equal(squashed.toarray() == 0, X.toarray() == 0)
    assert (squashed.data > 0).all()


def test_constant_columns_become_zero():
    X = np.array([[1.0, 7.0], [2.0, 7.0], [3.0, 7.0]])
    np.testing.assert_array_equal(SmoothClipper().fit_transform(X)[:, 1], 0)


def test_blocks_are_no_different_from_all_rows_at_once(monkeypatch):
    X = np.random.default_rng(0).standard_cauchy((500, 3))
    whole = SmoothClipper().fit(X)
    monkeypatch.setattr("sklearn_dsink.scaling._BLOCK_ROWS", 64)
    parts = SmoothClipper().fit(X)
    np.testing.assert_allclose(parts.transform(X), whole.transform(X), rtol=1e-9)


def test_rows_mapped_from_a_file_are_not_read_into_memory(tmp_path):
    X = np.memmap(tmp_path / "X", np.float32, "w+", shape=(50, 3))
    X[:] = np.random.default_rng(0).normal(size=X.shape)
    squashed = SmoothClipper().fit_transform(X)
    assert is_mapped(squashed)
    np.testing.assert_array_equal(squashed, SmoothClipper().fit_transform(np.array(X)))


@pytest.mark.parametrize("limit", [0, -1.0, "3"])
def test_a_limit_that_is_none_is_refused(limit):
    with pytest.raises(ValueError, match="limit"):
        SmoothClipper(limit=limit).fit(np.zeros((3, 1)))


@pytest.mark.parametrize(
    "classifier",
    [KernelClassifier(), ExtraTreesClassifier(30, min_samples_leaf=2, random_state=0)],
    ids=["kernel", "trees"],
)
def test_far_values_do_not_drown_the_rest(classifier):
    """Two classes differ near 0, in columns where one row in a hundred lies far away."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(1000, 6))
    y = (X[:, 0] * X[:, 1] > 0).astype(int)
    X[rng.random(X.shape) < 0.01] *= 100
    train, test = slice(0, 500), slice(500, None)
    scores = [
        balanced_accuracy_score(y[test], model.fit(X[train], y[train]).predict(X[test]))
        for model in (classifier, make_pipeline(SmoothClipper(), classifier))
    ]
    assert scores[1] > scores[0] + 0.03


@pytest.mark.parametrize("container", [np.asarray, sparse.csr_array])
def test_moments_of_weighted_rows_are_those_of_repeated_ones(monkeypatch, container):
    monkeypatch.setattr(scaling, "_BLOCK_ROWS", 7)
    rng = np.random.default_rng(0)
    X, times = rng.normal(3, 2, size=(40, 2)), rng.integers(0, 3, 40)
    expected = column_moments(np.repeat(X, times, axis=0))
    np.testing.assert_allclose(column_moments(container(X), times.astype(float)), expected)
    X[times == 0] = 1e200  # nothing that weighs nothing is looked at
    np.testing.assert_allclose(column_moments(container(X), times.astype(float)), expected)


def test_sparse_columns_have_scales_of_their_own_and_stay_as_they_were():
    rng = np.random.default_rng(0)
    dense = rng.normal(size=(50, 3)) * (rng.random((50, 3)) < 0.3) * [1, 10, 100]
    X = sparse.csr_array(dense)
    before = X.data.copy()
    clipper = SmoothClipper().fit(X)
    z = dense / dense.std(axis=0)
    expected = z / np.sqrt(1 + (z / 4) ** 2)
    np.testing.assert_allclose(clipper.transform(X).toarray(), expected)
    np.testing.assert_array_equal(X.data, before)
    np.testing.assert_allclose(clipper.transform(dense), expected)  # not centred either
