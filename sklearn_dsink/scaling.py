"""Columns on one scale, and SmoothClipper, which draws in their tails too."""

from __future__ import annotations

from numbers import Real
from typing import Any, ClassVar

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin, _fit_context
from sklearn.preprocessing import StandardScaler
from sklearn.utils import gen_batches
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_is_fitted, validate_data

from ._arrays import FloatArray, empty_beside

# Rows worked on at a time, so that nothing but the result has the size of X.
_BLOCK_ROWS = 4096


def column_moments(X: Any, weight: Any = None) -> tuple[FloatArray, FloatArray]:
    """Find the (weighted) mean and standard deviation of each column, block by block.

    Parameters
    ----------
    X : {ndarray, sparse matrix} of shape (n_samples, n_features)
        Rows; NaN is skipped.
    weight : ndarray of shape (n_samples,), default=None
        Weights of the rows; all alike if None. Rows of weight 0 may hold anything.

    Returns
    -------
    mean, scale : ndarray of shape (n_features,), dtype float64
        The scale of a constant column is 1.
    """
    scaler = StandardScaler(with_mean=not sparse.issparse(X))  # it finds the mean all the same
    used = np.arange(X.shape[0]) if weight is None else np.flatnonzero(weight)
    for part in gen_batches(len(used), _BLOCK_ROWS):
        rows = part if len(used) == X.shape[0] else used[part]
        with np.errstate(invalid="ignore"):  # the root of a constant column's variance, -1e-108
            scaler.partial_fit(X[rows], sample_weight=None if weight is None else weight[rows])
    return scaler.mean_, scaler.scale_


class SmoothClipper(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    r"""Standardize columns and draw in their tails.

    .. math:: z = \frac{x - \mu}{\sigma}, \qquad \frac{z}{\sqrt{1 + (z / \ell)^2}}

    with mean :math:`\mu`, standard deviation :math:`\sigma` and :math:`\ell` the `limit`.  Values
    near the mean stay about where they are, none is further than `limit` from 0, and their order
    is kept.

    A few far values otherwise set the scale of their column: all other rows are one point for a
    kernel, and few of the thresholds that extremely randomized trees draw fall between them.

    Parameters
    ----------
    limit : float, default=4.0
        Where a column ends, in standard deviations.

    Attributes
    ----------
    n_features_in_ : int
        Columns of X.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the columns, where X has string names.
    center_ : ndarray of shape (n_features,)
        Means; 0 for sparse X, whose zeros stay zeros.
    scale_ : ndarray of shape (n_features,)
        Standard deviations; 1 for constant columns.

    References
    ----------
    D. Holzmüller, L. Grinsztajn, I. Steinwart (2024). Better by default: strong pre-tuned MLPs and
    boosted trees on tabular data. NeurIPS, for smooth clipping.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_dsink.scaling import SmoothClipper
    >>> X = np.r_[np.arange(9.0), 1000.0][:, None]
    >>> SmoothClipper().fit_transform(X)[-3:].ravel().round(2)
    array([-0.32, -0.32,  2.4 ])
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "limit": [Interval(Real, 0, None, closed="neither")],
    }

    def __init__(self, *, limit: float = 4.0) -> None:
        self.limit = limit

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None) -> SmoothClipper:
        """Learn means and standard deviations of the columns.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.
        y : None
            Ignored.

        Returns
        -------
        self : object
            The fitted transformer.
        """
        X = self._validate(X, reset=True)
        self.center_, self.scale_ = column_moments(X)
        if sparse.issparse(X):
            self.center_ = np.zeros_like(self.scale_)
        return self

    def transform(self, X: Any) -> Any:
        """Standardize and squash rows.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        squashed : {ndarray, csr_matrix} of shape (n_samples, n_features), float32 or float64
            In the dtype of X; sparse if X is.
        """
        check_is_fitted(self)
        X = self._validate(X, reset=False)
        if sparse.issparse(X):
            squashed = X.copy()
            squashed.data[:] = self._squash(X.data / self.scale_[X.indices])
            return squashed
        squashed = empty_beside(X, X.shape, X.dtype)
        for rows in gen_batches(X.shape[0], _BLOCK_ROWS):  # in float64
            squashed[rows] = self._squash((X[rows] - self.center_) / self.scale_)
        return squashed

    def _validate(self, X: Any, *, reset: bool) -> Any:
        return validate_data(
            self, X, reset=reset, accept_sparse="csr", dtype=[np.float64, np.float32]
        )

    def _squash(self, z: FloatArray) -> FloatArray:
        return np.asarray(z / np.hypot(1.0, z / self.limit))  # no square that may be too large

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
