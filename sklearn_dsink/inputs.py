"""X as the user gives it, and X as the default classifiers read it: float32, no gaps.

`validate_features` checks once and keeps a data frame a data frame, so that the user's own
auxiliaries see what they were made for.  `TabularEncoder` is the first step of our defaults.
"""

from __future__ import annotations

from collections.abc import Iterator
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
from sklearn.utils.sparsefuncs import csc_median_axis_0
from sklearn.utils.validation import _check_feature_names_in, check_is_fitted, validate_data
from torch.utils.data import Dataset

from ._arrays import from_tensor
from ._casting import as_float32, learn_shift, shift_columns, small_blocks
from ._columns import (
    all_numeric,
    column_values,
    is_frame,
    names_of_categories,
    require_all_read,
    require_finite,
    require_finite_read,
    with_named_numbers,
    with_numpy_times,
    with_text_names,
)

Float32Array = npt.NDArray[np.float32]

# Sparse rows wider than this are projected: a dense copy would be larger than the machine.
_WIDEST_DENSE = 512
_N_COMPONENTS = 256
# A median of so many rows is as good as that of all, and needs no second copy of X.
_MEDIAN_ROWS = 50_000


def is_projected(X: Any) -> bool:
    """Whether the encoder makes components of these rows: they are sparse and wide."""
    return sparse.issparse(X) and X.shape[1] > _WIDEST_DENSE


def n_seen(X: Any) -> int:
    """Count the columns of X, or the components that the encoder makes of them."""
    return min(X.shape[1], _N_COMPONENTS) if is_projected(X) else int(X.shape[1])


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
        A data frame comes back as it is, but with the names that fit has seen, or none, where
        scikit-learn compares none; anything else, tensors in host memory included, as a numeric
        array or CSR matrix.

    Raises
    ------
    ValueError
        If X is not two-dimensional, is empty, holds infinite or complex values, or differs in
        width or column names from what was fitted.
    TypeError
        If X is a table of pyarrow, a LazyFrame of polars, a torch Dataset or an iterator.
    """
    if type(X).__module__.startswith("pyarrow"):
        raise TypeError(f"X is a pyarrow {type(X).__name__}: give X.to_pandas() instead.")
    if type(X).__name__ == "LazyFrame":
        raise TypeError("X is a polars LazyFrame: give X.collect() instead.")
    if isinstance(X, (Dataset, Iterator)):
        raise TypeError(
            f"X is a {type(X).__name__}, which a fit would read dozens of times. Write it to a "
            "file first: X, y = sklearn_dsink.blocks.store_blocks(X, folder)."
        )
    X = from_tensor(X)
    names = None if reset else getattr(estimator, "feature_names_in_", None)
    if names is not None and getattr(X, "dtype", None) == np.dtype(object):
        # What callers such as SHAP make of a table with categories.
        validate_data(estimator, X, reset=False, skip_check_array=True)
        X = pd.DataFrame(X, columns=names).infer_objects()
    if reset:  # scikit-learn remembers names that are strings, and no others
        estimator._column_index = X.columns if isinstance(X, pd.DataFrame) else None
    if not is_frame(X):
        try:
            with config_context(array_api_dispatch=False):  # arrays of any library become numpy's
                return validate_data(
                    estimator, X, reset=reset, accept_sparse="csr", ensure_all_finite="allow-nan"
                )
        except ValueError as error:
            if "could not convert string" not in str(error):
                raise
            raise ValueError(
                f"{error}. Where columns hold text, give X as a data frame."
            ) from error
    if isinstance(X, pd.DataFrame) and X.columns.has_duplicates:
        twice = X.columns[X.columns.duplicated()][0]
        raise ValueError(f"X has more than one column {twice!r}: give each a name of its own.")
    validate_data(estimator, X, reset=reset, skip_check_array=True)
    if X.shape[0] == 0 or X.shape[1] == 0:
        what = "sample(s)" if X.shape[0] == 0 else "feature(s)"
        raise ValueError(
            f"Found array with 0 {what} (shape={X.shape}) while a minimum of 1 is required."
        )
    for name in X.columns:
        column = column_values(X, name)
        if column.dtype.kind == "c":
            raise ValueError(f"Complex data not supported: column {name!r}.")
        require_finite(name, column)
    if not reset and names is None and isinstance(X, pd.DataFrame):
        return _with_fitted_columns(X, getattr(estimator, "_column_index", None))
    return X


def _with_fitted_columns(X: pd.DataFrame, fitted: pd.Index[Any] | None) -> pd.DataFrame:
    """Give a frame the names that fit has seen, where scikit-learn has not compared them."""
    if fitted is None:
        # That fit has seen no names was said, and need not be by all that read X after it.
        return X.set_axis(range(X.shape[1]), axis=1)
    if X.columns.equals(fitted):
        return X
    if set(X.columns) == set(fitted):
        raise ValueError(
            f"The columns of X are {list(X.columns)[:10]}, and were {list(fitted)[:10]} in fit: "
            "give them in that order."
        )
    return X.set_axis(fitted, axis=1)


class TabularEncoder(TransformerMixin, BaseEstimator):
    """Turn any table into the float32 matrix that nets, kernels and trees read.

    - Numeric arrays and embeddings pass untouched, but for columns that float32 cannot hold: from
      those whose spread is less than a thousandth of their size, such as times in seconds since
      1970, their middle is subtracted, and those below 1e-30 are divided by their size.
    - Missing numbers become the column's median, and a 0/1 column says where they were.
    - Data frames with other columns go through skrub's ``TableVectorizer``: categories and bools
      become 0/1 columns, dates their parts, text of many values a few components.  What cannot
      be read as the number or date that its column held in fit is an error.
    - Sparse matrices of more than 512 columns become their 256 leading singular components;
      narrower ones stay sparse on request, for those who take them apart by batches.
    - ``set_output`` asks for data frames.  scikit-learn's global ``transform_output`` does not:
      the nets behind this encoder read arrays.

    Parameters
    ----------
    sparse_output : bool, default=False
        Whether sparse matrices of at most 512 columns come out as CSR matrices.  All else is
        always dense.
    random_state : int, RandomState instance or None, default=None
        Seeds the projection of wide sparse matrices, and of texts.

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

    @config_context(transform_output="default")  # what this is made of gives arrays
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

        Raises
        ------
        ValueError
            If a frame holds nothing but missing values, or infinite ones.
        """
        if not hasattr(self, "_sklearn_output_config"):  # the global one is not for parts of nets
            self.set_output(transform="default")
        X = validate_features(self, X, reset=True)
        X = with_named_numbers(with_text_names(X)) if is_frame(X) else X
        shift = self._shift = learn_shift(X)
        self._vectorizer = self._projection = self._imputer = None
        if is_frame(X) and not all_numeric(X):
            from skrub import (  # take seconds, and few tables need it
                StringEncoder,
                TableVectorizer,
            )

            # A category that only comes later is a row of zeros; without a dropped column no
            # other is, so that there is nothing to warn of.
            encoder = OneHotEncoder(sparse_output=False, dtype=np.float32, handle_unknown="ignore")
            texts = StringEncoder(random_state=self.random_state)
            self._vectorizer = TableVectorizer(low_cardinality=encoder, high_cardinality=texts)
            X = self._vectorizer.fit_transform(with_numpy_times(shift_columns(X, shift)))
            require_finite_read(self._vectorizer, X)
            shift = None  # done, and the columns are skrub's now
            if not len(X.columns):
                raise ValueError(
                    "Every column of X holds missing values only: none is left to learn from."
                )
        values = as_float32(X, shift)
        if _has_gaps(values):
            self._imputer = SimpleImputer(
                strategy="median", add_indicator=True, keep_empty_features=True
            ).fit(values)
        else:  # rows with gaps may still come at prediction
            some = values[:: max(1, values.shape[0] // _MEDIAN_ROWS)]
            if sparse.issparse(some):
                self._median = csc_median_axis_0(some.tocsc()).astype(np.float32)
            else:  # column by column, for each is copied
                self._median = np.array([np.median(column) for column in some.T])
        values = self._fill(values)
        if is_projected(values):
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

    @config_context(transform_output="default")
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
        shift = self._shift
        if self._vectorizer is not None:
            if not is_frame(X):  # an array, of a table whose categories are numbers
                X = pd.DataFrame(X, columns=self._vectorizer.feature_names_in_)
            X = with_text_names(X)
            X = with_named_numbers(X, names_of_categories(self._vectorizer, X))
            encoded = self._vectorizer.transform(with_numpy_times(shift_columns(X, shift)))
            require_all_read(self._vectorizer, X, encoded)
            require_finite_read(self._vectorizer, encoded)
            X, shift = encoded, None
        return self._reduce(self._fill(as_float32(X, shift)))

    def get_feature_names_out(self, input_features: Any = None) -> npt.NDArray[np.object_]:
        """Name the columns of the encoded matrix.

        Parameters
        ----------
        input_features : array-like of str of shape (n_features,), default=None
            Names of the columns of X, where fit saw none; "x0", "x1", ... if None.

        Returns
        -------
        names : ndarray of str of shape (n_features_out,), dtype object
            Those of X, or skrub's where other columns than numbers were encoded; then
            ``missingindicator_...`` for each column with gaps.  If projected,
            ``truncatedsvd0``, ...
        """
        check_is_fitted(self)
        names = _check_feature_names_in(self, input_features)
        if self._projection is not None:
            return self._projection.get_feature_names_out()
        if self._vectorizer is not None:
            names = np.asarray(self._vectorizer.get_feature_names_out(), dtype=object)
        return names if self._imputer is None else self._imputer.get_feature_names_out(names)

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


def _has_gaps(values: Any) -> bool:
    if sparse.issparse(values):
        return bool(np.isnan(values.data).any())
    return any(bool(np.isnan(values[rows]).any()) for rows in small_blocks(values))
