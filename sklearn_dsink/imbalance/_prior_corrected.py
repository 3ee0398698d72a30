"""Post-hoc logit adjustment of any scikit-learn classifier."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions

from .._arrays import FloatArray
from .._corrected import Codes, CorrectedClassifier
from .._seeding import draw_seed
from ..auxiliaries import is_frozen, prepare
from ..class_values import read_prior
from ..folds import Fold, make_folds
from ._prior import adjust_prior


class PriorCorrectedClassifier(CorrectedClassifier):
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

        Raises
        ------
        ValueError
            If a parameter, the labels or the weights are not as described, or the estimator
            fails to fit.
        TypeError
            If `fit_params` are given without metadata routing, or the estimator does not take
            features of this type.
        """
        self._validate_params()
        X, labels, codes, weight = self._check_rows(X, y, sample_weight)
        given = not isinstance(self.prior, str)
        prior = read_prior(self.prior, self.classes_, "prior") if given else None
        rng = check_random_state(self.random_state)
        # Seeds are drawn for the estimator first, then for its fits and for the folds.
        estimator = prepare(self._estimator_to_correct(), rng)
        fit_rng = np.random.RandomState(draw_seed(rng))
        proba = self._fit_estimator(
            estimator,
            X,
            labels,
            folds=self._make_folds(estimator, X, codes, weight, rng),
            sample_weight=None if sample_weight is None else weight,
            fit_params=fit_params,
            rng=fit_rng,
        )
        if prior is None:
            counted = self.prior == "counts"
            prior = self._class_share if counted else np.average(proba, axis=0, weights=weight)
            # A class that no row speaks for is not divided by less than half a row's share.
            prior = np.maximum(prior, 0.5 / np.count_nonzero(weight))
            prior = prior / prior.sum()
        self.class_prior_ = prior
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
        return adjust_prior(self._raw_proba(X), self.class_prior_, tau=self.tau)

    def _make_folds(
        self,
        estimator: Any,
        X: Any,
        codes: Codes,
        weight: FloatArray,
        rng: np.random.RandomState,
    ) -> list[Fold] | None:
        """Return the folds to measure the prior with: none for any other prior."""
        if not isinstance(self.prior, str) or self.prior == "counts":
            return []
        if is_frozen(estimator) or self.cv is None:
            return None
        if np.count_nonzero(weight) < 2:
            raise ValueError(
                "prior='out_of_fold' needs at least two rows, found n_samples=1: use "
                "prior='counts'."
            )
        return make_folds(self.cv, X, codes, rng, weight)

    def __sklearn_is_fitted__(self) -> bool:
        """Whether the last fit came to its end."""
        return hasattr(self, "class_prior_")
