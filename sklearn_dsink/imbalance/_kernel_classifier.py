"""KernelClassifier: least squares in a kernel's feature space, rare classes weighing more."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from scipy.linalg import eigh
from sklearn.base import BaseEstimator, ClassifierMixin, _fit_context
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from .._arrays import FloatArray, normalize_rows


class KernelClassifier(ClassifierMixin, BaseEstimator):
    r"""Regularised least squares on a Gaussian kernel, rare classes weighing more.

    With features :math:`\phi(x)` of the kernel at `n_landmarks` training rows (all rows where
    there are fewer: the exact kernel), one-hot labels :math:`t_i` and row weights :math:`r_i`,

    .. math:: \min_B \sum_i r_i \lVert t_i - \mu - B^\top \phi(x_i) \rVert^2
              + \lambda \lVert B \rVert^2.

    The squared loss is bounded on each wrong label, the solution is one linear system, and so are
    its leave-one-out scores, by which :math:`\lambda` is chosen.

    Parameters
    ----------
    alphas : array-like of float, default=(0.25, 0.5, 1, 2, 4, 8)
        Strengths of the regularisation to choose from.
    gamma : float or None, default=None
        ``exp(-gamma * squared distance)`` of standardized rows; None is ``1 / n_features``.
    n_landmarks : int, default=1500
        Most training rows that the kernel is taken at.  Time grows with its square.
    balance : float, default=0.5
        Rows of a class of total weight ``n`` weigh ``n ** -balance``: 0 leaves the classes as
        they are, 1 makes them weigh alike.  Half-way, the tail is heard, and wrong labels given
        to it are not shouted.
    floor : float, default=0.01
        Scores below it count as this much probability; all are then scaled to sum to 1.
    random_state : int, RandomState instance or None, default=None
        Draws the landmarks where there are more rows.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Sorted labels.
    n_features_in_ : int
        Columns of X.
    landmarks_ : ndarray of shape (n_landmarks, n_features)
        Standardized rows that the kernel is taken at.
    alpha_ : float
        The strength chosen.

    References
    ----------
    R. Rifkin, R. Lippert (2007). Notes on regularized least squares. MIT-CSAIL-TR-2007-025, for
    the leave-one-out scores.  C. Williams, M. Seeger (2001). Using the Nyström method to speed up
    kernel machines. NeurIPS.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from sklearn_dsink.imbalance import KernelClassifier
    >>> X, y = load_wine(return_X_y=True)
    >>> KernelClassifier().fit(X, y).score(X, y) > 0.95
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "alphas": ["array-like"],
        "gamma": [Interval(Real, 0, None, closed="neither"), None],
        "n_landmarks": [Interval(Integral, 1, None, closed="left")],
        "balance": [Interval(Real, 0, 1, closed="both")],
        "floor": [Interval(Real, 0, 1, closed="neither")],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        *,
        alphas: npt.ArrayLike = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0),
        gamma: float | None = None,
        n_landmarks: int = 1500,
        balance: float = 0.5,
        floor: float = 0.01,
        random_state: Any = None,
    ) -> None:
        self.alphas = alphas
        self.gamma = gamma
        self.n_landmarks = n_landmarks
        self.balance = balance
        self.floor = floor
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> KernelClassifier:
        """Solve the least squares problem and choose the regularisation.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training rows.
        y : array-like of shape (n_samples,)
            Labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights >= 0; a row of weight 2 counts as two rows.

        Returns
        -------
        self : object
            The fitted classifier.
        """
        X, y = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(y)
        weight = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
        X, y, weight = X[weight > 0], y[weight > 0], weight[weight > 0]
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                f"y has one class only, {self.classes_.tolist()}: a classifier needs two or more."
            )
        self._scaler = StandardScaler().fit(X, sample_weight=weight)
        rows = self._scaler.transform(X)
        self._map_features(rows)

        totals = np.bincount(codes, weights=weight)
        unit = totals[codes] ** -self.balance  # what one row of weight 1 weighs
        unit *= weight.sum() / (weight @ unit)
        row_weight = weight * unit
        targets = np.eye(len(self.classes_))[codes]
        self._mean = row_weight @ targets / row_weight.sum()
        self.alpha_, self._coef = _ridge(
            self._features(rows),
            targets - self._mean,
            row_weight,
            np.minimum(weight, 1.0) * unit,
            self._checked_alphas(),
        )
        return self

    def _checked_alphas(self) -> FloatArray:
        alphas = np.asarray(self.alphas, dtype=np.float64)
        if alphas.ndim != 1 or alphas.size == 0 or not np.all(alphas > 0):
            raise ValueError(f"alphas must be one or more positive numbers, got {self.alphas!r}.")
        return alphas

    def _map_features(self, rows: FloatArray) -> None:
        """Choose the landmarks, and the map that makes their kernel the inner product."""
        distinct = np.unique(rows, axis=0)  # copies of a row add nothing to the kernel's space
        if len(distinct) > self.n_landmarks:
            rng = check_random_state(self.random_state)
            distinct = distinct[rng.permutation(len(distinct))[: self.n_landmarks]]
        self.landmarks_ = distinct
        values, vectors = eigh(self._kernel(distinct))
        kept = values > 1e-10 * values[-1]
        self._map = vectors[:, kept] / np.sqrt(values[kept])

    def _kernel(self, rows: FloatArray) -> FloatArray:
        gamma = 1.0 / rows.shape[1] if self.gamma is None else self.gamma
        return np.asarray(rbf_kernel(rows, self.landmarks_, gamma=gamma))

    def _features(self, rows: FloatArray) -> FloatArray:
        return np.asarray(self._kernel(rows) @ self._map)

    def _scores(self, X: Any) -> FloatArray:
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, reset=False)
        return np.asarray(self._features(self._scaler.transform(X)) @ self._coef + self._mean)

    def predict_proba(self, X: Any) -> FloatArray:
        """Scores, clipped at `floor` and scaled to sum to 1.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        proba : ndarray of shape (n_samples, n_classes)
            Rows sum to 1.
        """
        scores = self._scores(X)
        return normalize_rows(np.maximum(scores, self.floor))

    def predict(self, X: Any) -> npt.NDArray[Any]:
        """Label of the largest score.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        y : ndarray of shape (n_samples,)
            Labels out of `classes_`.
        """
        scores = self._scores(X)
        return np.asarray(self.classes_[np.argmax(scores, axis=1)])


def _ridge(
    features: FloatArray,
    targets: FloatArray,
    weight: FloatArray,
    left_weight: FloatArray,
    alphas: FloatArray,
) -> tuple[float, FloatArray]:
    """Weighted ridge coefficients at the strength of the least squared leave-one-out error.

    Of a row's weight, `left_weight` is left out: of a row of weight 2 one, as of two equal rows.
    """
    values, vectors = eigh(features.T @ (features * weight[:, None]))
    rotated = features @ vectors
    moments = rotated.T @ (targets * weight[:, None])
    best: tuple[float, float, FloatArray] | None = None
    for alpha in alphas:
        shrunk = 1.0 / (np.maximum(values, 0.0) + alpha)
        solution = moments * shrunk[:, None]
        leverage = left_weight * ((rotated**2) @ shrunk)
        residual = (targets - rotated @ solution) / np.maximum(1.0 - leverage, 1e-12)[:, None]
        error = float(weight @ (residual**2).sum(axis=1))
        if best is None or error < best[0]:
            best = error, float(alpha), solution
    assert best is not None
    return best[1], vectors @ best[2]
