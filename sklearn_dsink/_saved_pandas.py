"""Forms of pandas objects that hold arrays of numpy, text and no code.

Pandas' own saved form names types of its insides, which change from release to release. Each class
here takes one object apart and puts it together again; what it holds may be a pandas object too,
and is then taken apart in its turn by :mod:`sklearn_dsink.persistence`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.extensions import ExtensionArray, ExtensionDtype
from pandas.tseries.frequencies import to_offset

_MASKED = (pd.arrays.IntegerArray, pd.arrays.FloatingArray, pd.arrays.BooleanArray)
#: Dtypes that no text says in full, by the arguments that do.
_DTYPES: dict[str, tuple[type[ExtensionDtype], tuple[str, ...]]] = {
    "category": (pd.CategoricalDtype, ("categories", "ordered")),
    "sparse": (pd.SparseDtype, ("subtype", "fill_value")),
}


class SavedPandas:
    """Stands for a pandas object in the saved structure."""

    def built(self) -> Any:
        """Return the object again, once what it holds is built."""
        raise NotImplementedError


class SavedDtype(SavedPandas):
    """Stands for a dtype that numpy does not have.

    Parameters
    ----------
    dtype : ExtensionDtype
        Of text it is kept whether a missing one is NaN or NA, but not how it lies in memory: that
        is up to what is installed where the file is read.

    Raises
    ------
    ValueError
        If pandas cannot read the dtype's own name.
    """

    def __init__(self, dtype: ExtensionDtype) -> None:
        self.name = str(dtype)
        self.arguments: list[Any] = []
        for name, (kind, arguments) in _DTYPES.items():
            if isinstance(dtype, kind):
                self.name = name
                self.arguments = [getattr(dtype, argument) for argument in arguments]
                return
        if not isinstance(dtype, pd.StringDtype) and not _says_it_all(self.name, dtype):
            raise ValueError(
                f"The model cannot be saved: it holds values of the dtype {self.name}, which "
                "pandas cannot build from that name. Convert them before the fit, for instance "
                'with astype("str"), or to a time zone that has a name.'
            )

    def built(self) -> ExtensionDtype:
        """Return the dtype again."""
        if self.name in _DTYPES:
            return _DTYPES[self.name][0](*self.arguments)
        return _named(self.name)


def _named(name: str) -> Any:
    if name == "string[pyarrow]":  # which pandas would take for text of its own
        import pyarrow

        return pd.ArrowDtype(pyarrow.string())
    return pd.api.types.pandas_dtype(name)


def _says_it_all(name: str, dtype: ExtensionDtype) -> bool:
    try:
        return bool(_named(name) == dtype)
    except (TypeError, NotImplementedError):  # how pandas says that it cannot read a name
        return False


class SavedArray(SavedPandas):
    """Stands for the values of a column or an index.

    Parameters
    ----------
    array : ExtensionArray
        Moments of a zone are kept in UTC, periods as ordinals, categories as codes, intervals as
        their ends.
    """

    def __init__(self, array: ExtensionArray) -> None:
        of_numpy = type(array) is pd.arrays.NumpyExtensionArray  # arrays of text inherit from it
        self.dtype = array.to_numpy().dtype if of_numpy else array.dtype
        self.parts = _parts(array, self.dtype)

    def built(self) -> ExtensionArray:
        """Return the array again."""
        if not isinstance(self.dtype, np.dtype | ExtensionDtype):  # of which methods are called
            raise LookupError(f"a column's dtype is a {type(self.dtype).__name__}")
        return _from_parts(self.dtype, *self.parts)


def _parts(array: Any, dtype: Any) -> list[Any]:
    if isinstance(dtype, pd.CategoricalDtype):
        return [array.codes]
    if isinstance(dtype, pd.DatetimeTZDtype):
        return [pd.DatetimeIndex(array).tz_convert(None).to_numpy()]
    if isinstance(dtype, pd.PeriodDtype):
        return [array.asi8]
    if isinstance(dtype, pd.IntervalDtype):
        return [array.left, array.right]
    if isinstance(dtype, pd.SparseDtype):
        return [np.asarray(array)]
    if isinstance(array, _MASKED):
        return [array.to_numpy(dtype.numpy_dtype, na_value=0), np.asarray(array.isna())]
    if isinstance(dtype, ExtensionDtype):
        return [array.to_numpy(dtype=object, na_value=None)]
    return [array.to_numpy()]


def _from_parts(dtype: Any, *parts: Any) -> Any:
    if isinstance(dtype, pd.CategoricalDtype):
        return pd.Categorical.from_codes(*parts, dtype=dtype)
    if isinstance(dtype, pd.DatetimeTZDtype):
        return pd.DatetimeIndex(*parts).tz_localize("UTC").tz_convert(dtype.tz).array
    if isinstance(dtype, pd.PeriodDtype):
        return pd.PeriodIndex.from_ordinals(*parts, freq=dtype.freq).array
    if isinstance(dtype, pd.IntervalDtype):
        return pd.arrays.IntervalArray.from_arrays(*parts, closed=dtype.closed, dtype=dtype)
    if len(parts) == 2:  # numbers, and which of them are missing
        return dtype.construct_array_type()(*parts)
    return pd.array(*parts, dtype=dtype)


class SavedMissing(SavedPandas):
    """Stands for pandas' own missing values.

    Parameters
    ----------
    value : NAType or NaTType
        One of the two.
    """

    def __init__(self, value: Any) -> None:
        self.of_time = value is pd.NaT

    def built(self) -> Any:
        """Return the one object of its kind."""
        return pd.NaT if self.of_time else pd.NA


class SavedIndex(SavedPandas):
    """Stands for an index.

    Parameters
    ----------
    index : Index
        The names of the training rows, for instance.
    """

    def __init__(self, index: pd.Index[Any]) -> None:
        self.names = list(index.names)
        self.levels = [index.get_level_values(i).array for i in range(index.nlevels)]
        self.freq: str | None = None
        if isinstance(index, pd.DatetimeIndex | pd.TimedeltaIndex) and index.freq is not None:
            # One that the text does not say in full, such as a calendar of holidays, is left out.
            text = index.freq.freqstr
            self.freq = text if to_offset(text) == index.freq else None

    def built(self) -> pd.Index[Any]:
        """Return the index again."""
        levels = [pd.Index(level, dtype=level.dtype) for level in self.levels]
        if len(levels) > 1:
            return pd.MultiIndex.from_arrays(levels, names=self.names)
        (index,) = levels
        if self.freq is not None:
            index = type(index)(index, freq=self.freq)
        return index.rename(self.names[0])


class SavedSeries(SavedPandas):
    """Stands for a series, such as class shares by label.

    Parameters
    ----------
    series : Series
        Of any dtype that `SavedDtype` takes.
    """

    def __init__(self, series: pd.Series[Any]) -> None:
        self.values = series.array
        self.index = series.index
        self.name = series.name

    def built(self) -> pd.Series[Any]:
        """Return the series again."""
        return pd.Series(self.values, self.index, dtype=self.values.dtype, name=self.name)


class SavedFrame(SavedPandas):
    """Stands for a data frame.

    Parameters
    ----------
    frame : DataFrame
        Kept column by column.
    """

    def __init__(self, frame: pd.DataFrame) -> None:
        self.columns = frame.columns
        self.index = frame.index
        self.arrays = [frame.iloc[:, i].array for i in range(frame.shape[1])]

    def built(self) -> pd.DataFrame:
        """Return the data frame again."""
        columns = {
            place: pd.Series(array, self.index, dtype=array.dtype)
            for place, array in enumerate(self.arrays)
        }
        frame = pd.DataFrame(columns, index=self.index)
        frame.columns = self.columns  # after the fact, since two may have one name
        return frame


_FORMS: tuple[tuple[Any, Callable[[Any], SavedPandas]], ...] = (
    (pd.DataFrame, SavedFrame),
    (pd.Series, SavedSeries),
    (pd.Index, SavedIndex),
    (ExtensionArray, SavedArray),
    (ExtensionDtype, SavedDtype),
    ((type(pd.NA), type(pd.NaT)), SavedMissing),
)


def saved_form(obj: Any) -> SavedPandas | None:
    """Give what stands for a pandas object in a file.

    Parameters
    ----------
    obj : object
        Anything.

    Returns
    -------
    form : SavedPandas or None
        None for what does not come from pandas.

    Raises
    ------
    ValueError
        If there is no safe form of it.
    """
    if isinstance(obj, pd.Timestamp | pd.Timedelta):
        raise ValueError(
            f"The model cannot be saved: it holds {obj!r}, a single pandas.{type(obj).__name__}. "
            "Moments and spans of time are saved in columns and indexes of their own dtype only: "
            "convert the column or the index that holds it as an object with pd.to_datetime or "
            "pd.to_timedelta before the fit, or the value itself to text."
        )
    for kind, form in _FORMS:
        if isinstance(obj, kind):
            return form(obj)
    return None
