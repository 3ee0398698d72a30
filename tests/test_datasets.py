"""Counts and rates of long tails and label noise, exactly as their formulas say."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.datasets import load_digits

from sklearn_dsink.datasets import flip_labels, long_tail_counts, make_long_tailed

ANY_LABELS = {
    "strings": ["ant", "bee", "cat"],
    "gaps": [3, 7, 50],
    "negative": [-5, -1, 0],
    "floats": [0.0, 1.0, 4.0],
    "two": [False, True],
}


def _clean(n_per_class=200, n_classes=4, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.repeat(np.arange(n_classes), n_per_class))
    centres = np.random.default_rng(42).normal(size=(n_classes, 5)) * 2
    return centres[y] + rng.normal(size=(len(y), 5)), y


# --- the long tail ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "n_classes, n_max, factor, expected",
    [
        (10, 5000, 100, [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]),  # CIFAR-10-LT
        (3, 100, 100, [100, 10, 1]),
        (3, 300, 9, [300, 100, 33]),
        (2, 29, 29, [29, 1]),
        (4, 7, 1, [7, 7, 7, 7]),
        (1, 7, 10, [7]),
    ],
)
def test_exponential_counts(n_classes, n_max, factor, expected):
    assert long_tail_counts(n_classes, n_max, factor).tolist() == expected


def test_exact_integers_survive_floating_point():
    # 100 * 10 ** (-2 / 2) and its like may fall a hair below the integer that is meant.
    for n_max in range(10, 2000, 10):
        assert long_tail_counts(3, n_max, 10)[-1] == n_max // 10


@pytest.mark.parametrize(
    "n_classes, expected", [(4, [60, 60, 6, 6]), (5, [60, 60, 6, 6, 6]), (1, [60])]
)
def test_step_counts(n_classes, expected):
    assert long_tail_counts(n_classes, 60, 10, kind="step").tolist() == expected


def test_rounding_and_smallest_size():
    assert long_tail_counts(3, 100, 60, rounding="floor").tolist() == [100, 12, 1]
    assert long_tail_counts(3, 100, 60, rounding="nearest").tolist() == [100, 13, 2]
    assert long_tail_counts(3, 100, 60, n_min=5).tolist() == [100, 12, 5]
    assert long_tail_counts(3, 4, 60, n_min=9).tolist() == [4, 4, 4]


@given(
    n_classes=st.integers(1, 200),
    n_max=st.integers(1, 100_000),
    factor=st.floats(1, 1e4),
    kind=st.sampled_from(["exponential", "step"]),
)
def test_counts_fall_from_n_max_to_its_share(n_classes, n_max, factor, kind):
    counts = long_tail_counts(n_classes, n_max, factor, kind=kind)
    assert counts[0] == n_max
    assert np.all(np.diff(counts) <= 0)
    if n_classes > 1:
        assert counts[-1] == max(1, int(n_max / factor + 1e-9))


@pytest.mark.parametrize("kind", ["exponential", "step"])
@pytest.mark.parametrize("labels", ANY_LABELS.values(), ids=ANY_LABELS.keys())
def test_rows_kept_are_rows_of_the_data(labels, kind):
    y = np.repeat(np.asarray(labels), 40)
    X = np.arange(len(y))[:, None]
    X_lt, y_lt, rows = make_long_tailed(X, y, 8, kind=kind, random_state=0, return_indices=True)
    expected = long_tail_counts(len(labels), 40, 8, kind=kind)
    assert [int(np.sum(y_lt == c)) for c in labels] == expected.tolist()
    assert len(np.unique(rows)) == len(rows)
    assert_array_equal(X_lt, X[rows])
    assert_array_equal(y_lt, y[rows])
    assert y_lt.dtype == y.dtype
    assert not np.array_equal(rows, np.sort(rows))  # shuffled


def test_class_order():
    y = np.repeat(["a", "b", "c"], [50, 40, 60])
    X = np.zeros((150, 1))

    def sizes(**kwargs):
        y_lt = make_long_tailed(X, y, 4, n_max=40, random_state=1, **kwargs)[1]
        return [int(np.sum(y_lt == c)) for c in "abc"]

    assert sizes() == [40, 20, 10]
    assert sizes(class_order="frequency") == [20, 10, 40]
    assert sizes(class_order=["b", "c", "a"]) == [10, 40, 20]
    assert sorted(sizes(class_order="random")) == [10, 20, 40]


def test_random_class_order_varies_with_the_seed():
    y = np.repeat(np.arange(6), 30)
    X = np.zeros((180, 1))
    largest = {
        np.bincount(make_long_tailed(X, y, 10, class_order="random", random_state=s)[1]).argmax()
        for s in range(20)
    }
    assert len(largest) > 2


def test_a_short_class_is_kept_whole_when_allowed():
    y = np.repeat(np.arange(3), [50, 8, 20])
    _, y_lt = make_long_tailed(np.zeros((78, 1)), y, 4, n_max=40, allow_short=True, random_state=0)
    assert np.bincount(y_lt).tolist() == [40, 8, 10]


def test_containers_are_kept():
    X, y = _clean(30)
    frame = pd.DataFrame(X, index=np.arange(len(X)) + 100)
    series = pd.Series(y, index=frame.index, name="label").astype("category")
    X_lt, y_lt = make_long_tailed(frame, series, 5, random_state=0)
    assert isinstance(X_lt, pd.DataFrame)
    assert isinstance(y_lt.dtype, pd.CategoricalDtype)
    assert_array_equal(X_lt.index, y_lt.index)
    assert_array_equal(frame.loc[X_lt.index], X_lt)
    S_lt, _ = make_long_tailed(sparse.csr_matrix(X), y, 5, random_state=0)
    assert sparse.issparse(S_lt)
    assert_allclose(S_lt.toarray(), X_lt)


def test_long_tail_on_digits_is_reproducible():
    X, y = load_digits(return_X_y=True)
    a, b, other = (
        make_long_tailed(X, y, 10, random_state=s, return_indices=True)[2] for s in (0, 0, 1)
    )
    assert_array_equal(a, b)
    assert not np.array_equal(a, other)
    assert_array_equal(np.bincount(y[a]), long_tail_counts(10, 174, 10))


@pytest.mark.parametrize(
    "arguments, name",
    [
        ({"imbalance_factor": 0.5}, "imbalance_factor"),
        ({"imbalance_factor": "big"}, "imbalance_factor"),
        ({"kind": "linear"}, "kind"),
        ({"n_max": 0}, "n_max"),
        ({"n_max": 31}, "n_max"),
        ({"n_min": 0}, "n_min"),
        ({"class_order": "size"}, "class_order"),
        ({"class_order": [0, 1, 2, 2]}, "class_order"),
        ({"class_order": [0, 1]}, "class_order"),
        ({"rounding": "up"}, "rounding"),
    ],
)
def test_long_tail_names_the_bad_parameter(arguments, name):
    X, y = _clean(30)
    with pytest.raises(ValueError, match=name):
        make_long_tailed(X, y, **({"imbalance_factor": 10} | arguments))


def test_long_tail_bad_data():
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        make_long_tailed(np.zeros((3, 1)), [0, 1], 2)
    with pytest.raises(ValueError, match="missing"):
        make_long_tailed(np.zeros((2, 1)), np.array(["a", None], dtype=object), 2)
    with pytest.raises(ValueError, match="missing"):
        flip_labels(pd.Series(["a", "b", None], dtype="string"), 0.5)
    with pytest.raises(ValueError, match="empty"):
        make_long_tailed(np.zeros((0, 1)), np.array([], dtype=int), 2)


# --- label noise -----------------------------------------------------------------------------


def _expected_matrix(kind, rate, counts):
    n_classes = len(counts)
    off = 1 - np.eye(n_classes)
    if kind == "symmetric":
        return (1 - rate) * np.eye(n_classes) + off * rate / (n_classes - 1)
    if kind == "pair":
        return (1 - rate) * np.eye(n_classes) + rate * np.roll(np.eye(n_classes), 1, axis=1)
    n = counts.sum()
    return (1 - rate) * np.eye(n_classes) + off * rate * counts[None] / (n - counts)[:, None]


@pytest.mark.parametrize("kind", ["symmetric", "pair", "joint"])
@pytest.mark.parametrize("rate", [0.2, 0.45])
def test_transition_probabilities(kind, rate):
    counts = np.array([40_000, 20_000, 10_000, 5_000])
    y = np.repeat(np.arange(4), counts)
    _, matrix = flip_labels(y, rate, kind=kind, random_state=0)
    expected = _expected_matrix(kind, rate, counts)
    # Five standard errors of a share.
    error = 5 * np.sqrt(expected * (1 - expected) / counts[:, None])
    assert np.all(np.abs(matrix - expected) <= error + 1e-12)


@pytest.mark.parametrize("kind", ["symmetric", "pair", "joint", "instance"])
@pytest.mark.parametrize("labels", ANY_LABELS.values(), ids=ANY_LABELS.keys())
def test_matrix_returned_is_the_one_realised(kind, labels):
    X, code = _clean(100, len(labels))
    y = np.asarray(labels)[code]
    y_noisy, matrix = flip_labels(
        y, 0.3, kind=kind, X=X if kind == "instance" else None, random_state=3
    )
    assert y_noisy.dtype == y.dtype
    recounted = [[np.mean(y_noisy[y == i] == j) for j in labels] for i in labels]
    assert_allclose(matrix, recounted)
    assert 0.15 < np.mean(y != y_noisy) < 0.45


@given(
    counts=st.lists(st.integers(1, 60), min_size=2, max_size=8),
    rate=st.floats(0, 1),
    kind=st.sampled_from(["symmetric", "pair", "joint"]),
    seed=st.integers(0, 2**31 - 1),
)
def test_exact_moves_the_rounded_share_of_each_class(counts, rate, kind, seed):
    y = np.repeat(np.arange(len(counts)), counts)
    y_noisy, matrix = flip_labels(y, rate, kind=kind, exact=True, random_state=seed)
    for c, n in enumerate(counts):
        moved = int(np.sum(y_noisy[y == c] != c))
        assert abs(moved - rate * n) <= 0.5 + 1e-6
    assert_allclose(matrix.sum(axis=1), 1.0)
    if kind == "pair":
        moved_rows = y_noisy != y
        assert_array_equal(y_noisy[moved_rows], (y[moved_rows] + 1) % len(counts))


@pytest.mark.parametrize("kind", ["symmetric", "pair", "joint", "instance"])
def test_rates_zero_and_one(kind):
    X, y = _clean(20)
    X = X if kind == "instance" else None
    for exact in (False, True):
        none, identity = flip_labels(y, 0.0, kind=kind, X=X, exact=exact, random_state=0)
        assert_array_equal(none, y)
        assert_array_equal(identity, np.eye(4))
        every, matrix = flip_labels(y, 1, kind=kind, X=X, exact=exact, random_state=0)
        assert np.all(every != y)
        assert_array_equal(np.diag(matrix), 0)


def test_asymmetric_by_a_class_map():
    y = np.repeat(["cat", "dog", "truck"], 1000)
    y_noisy, matrix = flip_labels(
        y, 0.4, kind="asymmetric", transition={"truck": "cat"}, exact=True, random_state=0
    )
    assert_allclose(matrix, [[1, 0, 0], [0, 1, 0], [0.4, 0, 0.6]])
    assert_array_equal(y_noisy[:2000], y[:2000])


def test_asymmetric_by_a_matrix():
    transition = np.array([[0.9, 0.1, 0.0], [0.0, 1.0, 0.0], [0.25, 0.25, 0.5]])
    y = np.repeat([10, 20, 30], 20_000)
    _, matrix = flip_labels(y, kind="asymmetric", transition=transition, random_state=0)
    assert_allclose(matrix, transition, atol=0.02)
    assert_array_equal(matrix == 0, transition == 0)


@pytest.mark.parametrize(
    "kind, factor, share",
    [
        ("symmetric", 10, 0.25),
        ("symmetric", 100, 0.05),
        ("joint", 10, 0.56),
        ("joint", 100, 0.52),
    ],
)
def test_share_of_right_labels_in_the_smallest_class(kind, factor, share):
    # Joint noise lands in the head and spares the tail, symmetric noise drowns it.
    y = np.repeat(np.arange(10), long_tail_counts(10, 100_000, factor))
    y_noisy, _ = flip_labels(y, 0.4, kind=kind, random_state=0)
    assert abs(np.mean(y[y_noisy == 9] == 9) - share) < 0.02


def test_instance_noise_is_near_the_boundary():
    X, y = _clean(2000, 3)
    y_noisy, _ = flip_labels(y, 0.2, kind="instance", X=X, random_state=0)
    moved = y != y_noisy
    # Five standard errors of the mean of 6,000 draws, at most.
    assert abs(moved.mean() - 0.2) < 5 * np.sqrt(0.2 * 0.8 / len(y))
    centres = np.array([X[y == c].mean(axis=0) for c in range(3)])
    distance = np.linalg.norm(X[:, None] - centres, axis=2)
    own = distance[np.arange(len(y)), y].copy()
    distance[np.arange(len(y)), y] = np.inf
    slack = distance.min(axis=1) - own
    assert slack[moved].mean() < slack[~moved].mean() - slack.std()
    # It goes to the nearest other class nearly always.
    assert np.mean(distance[moved].argmin(axis=1) == y_noisy[moved]) > 0.8


def test_instance_noise_with_sparse_and_separable_rows():
    X = sparse.csr_matrix(np.repeat(np.eye(3), 50, axis=0) * 1e3)
    y = np.repeat(np.arange(3), 50)
    _, matrix = flip_labels(y, 0.3, kind="instance", X=X, exact=True, random_state=0)
    assert_allclose(np.diag(matrix), 0.7, atol=0.011)


def test_noisy_series_keeps_index_and_dtype():
    y = pd.Series(["a", "b"] * 50, index=np.arange(100) * 3, name="label", dtype="category")
    y_noisy, _ = flip_labels(y, 0.5, random_state=0)
    assert_array_equal(y_noisy.index, y.index)
    assert y_noisy.dtype == y.dtype
    assert y_noisy.name == "label"
    assert 20 < (y_noisy.to_numpy() != y.to_numpy()).sum() < 80


def test_noise_is_reproducible_and_leaves_global_state_alone():
    y = np.repeat(np.arange(5), 40)
    np.random.seed(7)  # noqa: NPY002 - the global state is what is checked
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    a, b, c = (flip_labels(y, 0.3, random_state=s)[0] for s in (0, 0, 1))
    assert_array_equal(a, b)
    assert not np.array_equal(a, c)
    assert_array_equal(before, np.random.get_state()[1])  # noqa: NPY002
    first = flip_labels(y, 0.3, random_state=np.random.default_rng(4))[0]
    assert_array_equal(first, flip_labels(y, 0.3, random_state=np.random.default_rng(4))[0])


@pytest.mark.parametrize(
    "arguments, name",
    [
        ({"rate": -0.1}, "rate"),
        ({"rate": 1.1}, "rate"),
        ({"rate": None}, "rate"),
        ({"kind": "uniform"}, "kind"),
        ({"kind": "asymmetric"}, "transition"),
        ({"transition": {0: 1}}, "transition"),
        ({"kind": "asymmetric", "transition": {0: 9}}, "transition"),
        ({"kind": "asymmetric", "transition": {0: 1}, "rate": None}, "rate"),
        ({"kind": "asymmetric", "transition": np.eye(4)}, "rate"),
        ({"kind": "asymmetric", "transition": np.eye(3), "rate": None}, "transition"),
        ({"kind": "asymmetric", "transition": np.full((4, 4), 0.3), "rate": None}, "transition"),
        ({"kind": "asymmetric", "transition": 2 * np.eye(4) - 0.25, "rate": None}, "transition"),
        ({"kind": "instance"}, "X"),
        ({"X": np.zeros((80, 1))}, "X"),
        ({"exact": "yes"}, "exact"),
    ],
)
def test_noise_names_the_bad_parameter(arguments, name):
    y = np.repeat(np.arange(4), 20)
    with pytest.raises(ValueError, match=name):
        flip_labels(y, **({"rate": 0.2} | arguments))


def test_noise_needs_two_classes_and_discrete_labels():
    with pytest.raises(ValueError, match="one class"):
        flip_labels([1, 1, 1], 0.2)
    with pytest.raises(ValueError, match="Unknown label type"):
        flip_labels([0.5, 1.5, 2.25], 0.2)
