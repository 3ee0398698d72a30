"""TensorIterator gives each row once, in batches that a net can train on."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from skorch import NeuralNetClassifier
from skorch.dataset import Dataset
from torch import nn
from torch.utils.data import DataLoader, Subset, TensorDataset

from sklearn_dsink.iterators import TensorIterator


def make_dataset(n_rows, **y):
    X = np.arange(n_rows, dtype=np.float32)[:, None]
    return Dataset(X, y or np.arange(n_rows))


@given(
    n_rows=st.integers(1, 60),
    batch_size=st.sampled_from([-1, *range(1, 20)]),
    shuffle=st.booleans(),
    drop_last=st.booleans(),
)
def test_each_row_once_and_no_lone_row(n_rows, batch_size, shuffle, drop_last):
    iterator = TensorIterator(
        make_dataset(n_rows), batch_size=batch_size, shuffle=shuffle, drop_last=drop_last
    )
    batches = list(iterator)
    assert len(batches) == len(iterator)
    rows = torch.cat([y for _, y in batches]).tolist()
    assert len(set(rows)) == len(rows)
    for X, y in batches:
        torch.testing.assert_close(X[:, 0], y.to(torch.float32))
    sizes = [len(X) for X, _ in batches]
    size = n_rows if batch_size == -1 else batch_size
    if drop_last and n_rows >= size:
        assert sizes == [size] * (n_rows // size)
    else:
        assert sorted(rows) == list(range(n_rows))
        if n_rows > 1 and size > 1:
            assert min(sizes) > 1
            assert max(sizes) <= size + 1


def test_without_shuffling_rows_keep_their_order_and_are_not_copied():
    dataset = make_dataset(10)
    batches = list(TensorIterator(dataset, batch_size=4))
    np.testing.assert_array_equal(torch.cat([y for _, y in batches]), np.arange(10))
    dataset.X[0] = 99.0
    assert batches[0][0][0, 0] == 99.0


@pytest.mark.parametrize("shuffle", [False, True])
def test_what_cannot_be_written_to_is_read_without_a_copy(shuffle, tmp_path):
    rows = np.arange(20, dtype=np.float32).reshape(10, 2)
    np.save(tmp_path / "X.npy", rows)
    X = np.load(tmp_path / "X.npy", mmap_mode="r")
    place = X.__array_interface__["data"][0]
    iterator = TensorIterator(Dataset(X, X[:, 0]), batch_size=4, shuffle=shuffle)
    assert iterator._X.data_ptr() == place
    del X
    found = torch.cat([X for X, _ in iterator]).numpy()
    np.testing.assert_array_equal(found[found[:, 0].argsort()], rows)


def test_shuffling_follows_torchs_seed_and_differs_between_passes():
    iterator = TensorIterator(make_dataset(50), batch_size=50, shuffle=True)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        first, second = (next(iter(iterator))[1].tolist() for _ in range(2))
        torch.manual_seed(3)
        again = next(iter(iterator))[1].tolist()
    assert first == again
    assert first != second


@pytest.mark.parametrize("shuffle", [False, True])
def test_rows_of_a_dict_stay_together_through_nested_subsets(shuffle):
    y = {"label": np.arange(20), "weight": np.arange(20) / 2, "rows": np.eye(20)}
    dataset = Subset(Subset(make_dataset(20, **y), np.arange(5, 15)), [9, 3, 0, 4, 7])
    seen = []
    for X, target in TensorIterator(dataset, batch_size=2, shuffle=shuffle):
        label = target["label"]
        torch.testing.assert_close(X[:, 0].double(), label.double())
        torch.testing.assert_close(target["weight"], label / 2.0, check_dtype=False)
        assert target["rows"].argmax(dim=1).equal(label)
        seen += label.tolist()
    assert sorted(seen) == [5, 8, 9, 12, 14]


def test_changes_of_y_in_place_are_seen_by_the_next_pass():
    surrogate = np.zeros((6, 3), dtype=np.float32)
    iterator = TensorIterator(make_dataset(6, surrogate=surrogate), batch_size=6, shuffle=True)
    assert next(iter(iterator))[1]["surrogate"].sum() == 0
    surrogate[:] = 1.0
    assert next(iter(iterator))[1]["surrogate"].sum() == 18


def test_tuples_tensors_and_sparse_rows():
    X = sparse.random(9, 4, density=0.5, format="csr", dtype=np.float32, random_state=0)
    dataset = Dataset(X, (torch.arange(9), np.arange(9.0)))
    rows, labels = [], []
    for X_batch, (label, value) in TensorIterator(dataset, batch_size=4, shuffle=True):
        torch.testing.assert_close(label.double(), value)
        rows.append(X_batch)
        labels.append(label)
    order = torch.cat(labels).numpy()
    np.testing.assert_array_equal(torch.cat(rows), X.toarray()[order])


def test_missing_y_gives_zeros():
    (_, y), *_ = TensorIterator(Dataset(np.zeros((3, 1), dtype=np.float32)), batch_size=3)
    assert y.tolist() == [0, 0, 0]


def test_other_datasets_and_bad_sizes_are_refused():
    with pytest.raises(TypeError, match="got TensorDataset"):
        TensorIterator(TensorDataset(torch.zeros(3)))
    with pytest.raises(ValueError, match="batch_size must be a positive number"):
        TensorIterator(make_dataset(3), batch_size=0)


def test_a_net_learns_the_same_as_with_skorchs_loader():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(64, 3)).astype(np.float32)
    y = (X[:, 0] > 0).astype(np.int64)
    losses = []
    for iterator in (TensorIterator, DataLoader):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            net = NeuralNetClassifier(
                nn.Linear,
                module__in_features=3,
                module__out_features=2,
                criterion=nn.CrossEntropyLoss,
                iterator_train=iterator,
                iterator_valid=iterator,
                batch_size=16,
                max_epochs=3,
                train_split=None,
                verbose=0,
            ).fit(X, y)
        losses.append(net.history[:, "train_loss"])
        assert net.predict_proba(X).shape == (64, 2)
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)
    restored = pickle.loads(pickle.dumps(net))
    np.testing.assert_array_equal(restored.predict(X), net.predict(X))


@pytest.mark.gpu
def test_batches_are_on_the_device():
    for X, y in TensorIterator(make_dataset(10), batch_size=4, shuffle=True, device="cuda"):
        assert X.is_cuda
        torch.testing.assert_close(X[:, 0], y.to(torch.float32))


def test_a_subset_is_shuffled_too():
    subset = Subset(make_dataset(50), np.arange(10, 40))
    torch.manual_seed(0)
    first, second = (
        torch.cat([y for _, y in TensorIterator(subset, batch_size=7, shuffle=True)]).tolist()
        for _ in range(2)
    )
    assert sorted(first) == sorted(second) == list(range(10, 40))
    assert first != second != sorted(second)
