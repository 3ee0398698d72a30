"""Tables for the command line: read, checked column by column, and made fit for a classifier.

What a column or a label is, the training table decides once; other tables are read in its way, for
the few rows of a new file need not show it. All text is read by the same rules, whichever kind of
file it stood in.

Every problem is a `TableError` of one line that names the column and the row. Rows are counted
from 1 below the header, as a spreadsheet user would.
"""

from __future__ import annotations

import difflib
import re
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder

from ._columns import MISSING_TEXTS

#: A number with leading zeros names something: 001 is not 1.
_CODE = "0[0-9]+"
#: A whole number written plainly, of so few digits that int64 holds it.
_WHOLE = r"(0|-?[1-9][0-9]{0,17})(?:\.0*)?"
#: A text column with more distinct values than this, most of them different, is free text or a
#: key: one-hot columns of it would teach a classifier to look rows up.
_MOST_CATEGORIES = 50
#: Of a column's values that must be numbers for the rest to count as mistakes.
_MOSTLY = 0.9
_NO_NUMBER = "{!r} is not a number"
#: What pandas calls a column that has no name, such as row numbers that it wrote itself.
_UNNAMED = re.compile(r"Unnamed: \d+")
_DATE = r"\d{4}-\d\d-\d\d(?:[T ].*)?"


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
        Of a CSV or TSV file all columns are text as written, NaN where nothing stands; Parquet
        keeps its types, and a named index becomes a column.

    Raises
    ------
    TableError
        If the file cannot be read or has no rows, or a column is missing or there twice.
    """
    suffixes = [suffix.lower() for suffix in path.suffixes]
    kind = next((s for s in reversed(suffixes) if s in (".csv", ".tsv", ".parquet", ".pq")), None)
    if path.is_dir():
        raise TableError(f"{path} is a folder; give a file in it.")
    if kind is None:
        raise TableError(f"{path.name}: its name must end in .csv, .tsv or .parquet.")
    if not path.is_file():
        raise TableError(f"{path}: there is no such file.")
    try:
        if kind in (".parquet", ".pq"):
            table = pd.read_parquet(path)
            named = [level for level in table.index.names if level is not None]
            table = table.reset_index(named, allow_duplicates=True).reset_index(drop=True)
            header = table.columns
        else:
            table, header = _read_texts(path, "\t" if kind == ".tsv" else ",")
    except pd.errors.EmptyDataError:
        raise TableError(f"{path.name}: the file is empty.") from None
    except pd.errors.ParserWarning:
        raise TableError(f"{path.name}: row 1 has more fields than the header.") from None
    except UnicodeDecodeError as error:
        raise TableError(f"{path.name}: cannot be read: {error}. Save it as UTF-8.") from error
    except (pd.errors.ParserError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise TableError(f"{path.name}: cannot be read: {reason}") from error
    table.columns = [str(name) for name in table.columns]
    if header.has_duplicates:
        twice = str(header[header.duplicated()][0])
        raise TableError(f"{path.name}: column {twice!r} is there twice.")
    if len(table) == 0:
        raise TableError(f"{path.name}: there are no rows below the header.")
    for name in columns or []:
        require_column(table, name, path.name)
    return table


def _read_texts(path: Path, separator: str) -> tuple[pd.DataFrame, pd.Index[Any]]:
    """Read a table and the names in its header, of which pandas changes those there twice."""
    read = partial(
        pd.read_csv,
        path,
        sep=separator,
        encoding="utf-8-sig",
        dtype=str,
        keep_default_na=False,
        na_values=[""],
        skip_blank_lines=False,  # an empty line is a row, and counts as one
    )
    header = pd.Index(read(header=None, nrows=1).iloc[0].dropna())
    with warnings.catch_warnings():
        # A separator that ends every row is let pass, any other field without a name is not.
        warnings.simplefilter("error", pd.errors.ParserWarning)
        try:
            # By default, the first column would name the rows where these are longer.
            table = read(index_col=False)
        except (pd.errors.ParserError, pd.errors.ParserWarning):
            if len(header) == 1 and any(other in header[0] for other in ";\t|"):
                raise ValueError(
                    f"its header is {header[0][:40]!r}, and columns of a .csv are separated by "
                    "commas, of a .tsv by tabs."
                ) from None
            raise
    n_rows = int(np.max(np.flatnonzero(table.notna().any(axis=1)), initial=-1)) + 1
    return table.iloc[:n_rows], header  # but for lines that are empty at the end


def require_column(table: pd.DataFrame, name: str, where: str) -> None:
    """Raise TableError, with the nearest name there is, unless the table has the column."""
    if name not in table.columns:
        near = difflib.get_close_matches(name, list(table.columns), n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"it has {_listed(table.columns)}."
        if len(table.columns) == 1 and not near:
            hint += " Columns of a .csv are separated by commas, of a .tsv by tabs."
        raise TableError(f"{where}: there is no column {name!r}; {hint}")


def names_of(table: pd.DataFrame, name: str) -> pd.Series[Any]:
    """Give the column that names the rows as texts, empty where there is none."""
    return _texts(table[name]).fillna("")


def labels_of(table: pd.DataFrame, name: str) -> pd.Series[Any]:
    """Give the label column, complete and of at least two classes.

    Returns
    -------
    labels : Series
        Integers where all labels are whole numbers written plainly, else texts as written.

    Raises
    ------
    TableError
        If a label is missing, there is one class only, or the column looks like a measurement.
    """
    texts = _label_texts(table[name])
    numbers = _numbers(texts)
    if numbers.notna().all() and not texts.str.fullmatch(_CODE).any():
        what = "{!s} is a fraction; labels are names or whole numbers"
        _raise_first(texts, numbers % 1 != 0, what)
    is_whole = texts.str.fullmatch(_WHOLE).all()
    labels = _plain(texts).astype("int64") if is_whole else texts
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


def labels_as(
    table: pd.DataFrame, name: str, training: pd.Series[Any], where: str
) -> pd.Series[Any]:
    """Give the label column of another table, read as the training labels were.

    Raises
    ------
    TableError
        If a label is missing, or the training table lacks it.
    """
    texts = _label_texts(table[name], where)
    plain = _plain(texts) if training.dtype.kind == "i" else texts
    known = {str(label): label for label in training.unique()}
    _raise_first(
        texts,
        ~plain.isin(list(known)),
        "the training table lacks the label {!r}; mend it, or leave the row out",
        where,
    )
    return plain.map(known).astype(training.dtype)


def _label_texts(column: pd.Series[Any], where: str = "") -> pd.Series[Any]:
    """Give labels as texts; one that may stand for a missing value is not guessed about."""
    texts = _texts(column)
    _raise_first(texts, texts.isna() | (texts == ""), "the label is missing", where)
    _raise_first(
        texts,
        texts.isin(MISSING_TEXTS),
        "the label is missing, for {!r} counts as that; if it is a class, rename it",
        where,
    )
    return texts


def _plain(texts: pd.Series[Any]) -> pd.Series[Any]:
    """Write whole numbers without the point and zeros that some programs put after them."""
    return texts.str.replace(f"^{_WHOLE}$", r"\1", regex=True)


def make_encoder(features: pd.DataFrame) -> tuple[ColumnTransformer, list[str]]:
    """Build the transformer of a table's columns, and say what it leaves out.

    Numbers get the median where they are missing, and a column that says so; everything else is
    a category, and so are booleans. Text is numeric if all that is given is numbers and none has
    leading zeros. Nothing is fitted here.

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
        If a column is nearly but not wholly numeric, or none is left.
    """
    numeric, categorical, notes = [], [], []
    for name in features.columns:
        column = features[name]
        is_number = column.dtype.kind in "iuf"
        values = column if is_number else _given(_texts(column))
        n_rows = int(values.notna().sum())
        if n_rows == 0:
            why = "all of its values are missing"
        elif column.dtype.kind in "mM":
            why = "it holds dates; give numbers instead"
        elif column.dtype == object and not column.map(pd.api.types.is_hashable).all():
            why = "it holds lists or records; give a column for each entry instead"
        elif is_number or (column.dtype != "category" and _are_numbers(values)):
            # Where rows lie in order of their classes, their number gives the label away, and a
            # number of its own finds each row again.
            numbers = column if is_number else _numbers(values)
            if not _number_rows(numbers, in_any_order=bool(_UNNAMED.fullmatch(name))):
                numeric.append(name)
                continue
            why = "it numbers the rows"
        elif values.str.fullmatch(_DATE).all():
            why = "it holds dates; give numbers instead"
        elif (n_values := values.nunique()) > _MOST_CATEGORIES and n_values > n_rows / 2:
            why = f"{n_values} different texts in {n_rows} rows, so it is a key or free text"
        else:
            categorical.append(name)
            continue
        notes.append(f"column {name!r} is left out: {why}")
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


def _number_rows(numbers: pd.Series[Any], *, in_any_order: bool) -> bool:
    """Say whether whole numbers rise from row to row, or are all different in any order."""
    values = numbers.to_numpy(np.float64, na_value=np.nan)
    steps = np.diff(np.sort(values) if in_any_order else values)
    return len(steps) > 1 and bool(np.all(steps > 0) and np.all(values % 1 == 0))


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
        If a column is missing, or a value of a numeric one is infinite or no number.
    """
    numeric, categorical = columns_of(encoder)
    for name in [*numeric, *categorical]:
        require_column(features, name, where)
    out = features[[*numeric, *categorical]].copy()
    for name in numeric:
        column = out[name]
        if column.dtype.kind not in "iufb":
            texts = _given(_texts(column))
            column = _numbers(texts)
            _raise_first(texts, texts.notna() & column.isna(), _NO_NUMBER, where)
        column = column.astype("float64")
        _raise_first(column, np.isinf(column), "the number is infinite", where)
        out[name] = column
    for name in categorical:
        out[name] = _given(_texts(out[name]))
    return out


def _texts(column: pd.Series[Any]) -> pd.Series[Any]:
    """Give a column as texts, and NaN where nothing is given, whatever its type is."""
    if column.dtype.kind == "f" and (column.dropna() % 1 == 0).all():
        # Integers, which pandas reads as floats where one of them is missing.
        texts = column.map("{:.0f}".format, na_action="ignore")
    else:
        texts = column.astype(str)
    texts = texts.astype(object)
    texts[column.isna()] = np.nan
    return texts


def _given(texts: pd.Series[Any]) -> pd.Series[Any]:
    """Give texts with NaN in place of those that count as missing."""
    texts = texts.copy()  # assigned to, for where() gives floats where all are missing
    texts[texts.isin(MISSING_TEXTS)] = np.nan
    return texts


def _numbers(texts: pd.Series[Any]) -> pd.Series[Any]:
    """Give texts as numbers, and NaN where they are none."""
    return pd.to_numeric(texts, errors="coerce")


def _are_numbers(texts: pd.Series[Any]) -> bool:
    """Say whether all texts that are given, of which there are some, are numbers and no codes.

    Raises
    ------
    TableError
        If nearly all of many are numbers: the rest are mistakes, which would be categories.
    """
    if texts.str.fullmatch(_CODE).any():
        return False
    numbers = _numbers(texts)
    n_given, n_numbers = int(texts.notna().sum()), int(numbers.notna().sum())
    if n_given > n_numbers >= _MOSTLY * n_given and texts.nunique() > _MOST_CATEGORIES:
        _raise_first(texts, texts.notna() & numbers.isna(), _NO_NUMBER)
    return n_given == n_numbers


def _raise_first(
    column: pd.Series[Any], wrong: pd.Series[bool], what: str, where: str = ""
) -> None:
    """Raise TableError for the first wrong row, if there is one; `what` may quote its value."""
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0]) + 1
        what = what.format(str(column.iloc[row - 1])[:40])
        place = f"column {column.name!r}, row {row}"
        raise TableError(f"{where}: {place}: {what}." if where else f"{place}: {what}.")


def _listed(names: Any) -> str:
    shown = ", ".join(repr(str(name)[:40]) for name in names[:8])
    return shown + (f" and {len(names) - 8} more" if len(names) > 8 else "")
