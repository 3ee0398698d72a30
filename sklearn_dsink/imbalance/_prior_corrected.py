"""Post-hoc logit adjustment of any scikit-learn classifier."""

from __future__ import annotations

import warnings
from numbers import Integral, Real
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, clone
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.utils import (
    _safe_indexing,
    check_array,
    check_random_state,
    get_tags,
    indexable,
)
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.metadata_routing import (
    MetadataRouter,
    MethodMapping,
    _routing_enabled,
    process_routing,
)
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    _check_method_params,
    _check_sample_weight,
    check_is_fitted,
    column_or_1d,
)

from .._arrays import FloatArray
from .._seeding import seeded
from ..auxiliaries import is_frozen, prepare, weight_parameters
from ..folds import make_folds
from ..prediction import read_by_class
from ..probabilities import predict_aligned
from ._prior import adjust_prior, check_prior


class PriorCorrectedClassifier(ClassifierMixin, MetaEstimatorMixin, BaseEstimator):
    r"""Any classifier, its probabilities divided by the class prior it learned.

    .. math:: \tilde p_c(x) \propto p_c(x) \, / \, \pi_c^{\tau}

    This is post-hoc logit adjustment. For :math:`\pi` the mean of the out-of-fold
    probabilities is a better choice than the class shares where the classifier is not
    calibrated: it is what the classifier itself tends to answer on rows it has not seen.

    Parameters
    ----------
    estimator : classifier with predict_proba, default=None
        None: 200 extremely randomised trees with at least two rows a leaf. A FrozenEstimator
        is used as it is; then `fit` only measures the prior, for which it should be given rows
        that the estimator was not fitted to.
    tau : float, default=1.0
        Strength of the correction; 0 is the classifier as it is, 1 answers for a uniform
        prior, more favours small classes.
    prior : {"out_of_fold", "counts"}, dict or array-like, default="out_of_fold"
        The prior to divide by: mean out-of-fold probabilities, the (weighted) class shares of
        the labels given, or shares of the classes, by label or in sorted order.
    cv : int, cross-validation splitter, iterable or None, default=5
        Folds for ``prior="out_of_fold"``. An int gives stratified folds that classes with
        fewer rows than folds fit into; None takes in-sample probabilities instead.
    n_jobs : int, default=None
        Number of fits at the same time.
    random_state : int, RandomState instance or None, default=None
        Fixes folds and the estimator's own randomness where it was left open.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels.
    estimator_ : classifier
        The estimator fitted on all rows.
    class_prior_ : ndarray of shape (n_classes,)
        The prior divided by, summing to 1.
    n_features_in_ : int
        Number of features, where the estimator tells.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the features, where the estimator tells.

    References
    ----------
    Menon et al., "Long-tail learning via logit adjustment", ICLR 2021, section 4.1.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn_dsink.datasets import make_long_tailed
    >>> from sklearn_dsink.imbalance import PriorCorrectedClassifier
    >>> X, y = make_long_tailed(*load_digits(return_X_y=True), 20, random_state=0)
    >>> clf = PriorCorrectedClassifier(LogisticRegression(max_iter=2000), random_state=0)
    >>> clf.fit(X / 16, y).predict_proba(X[:3] / 16).shape
    (3, 10)
    """

    _parameter_constraints: dict[str, list[Any]] = {
        "estimator": [HasMethods(["fit", "predict_proba"]), None],
        "tau": [Interval(Real, 0, None, closed="left")],
        "prior": [StrOptions({"out_of_fold", "counts"}), dict, "array-like"],
        "cv": ["cv_object"],
        "n_jobs": [Integral, None],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        estimator: Any = None,
        *,
        tau: float = 1.0,
        prior: Any = "out_of_fold",
        cv: Any = 5,
        n_jobs: int | None = None,
        random_state: Any = None,
    ) -> None:
        self.estimator = estimator
        self.tau = tau
        self.prior = prior
        self.cv = cv
        self.n_jobs = n_jobs
        self.random_state = random_state

    def fit(
        self, X: Any, y: Any, sample_weight: Any = None, **fit_params: Any
    ) -> PriorCorrectedClassifier:
        """Fit the estimator and measure the prior it learned.

        Parameters
        ----------
        X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features)
            Training rows, passed to the estimator as they are.
        y : array-like of shape (n_samples,)
            Class labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights, for the estimator if it accepts them and for the prior.
        **fit_params : dict
            Metadata routed to the estimator's `fit`, when metadata routing is enabled.

        Returns
        -------
        self : PriorCorrectedClassifier
            The fitted classifier.
        """
        self._validate_params()
        if y is None:
            raise ValueError(
                "PriorCorrectedClassifier requires y to be passed, but the target y is None."
            )
        labels = column_or_1d(y, warn=True)
        check_array(labels, ensure_2d=False, dtype=None, input_name="y")
        check_classification_targets(labels)
        X, labels = indexable(X, labels)
        self.classes_, code = np.unique(labels, return_inverse=True)
        weight = _check_sample_weight(
            sample_weight, code, dtype=np.float64, ensure_non_negative=True
        )
        if weight.sum() == 0:
            raise ValueError("sample_weight is zero for every row: nothing is left to fit.")
        self._class_share = np.bincount(code, weights=weight) / weight.sum()
        rng = check_random_state(self.random_state)
        estimator = prepare(self._get_estimator(), rng)
        if sample_weight is not None:
            sample_weight = weight
        params = self._estimator_params(estimator, sample_weight, fit_params)
        seed = int(rng.randint(np.iinfo(np.int32).max))
        self.estimator_ = (
            estimator if is_frozen(estimator) else _fit(estimator, X, labels, params, seed)
        )
        if isinstance(self.prior, str):
            prior = self._measure_prior(X, labels, code, weight, estimator, params, rng)
            # A class that no row speaks for is not divided by less than half a row's share.
            prior = np.maximum(prior, 0.5 / len(code))
            self.class_prior_ = prior / prior.sum()
        else:
            shares = read_by_class(self.prior, self.classes_, "prior")
            self.class_prior_ = check_prior(shares, len(shares), name="prior")
        for name in ("n_features_in_", "feature_names_in_"):
            if hasattr(self.estimator_, name):
                setattr(self, name, getattr(self.estimator_, name))
        return self

    def predict_proba(self, X: Any) -> FloatArray:
        """Probabilities with the prior divided out.

        Parameters
        ----------
        X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features)
            Rows to predict.

        Returns
        -------
        proba : ndarray of shape (n_samples, n_classes)
            Rows sum to 1, columns as in `classes_`.
        """
        check_is_fitted(self)
        (X,) = indexable(X)
        return adjust_prior(self._raw_proba(self.estimator_, X), self.class_prior_, tau=self.tau)

    def predict(self, X: Any) -> Any:
        """Class of the largest corrected probability.

        Parameters
        ----------
        X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features)
            Rows to predict.

        Returns
        -------
        y : ndarray of shape (n_samples,)
            Class labels.
        """
        proba = self.predict_proba(X)
        return self.classes_[np.argmax(proba, axis=1)]

    def get_metadata_routing(self) -> MetadataRouter:
        """Say which metadata goes where.

        Returns
        -------
        routing : MetadataRouter
            What this classifier and its estimator ask for.
        """
        return (
            MetadataRouter(owner=type(self).__name__)
            .add_self_request(self)
            .add(
                estimator=self._get_estimator(),
                method_mapping=MethodMapping().add(caller="fit", callee="fit"),
            )
        )

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags = get_tags(self._get_estimator()).input_tags
        return tags

    def _get_estimator(self) -> Any:
        if self.estimator is None:
            return ExtraTreesClassifier(n_estimators=200, min_samples_leaf=2)
        return self.estimator

    def _raw_proba(self, estimator: Any, X: Any) -> FloatArray:
        return predict_aligned(
            estimator, X, self.classes_.tolist(), self._class_share, "estimator"
        )

    def _measure_prior(
        self,
        X: Any,
        labels: Any,
        code: Any,
        weight: FloatArray,
        estimator: Any,
        params: dict[str, Any],
        rng: np.random.RandomState,
    ) -> FloatArray:
        """Class shares to divide by, before they are floored."""
        if self.prior == "counts":
            return self._class_share
        if is_frozen(estimator) or self.cv is None:
            return np.average(self._raw_proba(self.estimator_, X), axis=0, weights=weight)
        if len(code) < 2:
            raise ValueError(
                "prior='out_of_fold' needs at least two rows, found n_samples=1: use "
                "prior='counts'."
            )
        folds = make_folds(self.cv, X, code, rng, weight) or []
        seeds = rng.randint(np.iinfo(np.int32).max, size=len(folds))
        fitted = Parallel(n_jobs=self.n_jobs)(
            delayed(_fit)(
                estimator,
                _safe_indexing(X, train),
                labels[train],
                _check_method_params(X, params, indices=train),
                int(seed),
            )
            for (train, _), seed in zip(folds, seeds, strict=True)
        )
        total = np.zeros(len(self.classes_))
        for (_, test), model in zip(folds, fitted, strict=True):
            total += weight[test] @ self._raw_proba(model, _safe_indexing(X, test))
        return total / weight.sum()

    def _estimator_params(
        self, estimator: Any, sample_weight: Any, fit_params: dict[str, Any]
    ) -> dict[str, Any]:
        """Choose what the estimator's fit is given besides X and y, with routing or without."""
        if is_frozen(estimator):
            return {}
        if _routing_enabled():
            if sample_weight is not None:
                fit_params = fit_params | {"sample_weight": sample_weight}
            return dict(process_routing(self, "fit", **fit_params).estimator.fit)
        if fit_params:
            raise TypeError(
                f"fit got unexpected arguments {sorted(fit_params)}: enable metadata routing to "
                "pass them on to the estimator."
            )
        params = weight_parameters(estimator, sample_weight)
        if sample_weight is not None and not params:
            warnings.warn(
                f"estimator={estimator!r} takes no sample_weight and is fitted without it.",
                UserWarning,
                stacklevel=3,
            )
        return params


def _fit(estimator: Any, X: Any, y: Any, params: dict[str, Any], seed: int) -> Any:
    with seeded(seed):
        return clone(estimator).fit(X, y, **params)
