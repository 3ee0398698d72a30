"""What a column is, the training table decides; other tables are read in its way."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from sklearn_dsink._tables import (
    TableError,
    as_read,
    columns_of,
    labels_as,
    labels_of,
    make_encoder,
    names_of,
    read_table,
)


@pytest.fixture
def written(tmp_path):
    """Write columns to a CSV file and read them again; None is an empty field."""

    def write(**columns):
        pd.DataFrame(columns, dtype=object).to_csv(tmp_path / "t.csv", index=False)
        return read_table(tmp_path / "t.csv")

    return write


def read(column: pd.DataFrame, training: pd.DataFrame) -> list[object]:
    encoder, _ = make_encoder(training)
    return as_read(column, encoder, "new.csv")["a"].tolist()


@pytest.mark.parametrize(
    "training, new",
    [
        (["true", "false", "unknown"], ["true", "true"]),
        (["1", "2", "x"], ["1", "2"]),
        (["001", "002", "x"], ["001", "002"]),
        (["001", "002", "010"], ["001", "002"]),
    ],
)
def test_categories_stay_as_they_are_written(written, training, new):
    training = written(a=training)
    assert columns_of(make_encoder(training)[0]) == ([], ["a"])
    assert read(written(a=new), training) == new
    given = read(written(a=[*new, None], b="x"), training)
    assert given[:-1] == new
    assert np.isnan(given[-1])


def test_texts_that_are_all_numbers_are_numbers(written):
    training = written(a=["1", "-2.5", "NA", "1e3", None, "0", "0.5", " 7"])
    assert columns_of(make_encoder(training)[0]) == (["a"], [])
    expected = [1, -2.5, np.nan, 1000, np.nan, 0, 0.5, 7]
    assert np.array_equal(read(training, training), expected, equal_nan=True)
    # Numbers that a new file writes in another way are the same numbers.
    assert read(written(a=["001", "2"]), training) == [1, 2]
    assert read(pd.DataFrame({"a": [1, 2]}), training) == [1, 2]
    with pytest.raises(TableError, match=r"new\.csv: column 'a', row 2: 'x' is not a number"):
        read(written(a=["1", "x"]), training)
    with pytest.raises(TableError, match=r"new\.csv: column 'a', row 1: the number is infinite"):
        read(written(a=["inf", "1"]), training)
    with pytest.raises(TableError, match=r"column 'a', row 1: '\[1\]' is not a number"):
        read(pd.DataFrame({"a": [[1], [2]]}), training)
    with pytest.raises(TableError, match="column 'a', row 1: '2020-01-01' is not a number"):
        read(pd.DataFrame({"a": pd.to_datetime(["2020-01-01"])}), training)


def test_texts_for_missing_values_are_missing_in_features(written):
    training = written(a=["x", "NA", "None", "y", None], b=["NA", "nan", "", None, "null"])
    encoder, notes = make_encoder(training)
    assert notes == ["column 'b' is left out: all of its values are missing"]
    assert as_read(training, encoder, "t")["a"].isna().tolist() == [False, True, True, False, True]


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
        encoder, notes = make_encoder(read_table(tmp_path / file))
        assert columns_of(encoder) == (["size", "step"], [])
        assert notes == [f"column {name!r} is left out: it numbers the rows"]


def test_dates_written_as_texts_are_left_out_as_dates_are(written):
    training = written(
        a=["1", "3", "2"],
        day=["2024-01-02", None, "2024-01-02"],
        moment=["2024-01-02 10:00", "2024-01-02T11:00:30Z", "2023-12-31"],
        kind=["2024-01-02", "soon", "2024-01-02"],
    )
    encoder, notes = make_encoder(training)
    assert columns_of(encoder) == (["a"], ["kind"])
    assert notes == [
        f"column {name!r} is left out: it holds dates; give numbers instead"
        for name in ("day", "moment")
    ]


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
        }
    )
    table.to_parquet(tmp_path / "t.parquet")
    table = read_table(tmp_path / "t.parquet")
    encoder, notes = make_encoder(table)
    assert columns_of(encoder) == (["count"], ["flag", "gappy", "level"])
    assert notes == ["column 'day' is left out: it holds dates; give numbers instead"]
    features = as_read(table, encoder, "t").drop(columns="count").fillna("")
    assert features["flag"].tolist() == ["True", "False", "True"]
    assert features["gappy"].tolist() == ["True", "", "False"]
    assert features["level"].tolist() == ["1", "2", "1"]
    # Integers of which one is missing come as floats, and are the same categories.
    levels = as_read(table.assign(level=[1.0, np.nan, 2.0]), encoder, "t")["level"]
    assert levels.fillna("").tolist() == ["1", "", "2"]


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
    with pytest.raises(TableError, match=f"row 2: .* '{name}' counts as that; .* rename it"):
        labels_of(written(y=["a", name, "b", "a", name]), "y")


def test_a_column_of_keys_is_left_out_and_a_code_is_kept():
    table = pd.DataFrame(
        {"size": [1.5, np.nan] * 30, "soil": ["clay", "sand", None] * 20, "plant": range(60)}
    ).astype({"plant": str})
    table["plant"] = "p" + table["plant"]
    encoder, notes = make_encoder(table)
    assert [note.split("'")[1] for note in notes] == ["plant"]
    encoded = encoder.fit_transform(as_read(table, encoder, "flowers"))
    assert np.isfinite(encoded).all()
    assert encoded.shape[1] == 1 + 1 + 3  # a number, its gaps, two soils and no soil


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
