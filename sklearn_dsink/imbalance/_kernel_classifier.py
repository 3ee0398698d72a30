"""KernelClassifier: least squares in a kernel's feature space, all classes weighing alike."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_factor, cho_solve, eigh
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from sklearn.base import BaseEstimator, ClassifierMixin, _fit_context
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from .._arrays import FloatArray

# Bounds of the softmax's factor: scores lie about between 0 and 1.
_LARGEST_FACTOR = 50.0


class KernelClassifier(ClassifierMixin, BaseEstimator):
    r"""Regularised least squares on a Gaussian kernel, with balanced classes and probabilities.

    With features :math:`\phi(x)` of the kernel at `n_landmarks` training rows (all rows where
    there are fewer: the exact kernel), one-hot labels :math:`t_i` and row weights :math:`r_i`,

    .. math:: \min_B \sum_i r_i \lVert t_i - \mu - B^\top \phi(x_i) \rVert^2
              + \lambda \lVert B \rVert^2.

    The squared loss is bounded on each wrong label, the solution is one linear system, and so are
    its leave-one-out scores, on which the factor of the softmax is found.

    Parameters
    ----------
    alpha : float, default=0.5
        Strength of the regularisation, the :math:`\lambda` above.
    gamma : float or None, default=None
        ``exp(-gamma * squared distance)`` of standardized rows; None is ``1 / n_features``.
    n_landmarks : int, default=1000
        Most training rows that the kernel is taken at.  Time grows with its square.
    class_weight : {"balanced"}, dict or None, default="balanced"
        "balanced" gives each class the same total weight; a dict gives weights by label.
    random_state : int, RandomState instance or None, default=None
        Draws the landmarks where there are more rows.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Sorted labels.
    n_features_in_ : int
        Columns of X.
    landmarks_ : ndarray of shape (n_landmarks, n_features_in_)
        Standardized rows that the kernel is taken at.
    factor_ : float
        Factor of the scores in the softmax.

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
        "alpha": [Interval(Real, 0, None, closed="neither")],
        "gamma": [Interval(Real, 0, None, closed="neither"), None],
        "n_landmarks": [Interval(Integral, 1, None, closed="left")],
        "class_weight": [StrOptions({"balanced"}), dict, None],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        *,
        alpha: float = 0.5,
        gamma: float | None = None,
        n_landmarks: int = 1000,
        class_weight: str | dict[Any, float] | None = "balanced",
        random_state: Any = None,
    ) -> None:
        self.alpha = alpha
        self.gamma = gamma
        self.n_landmarks = n_landmarks
        self.class_weight = class_weight
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> KernelClassifier:
        """Solve the least squares problem and find the softmax's factor.

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

        unit = self._class_weights(codes, weight)  # what one row of weight 1 weighs
        row_weight = weight * unit
        features = self._features(rows)
        targets = np.eye(len(self.classes_))[codes]
        self._mean = row_weight @ targets / row_weight.sum()
        self._coef, left_out = _ridge(
            features, targets - self._mean, row_weight, self.alpha, np.minimum(weight, 1.0) * unit
        )
        self.factor_ = _softmax_factor(left_out + self._mean, codes, row_weight)
        return self

    def _class_weights(
        self, codes: npt.NDArray[np.integer[Any]], weight: FloatArray
    ) -> FloatArray:
        """Weight of each row's class."""
        if self.class_weight == "balanced":  # scikit-learn's function does not see the weights
            totals = np.bincount(codes, weights=weight)
            return np.asarray((weight.sum() / (len(totals) * totals))[codes])
        return np.asarray(compute_sample_weight(self.class_weight, self.classes_[codes]))

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
        """Probabilities for classes of equal size, or of the training sizes if not balanced.

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
        return np.asarray(softmax(self.factor_ * scores, axis=1))

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
    alpha: float,
    left_weight: FloatArray,
) -> tuple[FloatArray, FloatArray]:
    """Weighted ridge coefficients, and the scores of each row by a fit without `left_weight`.

    Of a row of weight 2 only one is left out, as of two equal rows.
    """
    root = np.sqrt(weight)[:, None]
    weighted = features * root
    gram = weighted.T @ weighted
    gram[np.diag_indices_from(gram)] += alpha
    solved = cho_solve(cho_factor(gram), weighted.T)
    coef = solved @ (targets * root)
    leverage = (left_weight * np.einsum("ij,ji->i", features, solved / root.T))[:, None]
    left_out = targets - (targets - features @ coef) / np.maximum(1.0 - leverage, 1e-12)
    return coef, left_out


def _softmax_factor(
    scores: FloatArray, codes: npt.NDArray[np.integer[Any]], weight: FloatArray
) -> float:
    """Factor of the scores that makes the labels likeliest."""
    rows = np.arange(len(codes))

    def negative(log_factor: float) -> float:
        log_proba = log_softmax(np.exp(log_factor) * scores, axis=1)
        return -float(weight @ log_proba[rows, codes])

    best = minimize_scalar(
        negative, bounds=(0.0, np.log(_LARGEST_FACTOR)), method="bounded", options={"xatol": 1e-10}
    )
    return float(np.exp(best.x))
