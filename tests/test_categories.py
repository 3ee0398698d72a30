"""Numbers that are categories: of any type, beside gaps, and read again from another table."""

from __future__ import annotations

import decimal

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline

from sklearn_dsink import DSinkClassifier
from sklearn_dsink.inputs import TabularEncoder

RNG = np.random.default_rng(0)
CODES = RNG.integers(1, 6, size=60)
SIZE = RNG.normal(size=60)


def table(codes, dtype=None):
    return pd.DataFrame({"size": SIZE[: len(codes)], "code": pd.Series(codes, dtype=dtype)})


@pytest.mark.parametrize("codes", [CODES, CODES.astype(float), CODES + 100_000, CODES % 2 == 0])
def test_categories_of_any_type_become_columns_as_texts_do(codes):
    texts = TabularEncoder().fit_transform(table(codes.astype(int).astype(str), "category"))
    encoder = TabularEncoder()
    named = encoder.fit_transform(table(codes, "category"))
    np.testing.assert_array_equal(named, texts)
    np.testing.assert_array_equal(encoder.transform(table(codes, "category")), texts)


def test_a_gap_does_not_move_the_other_rows():
    encoder = TabularEncoder().fit(table(CODES, "category"))
    gap = CODES.astype(float)
    gap[0] = np.nan
    whole, beside = (encoder.transform(table(codes, "category")) for codes in (CODES, gap))
    np.testing.assert_array_equal(beside[1:], whole[1:])
    again = TabularEncoder().fit(table(gap, "category")).transform(table(CODES, "category"))
    assert again[:, 1:6].sum() == len(CODES)


def test_an_array_is_read_as_the_table_was():
    frame = table(CODES, "category")
    encoder = TabularEncoder().fit(frame)
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        encoded = encoder.transform(np.column_stack([SIZE, CODES]))
    np.testing.assert_array_equal(encoded, encoder.transform(frame))


@pytest.mark.parametrize("library", [pd.DataFrame, pl.DataFrame])
def test_texts_that_come_as_numbers_later(library):
    encoder = TabularEncoder().fit(library({"size": SIZE[:4], "code": ["1", "2", "x", "2"]}))
    expected = encoder.transform(library({"size": SIZE[:2], "code": ["1", "2"]}))
    objects = [] if library is pl.DataFrame else [np.array([1.0, 2], dtype=object)]
    for codes in ([1, 2], [1.0, 2.0], *objects):
        later = library({"size": SIZE[:2], "code": codes})
        np.testing.assert_array_equal(encoder.transform(later), expected)


def test_objects_that_are_numbers_and_texts():
    mixed = pd.DataFrame({"size": SIZE[:4], "code": np.array([1.0, 2, "x", None], dtype=object)})
    encoder = TabularEncoder().fit(mixed)
    expected = encoder.transform(mixed)[:2]
    np.testing.assert_array_equal(encoder.transform(mixed.iloc[:2].infer_objects()), expected)
    assert expected[:, 1:].sum() == 2


@pytest.mark.parametrize(
    "kind",
    [
        lambda seconds: seconds.astype(object),
        lambda seconds: seconds.astype(str),
        lambda seconds: np.array([None, *map(decimal.Decimal, seconds[1:].tolist())]),
    ],
    ids=["objects", "texts", "decimals"],
)
def test_small_differences_of_large_numbers_are_kept_whatever_they_are_written_as(kind):
    seconds = 1_700_000_000 + RNG.permutation(3600)[:300]
    frame = pd.DataFrame({"size": RNG.normal(size=300), "seconds": kind(seconds)})
    frame["kind"] = np.where(frame["size"] > 0, "a", "b")
    encoder = TabularEncoder()
    encoded = encoder.fit_transform(frame)
    column = encoded[:, list(encoder.get_feature_names_out()).index("seconds")]
    assert len(np.unique(column)) >= 299


def test_texts_of_many_values_are_encoded_alike_by_every_fit():
    frame = table(CODES).assign(text=[f"item {i} of box {i % 7}" for i in range(60)])
    first, second = (TabularEncoder(random_state=0).fit_transform(frame) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    numbers = make_column_transformer(("passthrough", ["size", "code"]))  # encode nothing
    auxiliaries = (
        make_pipeline(numbers, LogisticRegression()),
        make_pipeline(numbers, GaussianNB()),
    )
    clf = DSinkClassifier(*auxiliaries, cv=2, refine=False, random_state=0)
    y = (CODES > 3).astype(int)
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    probas = [clf.fit(frame, y).predict_proba(frame) for _ in range(2)]
    np.testing.assert_array_equal(*probas)
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002
