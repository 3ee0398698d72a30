"""Any table becomes a dense float32 matrix without gaps."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pytest
from _quick import make_blobs, needs_polars_names
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import sparse
from sklearn.base import BaseEstimator

from sklearn_dsink import DSinkClassifier
from sklearn_dsink.inputs import TabularEncoder, validate_features


def mixed(library=pd.DataFrame):
    return library(
        {
            "size": [1.0, 2.0, 3.0, 4.0],
            "gaps": [1.0, float("nan"), 3.0, 8.0],
            "kind": ["a", "b", None, "a"],
            "flag": [True, False, True, True],
        }
    )


@given(
    arrays(
        np.float64,
        array_shapes(min_dims=2, max_dims=2, max_side=6),
        elements=st.floats(allow_infinity=False) | st.just(np.nan),
    )
)
def test_any_numbers_come_out_finite(X):
    encoded = TabularEncoder().fit_transform(X)
    assert encoded.dtype == np.float32
    assert encoded.flags.c_contiguous
    assert len(encoded) == len(X)
    assert np.isfinite(encoded).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, bool, np.uint8])
def test_numbers_pass_untouched(dtype):
    X = np.array([[1, 0, 3], [0, 5, 6]]).astype(dtype)
    np.testing.assert_array_equal(TabularEncoder().fit_transform(X), X.astype(np.float32))
    np.testing.assert_array_equal(TabularEncoder().fit(X).transform(X), X.astype(np.float32))


def test_gaps_are_filled_with_medians_and_marked():
    encoder = TabularEncoder()
    encoded = encoder.fit_transform([[1.0, np.nan], [2.0, 4.0], [3.0, 6.0]])
    np.testing.assert_array_equal(encoded, [[1, 5, 1], [2, 4, 0], [3, 6, 0]])
    assert encoder.n_features_in_ == 2
    assert encoder.n_features_out_ == 3
    # A column without gaps in training takes its median later, and gets no marker.
    np.testing.assert_array_equal(encoder.transform([[np.nan, 1.0]]), [[2, 1, 0]])
    whole = TabularEncoder().fit([[1.0], [2.0], [9.0]])
    np.testing.assert_array_equal(whole.transform([[np.nan]]), [[2]])


def test_a_column_of_nothing_but_gaps():
    encoded = TabularEncoder().fit_transform([[np.nan, 1.0], [np.nan, 2.0]])
    assert np.isfinite(encoded).all()


def test_huge_numbers_stay_finite():
    encoded = TabularEncoder().fit_transform([[1e300, -1e300], [0.0, 1.0]])
    assert np.isfinite(encoded).all()


@pytest.mark.parametrize(
    "library", [pd.DataFrame, pytest.param(pl.DataFrame, marks=needs_polars_names)]
)
def test_mixed_frames(library):
    frame = mixed(library)
    encoder = TabularEncoder()
    encoded = encoder.fit_transform(frame)
    assert encoded.shape == (4, encoder.n_features_out_)
    assert encoded.dtype == np.float32
    assert np.isfinite(encoded).all()
    np.testing.assert_array_equal(encoded, encoder.transform(frame))
    np.testing.assert_array_equal(encoder.feature_names_in_, ["size", "gaps", "kind", "flag"])
    columns = {tuple(column) for column in encoded.T}
    assert (1, 2, 3, 4) in columns
    assert (1, 0, 0, 1) in columns, "category a"
    assert (0, 1, 0, 0) in columns, "the gap, or category b"


def test_pandas_and_polars_are_encoded_alike():
    from_pandas = TabularEncoder().fit_transform(mixed(pd.DataFrame))
    from_polars = TabularEncoder().fit_transform(mixed(pl.DataFrame))
    assert sorted(map(tuple, from_pandas.T)) == sorted(map(tuple, from_polars.T))


@pytest.mark.parametrize(
    "dtype", ["Int64", "Float64", "boolean", "category", "string", "int64[pyarrow]"]
)
def test_extension_dtypes(dtype):
    column = pd.Series([1, 0, None, 1], dtype="Int64")
    if dtype == "boolean":
        column = column.astype("boolean")
    column = column.astype("string").astype(dtype) if dtype == "category" else column.astype(dtype)
    frame = pd.DataFrame({"x": column, "y": [1.0, 2.0, 3.0, 4.0]})
    encoder = TabularEncoder()
    encoded = encoder.fit_transform(frame)
    assert np.isfinite(encoded).all()
    np.testing.assert_array_equal(encoded, encoder.transform(frame))


def test_dates_and_unseen_categories():
    frame = mixed().assign(day=pd.date_range("2024-01-30", periods=4))
    encoder = TabularEncoder().fit(frame)
    later = frame.assign(kind="unheard of", day=pd.Timestamp("2031-05-05"))
    assert np.isfinite(encoder.transform(later)).all()


def test_sparse_matrices_are_projected_only_when_wide(rng):
    narrow = sparse.random(30, 20, density=0.3, random_state=0, format="csr")
    np.testing.assert_allclose(TabularEncoder().fit_transform(narrow), narrow.toarray(), rtol=1e-6)
    wide = sparse.random(40, 600, density=0.1, random_state=0, format="csc")
    encoder = TabularEncoder(random_state=0)
    encoded = encoder.fit_transform(wide)
    assert encoded.shape[1] <= 40
    np.testing.assert_allclose(encoded, encoder.transform(wide), atol=1e-4)
    # Singular components keep the rows' inner products.
    np.testing.assert_allclose(encoded @ encoded.T, (wide @ wide.T).toarray(), atol=0.5)


@pytest.mark.parametrize("container", [sparse.csr_matrix, sparse.csr_array, sparse.csc_array])
@pytest.mark.parametrize("gaps", [False, True])
def test_narrow_sparse_matrices_stay_sparse_on_request(container, gaps):
    dense = sparse.random(30, 6, density=0.4, random_state=0).toarray()
    dense[0, 0], dense[:, 4], dense[1, 5] = 1e300, 0.0, -2.0
    if gaps:
        dense[3, 1] = dense[5, 1] = dense[5, 4] = np.nan
    later = dense.copy()
    later[7:9, 2] = np.nan
    encoder = TabularEncoder(sparse_output=True).fit(container(dense))
    plain = TabularEncoder().fit(dense)
    assert encoder.n_features_out_ == plain.n_features_out_ == (8 if gaps else 6)
    for rows in (dense, later):
        encoded = encoder.transform(container(rows))
        assert encoded.format == "csr"
        assert encoded.dtype == np.float32
        np.testing.assert_allclose(encoded.toarray(), plain.transform(rows), rtol=1e-6)


@pytest.mark.parametrize("sparse_output", [False, True])
@pytest.mark.parametrize("n_columns", [6, 600])
def test_rows_of_a_sparse_matrix_may_come_dense_later_and_with_gaps(n_columns, sparse_output):
    X = sparse.random(30, n_columns, density=0.3, random_state=0, format="csr")
    with_gaps = X.copy()
    with_gaps.data[::7] = np.nan
    for rows in (X, with_gaps):
        encoder = TabularEncoder(sparse_output=sparse_output, random_state=0).fit(rows)
        for later in (X, with_gaps):
            found = [encoder.transform(each) for each in (later, later.toarray())]
            assert sparse.issparse(found[0]) == (sparse_output and n_columns == 6)
            first = found[0].toarray() if sparse.issparse(found[0]) else found[0]
            np.testing.assert_allclose(first, found[1], atol=1e-5)
            assert np.isfinite(first).all()
            assert found[0].dtype == found[1].dtype == np.float32


def test_entries_of_a_sparse_matrix_that_are_there_twice_are_added_up():
    twice = sparse.csr_matrix(([1.0, 2.0, 4.0], [1, 1, 0], [0, 2, 3]), shape=(2, 2))
    encoded = TabularEncoder(sparse_output=True).fit_transform(twice)
    np.testing.assert_array_equal(encoded.toarray(), [[0, 3], [4, 0]])
    assert encoded.nnz == 2
    assert twice.nnz == 3


def test_frames_stay_frames_and_arrays_become_numbers():
    frame = mixed()
    assert validate_features(BaseEstimator(), frame, reset=True) is frame
    assert validate_features(BaseEstimator(), [[1, 2]], reset=True).shape == (1, 2)


def test_names_that_fit_has_not_seen_are_told_of_once():
    X, y, _ = make_blobs()
    clf = DSinkClassifier(cv=2, random_state=0).fit(X, y)
    frame = pd.DataFrame(X, columns=["a", "b", "c", "d"])
    with pytest.warns(UserWarning, match="X has feature names, but DSinkClassifier") as caught:
        proba = clf.predict_proba(frame)
    assert len(caught) == 1
    np.testing.assert_allclose(proba, clf.predict_proba(X), atol=1e-6)


@pytest.mark.parametrize("library", [pd.DataFrame, pl.DataFrame])
def test_infinite_values_in_a_frame_are_named(library):
    frame = library({"a": [1.0, 2.0], "b": [0.0, -np.inf]})
    with pytest.raises(ValueError, match=r"infinity in column 'b' \(first in row 1\)"):
        TabularEncoder().fit(frame)


@pytest.mark.filterwarnings("ignore:Downcasting behavior:FutureWarning")  # pandas 2, of skrub
@pytest.mark.parametrize("endless", [np.inf, Decimal("-Infinity"), "inf"])
def test_infinite_values_among_objects_and_texts_are_named(endless):
    values = [1.5, 2.0, 3.25] * 10
    column = [type(endless)(value) for value in values]
    frame = pd.DataFrame({"a": pd.Series(column, dtype=object), "kind": ["x", "y", "z"] * 10})
    encoder = TabularEncoder().fit(frame)
    frame.loc[4, "a"] = endless
    for read in (encoder.transform, TabularEncoder().fit):
        with pytest.raises(ValueError, match=r"infinite .* in column 'a' \(first in row 4\)"):
            read(frame)


@pytest.mark.filterwarnings("ignore:overflow encountered in cast:RuntimeWarning")
def test_numbers_beyond_float32_beside_texts_are_told_from_infinite_ones():
    frame = pd.DataFrame({"a": [1.0, 2.0, 1e39], "kind": ["x", "y", "z"]})
    with pytest.raises(
        ValueError, match=r"too large for float32 in column 'a' \(first in row 2\)"
    ):
        TabularEncoder().fit(frame)


def test_columns_are_checked_by_name():
    encoder = TabularEncoder().fit(mixed())
    with pytest.raises(ValueError, match="feature names"):
        encoder.transform(mixed()[["gaps", "size", "kind", "flag"]])
    with pytest.raises(ValueError, match="feature names"):
        encoder.transform(mixed().drop(columns="size"))


def test_the_input_is_left_as_it_was():
    X = np.array([[1e40, np.nan], [1.0, 2.0]])
    before = X.copy()
    TabularEncoder().fit_transform(X)
    np.testing.assert_array_equal(X, before)


def test_text_in_an_array_and_names_there_twice_are_told_how_to_be_mended():
    clf = DSinkClassifier()
    X = mixed()
    with pytest.raises(ValueError, match="Where columns hold text, give X as a data frame"):
        clf.fit(X.to_numpy(dtype=object), np.arange(len(X)) % 2)
    X.columns = ["size", *X.columns[1:-1], "size"]
    with pytest.raises(ValueError, match="X has more than one column 'size'"):
        clf.fit(X, np.arange(len(X)) % 2)
