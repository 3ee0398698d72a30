"""Tables for the command line: read, checked column by column, and made fit for a classifier.

Every problem is a `TableError` of one line that names the column and the row. Rows are counted
from 1 below the header, as a spreadsheet user would.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder

#: A text column with more distinct values than this, most of them different, is free text or a
#: key: one-hot columns of it would teach a classifier to look rows up.
_MOST_CATEGORIES = 50
#: Of a column's values that must be numbers for the rest to count as mistakes.
_MOSTLY = 0.9


class TableError(ValueError):
    """What is wrong with a table, in one line."""


def read_table(path: Path, columns: list[str] | None = None) -> pd.DataFrame:
    """Read a CSV, TSV or Parquet file; CSV and TSV may be compressed.

    Parameters
    ----------
    path : Path
        Its suffix says what it is.
    columns : list of str, default=None
        Columns that must be there.

    Returns
    -------
    table : DataFrame
        Text where text stood, numbers where all values of a column are numbers.

    Raises
    ------
    TableError
        If the file cannot be read or has no rows, or a column is missing or there twice.
    """
    suffixes = [suffix.lower() for suffix in path.suffixes]
    kind = next((s for s in reversed(suffixes) if s in (".csv", ".tsv", ".parquet", ".pq")), None)
    if kind is None:
        raise TableError(f"{path.name}: its name must end in .csv, .tsv or .parquet.")
    if not path.is_file():
        raise TableError(f"{path}: there is no such file.")
    try:
        if kind in (".parquet", ".pq"):
            table = pd.read_parquet(path)
        else:
            separator = "\t" if kind == ".tsv" else ","
            table = pd.read_csv(path, sep=separator, encoding="utf-8-sig", low_memory=False)
    except pd.errors.EmptyDataError:
        raise TableError(f"{path.name}: the file is empty.") from None
    except (pd.errors.ParserError, UnicodeDecodeError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise TableError(f"{path.name}: cannot be read: {reason}") from error
    table.columns = [str(name) for name in table.columns]
    if table.columns.has_duplicates:
        twice = table.columns[table.columns.duplicated()][0]
        raise TableError(f"{path.name}: column {twice!r} is there twice.")
    if len(table) == 0:
        raise TableError(f"{path.name}: there are no rows below the header.")
    for name in columns or []:
        require_column(table, name, path.name)
    return table


def require_column(table: pd.DataFrame, name: str, where: str) -> None:
    """Raise TableError, with the nearest name there is, unless the table has the column."""
    if name not in table.columns:
        near = difflib.get_close_matches(name, list(table.columns), n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"it has {_listed(table.columns)}."
        raise TableError(f"{where}: there is no column {name!r}; {hint}")


def labels_of(table: pd.DataFrame, name: str) -> pd.Series[Any]:
    """Give the label column, complete and of at least two classes.

    Raises
    ------
    TableError
        If a label is missing, there is one class only, or the column looks like a measurement.
    """
    labels = table[name]
    if labels.isna().any():
        row = int(np.flatnonzero(labels.isna())[0]) + 1
        raise TableError(f"column {name!r}, row {row}: the label is missing.")
    if labels.dtype.kind == "f" and (labels % 1 != 0).any():
        row = int(np.flatnonzero(labels % 1 != 0)[0]) + 1
        raise TableError(
            f"column {name!r}, row {row}: {labels.iloc[row - 1]:g} is a fraction; labels are "
            "names or whole numbers."
        )
    if labels.dtype.kind not in "iufb":
        labels = labels.astype(str).astype(object)
    elif labels.dtype.kind == "f":
        labels = labels.astype("int64")
    n_classes = labels.nunique()
    if n_classes < 2:
        raise TableError(
            f"column {name!r}: all labels are {str(labels.iloc[0])!r}; two are needed."
        )
    if n_classes > max(2, len(labels) // 2):
        raise TableError(
            f"column {name!r}: {n_classes} different labels in {len(labels)} rows; is it a key?"
        )
    return labels


def make_encoder(features: pd.DataFrame) -> tuple[ColumnTransformer, list[str]]:
    """Build the transformer of a table's columns, and say what it leaves out.

    Numbers get the median where they are missing, and a column that says so; everything else is
    a category. Nothing is fitted here.

    Parameters
    ----------
    features : DataFrame
        Columns to learn from.

    Returns
    -------
    encoder : ColumnTransformer
        Unfitted, dense output.
    notes : list of str
        One line for each column left out.

    Raises
    ------
    TableError
        If a number is infinite, a column is nearly but not wholly numeric, or none is left.
    """
    numeric, categorical, notes = [], [], []
    for name in features.columns:
        column = features[name]
        if column.isna().all():
            notes.append(f"column {name!r} is left out: all of its values are missing")
        elif pd.api.types.is_bool_dtype(column) or column.dtype.kind in "iuf":
            check_numbers(column)
            numeric.append(name)
        elif column.dtype.kind in "mM":
            notes.append(f"column {name!r} is left out: it holds dates; give numbers instead")
        else:
            _check_not_nearly_numeric(column)
            n_values, n_rows = column.nunique(), int(column.notna().sum())
            if n_values > _MOST_CATEGORIES and n_values > n_rows / 2:
                notes.append(
                    f"column {name!r} is left out: {n_values} different texts in {n_rows} rows, "
                    "so it is a key or free text"
                )
            else:
                categorical.append(name)
    if not numeric and not categorical:
        raise TableError("there is no column left to learn from.")
    encoder = ColumnTransformer(
        [
            ("numeric", SimpleImputer(strategy="median", add_indicator=True), numeric),
            ("categorical", _category_steps(), categorical),
        ],
        sparse_threshold=0.0,
        verbose_feature_names_out=False,
    )
    return encoder, notes


def _category_steps() -> Pipeline:
    return Pipeline(
        [
            ("missing", SimpleImputer(strategy="constant", fill_value="(missing)")),
            (
                "one_hot",
                OneHotEncoder(
                    handle_unknown="infrequent_if_exist",
                    max_categories=_MOST_CATEGORIES,
                    sparse_output=False,
                ),
            ),
        ]
    )


def columns_of(encoder: ColumnTransformer) -> tuple[list[str], list[str]]:
    """Give the numeric and the categorical columns of an encoder."""
    columns = {name: list(names) for name, _, names in encoder.transformers}
    return columns["numeric"], columns["categorical"]


def as_read(features: pd.DataFrame, encoder: ColumnTransformer, where: str) -> pd.DataFrame:
    """Give the columns that an encoder reads, in the types it reads them in.

    Raises
    ------
    TableError
        If a column is missing, or a value of a numeric one is no number.
    """
    numeric, categorical = columns_of(encoder)
    for name in [*numeric, *categorical]:
        require_column(features, name, where)
    out = features[[*numeric, *categorical]].copy()
    for name in numeric:
        column = out[name]
        if column.dtype.kind not in "iufb":
            numbers = pd.to_numeric(column, errors="coerce")
            _raise_first_text(column, numbers)
            column = numbers
        check_numbers(column)
        out[name] = column.astype("float64")
    for name in categorical:
        # Of one type all through, and missing in one way, whatever the file's reader made of it.
        column = out[name]
        text = column.astype(str).astype(object)
        out[name] = text.where(column.notna(), np.nan)
    return out


def check_numbers(column: pd.Series[Any]) -> None:
    """Raise TableError where a number is infinite."""
    if column.dtype.kind == "f":
        infinite = np.isinf(column.to_numpy(dtype=float, na_value=np.nan))
        if infinite.any():
            row = int(np.flatnonzero(infinite)[0]) + 1
            raise TableError(f"column {column.name!r}, row {row}: the number is infinite.")


def _check_not_nearly_numeric(column: pd.Series[Any]) -> None:
    """Raise TableError where a few texts among numbers would turn a measure into categories."""
    numbers = pd.to_numeric(column, errors="coerce")
    n_given = int(column.notna().sum())
    n_numbers = int(numbers.notna().sum())
    if n_given > n_numbers >= _MOSTLY * n_given and column.nunique() > _MOST_CATEGORIES:
        _raise_first_text(column, numbers)


def _raise_first_text(column: pd.Series[Any], numbers: pd.Series[Any]) -> None:
    wrong = (column.notna() & numbers.isna()).to_numpy()
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0]) + 1
        value = str(column.iloc[row - 1])[:40]
        raise TableError(f"column {column.name!r}, row {row}: {value!r} is not a number.")


def _listed(names: Any) -> str:
    shown = ", ".join(repr(str(name)[:40]) for name in names[:8])
    return shown + (f" and {len(names) - 8} more" if len(names) > 8 else "")
