"""What pandas made comes back equal from a model file, or is refused before it is written."""

from __future__ import annotations

import datetime

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from _quick import make_blobs, quick
from cleanlab.classification import CleanLearning
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.preprocessing import StandardScaler

from sklearn_dsink import DSinkClassifier
from sklearn_dsink.inputs import TabularEncoder
from sklearn_dsink.persistence import load_model, save_model

DAYS = pd.date_range("2024-03-30", periods=3, freq="D")  # over a change of the clock
OFFSET = datetime.timezone(datetime.timedelta(hours=2))
SUMMER = datetime.timezone(datetime.timedelta(hours=2), "summer")
INDEXES = {
    "text": pd.Index(["p", "q"], name="plant"),
    "objects": pd.Index(["p", 1, None, ("q", 2)], dtype=object),
    "missing objects": pd.Index(["p", pd.NA, pd.NaT], dtype=object),
    "days as objects": pd.Index(DAYS.date, dtype=object),
    "nullable text": pd.Index(["p", None], dtype="string"),
    "nullable numbers": pd.Index([1, None], dtype="Int64"),
    "arrow": pd.Index([1, None], dtype="int64[pyarrow]"),
    "range": pd.RangeIndex(3, 5),
    "nothing": pd.Index([], dtype=object),
    "dates": pd.DatetimeIndex(["2024-01-01", None]),
    "business days": pd.bdate_range("2024-01-01", periods=9),
    "zone": DAYS.tz_localize("Europe/Berlin"),
    "hours of a zone": pd.date_range("2024-10-26", periods=50, freq="h", tz="Europe/Berlin"),
    "seconds in UTC": pd.DatetimeIndex(["2024-01-01", None], tz="UTC").as_unit("s"),
    "fixed offset": DAYS.tz_localize(OFFSET),
    "spans": pd.timedelta_range(0, periods=3, freq="h"),
    "periods": pd.PeriodIndex(["2024-01", None], freq="M", name="month"),
    "intervals": pd.IntervalIndex.from_breaks([0.0, 0.5, 2.0], closed="left"),
    "intervals of a zone": pd.IntervalIndex.from_breaks(DAYS.tz_localize("Europe/Berlin")),
    "categories": pd.CategoricalIndex(["a", "b", None], categories=["b", "a"], ordered=True),
    "bins": pd.CategoricalIndex(pd.cut([1.0, 5.0, 9.0], 2)),
    "two levels": pd.MultiIndex.from_tuples([("a", 1), ("b", 2)], names=["x", None]),
    "levels of all kinds": pd.MultiIndex.from_arrays(
        [
            pd.DatetimeIndex(["2024-01-01", "2024-01-03"], tz="Europe/Berlin"),
            pd.Categorical(["a", "b"]),
            pd.PeriodIndex(["2024-01", "2024-03"], freq="M"),
        ]
    ),
}
COLUMNS = {
    "text": ["x", None],
    "objects": pd.Series(["x", 1], dtype=object),
    "category": pd.Categorical(["x", "y"]),
    "whole": pd.array([1, None], dtype="UInt8"),
    "real": pd.array([0.5, None], dtype="Float32"),
    "truth": pd.array([True, None], dtype="boolean"),
    "small": np.array([1, 2], dtype="uint8"),
    "sparse": pd.arrays.SparseArray([0.0, 1.0], fill_value=0.0),
    "arrow text": pd.array(["x", None], dtype=pd.ArrowDtype(pa.string())),
    "arrow days": pd.array([datetime.date(2024, 1, 1), None], dtype=pd.ArrowDtype(pa.date32())),
    "zone": pd.DatetimeIndex(["2024-01-01", None], tz="UTC"),
    "dtype": [np.dtype("int8"), pd.CategoricalDtype(["x", "y"])],
}
X, Y, _ = make_blobs((60, 50, 40))


def again(path, value):
    scaler = StandardScaler()
    scaler.value = value
    return load_model(save_model(scaler, path / "model.dsink")).value


@pytest.mark.parametrize("name", INDEXES)
def test_an_index_is_kept(tmp_path, name):
    index = INDEXES[name]
    loaded = again(tmp_path, index)
    pd.testing.assert_index_equal(loaded, index, exact="equiv")
    assert getattr(loaded, "freq", None) == getattr(index, "freq", None)
    series = pd.Series(range(len(index)), index, name="row")
    pd.testing.assert_series_equal(again(tmp_path, series), series)


@pytest.mark.parametrize("name", COLUMNS)
def test_a_series_and_its_dtype_are_kept(tmp_path, name):
    series = pd.Series(COLUMNS[name], name=name)
    pd.testing.assert_series_equal(again(tmp_path, series), series)
    assert again(tmp_path, series.dtype) == series.dtype


@pytest.mark.parametrize("storage", ["python", "pyarrow"])
def test_text_is_text_however_it_lay_in_memory(tmp_path, storage):
    series = pd.Series(["x", None], dtype=pd.StringDtype(storage))
    loaded = again(tmp_path, series)
    assert loaded.dtype == "string"
    assert loaded.equals(series.astype("string"))


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame(COLUMNS, index=pd.DatetimeIndex(["2024-01-01", "2024-01-02"], tz="UTC")),
        pd.DataFrame(np.eye(2), columns=["a", "a"]),
        pd.DataFrame(columns=["a"]),
        pd.DataFrame(index=["p", "q"]),
    ],
    ids=["all kinds of columns", "one name twice", "no rows", "no columns"],
)
def test_a_data_frame_is_kept(tmp_path, frame):
    pd.testing.assert_frame_equal(again(tmp_path, frame), frame)


def test_a_calendar_without_a_name_is_left_out_of_its_dates(tmp_path):
    holidays = pd.offsets.CustomBusinessDay(holidays=["2024-01-02"])
    index = pd.date_range("2024-01-01", periods=3, freq=holidays)
    loaded = again(tmp_path, index)
    assert (loaded == index).all()
    assert loaded.freq is None


@pytest.mark.parametrize(
    "value, message",
    [
        (pd.Index([*DAYS], dtype=object), "a single pandas.Timestamp.* with pd.to_datetime"),
        (pd.Timedelta(days=1), "a single pandas.Timedelta"),
        (pd.array([1], dtype=pd.ArrowDtype(pa.decimal128(3))), r"dtype decimal128.* astype"),
        (DAYS.tz_localize(SUMMER), "time zone that has a name"),
    ],
    ids=["objects", "span", "decimals", "zone without a name"],
)
def test_what_has_no_safe_form_is_refused_before_a_file_is_written(tmp_path, value, message):
    with pytest.raises(ValueError, match=f"cannot be saved: .*{message}"):
        again(tmp_path, value)
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("zone", ["Europe/Berlin", "UTC"])
def test_a_classifier_of_rows_named_by_times_of_a_zone_is_saved(tmp_path, zone):
    frame = pd.DataFrame(X, pd.date_range("2024", periods=len(X), tz=zone), columns=[*"abcd"])
    clf = DSinkClassifier(LogisticRegression(), GaussianNB(), cv=2, random_state=0).fit(frame, Y)
    loaded = load_model(save_model(clf, tmp_path / "model.dsink"))
    np.testing.assert_array_equal(loaded.predict_proba(frame), clf.predict_proba(frame))
    pd.testing.assert_frame_equal(loaded.label_issues(), clf.label_issues())


@pytest.mark.parametrize("zone", ["Europe/Berlin", "UTC", OFFSET], ids=str)
def test_a_column_of_times_of_a_zone_needs_no_further_trust(tmp_path, zone):
    frame = pd.DataFrame({"moment": pd.date_range("2024", periods=60, freq="h", tz=zone)})
    encoder = TabularEncoder().fit(frame)
    loaded = load_model(save_model(encoder, tmp_path / "model.dsink"))
    np.testing.assert_array_equal(loaded.transform(frame), encoder.transform(frame))


class Tabled(GaussianNB):
    """An auxiliary that keeps a table of what it saw."""

    def fit(self, X, y, sample_weight=None):
        self.table_ = pd.DataFrame(X).assign(label=pd.Categorical(y), text="x")
        return super().fit(X, y, sample_weight)


@pytest.mark.parametrize(
    "auxiliary, table",
    [(CleanLearning(RandomForestClassifier(5), seed=0), "label_issues_df"), (Tabled(), "table_")],
    ids=["cleanlab", "own"],
)
@pytest.mark.filterwarnings("ignore:.*holds types for which load_model")
def test_an_auxiliary_with_a_data_frame_is_saved_and_kept_in_a_checkpoint(
    tmp_path, auxiliary, table
):
    clf = quick(noise_aux=auxiliary, checkpoint_dir=tmp_path / "c").fit(X, Y)
    own = ("_quick.TinyModule", f"{__name__}.Tabled")
    loaded = load_model(save_model(clf, tmp_path / "model.dsink"), trusted=own)
    np.testing.assert_array_equal(loaded.predict_proba(X), clf.predict_proba(X))
    # What follows no sample weights or starts at a label other than 0 is fitted in a wrapper.
    fitted = [getattr(fit.noise_aux_, "estimator_", fit.noise_aux_) for fit in (loaded, clf)]
    pd.testing.assert_frame_equal(*(getattr(auxiliary, table) for auxiliary in fitted))
