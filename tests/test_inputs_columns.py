"""What a column held in fit is what it has to hold later; what float32 cannot hold is moved."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from scipy import sparse
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_dsink import _casting
from sklearn_dsink.inputs import TabularEncoder

LIBRARIES = pytest.mark.parametrize("library", [pd.DataFrame, pl.DataFrame])
N_ROWS = 24


def table(library=pd.DataFrame, **columns):
    days = pd.date_range("2024-01-01", periods=N_ROWS)
    given = {
        "size": np.linspace(-1, 1, N_ROWS),
        "written": [f"{i}.5" for i in range(N_ROWS)],
        "day": days.strftime("%Y-%m-%d").tolist(),
        "kind": ["u", "v", "w"] * (N_ROWS // 3),
    }
    return library(given | columns)


@LIBRARIES
@pytest.mark.parametrize("column", ["size", "written"])
@pytest.mark.parametrize("value", ["-1,9086", "hello", "1 000"])
def test_what_is_no_number_later_is_named(library, column, value):
    encoder = TabularEncoder().fit(table(library))
    later = table(library, **{column: ["1.5", "NA", value] * (N_ROWS // 3)})
    message = f"'{column}' held numbers or booleans in fit, and '{value}' in row 2 cannot be read"
    with pytest.raises(ValueError, match=message):
        encoder.transform(later)


@LIBRARIES
def test_dates_in_another_order_are_named(library):
    encoder = TabularEncoder().fit(table(library))
    with pytest.raises(ValueError, match=r"'day' held dates in fit, and '05/01/2024' in row 1 "):
        encoder.transform(table(library, day=[None, "05/01/2024"] * (N_ROWS // 2)))


@LIBRARIES
def test_numbers_alone_are_read_as_strictly(library):
    numbers = {"a": [1.0, 2.0, 4.0], "b": [0, 1, 2]}
    encoder = TabularEncoder().fit(library(numbers))
    with pytest.raises(ValueError, match=r"'a' held numbers .* in fit, and '-1,9086' in row 1 "):
        encoder.transform(library(numbers | {"a": ["1", "-1,9086", "2"]}))
    with pytest.raises(ValueError, match="'b' held numbers or booleans in fit, and '2024-01-01"):
        encoder.transform(library(numbers | {"b": pd.date_range("2024-01-01", periods=3)}))
    later = library(numbers | {"a": ["1.5", "NA", None]})
    np.testing.assert_array_equal(encoder.transform(later), [[1.5, 0], [2, 1], [2, 2]])


@LIBRARIES
def test_what_stands_for_a_missing_value_is_no_error(library):
    texts = ["", "  ", "NA", "N/A", "n/a", "nan", "NaN", "None", "none", "null", "NULL", "?", None]
    texts += ["#N/A N/A", "1.#QNAN", "...", "<NA>"]
    encoder = TabularEncoder().fit(table(library))
    for column, value in {"size": "1.5", "written": "2", "day": "2031-05-05"}.items():
        later = table(library, **{column: texts + [value] * (N_ROWS - len(texts))})
        assert np.isfinite(encoder.transform(later)).all()


@LIBRARIES
def test_what_can_be_read_goes_on(library):
    frame = table(library)
    encoder = TabularEncoder().fit(frame)
    encoded = encoder.transform(frame)
    size = [str(value) for value in frame["size"]]
    np.testing.assert_array_equal(encoder.transform(table(library, size=size)), encoded)
    written = [float(value) for value in frame["written"]]
    np.testing.assert_array_equal(encoder.transform(table(library, written=written)), encoded)
    bools = encoder.transform(table(library, size=[True, False] * (N_ROWS // 2)))
    np.testing.assert_array_equal(bools[:2, 0], [1, 0])
    unseen = encoder.transform(table(library, kind=["unheard of"] * N_ROWS))
    np.testing.assert_array_equal(unseen[:, -3:], 0)


@pytest.mark.parametrize("dtype", ["Int64", "Float64", "int64[pyarrow]", "double[pyarrow]"])
def test_nullable_numbers_may_be_missing(dtype):
    column = pd.Series([1, None, 3] * (N_ROWS // 3), dtype="Int64").astype(dtype)
    encoded = TabularEncoder().fit(table()).transform(table(size=column))
    np.testing.assert_array_equal(encoded[[0, 2], 0], [1, 3])
    assert np.isfinite(encoded).all()


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_durations_of_pyarrow_are_encoded_as_those_of_numpy(unit):
    frame = pd.DataFrame({"took": pd.to_timedelta(range(50), unit="min").as_unit(unit), "x": 1.0})
    arrow = frame.astype({"took": f"duration[{unit}][pyarrow]"})
    encoded = TabularEncoder().fit_transform(arrow)
    assert encoded.shape == (50, 2)
    np.testing.assert_array_equal(encoded, TabularEncoder().fit_transform(frame))


def far_off(rng, n_samples=300):
    """Return a column far from zero, and one like others; their labels are of the first."""
    X = np.c_[1.7e9 + rng.uniform(0, 60, n_samples), rng.normal(size=n_samples)]
    return X, (X[:, 0] > 1.7e9 + 30).astype(int)


def as_mixed(X):
    return pd.DataFrame(X, columns=["time", "x"]).assign(kind=["u", "v", "w"] * (len(X) // 3))


@pytest.mark.parametrize(
    "container",
    [
        np.asarray,
        lambda X: X * 1e-50,
        lambda X: X.astype(np.int64),
        lambda X: pd.DataFrame(X).convert_dtypes(dtype_backend="pyarrow"),
        pl.DataFrame,
        as_mixed,
        lambda X: pl.from_pandas(as_mixed(X)),
    ],
    ids=["float64", "tiny", "int64", "pyarrow", "polars", "mixed", "mixed polars"],
)
def test_a_small_spread_far_from_zero_is_kept(rng, container):
    X, y = far_off(rng)
    model = make_pipeline(TabularEncoder(), StandardScaler(), LogisticRegression(C=100))
    model.fit(container(X[:150]), y[:150])
    assert model.score(container(X[150:]), y[150:]) > 0.95


def test_only_columns_that_need_it_are_moved(rng):
    X = np.c_[far_off(rng)[0], rng.uniform(1900, 2024, 300), np.full(300, 1e9 / 3), -np.ones(300)]
    X[:, 4] *= 1 + 1e-15 * rng.normal(size=300)  # no more than the rounding of a constant
    X[::7, :2] = np.nan
    encoded = TabularEncoder().fit_transform(X)
    assert np.nanmax(np.abs(encoded[:, 0])) <= 30.001
    np.testing.assert_array_equal(encoded[1:7, 1:5], X[1:7, 1:].astype(np.float32))
    assert TabularEncoder().fit(X[:, 1:])._shift is None
    assert TabularEncoder().fit(X[1:7].astype(np.float32))._shift is None


def test_columns_are_moved_alike_in_blocks_files_frames_and_sparse_rows(
    rng, monkeypatch, tmp_path
):
    X, _ = far_off(rng)
    encoder = TabularEncoder().fit(X)
    encoded = encoder.transform(X)
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    monkeypatch.setattr(_casting, "_BLOCK_SIZE", 64)
    for same in (X, np.asfortranarray(X), mapped, pd.DataFrame(X), pl.DataFrame(X)):
        np.testing.assert_array_equal(TabularEncoder().fit_transform(same), encoded)
    np.testing.assert_array_equal(encoder.transform(sparse.csr_matrix(X)), encoded)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(encoder)).transform(X), encoded)


def test_numbers_of_any_size_are_finite_however_their_column_is_moved():
    X = np.array([[1e300, 1e-300, 5.0], [1.0001e300, 2e-300, np.nan], [1e300, 0.0, 5.001]])
    encoder = TabularEncoder().fit(X)
    assert np.isfinite(encoder.transform(X)).all()
    assert np.isfinite(encoder.transform([[-1e300, 1e300, 1e300]])).all()
    assert np.ptp(encoder.transform(X)[:, 1]) == 1


def gaps(container=np.asarray):
    X = np.array([[0.0, 1.0, 2.0], [np.nan, 0.0, 3.0], [5.0, 0.0, np.nan], [0.0, 4.0, 0.0]])
    return container(X)


def test_columns_that_come_out_have_names():
    def names(X, *given):
        encoder = TabularEncoder(random_state=0).fit(X)
        found = encoder.get_feature_names_out(*given)
        assert len(found) == encoder.n_features_out_
        return list(found)

    markers = ["missingindicator_x0", "missingindicator_x2"]
    for container in (np.asarray, sparse.csr_matrix):
        assert names(gaps(container)) == ["x0", "x1", "x2", *markers]
    assert names(gaps(), ["a", "b", "c"])[2:4] == ["c", "missingindicator_a"]
    assert names(pd.DataFrame({"a": [1.0, np.nan]})) == ["a", "missingindicator_a"]
    expected = ["size", "written", "day_year", "day_month", "day_day", "day_total_seconds"]
    assert names(table()) == [*expected, "kind_u", "kind_v", "kind_w"]
    wide = sparse.random(40, 600, density=0.1, random_state=0, format="csr")
    assert names(wide) == [f"truncatedsvd{i}" for i in range(40)]


@pytest.mark.parametrize(
    "container, library", [("pandas", pd.DataFrame), ("polars", pl.DataFrame)]
)
@pytest.mark.parametrize("X", [gaps(), gaps(sparse.csr_matrix), table(), table(pl.DataFrame)])
def test_frames_come_out_where_set_output_asks_for_them(container, library, X):
    encoder = TabularEncoder().set_output(transform=container)
    expected = TabularEncoder().fit_transform(X)
    for encoded in (encoder.fit_transform(X), encoder.transform(X)):
        assert isinstance(encoded, library)
        assert list(encoded.columns) == list(encoder.get_feature_names_out())
        np.testing.assert_array_equal(encoded.to_numpy(), expected)


@pytest.mark.parametrize("container", ["pandas", "polars"])
@pytest.mark.parametrize(
    "X",
    [
        gaps(),
        gaps(sparse.csr_matrix),
        sparse.random(40, 600, density=0.1, random_state=0, format="csr"),
        table(),
        table(pl.DataFrame),
        pd.DataFrame({"text": [f"text {i} of many {i % 7}" for i in range(60)]}),
    ],
    ids=["array", "sparse", "wide", "pandas", "polars", "text"],
)
def test_the_global_configuration_leaves_arrays_arrays(container, X):
    with sklearn.config_context(transform_output=container):
        encoder = TabularEncoder(sparse_output=True, random_state=0)
        for encoded in (encoder.fit_transform(X), encoder.transform(X)):
            assert isinstance(encoded, np.ndarray) or sparse.issparse(encoded)


def test_a_lazy_frame_says_what_to_do():
    with pytest.raises(TypeError, match=r"polars LazyFrame: give X\.collect\(\)"):
        TabularEncoder().fit(table(pl.DataFrame).lazy())


@LIBRARIES
def test_a_frame_of_nothing_says_so(library):
    empty = library({"a": ["", "NA", ""], "b": ["None", "?", "?"]})
    with pytest.raises(ValueError, match="Every column of X holds missing values only"):
        TabularEncoder().fit(empty)
    with pytest.raises(ValueError, match="Every column of X holds missing values only"):
        TabularEncoder().fit(pd.DataFrame({"a": [None] * 3}))
    gaps = library({"a": [float("nan")] * 3})
    np.testing.assert_array_equal(TabularEncoder().fit_transform(gaps), [[0, 1]] * 3)
