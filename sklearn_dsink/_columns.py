"""Columns of a data frame, of pandas or polars, as arrays; what cannot be read is named."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import date, timedelta
from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

#: Texts that stand for a missing value to pandas' readers.
MISSING_TEXTS = (
    "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN",
    "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null",
)  # fmt: skip
# Those of skrub, which takes more, in lower case.
_NO_VALUE = {text.lower() for text in MISSING_TEXTS} | {"?", "...", "nat"}
# What pandas says of objects some of which are texts, and of those some of which are numbers.
_WITH_TEXTS = {"mixed", "mixed-integer"}
_WITH_NUMBERS = {"integer", "floating", "boolean", "mixed-integer-float", *_WITH_TEXTS}


def is_frame(X: Any) -> bool:
    """Whether X is a data frame (pandas, polars) rather than an array or a sparse matrix."""
    return hasattr(X, "columns")


def column_values(frame: Any, name: Any) -> npt.NDArray[Any]:
    """Give a column as numpy reads it, nullable numbers as float64."""
    column = frame[name]
    is_nullable = isinstance(column, pd.Series) and pd.api.types.is_extension_array_dtype(column)
    if is_nullable and pd.api.types.is_numeric_dtype(column) and column.dtype.kind != "c":
        return column.to_numpy(dtype=np.float64, na_value=np.nan)
    return np.asarray(column)


def all_numeric(frame: Any) -> bool:
    """Whether a frame holds numbers and bools alone."""
    return all(column_values(frame, name).dtype.kind in "fiub" for name in frame.columns)


def read_numbers(frame: Any, name: Any) -> npt.NDArray[np.float64]:
    """Give a column of numbers, or of texts that are numbers, with NaN for missing values.

    Raises
    ------
    ValueError
        If another value is there; it is named.
    """
    values = column_values(frame, name)
    if values.dtype.kind in "fiub":
        return values.astype(np.float64, copy=False)
    numbers = pd.to_numeric(pd.Series(values).astype(object), errors="coerce").to_numpy(np.float64)
    _require_read(frame, name, np.isnan(numbers), "numbers or booleans")
    return numbers


def names_of_categories(vectorizer: Any, frame: Any) -> set[Any]:
    """Name the columns that a fitted TableVectorizer took for categories or texts."""
    kinds = vectorizer.kind_to_columns_
    measured = {*kinds["numeric"], *kinds["datetime"]}
    names = zip(vectorizer.feature_names_in_, frame.columns, strict=True)
    return {name for known, name in names if known not in measured}


def require_all_read(vectorizer: Any, frame: Any, encoded: Any) -> None:
    """Refuse numbers and dates that a fitted TableVectorizer of skrub could not read.

    It takes them for missing values, without a word.

    Parameters
    ----------
    vectorizer : TableVectorizer
        Fitted.
    frame : dataframe
        What it was given.
    encoded : dataframe
        What it made of it.

    Raises
    ------
    ValueError
        If a value is given that came out as missing.
    """
    names = dict(zip(vectorizer.feature_names_in_, frame.columns, strict=True))
    for kind, what in (("numeric", "numbers or booleans"), ("datetime", "dates")):
        for column in vectorizer.kind_to_columns_[kind]:
            # The parts of a date are all there, or none is.
            read = encoded[vectorizer.input_to_outputs_[column][0]]
            _require_read(frame, names[column], np.isnan(np.asarray(read)), what)


def require_finite_read(vectorizer: Any, encoded: Any) -> None:
    """Refuse numbers that a fitted TableVectorizer read as infinite: objects, texts, and 1e39."""
    for column in vectorizer.kind_to_columns_["numeric"]:
        read = np.asarray(encoded[vectorizer.input_to_outputs_[column][0]])
        require_finite(column, read, "a number that is infinite or too large for float32")


def require_finite(name: Any, values: npt.NDArray[Any], what: str = "infinity") -> None:
    """Raise ValueError where a column holds infinite numbers, and name the first."""
    if values.dtype.kind == "f" and np.isinf(values).any():
        row = int(np.flatnonzero(np.isinf(values))[0])
        raise ValueError(
            f"Input X contains {what} in column {name!r} (first in row {row}). "
            "Replace such values, for instance by NaN, which counts as missing."
        )


def _require_read(frame: Any, name: Any, missing: npt.NDArray[np.bool_], what: str) -> None:
    rows = np.flatnonzero(missing)
    values = np.asarray(frame[name])[rows]
    given = ~pd.isna(values)
    for row, value in zip(rows[given], values[given], strict=True):
        if str(value).strip().lower() not in _NO_VALUE:
            raise ValueError(
                f"Column {name!r} held {what} in fit, and {str(value)!r} in row {row} cannot be "
                "read as one. Write all values as in fit, and NaN or None where one is missing."
            )


def with_columns(frame: Any, columns: Mapping[Any, Any]) -> Any:
    """Give a frame with other values in some of its columns; the frame itself stays as it was."""
    if isinstance(frame, pd.DataFrame):
        frame = frame.copy(deep=False)
        for name, values in columns.items():
            frame[name] = values
        return frame
    series = [type(frame[name])(name, values) for name, values in columns.items()]
    return frame.with_columns(series)


def with_text_names(frame: Any) -> Any:
    """Give a frame whose columns are named by texts, as skrub's are."""
    if all(isinstance(name, str) for name in frame.columns):
        return frame
    return frame.set_axis([str(name) for name in frame.columns], axis=1)


def is_category(column: Any) -> bool:
    """Whether the type of a column, pandas' or polars', says that its values are categories."""
    of_polars = type(column.dtype).__name__ in ("Categorical", "Enum")
    return of_polars or isinstance(column.dtype, pd.CategoricalDtype)


def with_named_numbers(frame: Any, names: Collection[Any] = ()) -> Any:
    """Give a frame in which numbers that are categories are texts, 1 and 1.0 the same one.

    A gap makes 1.0 of all 1 in a column, and a table that is read alone may have numbers where
    there were texts.

    Parameters
    ----------
    frame : dataframe
        Of pandas or polars.
    names : collection
        Columns that are categories whatever they hold now; besides those whose type says so, and
        those of objects that hold texts too.

    Returns
    -------
    frame : dataframe
    """
    texts: dict[Any, Any] = {}
    for name in frame.columns:
        column = frame[name]
        of_pandas = isinstance(column, pd.Series)  # categories of polars are texts
        if of_pandas and is_category(column):
            named = column.dtype.categories.inferred_type in _WITH_NUMBERS
        elif of_pandas and column.dtype == object:
            kinds = _WITH_NUMBERS if name in names else _WITH_TEXTS
            named = pd.api.types.infer_dtype(column) in kinds
        else:
            named = name in names and column_values(frame, name).dtype.kind in "iufb"
        if named:
            values = pd.Series(np.asarray(column, dtype=object)).map(_as_name, na_action="ignore")
            values = values.where(values.notna(), None).to_numpy()
            texts[name] = pd.Categorical(values) if is_category(column) else values
    return with_columns(frame, texts) if texts else frame


def _as_name(value: Any) -> Any:
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value) if isinstance(value, Real | np.bool_) else value


def with_numpy_times(frame: Any) -> Any:
    """Give a frame whose dates and durations are numpy's, which are those that skrub reads."""
    if not isinstance(frame, pd.DataFrame):
        return frame
    times = {name: _numpy_times(column) for name, column in frame.items()}
    times = {name: values for name, values in times.items() if values is not None}
    return with_columns(frame, times) if times else frame


def _numpy_times(column: pd.Series[Any]) -> Any:
    """Give dates or durations of pyarrow, or as objects, as numpy's; None for any other column."""
    if isinstance(column.dtype, pd.ArrowDtype):
        if issubclass(column.dtype.type, (date, timedelta)):
            return column.array.__arrow_array__().to_pandas(date_as_object=False).array
    elif column.dtype == object:
        kind = pd.api.types.infer_dtype(column)
        if kind in ("datetime", "datetime64"):
            zones = {str(value.tzinfo) for value in column.dropna()}
            return pd.to_datetime(column, utc=len(zones) > 1).array
        if kind in ("timedelta", "timedelta64"):
            return pd.to_timedelta(column).array
    return None
