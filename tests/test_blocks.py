"""Data that come block by block are read once, into files that a fit maps."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from _quick import quick
from scipy import sparse
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.frozen import FrozenEstimator
from torch.utils.data import DataLoader, Dataset, IterableDataset

from sklearn_dsink._arrays import is_mapped
from sklearn_dsink.blocks import store_blocks

N_ROWS, BLOCK = 50, 7


def make_data(n_rows=N_ROWS):
    rng = np.random.default_rng(0)
    y = rng.integers(3, size=n_rows)
    return (rng.normal(size=(n_rows, 4)) + 2 * y[:, None]).astype(np.float32), y


class Rows(Dataset):
    def __init__(self):
        self.X, self.y = make_data()

    def __len__(self):
        return N_ROWS

    def __getitem__(self, row):
        return self.X[row], self.y[row]


class Stream(IterableDataset):
    def __iter__(self):
        yield from Rows()


def generator(as_block=lambda X: X):
    X, y = make_data()
    return ((as_block(X[i : i + BLOCK]), y[i : i + BLOCK]) for i in range(0, N_ROWS, BLOCK))


def read_csv_in_chunks(path):
    X, y = make_data()
    pd.DataFrame(X).assign(label=y).to_csv(path, index=False)
    for chunk in pd.read_csv(path, chunksize=BLOCK):
        yield chunk.drop(columns="label"), chunk["label"]


@pytest.mark.parametrize(
    "make",
    [
        lambda folder: Rows(),
        lambda folder: Stream(),
        lambda folder: DataLoader(Rows(), batch_size=BLOCK),
        lambda folder: generator(),
        lambda folder: list(generator()),
        lambda folder: generator(torch.from_numpy),
        lambda folder: generator(sparse.csr_matrix),
        lambda folder: generator(lambda X: X.astype(np.float64)),
        lambda folder: generator(lambda X: pd.DataFrame(X).convert_dtypes()),
        lambda folder: generator(pl.DataFrame),
        lambda folder: read_csv_in_chunks(folder / "rows.csv"),
    ],
    ids=[
        *("dataset", "iterable dataset", "loader", "generator", "list", "tensors", "sparse"),
        *("float64", "nullable", "polars", "csv"),
    ],
)
def test_any_blocks_come_out_as_the_whole(tmp_path, make):
    X, y = store_blocks(make(tmp_path), tmp_path / "data", batch_size=BLOCK)
    expected_X, expected_y = make_data()
    np.testing.assert_allclose(X, expected_X, rtol=1e-6)
    np.testing.assert_array_equal(y, expected_y)
    assert X.dtype == np.float32
    assert is_mapped(X)
    np.testing.assert_array_equal(np.load(tmp_path / "data" / "X.npy"), X)
    np.testing.assert_array_equal(np.load(tmp_path / "data" / "y.npy"), y)


def test_tensors_are_read_whatever_their_precision_and_gradient(tmp_path):
    rows = torch.arange(6, dtype=torch.bfloat16).reshape(3, 2).requires_grad_()
    labels = torch.tensor([0.0, 1.0, 0.0], requires_grad=True)
    X, y = store_blocks([(rows, labels)], tmp_path / "data")
    np.testing.assert_array_equal(X, np.arange(6).reshape(3, 2))
    np.testing.assert_array_equal(y, [0, 1, 0])


def test_fit_on_a_dataset_is_the_fit_on_the_array(tmp_path):
    X, y = make_data()
    aux = FrozenEstimator(LinearDiscriminantAnalysis().fit(X, y))
    clf = quick(noise_aux=aux, imb_aux=aux, cv=None)
    expected = clf.fit(X, y).predict_proba(X)
    fitted = clf.fit(*store_blocks(Rows(), tmp_path / "data"))
    np.testing.assert_array_equal(fitted.predict_proba(X), expected)


def test_memory_is_bounded_by_the_block(tmp_path):
    n_blocks, n_rows, n_features = 200, 500, 40

    def blocks():
        for number in range(n_blocks):
            yield np.full((n_rows, n_features), number, np.float32), np.zeros(n_rows, np.int8)

    tracemalloc.start()
    try:
        X, _ = store_blocks(blocks(), tmp_path / "data")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert X.shape == (n_blocks * n_rows, n_features)
    assert X[-1, 0] == n_blocks - 1
    assert peak < 0.1 * X.nbytes


def test_the_global_generator_is_left_alone(tmp_path):
    state = torch.get_rng_state()
    store_blocks(Rows(), tmp_path / "data")
    assert torch.equal(torch.get_rng_state(), state)


def test_text_labels_may_grow_longer_and_gaps_stay(tmp_path):
    blocks = [([[1.0], [np.nan]], ["a", "b"]), ([[2.0]], pd.Series(["longer"]))]
    X, y = store_blocks(blocks, tmp_path / "data")
    assert y.tolist() == ["a", "b", "longer"]
    np.testing.assert_array_equal(X, [[1], [np.nan], [2]])


@pytest.mark.parametrize("labels", [[3, 4], ["a", "b"]])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_block_of_no_rows_leaves_the_labels_as_they_are(tmp_path, labels, place):
    blocks = [(np.ones((1, 2)), [label]) for label in labels]
    blocks.insert(place, (np.empty((0, 2)), []))
    X, y = store_blocks(blocks, tmp_path / "data")
    assert y.tolist() == labels
    assert y.dtype == np.asarray(labels).dtype
    np.testing.assert_array_equal(X, np.ones((2, 2)))


def frame(names):
    return pd.DataFrame([range(len(names))], columns=list(names))


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        ([], "no rows"),
        ([(np.ones((0, 2)), np.ones(0))], "no rows"),
        ([np.ones((2, 2))], "expected a pair"),
        ([(np.ones((2, 2)), [0, 1]), (np.ones((2, 3)), [0, 1])], "3 features.* 2"),
        ([(np.ones((2, 2)), [0, 1]), (np.empty((0, 3)), [])], "3 features.* 2"),
        ([(np.empty((0, 3)), []), (np.ones((2, 2)), [0, 1])], "2 features.* 3"),
        ([(np.ones((2, 2)), [0])], r"y of shape \(1,\)"),
        ([(np.ones(2), [0, 1])], r"X of shape \(2,\)"),
        ([(np.full((1, 2), 1e300), [0])], "too large"),
        ([(pd.DataFrame({"a": ["x"]}), [0])], "cannot be read as numbers"),
        ([(frame("ab"), [0]), (frame("ba"), [1])], "number 1 has the column 'b' where .* 'a'"),
        (
            [(frame("ab"), [0]), (np.ones((1, 2)), [1]), (frame("ac"), [1])],
            "number 2 .* 'c' .* 'b'",
        ),
        ([(pl.from_pandas(frame("ab")), [0]), (frame("ba"), [1])], "number 1 has the column 'b'"),
        ([(np.ones((2, 2)), ["a", None])], "all numbers or all text"),
        ([(np.ones((1, 2)), [0]), (np.ones((1, 2)), ["a"])], "text in another"),
    ],
)
def test_bad_blocks_are_named_and_leave_nothing(tmp_path, blocks, message):
    with pytest.raises(ValueError, match=message):
        store_blocks(blocks, tmp_path / "data")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_there_is_left_alone(tmp_path):
    with pytest.raises(FileExistsError, match="is there already"):
        store_blocks(generator(), tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("make", [Rows, Stream, generator])
def test_a_fit_says_where_blocks_go(make):
    with pytest.raises(TypeError, match="store_blocks"):
        quick().fit(make(), make_data()[1])


def test_missing_values_of_nullable_columns_are_nan(tmp_path):
    frame = pd.DataFrame({"a": pd.array([1, None], dtype="Int64"), "b": [0.5, 1.5]})
    X, _ = store_blocks([(frame, [0, 1])], tmp_path / "data")
    np.testing.assert_array_equal(X, [[1, 0.5], [np.nan, 1.5]])
