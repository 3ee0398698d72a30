"""Tables for the command line: read, checked column by column, and typed for a classifier.

What a column or a label is, the training table decides once; other tables are read in its way, for
the few rows of a new file need not show it. All text is read by the same rules, whichever kind of
file it stood in.

Every problem is a `TableError` of one line that names the column and the row. Rows are counted
from 1 below the header, as a spreadsheet user would; a table's index counts them from 0.
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
from sklearn.base import BaseEstimator, TransformerMixin

from ._columns import MISSING_TEXTS

#: A number with leading zeros names something: 001 is not 1.
_CODE = "0[0-9]+"
#: A whole number written plainly, of so few digits that int64 holds it.
_WHOLE = r"(0|-?[1-9][0-9]{0,17})(?:\.0*)?"
#: How a date begins.
_DAY = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
#: A text column with more distinct values than this, most of them different, is free text or a
#: key: one-hot columns of it would teach a classifier to look rows up.
_MOST_CATEGORIES = 50
#: Of a column's values that must be numbers for the rest to count as mistakes.
_MOSTLY = 0.9
#: What pandas calls a column that has no name, such as row numbers that it wrote itself.
_UNNAMED = re.compile(r"Unnamed: \d+")


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


def is_labelled(column: pd.Series[Any]) -> pd.Series[bool]:
    """Tell the rows whose label is given."""
    return _given(_texts(column)).replace("", np.nan).notna()


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


class TableReader(TransformerMixin, BaseEstimator):
    """Tell numbers, dates and categories of a table apart, and read any table in that way.

    Text is numeric if all that is given is numbers and none has leading zeros, and dates if all is
    dates as in ISO 8601.  Everything else is a category, and so are booleans.

    Attributes
    ----------
    kinds_ : dict of str to str
        ``"number"``, ``"date"`` or ``"category"``, by the column's name.
    notes_ : list of str
        One line for each column left out.
    """

    def fit(self, X: pd.DataFrame, y: Any = None) -> TableReader:
        """Decide what the columns are.

        Raises
        ------
        TableError
            If a column is nearly but not wholly numbers or dates, or none is left.
        """
        self.kinds_, self.notes_ = {}, []
        for name, column in X.items():
            kind = _kind_of(column)
            reason = _useless(column, _read(column, kind))
            if reason:
                self.notes_.append(f"column {name!r} is left out: {reason}")
            else:
                self.kinds_[name] = kind
        if not self.kinds_:
            raise TableError("there is no column left to learn from.")
        return self

    def transform(self, X: pd.DataFrame) -> pd.DataFrame:
        """Read a table whose name is not known, as `read` does."""
        return self.read(X, "X")

    def read(self, table: pd.DataFrame, where: str) -> pd.DataFrame:
        """Give the columns that were decided on, whatever else the table holds.

        Parameters
        ----------
        table : DataFrame
            Of any types that can be read so.
        where : str
            What to call it in errors.

        Returns
        -------
        features : DataFrame
            Numbers are float64, dates datetime64 without a zone (in UTC, where they had one), and
            categories texts of the type category.

        Raises
        ------
        TableError
            If a column is missing, or a value is infinite or no number or date where it must be.
        """
        for name in self.kinds_:
            require_column(table, name, where)
        return pd.DataFrame(
            {name: _read(table[name], kind, where) for name, kind in self.kinds_.items()}
        )


def _kind_of(column: pd.Series[Any]) -> str:
    """Say whether a column holds numbers, dates or, as anything may be, categories."""
    if column.dtype.kind in "iuf":
        return "number"
    if column.dtype != "category":
        texts = _given(_texts(column))
        for kind in _PARSE:
            if _all_are(kind, texts):
                return kind
    return "category"


def _useless(column: pd.Series[Any], values: pd.Series[Any]) -> str:
    """Say why a column, given as it is and as it was read, is left out, or give an empty text."""
    n_given = int(values.notna().sum())
    if n_given == 0:
        return "all of its values are missing"
    if column.dtype.kind == "m":
        return "it holds durations; give numbers instead"
    if column.dtype == object and not column.map(pd.api.types.is_hashable).all():
        return "it holds lists or records; give a column for each entry instead"
    if values.dtype == "float64":
        # Where rows lie in order of their classes, their number gives the label away, and a number
        # of its own finds each row again.
        in_any_order = bool(_UNNAMED.fullmatch(str(column.name)))
        steps = np.diff(np.sort(values) if in_any_order else values)
        rise = len(steps) > 1 and np.all(steps > 0) and np.all(values % 1 == 0)
        return "it numbers the rows" if rise else ""
    n_values = values.nunique()
    if values.dtype == "category" and n_values > max(_MOST_CATEGORIES, n_given / 2):
        return f"{n_values} different texts in {n_given} rows, so it is a key or free text"
    return ""


def _read(column: pd.Series[Any], kind: str, where: str = "") -> pd.Series[Any]:
    """Give a column in the type of its kind; what cannot be read so is a TableError."""
    if kind == "number" and column.dtype.kind in "iufb":
        values = column.astype("float64")
    else:
        texts = _given(_texts(column))
        if kind == "category":  # by its type, or the classifier would read 001 as a number
            return texts.astype("category")
        values = _PARSE[kind](texts)
        _raise_first(texts, texts.notna() & values.isna(), f"{{!r}} is not a {kind}", where)
    if kind == "number":
        _raise_first(values, np.isinf(values), "the number is infinite", where)
    return values


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
    return pd.to_numeric(texts, errors="coerce").astype("float64")


def _dates(texts: pd.Series[Any]) -> pd.Series[Any]:
    """Give texts as dates, and NaT where they are none."""
    texts = texts.where(texts.astype(str).str.match(_DAY))  # pandas knows the date of "today" too
    dates = pd.to_datetime(texts, format="ISO8601", errors="coerce", utc=True)
    return dates.dt.tz_localize(None)


#: How texts are read as what they may be, in the order in which it is tried.
_PARSE = {"number": _numbers, "date": _dates}


def _all_are(kind: str, texts: pd.Series[Any]) -> bool:
    """Say whether all texts that are given are numbers, or dates.

    Raises
    ------
    TableError
        If nearly all of many are: taken for categories, they would hide the mistakes in a few.
    """
    if kind == "number" and texts.astype(str).str.fullmatch(_CODE).any():
        return False
    is_one = _PARSE[kind](texts).notna()
    n_given, n_read = int(texts.notna().sum()), int(is_one.sum())
    if n_given > n_read >= _MOSTLY * n_given and texts.nunique() > _MOST_CATEGORIES:
        _raise_first(texts, texts.notna() & ~is_one, f"{{!r}} is not a {kind}")
    return n_given == n_read


def _raise_first(
    column: pd.Series[Any], wrong: pd.Series[bool], what: str, where: str = ""
) -> None:
    """Raise TableError for the first wrong row, if there is one; `what` may quote its value."""
    if wrong.any():
        first = column[wrong]
        what = what.format(str(first.iloc[0])[:40])
        place = f"column {column.name!r}, row {first.index[0] + 1}"
        place += f" (and {len(first) - 1} more)" if len(first) > 1 else ""
        raise TableError(f"{where}: {place}: {what}." if where else f"{place}: {what}.")


def _listed(names: Any) -> str:
    shown = ", ".join(repr(str(name)[:40]) for name in names[:8])
    return shown + (f" and {len(names) - 8} more" if len(names) > 8 else "")
