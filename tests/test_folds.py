"""Folds that any class size fits into."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import GroupKFold, KFold, RepeatedKFold, ShuffleSplit, StratifiedKFold

from sklearn_dsink.folds import are_complements, deal_folds, make_folds, merge_folds

LABELS = st.lists(st.integers(0, 4), min_size=2, max_size=60).map(np.array)


@given(LABELS, st.integers(2, 10), st.integers(0, 100))
def test_every_row_is_tested_once_and_classes_are_spread(y, n_folds, seed):
    folds = deal_folds(y, n_folds, np.random.RandomState(seed))
    assert len(folds) == min(n_folds, len(y))
    np.testing.assert_array_equal(np.sort(np.concatenate([t for _, t in folds])), range(len(y)))
    sizes = [len(test) for _, test in folds]
    assert max(sizes) - min(sizes) <= 1
    for train, test in folds:
        np.testing.assert_array_equal(np.union1d(train, test), range(len(y)))
        assert not np.intersect1d(train, test).size
    for label in np.unique(y):
        counts = [np.sum(y[test] == label) for _, test in folds]
        assert max(counts) - min(counts) <= 1


@given(LABELS, st.integers(2, 10), st.integers(0, 100), st.floats(0, 1))
def test_rows_of_weight_zero_leave_the_others_spread(y, n_folds, seed, share):
    rng = np.random.RandomState(seed)
    weight = np.where(rng.random(len(y)) < share, 2.0, 0.0)
    weight[:2] = 1.0
    folds = deal_folds(y, n_folds, rng, weight)
    assert len(folds) == min(n_folds, np.sum(weight > 0))
    np.testing.assert_array_equal(np.sort(np.concatenate([t for _, t in folds])), range(len(y)))
    heavy = [test[weight[test] > 0] for _, test in folds]
    assert {len(test) for test in heavy} <= {min(map(len, heavy)), min(map(len, heavy)) + 1}
    for label in np.unique(y):
        counts = [np.sum(y[test] == label) for test in heavy]
        assert max(counts) - min(counts) <= 1


def test_weights_above_zero_leave_the_folds_as_they_are():
    y = np.arange(30) % 4
    plain = deal_folds(y, 5, np.random.RandomState(0))
    weighted = deal_folds(y, 5, np.random.RandomState(0), np.linspace(1, 2, 30))
    for (_, first), (_, second) in zip(plain, weighted, strict=True):
        np.testing.assert_array_equal(first, second)


def test_rows_are_shuffled():
    y = np.zeros(100, dtype=int)
    first, second = (deal_folds(y, 2, np.random.RandomState(seed)) for seed in (0, 1))
    assert not np.array_equal(first[0][1], second[0][1])
    again = deal_folds(y, 2, np.random.RandomState(0))
    np.testing.assert_array_equal(first[0][1], again[0][1])


@pytest.mark.parametrize(
    "cv",
    [
        *(None, 3, KFold(3), StratifiedKFold(3), [([0, 1], [2]), ([2], [0, 1])]),
        [([True, True, False], [False, False, True]), ([2], np.array([True, True, False]))],
        [([0, 1], [2]), ([2], [0, 1]), ([0, 1, 2], [])],
    ],
)
def test_what_cv_may_be(cv, rng):
    n_rows = 3 if isinstance(cv, list) else 30
    X, y = rng.normal(size=(n_rows, 2)), np.arange(n_rows) % 3
    folds = make_folds(cv, X, y, np.random.RandomState(0))
    if cv is None:
        assert folds is None
    else:
        assert all(isinstance(part, np.ndarray) for fold in folds for part in fold)
        tested = np.concatenate([test for _, test in folds])
        np.testing.assert_array_equal(np.sort(tested), range(n_rows))
        assert all(len(test) for _, test in folds)


@pytest.mark.parametrize(
    "cv", [ShuffleSplit(2, random_state=0), RepeatedKFold(n_splits=2), [([0, 1], [2, 3])], []]
)
def test_splits_that_leave_rows_out_or_test_them_twice(cv):
    y = np.arange(10) % 2
    with pytest.raises(ValueError, match=r"cv=.*exactly one test part.*Use KFold"):
        make_folds(cv, np.zeros((10, 1)), y, np.random.RandomState(0))


def test_many_splits_are_not_written_out():
    splits = list(ShuffleSplit(50, random_state=0).split(np.zeros((100, 1))))
    with pytest.raises(ValueError, match="exactly one test part") as error:
        make_folds(splits, np.zeros((100, 1)), np.arange(100) % 2, np.random.RandomState(0))
    assert len(str(error.value)) < 800


def test_groups_stay_together_and_a_splitter_without_them_says_so():
    X, y, groups = np.zeros((8, 1)), np.arange(8) % 2, np.arange(8) // 2
    with pytest.raises(ValueError, match=r"GroupKFold.*cannot split.*fit\(X, y, groups=groups\)"):
        make_folds(GroupKFold(2), X, y, np.random.RandomState(0))
    for _, test in make_folds(GroupKFold(2), X, y, None, split_params={"groups": groups}):
        assert np.isin(groups, groups[test]).sum() == len(test)


def test_rows_that_a_splitter_keeps_from_teaching_stay_so_when_folds_are_merged():
    y = np.arange(12) % 2
    gap = [(np.delete(np.arange(12), [k, (k + 1) % 12]), np.array([k])) for k in range(12)]
    folds = merge_folds(make_folds(gap, np.zeros((12, 1)), y, None), 3)
    for train, test in folds:
        assert not np.isin(train, np.r_[test, (test + 1) % 12]).any()
        assert len(train) == 12 - len(np.unique(np.r_[test, (test + 1) % 12]))
    assert not are_complements(folds, 12)


def test_one_row_of_positive_weight_leaves_two_folds():
    folds = deal_folds(np.zeros(5, int), 3, np.random.RandomState(0), np.eye(5)[2])
    assert [len(test) for _, test in folds] == [3, 2]


def test_a_row_that_a_split_names_twice_is_taught_once():
    splits = [([0, 1, 1], [2]), ([2, 2], [0, 1])]
    folds = make_folds(splits, np.zeros((3, 1)), np.zeros(3, int), None)
    assert [train.tolist() for train, _ in folds] == [[0, 1], [2]]


def test_few_folds_are_not_merged():
    folds = make_folds(KFold(3), np.zeros((9, 1)), np.arange(9) % 2, None)
    assert merge_folds(folds, 3) is folds
    assert merge_folds(folds, 8) is folds


def test_one_fold_that_leaves_out_more_is_enough_to_be_no_complements():
    assert are_complements([([0], [1, 2]), ([1, 2], [0])], 3)
    assert not are_complements([([0], [1, 2]), ([2], [0])], 3)


def test_rows_of_no_weight_are_dealt_last_whoever_asks():
    y, weight = np.zeros(20, int), np.repeat([1.0, 0.0], [4, 16])
    folds = make_folds(2, np.zeros((20, 1)), y, np.random.RandomState(0), weight)
    assert [int(weight[test].sum()) for _, test in folds] == [2, 2]


@pytest.mark.parametrize("rows", [[-1], [3]])
def test_numbers_of_rows_that_are_not_there(rows):
    with pytest.raises(ValueError, match="numbers of rows, 0 to 2"):
        make_folds([(rows, [0, 1, 2])], np.zeros((3, 1)), np.zeros(3, int), None)


def test_one_fold_is_too_few():
    with pytest.raises(ValueError, match="cv=1: give at least 2 folds"):
        make_folds(1, np.zeros((3, 1)), np.zeros(3, int), np.random.RandomState(0))
