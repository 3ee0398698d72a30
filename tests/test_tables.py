"""What a column is, the training table decides; other tables are read in its way."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from sklearn_dsink._tables import (
    TableError,
    TableReader,
    labels_as,
    labels_of,
    names_of,
    read_table,
)
from sklearn_dsink.inputs import TabularEncoder


@pytest.fixture
def written(tmp_path):
    """Write columns to a CSV file and read them again; None is an empty field."""

    def write(**columns):
        pd.DataFrame(columns, dtype=object).to_csv(tmp_path / "t.csv", index=False)
        return read_table(tmp_path / "t.csv")

    return write


def read(column: pd.DataFrame, training: pd.DataFrame) -> list[object]:
    return TableReader().fit(training).read(column, "new.csv")["a"].tolist()


@pytest.mark.parametrize(
    "training, new",
    [
        (["true", "false", "unknown"], ["true", "true"]),
        (["1", "2", "x"], ["1", "2"]),
        (["001", "002", "x"], ["001", "002"]),
        (["001", "002", "010"], ["001", "002"]),
        (["2020-01-01", "2020-01-02", "soon"], ["2020-01-01", "2020-01-02"]),
        (["1203-04", "1203-05", "1204-01"], ["1203-04"] * 2),
        (["today", "now", "now"], ["today", "now"]),
    ],
)
def test_categories_stay_as_they_are_written(written, training, new):
    training = written(a=training)
    assert TableReader().fit(training).kinds_ == {"a": "category"}
    assert read(written(a=new), training) == new
    given = read(written(a=[*new, None], b="x"), training)
    assert given[:-1] == new
    assert np.isnan(given[-1])


def test_texts_that_are_all_numbers_are_numbers(written):
    training = written(a=["1", "-2.5", "NA", "1e3", None, "0", "0.5", " 7"])
    assert TableReader().fit(training).kinds_ == {"a": "number"}
    expected = [1, -2.5, np.nan, 1000, np.nan, 0, 0.5, 7]
    assert np.array_equal(read(training, training), expected, equal_nan=True)
    # Numbers that a new file writes in another way are the same numbers.
    assert read(written(a=["001", "2"]), training) == [1, 2]
    assert read(pd.DataFrame({"a": [1, 2]}), training) == [1, 2]
    with pytest.raises(TableError, match=r"new\.csv: column 'a', row 2: 'x' is not a number"):
        read(written(a=["1", "x"]), training)
    with pytest.raises(TableError, match=r"new\.csv: column 'a', row 1: the number is infinite"):
        read(written(a=["inf", "1"]), training)
    with pytest.raises(TableError, match=r"column 'a', row 1 .*: '\[1\]' is not a number"):
        read(pd.DataFrame({"a": [[1], [2]]}), training)
    with pytest.raises(TableError, match="column 'a', row 1: '2020-01-01' is not a number"):
        read(pd.DataFrame({"a": pd.to_datetime(["2020-01-01"])}), training)


def test_texts_for_missing_values_are_missing_in_features(written):
    training = written(a=["x", "NA", "None", "y", None], b=["NA", "nan", "", None, "null"])
    reader = TableReader().fit(training)
    assert reader.notes_ == ["column 'b' is left out: all of its values are missing"]
    assert reader.transform(training)["a"].isna().tolist() == [False, True, True, False, True]


def test_a_column_that_numbers_the_rows_is_left_out(tmp_path):
    table = pd.DataFrame({"size": [3.0, 1.0, 2.0, 4.0], "step": [0, 4, 2, 6]})
    table.to_csv(tmp_path / "all.csv")  # with the row numbers that pandas writes
    table.set_axis([7, 3, 9, 1]).to_csv(tmp_path / "shuffled.csv")
    table.assign(number=[7, 8, 12, 19]).to_parquet(tmp_path / "some.parquet")
    for file, name in (
        ("all.csv", "Unnamed: 0"),
        ("shuffled.csv", "Unnamed: 0"),
        ("some.parquet", "number"),
    ):
        reader = TableReader().fit(read_table(tmp_path / file))
        assert reader.kinds_ == {"size": "number", "step": "number"}
        assert reader.notes_ == [f"column {name!r} is left out: it numbers the rows"]


def test_an_empty_line_is_a_row(tmp_path):
    for text, expected in (
        ("x\n0.1\n\n4.2\n", ["0.1", None, "4.2"]),
        ("x,y\n1,2\n\n3,4\n\n\n", ["1", None, "3"]),
    ):
        (tmp_path / "t.csv").write_text(text)
        found = read_table(tmp_path / "t.csv")["x"]
        assert found.astype(object).where(found.notna(), None).tolist() == expected
    (tmp_path / "t.csv").write_text("x,y\n\n\n")
    with pytest.raises(TableError, match="no rows below the header"):
        read_table(tmp_path / "t.csv")


@pytest.mark.parametrize("text", ["a;b\n1,5;2\n", "a\tb\n1,5\t2,5\n"])
def test_another_separator_is_named(tmp_path, text):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(TableError, match=r"columns of a \.csv are separated by commas"):
        read_table(tmp_path / "t.csv")


def test_parquet_keeps_its_types(tmp_path):
    table = pd.DataFrame(
        {
            "flag": [True, False, True],
            "gappy": [True, None, False],
            "count": pd.array([1, None, 3], dtype="Int64"),
            "level": pd.Categorical(["1", "2", "1"]),
            "day": pd.to_datetime(["2020-01-01"] * 3),
            "took": pd.to_timedelta([1, 2, 4], unit="s"),
        }
    )
    table.to_parquet(tmp_path / "t.parquet")
    table = read_table(tmp_path / "t.parquet")
    reader = TableReader().fit(table)
    assert reader.kinds_ == {
        "flag": "category", "gappy": "category", "count": "number", "level": "category",
        "day": "date",
    }  # fmt: skip
    assert reader.notes_ == ["column 'took' is left out: it holds durations; give numbers instead"]
    features = reader.transform(table)
    assert features["flag"].tolist() == ["True", "False", "True"]
    assert features["gappy"].fillna("True").tolist() == ["True", "True", "False"]
    assert features["level"].tolist() == ["1", "2", "1"]
    # Integers of which one is missing come as floats, and are the same categories.
    levels = reader.transform(table.assign(level=[1.0, np.nan, 2.0]))["level"]
    assert levels[[0, 2]].tolist() == ["1", "2"]
    assert levels.isna().tolist() == [False, True, False]


def test_named_indices_are_columns(tmp_path):
    table = pd.DataFrame({"a": [1, 2]}, index=pd.Index(["007", "008"], name="id"))
    table.to_parquet(tmp_path / "t.parquet")
    assert read_table(tmp_path / "t.parquet", ["id"])["id"].tolist() == ["007", "008"]
    levels = pd.MultiIndex.from_tuples([(1, 5), (2, 6)], names=["id", None])
    table.set_index(levels).to_parquet(tmp_path / "t.parquet")
    assert read_table(tmp_path / "t.parquet").columns.tolist() == ["id", "a"]
    table.rename_axis("a").to_parquet(tmp_path / "t.parquet")
    with pytest.raises(TableError, match="column 'a' is there twice"):
        read_table(tmp_path / "t.parquet")


def test_names_of_rows_are_texts_as_written(written):
    names = written(id=["007", "NA", None, "1.0"], a="x")
    assert names_of(names, "id").tolist() == ["007", "NA", "", "1.0"]
    assert names_of(pd.DataFrame({"id": [164, None]}), "id").tolist() == ["164", ""]


@pytest.mark.parametrize(
    "training, labels",
    [
        (["1", "2", "2"], [1, 2, 2]),
        (["-1", "0", "0"], [-1, 0, 0]),
        (["1.0", "2.0", "1"], [1, 2, 1]),
        (["001", "002", "002"], ["001", "002", "002"]),
        (["1", "2", "x", "x", "1", "2"], ["1", "2", "x", "x", "1", "2"]),
        (["true", "false", "true"], ["true", "false", "true"]),
        (["12345678901234567890", "1", "1"], ["12345678901234567890", "1", "1"]),
    ],
)
def test_labels_are_integers_or_texts_as_written(written, training, labels):
    given = labels_of(written(y=training), "y")
    assert given.tolist() == labels
    # A test table with part of the labels gives them in the same way.
    part = labels_as(written(y=training[:2]), "y", given, "test.csv")
    assert part.tolist() == labels[:2]
    assert part.dtype == given.dtype


def test_labels_that_training_lacks_are_refused_where_they_stand(written):
    given = labels_of(written(y=["0", "1", "1"]), "y")
    for label in ("x", "2", "0.5", "01"):
        with pytest.raises(TableError, match=f"t.csv: column 'y', row 3: .* label '{label}'"):
            labels_as(written(y=["0", "1", label]), "y", given, "t.csv")
    with pytest.raises(TableError, match=r"t\.csv: column 'y', row 2: the label is missing"):
        labels_as(written(y=["0", None, "1"], a="x"), "y", given, "t.csv")


@pytest.mark.parametrize("name", ["NA", "None", "null"])
def test_labels_that_may_stand_for_missing_ones_are_refused(written, name):
    with pytest.raises(TableError, match=f"row 2 .* '{name}' counts as that; .* rename it"):
        labels_of(written(y=["a", name, "b", "a", name]), "y")


def test_a_column_of_keys_is_left_out_and_a_code_is_kept():
    table = pd.DataFrame(
        {"size": [1.5, np.nan] * 30, "soil": ["clay", "sand", None] * 20, "plant": range(60)}
    ).astype({"plant": str})
    table["plant"] = "p" + table["plant"]
    reader = TableReader().fit(table)
    assert reader.kinds_ == {"size": "number", "soil": "category"}
    assert [note.split("'")[1] for note in reader.notes_] == ["plant"]
    encoder = TabularEncoder()
    encoded = encoder.fit_transform(reader.transform(table))
    assert np.isfinite(encoded).all()
    assert encoded.shape[1] == 1 + 1 + 3  # a number, its gaps, two soils and no soil
    # Later all may be missing or never seen, and columns lie in another order beside others.
    new = pd.DataFrame({"more": 1, "soil": ["peat", None], "size": [None, "2"]}, index=[5, 5])
    assert np.isfinite(encoder.transform(reader.transform(new))).all()
    new = pd.DataFrame({"soil": [None], "size": [None]})
    assert np.isfinite(encoder.transform(reader.transform(new))).all()


def test_dates_are_read_alike_from_texts_and_times(written):
    days = pd.date_range("2024-02-25", periods=60, freq="7h")
    training = written(a=[None, *days.strftime("%Y-%m-%d %H:%M")])
    reader = TableReader().fit(training)
    assert reader.kinds_ == {"a": "date"}
    read = reader.transform(training)
    assert read["a"][0] is pd.NaT
    assert read["a"][1:].tolist() == days.tolist()
    for zone in (None, "UTC", "Europe/Berlin"):
        times = days.tz_localize("UTC").tz_convert(zone)
        for column in (times, times.astype(object), times.astype(str)):
            again = reader.transform(pd.DataFrame({"a": column}))["a"]
            assert again.dtype == read["a"].dtype
            assert again.tolist() == days.tolist()
    later = reader.transform(written(a=["2031-05-05T01:30:00+02:00", "NA"]))["a"]
    assert later.tolist() == [pd.Timestamp("2031-05-04 23:30"), pd.NaT]
    for wrong in ("05/06/2024", "2024-02-30", "20240229", "today"):
        with pytest.raises(TableError, match=f"t: column 'a', row 2: '{wrong}' is not a date"):
            reader.read(written(a=["2024-02-29", wrong]), "t")
    # One among many is a mistake in training as well.
    mistake = written(a=[*days.strftime("%Y-%m-%d %H:%M"), "soon"])
    with pytest.raises(TableError, match="column 'a', row 61: 'soon' is not a date"):
        TableReader().fit(mistake)


def test_labels_of_whole_floats_are_whole_numbers():
    assert labels_of(pd.DataFrame({"y": [1.0, 2.0, 1.0]}), "y").tolist() == [1, 2, 1]


def test_a_column_that_is_there_twice_is_refused(tmp_path):
    table = pd.DataFrame([[1, 2]], columns=["a", "b"])
    path = tmp_path / "t.parquet"
    table.to_parquet(path)
    assert read_table(path, ["a"]).shape == (1, 2)
    with pytest.raises(TableError, match="no column 'c'; it has 'a', 'b'"):
        read_table(path, ["c"])


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.csv.gz"])
def test_a_text_column_that_is_there_twice_is_refused(tmp_path, name):
    def write(*columns):
        table = pd.DataFrame([range(len(columns))], columns=columns)
        separator = "\t" if "tsv" in name else ","
        table.to_csv(tmp_path / name, index=False, sep=separator, encoding="utf-8-sig")

    write("label", "a", "label")
    with pytest.raises(TableError, match="column 'label' is there twice"):
        read_table(tmp_path / name)
    # Only the name that pandas would give the second one, and columns without a name.
    write("label", "label.1", "", "")
    assert read_table(tmp_path / name).columns.tolist()[:2] == ["label", "label.1"]


@pytest.mark.parametrize("end", ["", ","])
def test_rows_may_end_in_a_separator(tmp_path, end):
    path = tmp_path / "t.csv"
    path.write_text(f"label,grade,c\nx,1,0.5{end}\ny,2,0.6{end}\n")
    table = read_table(path)
    assert table.columns.tolist() == ["label", "grade", "c"]
    assert table.to_numpy().tolist() == [["x", "1", "0.5"], ["y", "2", "0.6"]]


@pytest.mark.parametrize(
    "rows, message",
    [
        ("r1,x,1,0.5\nr2,y,2,0.6", "row 1 has more fields than the header"),
        ("x,1,0.5,\ny,2,0.6,7", "row 1 has more fields than the header"),
        ("x,1,0.5,,\ny,2,0.6,,", "row 1 has more fields than the header"),
        ("x,1,0.5\ny,2,0.6,", "Expected 3 fields in line 3, saw 4"),
    ],
)
def test_rows_longer_than_the_header_are_refused(tmp_path, rows, message):
    (tmp_path / "t.csv").write_text(f"label,grade,c\n{rows}\n")
    with pytest.raises(TableError, match=rf"t\.csv: .*{message}"):
        read_table(tmp_path / "t.csv")
