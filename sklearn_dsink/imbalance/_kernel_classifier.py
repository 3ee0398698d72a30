"""KernelClassifier: least squares in a kernel's feature space, rare classes weighing more."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from math import ceil
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin, _fit_context
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.utils import check_random_state, gen_batches
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from .._arrays import FloatArray
from ..scaling import column_moments
from ..validation import number_classes
from ._least_squares import (
    Blocks,
    choose_alpha,
    distinct_rows,
    normal_equations,
    solve_ridge,
    squared_slopes,
    with_constant,
)

# Rows whose kernel is worked out at a time, and up to which they are kept for a second look.
_BLOCK_ROWS = 4096
_KEPT_ROWS = 4 * _BLOCK_ROWS

# Most landmarks that the regularisation and the weights of the columns are chosen with: an
# eigendecomposition of all would take most of the time of a fit.
_TUNING_LANDMARKS = 250

# Of these, so many a column serve the linear kernel: its scores are the same with all that span
# the columns.
_SPANNING = 4

# Slopes that the weight of a column is the mean of: as many rows as classes leave room for.
_SLOPES = 16_384

# Sums over rows that are kept where rows are left out; of more parts each has its own taken off
# the sum of all.
_KEPT_SUMS = 64

# Added to the kernel's diagonal of ones, so that landmarks close together do no harm.
_JITTER = 1e-7
# Standard deviations beyond which a value is far from all others, and no more.
_FARTHEST = 1e3


class KernelClassifier(ClassifierMixin, BaseEstimator):
    r"""Regularised least squares on a Gaussian or linear kernel, rare classes weighing more.

    With features :math:`\phi(x)` of the kernel at `n_landmarks` training rows (all rows where
    there are fewer: the exact kernel), one-hot labels :math:`t_i` and row weights :math:`r_i`,

    .. math:: \min_B \sum_i r_i \lVert t_i - \mu - B^\top \phi(x_i) \rVert^2
              + \lambda \lVert B \rVert^2.

    The squared loss is bounded on each wrong label, the solution is one linear system, and so are
    its scores of any rows left out.  :math:`\lambda` is chosen by the leave-one-out scores of a
    solution in at most 250 of the landmarks, where it weighs the same norm.

    The Gaussian kernel goes by distances, in which columns that say nothing would drown those that
    do.  A first such solution tells them apart: distances then weigh each column by its mean
    squared slope, :math:`w_d \propto \sum_i r_i \sum_c (\partial f_c(x_i) / \partial x_d)^2`, of
    mean 1.  Where planes divide the classes, few rows or rare classes leave a Gaussian kernel
    little to go by, and the linear one errs less.

    Parameters
    ----------
    kernel : {"auto", "gaussian", "linear"}, default="auto"
        "auto" takes the one of the smaller leave-one-out error.
    alphas : array-like of float, default=(0.25, 0.5, 1, 2, 4, 8)
        Strengths of the regularisation to choose from.
    gamma : float or None, default=None
        The Gaussian kernel is ``exp(-gamma * weighted squared distance)`` of standardized rows,
        the linear one ``gamma`` times their product; None is ``1 / n_features``.
    n_landmarks : int, default=1500
        Most training rows that the kernel is taken at.  Time grows with its square.
    balance : float, default=0.5
        Rows of a class of total weight ``n`` weigh ``n ** -balance``: 0 leaves the classes as
        they are, 1 makes them weigh alike.  Half-way, the tail is heard, and wrong labels given
        to it are not shouted.
    scale : float, default=4.0
        Probabilities are the softmax of the scores, which are near 0 or 1, times this.
    weigh_columns : bool, default=True
        Whether columns weigh in the Gaussian kernel by how much the scores change along them.
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
    kernel_ : {"gaussian", "linear"}
        The kernel chosen.
    relevance_ : ndarray of shape (n_features,)
        Weights of the columns in squared distances, of mean 1.
    alpha_ : float
        The strength chosen.

    References
    ----------
    R. Rifkin, R. Lippert (2007). Notes on regularized least squares. MIT-CSAIL-TR-2007-025, for
    the leave-one-out scores.  C. Williams, M. Seeger (2001). Using the Nyström method to speed up
    kernel machines. NeurIPS.  A. Radhakrishnan, D. Beaglehole, P. Pandit, M. Belkin (2024).
    Mechanism for feature learning in neural networks and backpropagation-free machine learning
    models. Science 383, whose recursive feature machine, once and by its diagonal, weighs the
    columns.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from sklearn_dsink.imbalance import KernelClassifier
    >>> X, y = load_wine(return_X_y=True)
    >>> KernelClassifier().fit(X, y).score(X, y) > 0.95
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "kernel": [StrOptions({"auto", "gaussian", "linear"})],
        "alphas": ["array-like"],
        "gamma": [Interval(Real, 0, None, closed="neither"), None],
        "n_landmarks": [Interval(Integral, 1, None, closed="left")],
        "balance": [Interval(Real, 0, 1, closed="both")],
        "scale": [Interval(Real, 0, None, closed="neither")],
        "weigh_columns": ["boolean"],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        *,
        kernel: str = "auto",
        alphas: npt.ArrayLike = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0),
        gamma: float | None = None,
        n_landmarks: int = 1500,
        balance: float = 0.5,
        scale: float = 4.0,
        weigh_columns: bool = True,
        random_state: Any = None,
    ) -> None:
        self.kernel = kernel
        self.alphas = alphas
        self.gamma = gamma
        self.n_landmarks = n_landmarks
        self.balance = balance
        self.scale = scale
        self.weigh_columns = weigh_columns
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> KernelClassifier:
        """Solve the least squares problem and choose the regularisation.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training rows.
        y : array-like of shape (n_samples,)
            Labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights >= 0; a row of weight 2 counts as two rows.

        Returns
        -------
        self : object
            The fitted classifier.

        Raises
        ------
        ValueError
            If a parameter or the data is not as described, or the rows of positive weight have
            one class only.
        """
        X, y = validate_data(self, X, y, accept_sparse="csr", dtype=np.float64)
        number_classes(y)  # refuses what are no labels of classes
        weight = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
        X, y, weight = X[weight > 0], y[weight > 0], weight[weight > 0]
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                f"y has one class only, {self.classes_.tolist()}: a classifier needs two or more."
            )
        self._center, self._spread = column_moments(X, weight)
        # Equal rows are one row that shares its labels: copies of it, each with a label it may
        # have, are left out together.
        rows, place = distinct_rows(self._standardized(X))
        self.landmarks_ = self._draw_landmarks(rows, self.n_landmarks)
        self._landmark_share = len(self.landmarks_) / rows.shape[0]
        totals = np.bincount(codes, weights=weight)
        unit = totals**-self.balance  # what one row of weight 1 weighs, by class
        self._unit = unit * weight.sum() / (weight @ unit[codes])
        targets = np.zeros((rows.shape[0], len(self.classes_)))
        np.add.at(targets, (place, codes), weight * self._unit[codes])
        row_weight = targets.sum(axis=1)
        self._mean = targets.sum(axis=0) / row_weight.sum()
        targets /= row_weight[:, None]
        targets -= self._mean
        self._choose_kernel(rows, targets, row_weight)
        blocks = self._blocks(rows, self.landmarks_)
        gram, moments = normal_equations(blocks, targets, row_weight)
        penalty = self.alpha_ * self._kernel_among(self.landmarks_)
        self._coef = solve_ridge(gram, moments, penalty, self.alpha_ * _JITTER)
        return self

    def leave_out_proba(
        self, X: Any, y: Any, parts: Sequence[npt.NDArray[Any]], sample_weight: Any = None
    ) -> list[FloatArray]:
        """Probabilities of parts of the training rows, each by the solution without its rows.

        The weights of classes, the kernel and the strength are those of the fit, of all rows; a
        label moves them hardly.  It does move the weights of columns, where these are many: they
        are found again without the part, at landmarks of the other rows, and only where the kernel
        has none does leaving out rows take no more than a linear system.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows that the classifier was fitted to.
        y : array-like of shape (n_samples,)
            Their labels.
        parts : sequence of ndarray of int
            Rows to leave out, and to predict, at a time.
        sample_weight : array-like of shape (n_samples,), default=None
            Their weights; rows of weight 0, which may be further ones, are predicted all the same.

        Returns
        -------
        probas : list of ndarray of shape (n_rows_of_part, n_classes)
            Columns in the order of the sorted labels.

        Raises
        ------
        ValueError
            If a part leaves no row of positive weight to learn from.
        """
        check_is_fitted(self)
        X, y = validate_data(self, X, y, accept_sparse="csr", dtype=np.float64, reset=False)
        weight = _check_sample_weight(sample_weight, X, dtype=np.float64)
        # Labels that only rows of weight 0 have teach nothing: whichever code they get.
        codes = np.minimum(np.searchsorted(self.classes_, y), len(self.classes_) - 1)
        rows = self._standardized(X)
        weight = weight * self._unit[codes]
        targets = np.eye(len(self.classes_))[codes]
        left_out = np.zeros((len(parts), len(y)), dtype=bool)
        for own, part in zip(left_out, parts, strict=True):
            own[part] = True
            if not weight[~own].any():
                raise ValueError("parts: one has all rows of positive weight, and leaves none.")
        weighs = self.kernel_ == "gaussian" and self.weigh_columns
        leave_out = self._weigh_without if weighs else self._add_up_without
        probas = []
        for part, (model, sums) in zip(
            parts, leave_out(rows, targets, weight, left_out), strict=True
        ):
            gram, moments = np.split(sums, [len(model.landmarks_) + 1], axis=1)
            mean = moments[-1] / max(gram[-1, -1], np.finfo(np.float64).tiny)
            centered = moments[:-1] - np.outer(gram[:-1, -1], mean)
            penalty = self.alpha_ * model._kernel_among(model.landmarks_)
            coef = solve_ridge(gram[:-1, :-1].copy(), centered, penalty, self.alpha_ * _JITTER)
            scores = model._times_kernel(rows[part], coef) + mean
            probas.append(softmax(self.scale * scores, axis=1))
        return probas

    def _weigh_without(
        self, rows: Any, targets: FloatArray, weight: FloatArray, left_out: npt.NDArray[np.bool_]
    ) -> Iterator[tuple[KernelClassifier, FloatArray]]:
        """Draw landmarks and weigh the columns without the rows of each part; add up the others.

        The same share of them are landmarks: all, where all rows are, and fewer for fewer rows,
        which saves half of the time.
        """
        for own in left_out:
            kept = ~own & (weight > 0)
            others, wanted, counts = rows[kept], targets[kept], weight[kept]
            model = copy(self)
            distinct, _ = distinct_rows(others)
            n_landmarks = ceil(self._landmark_share * distinct.shape[0])
            model.landmarks_ = self._draw_landmarks(distinct, n_landmarks)
            mean = counts @ wanted / max(counts.sum(), np.finfo(np.float64).tiny)
            model._weigh_columns(others, model._tuning_landmarks(), wanted - mean, counts)
            yield model, model._sums(others, wanted, counts)

    def _add_up_without(
        self, rows: Any, targets: FloatArray, weight: FloatArray, left_out: npt.NDArray[np.bool_]
    ) -> Iterator[tuple[KernelClassifier, FloatArray]]:
        """Add up the rows that the same parts leave out once, for all parts."""
        kinds, kind = np.unique(left_out.T, axis=0, return_inverse=True)

        def add_up(k: int) -> FloatArray:
            own = kind == k
            return self._sums(rows[own], targets[own], weight[own])

        few = len(kinds) <= _KEPT_SUMS
        sums = [add_up(k) for k in range(len(kinds))] if few else []
        total = np.zeros(()) if few else sum(map(add_up, range(len(kinds))), np.zeros(()))
        for own in kinds.T:
            if few:
                yield self, sum((sums[k] for k in np.flatnonzero(~own)), np.zeros(()))
            else:
                yield self, total - sum(map(add_up, np.flatnonzero(own).tolist()), np.zeros(()))

    def _sums(self, rows: Any, targets: FloatArray, weight: FloatArray) -> FloatArray:
        """Give the normal equations of kernels and a constant, which adds up the targets."""
        blocks = with_constant(self._blocks(rows, self.landmarks_))
        return np.hstack(normal_equations(blocks, targets, weight))

    def _choose_kernel(self, rows: Any, targets: FloatArray, weight: FloatArray) -> None:
        """Choose the kernel, the weights of its columns and the strength, with some landmarks."""
        found = []
        for kernel in ("gaussian", "linear"):
            if self.kernel not in ("auto", kernel):
                continue
            self.kernel_, self.relevance_ = kernel, np.ones(rows.shape[1])
            some = self._tuning_landmarks()
            if kernel == "linear":
                some = some[:: max(len(some) // (_SPANNING * rows.shape[1]), 1)]
            elif self.weigh_columns:
                self._weigh_columns(rows, some, targets, weight)
            alpha, _, error = self._tune(rows, some, targets, weight)
            found.append((error, kernel, self.relevance_, alpha))
        _, self.kernel_, self.relevance_, self.alpha_ = min(found, key=lambda each: each[0])

    def _tuning_landmarks(self) -> FloatArray:
        return self.landmarks_[:: -(-len(self.landmarks_) // _TUNING_LANDMARKS)]

    def _weigh_columns(
        self, rows: Any, landmarks: FloatArray, targets: FloatArray, weight: FloatArray
    ) -> None:
        """Find what the scores follow where all columns weigh alike."""
        self.relevance_ = np.ones(rows.shape[1])
        _, coef, _ = self._tune(rows, landmarks, targets, weight)
        self.relevance_ = self._relevance(rows, landmarks, coef, weight)

    def _tune(
        self,
        rows: Any,
        landmarks: FloatArray,
        targets: FloatArray,
        weight: FloatArray,
    ) -> tuple[float, FloatArray, float]:
        """Choose the strength with some of the landmarks: the penalty means the same with all."""
        blocks = self._blocks(rows, landmarks)
        of_landmarks = self._kernel_among(landmarks)
        return choose_alpha(blocks, of_landmarks, targets, weight, self._checked_alphas())

    def _relevance(
        self, rows: Any, landmarks: FloatArray, coef: FloatArray, weight: FloatArray
    ) -> FloatArray:
        """Weigh each column by the mean squared slope along it of the scores at some rows."""
        some = slice(None, None, -(-rows.shape[0] * coef.shape[1] // _SLOPES))
        rows, weight = rows[some], weight[some]
        squares = np.zeros(rows.shape[1])
        for part in gen_batches(rows.shape[0], _BLOCK_ROWS):
            at = self._dense(rows[part])
            kernel = self._kernel(at, landmarks)
            squares += squared_slopes(at, landmarks, kernel, coef, weight[part])
        mean = squares.mean()
        return squares / mean if mean > 0 else np.ones_like(squares)

    def _checked_alphas(self) -> FloatArray:
        alphas = np.asarray(self.alphas, dtype=np.float64)
        if alphas.ndim != 1 or alphas.size == 0 or not np.all(alphas > 0):
            raise ValueError(f"alphas must be one or more positive numbers, got {self.alphas!r}.")
        return alphas

    def _standardized(self, X: Any) -> Any:
        """Bring the columns to one scale; sparse rows wait until they are looked at by blocks."""
        return X if sparse.issparse(X) else self._scaled(X)

    def _scaled(self, X: FloatArray) -> FloatArray:
        """Squares of numbers beyond the clip would lose the small ones."""
        return np.clip((X - self._center) / self._spread, -_FARTHEST, _FARTHEST)

    def _dense(self, rows: Any) -> FloatArray:
        return self._scaled(rows.toarray()) if sparse.issparse(rows) else rows

    def _draw_landmarks(self, distinct: Any, n_landmarks: int) -> FloatArray:
        if distinct.shape[0] > n_landmarks:
            rng = check_random_state(self.random_state)
            distinct = distinct[rng.permutation(distinct.shape[0])[:n_landmarks]]
        return self._dense(distinct)

    def _kernel_among(self, landmarks: FloatArray) -> FloatArray:
        kernel = self._kernel(landmarks, landmarks)
        kernel[np.diag_indices_from(kernel)] += _JITTER
        return kernel

    def _kernel(self, rows: Any, landmarks: FloatArray) -> FloatArray:
        gamma = 1.0 / rows.shape[1] if self.gamma is None else self.gamma
        if self.kernel_ == "linear":
            return np.asarray(gamma * (self._dense(rows) @ landmarks.T))
        root = np.sqrt(self.relevance_)
        return np.asarray(rbf_kernel(self._dense(rows) * root, landmarks * root, gamma=gamma))

    def _times_kernel(self, rows: Any, coef: FloatArray) -> FloatArray:
        parts = gen_batches(rows.shape[0], _BLOCK_ROWS)
        return np.concatenate([self._kernel(rows[part], self.landmarks_) @ coef for part in parts])

    def _blocks(self, rows: Any, landmarks: FloatArray) -> Blocks:
        """Let one go over the rows' kernels more than once, whether they fit in memory or not."""

        def stream() -> Iterator[tuple[slice, FloatArray]]:
            for part in gen_batches(rows.shape[0], _BLOCK_ROWS):
                yield part, self._kernel(rows[part], landmarks)

        if rows.shape[0] > _KEPT_ROWS:
            return stream
        kept = list(stream())
        return lambda: kept

    def _scores(self, X: Any) -> FloatArray:
        check_is_fitted(self)
        X = validate_data(self, X, accept_sparse="csr", dtype=np.float64, reset=False)
        return self._times_kernel(self._standardized(X), self._coef) + self._mean

    def predict_proba(self, X: Any) -> FloatArray:
        """Softmax of the scores times `scale`.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        proba : ndarray of shape (n_samples, n_classes)
            Rows sum to 1.
        """
        return np.asarray(softmax(self.scale * self._scores(X), axis=1))

    def predict(self, X: Any) -> npt.NDArray[Any]:
        """Label of the largest score.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        y : ndarray of shape (n_samples,)
            Labels out of `classes_`.
        """
        scores = self._scores(X)
        return np.asarray(self.classes_[np.argmax(scores, axis=1)])

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags
