"""X as the user gives it, and X as the default classifiers read it: float32, no gaps.

`validate_features` checks once and keeps a data frame a data frame, so that the user's own
auxiliaries see what they were made for.  `TabularEncoder` is the first step of our defaults.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse
from sklearn import config_context
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.decomposition import TruncatedSVD
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import OneHotEncoder
from sklearn.utils import gen_batches
from sklearn.utils.sparsefuncs import csc_median_axis_0
from sklearn.utils.validation import check_is_fitted, validate_data
from torch.utils.data import Dataset

from ._arrays import empty_beside

Float32Array = npt.NDArray[np.float32]

# Sparse rows wider than this are projected: a dense copy would be larger than the machine.
_WIDEST_DENSE = 512
_N_COMPONENTS = 256
# A median of so many rows is as good as that of all, and needs no second copy of X.
_MEDIAN_ROWS = 50_000
# Entries looked at together, so that nothing of the size of X is made on the way.
_BLOCK_SIZE = 2**22
# Beyond it a number is "huge" and no more; float32 still has room to add some of these up.
_LARGEST = 1e37


def is_frame(X: Any) -> bool:
    """Whether X is a data frame (pandas, polars) rather than an array or a sparse matrix."""
    return hasattr(X, "columns")


def validate_features(estimator: Any, X: Any, *, reset: bool) -> Any:
    """Check X and remember, or compare, its width and column names.

    Parameters
    ----------
    estimator : estimator
        Gets ``n_features_in_`` and ``feature_names_in_``.
    X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features)
        Missing values may be NaN; infinite values may not be.  After a frame in fit, an array of
        objects is read as a frame with the same columns.
    reset : bool
        True in fit, False afterwards.

    Returns
    -------
    X : {ndarray, csr_matrix, dataframe}
        A data frame comes back as it is, anything else, tensors in host memory included, as a
        numeric array or CSR matrix.

    Raises
    ------
    ValueError
        If X is not two-dimensional, is empty, holds infinite or complex values, or differs in
        width or column names from what was fitted.
    TypeError
        If X is a table of pyarrow, a torch Dataset or an iterator.
    """
    if type(X).__module__.startswith("pyarrow"):
        raise TypeError(f"X is a pyarrow {type(X).__name__}: give X.to_pandas() instead.")
    if isinstance(X, (Dataset, Iterator)):
        raise TypeError(
            f"X is a {type(X).__name__}, which a fit would read dozens of times. Write it to a "
            "file first: X, y = sklearn_dsink.blocks.store_blocks(X, folder)."
        )
    names = None if reset else getattr(estimator, "feature_names_in_", None)
    if names is not None and getattr(X, "dtype", None) == np.dtype(object):
        # What callers such as SHAP make of a table with categories.
        validate_data(estimator, X, reset=False, skip_check_array=True)
        X = pd.DataFrame(X, columns=names).infer_objects()
    if not is_frame(X):
        with config_context(array_api_dispatch=False):  # arrays of any library become numpy's
            return validate_data(
                estimator, X, reset=reset, accept_sparse="csr", ensure_all_finite="allow-nan"
            )
    validate_data(estimator, X, reset=reset, skip_check_array=True)
    if X.shape[0] == 0 or X.shape[1] == 0:
        what = "sample(s)" if X.shape[0] == 0 else "feature(s)"
        raise ValueError(
            f"Found array with 0 {what} (shape={X.shape}) while a minimum of 1 is required."
        )
    for name in X.columns:
        column = _column_values(X, name)
        if column.dtype.kind == "c":
            raise ValueError(f"Complex data not supported: column {name!r}.")
        if column.dtype.kind == "f" and np.isinf(column).any():
            row = int(np.flatnonzero(np.isinf(column))[0])
            raise ValueError(
                f"Input X contains infinity in column {name!r} (first in row {row}). "
                "Replace infinite values, for instance by NaN, which counts as missing."
            )
    return X


class TabularEncoder(TransformerMixin, BaseEstimator):
    """Turn any table into the float32 matrix that nets, kernels and trees read.

    - Numeric arrays and embeddings pass untouched.
    - Missing numbers become the column's median, and a 0/1 column says where they were.
    - Data frames with other columns go through skrub's ``TableVectorizer``: categories and bools
      become 0/1 columns, dates their parts, text of many values a few components.
    - Sparse matrices of more than 512 columns become their 256 leading singular components;
      narrower ones stay sparse on request, for those who take them apart by batches.

    Parameters
    ----------
    sparse_output : bool, default=False
        Whether sparse matrices of at most 512 columns come out as CSR matrices.  All else is
        always dense.
    random_state : int, RandomState instance or None, default=None
        Seeds the projection of wide sparse matrices.

    Attributes
    ----------
    n_features_in_ : int
        Columns of X.
    n_features_out_ : int
        Columns of the encoded matrix.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_dsink.inputs import TabularEncoder
    >>> TabularEncoder().fit_transform([[1.0, np.nan], [2.0, 4.0], [3.0, 6.0]])
    array([[1., 5., 1.],
           [2., 4., 0.],
           [3., 6., 0.]], dtype=float32)
    """

    def __init__(self, *, sparse_output: bool = False, random_state: Any = None) -> None:
        self.sparse_output = sparse_output
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> TabularEncoder:
        """Learn the columns' encodings.

        Parameters
        ----------
        X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features)
            Training rows.
        y : None
            Ignored.

        Returns
        -------
        self : object
            The fitted encoder.
        """
        self.fit_transform(X, y)
        return self

    def fit_transform(self, X: Any, y: Any = None) -> Any:
        """Learn the columns' encodings and encode the training rows in one pass.

        Parameters
        ----------
        X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features)
            Training rows.
        y : None
            Ignored.

        Returns
        -------
        encoded : {ndarray, csr_matrix} of shape (n_samples, n_features_out), dtype float32
        """
        X = validate_features(self, X, reset=True)
        self._vectorizer = self._projection = self._imputer = None
        if is_frame(X) and not _all_numeric(X):
            from skrub import TableVectorizer  # takes seconds to import, and few tables need it

            # A category that only comes later is a row of zeros; without a dropped column no
            # other is, so that there is nothing to warn of.
            encoder = OneHotEncoder(sparse_output=False, dtype=np.float32, handle_unknown="ignore")
            self._vectorizer = TableVectorizer(low_cardinality=encoder)
            values = _float32(self._vectorizer.fit_transform(_numpy_dates(X)))
        else:
            values = _float32(X)
        if _has_gaps(values):
            self._imputer = SimpleImputer(
                strategy="median", add_indicator=True, keep_empty_features=True
            ).fit(values)
        else:  # rows with gaps may still come at prediction
            some = values[:: max(1, values.shape[0] // _MEDIAN_ROWS)]
            is_sparse = sparse.issparse(some)
            self._median = csc_median_axis_0(some.tocsc()) if is_sparse else np.median(some, 0)
        values = self._fill(values)
        if sparse.issparse(values) and X.shape[1] > _WIDEST_DENSE:
            n_components = min(_N_COMPONENTS, X.shape[0])
            self._projection = TruncatedSVD(n_components, random_state=self.random_state)
            self._projection.fit(values)
        encoded = self._reduce(values)
        self.n_features_out_ = encoded.shape[1]
        return encoded

    def transform(self, X: Any) -> Any:
        """Encode rows.

        Parameters
        ----------
        X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features)
            Rows with the columns of the training rows.

        Returns
        -------
        encoded : {ndarray, csr_matrix} of shape (n_samples, n_features_out), dtype float32
        """
        check_is_fitted(self)
        return self.encode(validate_features(self, X, reset=False))

    def encode(self, X: Any) -> Any:
        """Encode rows that `validate_features` has compared with the training rows before.

        Parameters
        ----------
        X : {ndarray, csr_matrix, dataframe} of shape (n_samples, n_features)
            As `validate_features` returned it.

        Returns
        -------
        encoded : {ndarray, csr_matrix} of shape (n_samples, n_features_out), dtype float32
        """
        if self._vectorizer is not None:
            X = self._vectorizer.transform(_numpy_dates(X))
        return self._reduce(self._fill(_float32(X)))

    def _fill(self, values: Any) -> Any:
        if self._imputer is not None:
            filled = self._imputer.transform(values)
            if sparse.issparse(filled):
                return filled.tocsr()
            return np.ascontiguousarray(filled, dtype=np.float32)
        if not _has_gaps(values):
            return values
        if sparse.issparse(values):
            gaps = np.isnan(values.data)
            values.data[gaps] = self._median[values.indices[gaps]]
            return values
        return np.where(np.isnan(values), self._median, values)

    def _reduce(self, values: Any) -> Any:
        if self._projection is not None:
            return np.ascontiguousarray(self._projection.transform(values), dtype=np.float32)
        return values.toarray() if sparse.issparse(values) and not self.sparse_output else values

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = []  # nets read float32
        return tags


def _float32(X: Any) -> Any:
    """Give numbers as float32: an array without gaps between its entries, or a CSR matrix."""
    if sparse.issparse(X):
        return _sparse_float32(X)
    if isinstance(X, pd.DataFrame):  # nullable columns would give objects
        X = X.to_numpy(dtype=np.float64, na_value=np.nan)
    values = np.asarray(X)
    if values.dtype == np.float32:
        return np.ascontiguousarray(values)
    narrow = empty_beside(values, values.shape, np.float32)
    for rows in _row_blocks(values):
        narrow[rows] = np.clip(values[rows].astype(np.float64), -_LARGEST, _LARGEST)
    return narrow


def _sparse_float32(X: Any) -> Any:
    """Copy a sparse matrix, as CSR."""
    values = X.tocsr().astype(np.float64)
    values.sum_duplicates()
    np.clip(values.data, -_LARGEST, _LARGEST, out=values.data)
    return values.astype(np.float32)


def _row_blocks(values: npt.NDArray[Any]) -> Any:
    return gen_batches(len(values), max(1, _BLOCK_SIZE // values.shape[1]))


def _has_gaps(values: Any) -> bool:
    if sparse.issparse(values):
        return bool(np.isnan(values.data).any())
    return any(bool(np.isnan(values[rows]).any()) for rows in _row_blocks(values))


def _all_numeric(frame: Any) -> bool:
    return all(_column_values(frame, name).dtype.kind in "fiub" for name in frame.columns)


def _numpy_dates(frame: Any) -> Any:
    """Give a frame whose dates are numpy's; skrub does not read pyarrow's."""
    if not isinstance(frame, pd.DataFrame):
        return frame
    dates = {
        name: column.array.__arrow_array__().to_pandas(date_as_object=False).array
        for name, column in frame.items()
        if isinstance(column.dtype, pd.ArrowDtype) and issubclass(column.dtype.type, date)
    }
    return frame.assign(**dates) if dates else frame


def _column_values(frame: Any, name: Any) -> npt.NDArray[Any]:
    column = frame[name]
    is_number = isinstance(column, pd.Series) and pd.api.types.is_numeric_dtype(column.dtype)
    if is_number and column.dtype.kind != "c":
        return column.to_numpy(dtype=np.float64, na_value=np.nan)
    return np.asarray(column)
