"""Any classifier, its probabilities corrected for the label noise that it was fitted to."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions

from .._arrays import FloatArray
from .._corrected import CorrectedClassifier
from ..folds import make_folds
from ..noise_model import estimate_noise_matrix, label_posterior
from ._correction import cleanlab_noise_matrix, sharpen, undo_noise


class NoiseCorrectedClassifier(CorrectedClassifier):
    """Any classifier, its probabilities corrected for wrong labels in the training data.

    A classifier fitted to noisy labels answers for the label that would be given, and so too
    evenly. `fit` estimates from out-of-fold probabilities how labels go wrong, and
    `predict_proba` undoes it.

    Parameters
    ----------
    estimator : classifier with predict_proba or None, default=None
        None: 200 extremely randomised trees with at least two rows a leaf.
    correction : {"sharpen", "transition"}, default="sharpen"
        "sharpen" raises probabilities to the power `sharpening`; it leaves predicted classes as
        they are, and is safe. "transition" solves for the distribution of the true class given
        the estimated noise matrix; better under noise that favours certain classes, and no better
        than that estimate.
    sharpening : float, default=2.0
        Power above; also used for `label_posterior_`.
    joint : {"confident", "cleanlab"}, default="confident"
        Where counts of (true, given) classes come from: our confident joint, or
        ``cleanlab.count.compute_confident_joint`` (needs cleanlab). The latter takes no weights:
        it is given rows as often as they weigh, rounded to whole rows.
    cv : int, cross-validation splitter or iterable, default=5
        Folds of the out-of-fold probabilities. An int gives stratified folds that classes with
        fewer rows than folds fit into.
    n_jobs : int or None, default=None
        Fits at a time.
    random_state : int, RandomState instance or None, default=None
        Fixes folds and the estimator's own randomness where it was left open.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels.
    estimator_ : classifier
        Fitted on all rows.
    noise_matrix_ : ndarray of shape (n_classes, n_classes)
        Estimate of P(given | true); rows are true classes.
    label_posterior_ : ndarray of shape (n_samples, n_classes)
        Probability of each true class of the training rows, given features and given label.
    n_features_in_ : int
        Number of features, where the estimator tells.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the features, where the estimator tells.

    References
    ----------
    C. Northcutt, L. Jiang, I. Chuang: Confident Learning: Estimating Uncertainty in Dataset
    Labels. JAIR 70, 2021. Equations 1 to 3.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_dsink.datasets import flip_labels
    >>> from sklearn_dsink.noise import NoiseCorrectedClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> y_noisy, _ = flip_labels(y, 0.3, random_state=0)
    >>> clf = NoiseCorrectedClassifier(random_state=0).fit(X, y_noisy)
    >>> bool((clf.label_posterior_.argmax(axis=1) == y).mean() > 0.9)
    True
    """

    _parameter_constraints: dict[str, list[Any]] = {
        "estimator": [HasMethods(["fit", "predict_proba"]), None],
        "correction": [StrOptions({"sharpen", "transition"})],
        "sharpening": [Interval(Real, 0, None, closed="neither")],
        "joint": [StrOptions({"confident", "cleanlab"})],
        "cv": ["cv_object"],
        "n_jobs": [Integral, None],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        estimator: Any = None,
        *,
        correction: str = "sharpen",
        sharpening: float = 2.0,
        joint: str = "confident",
        cv: Any = 5,
        n_jobs: int | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.estimator = estimator
        self.correction = correction
        self.sharpening = sharpening
        self.joint = joint
        self.cv = cv
        self.n_jobs = n_jobs
        self.random_state = random_state

    def fit(
        self,
        X: Any,
        y: npt.ArrayLike,
        sample_weight: npt.ArrayLike | None = None,
        **fit_params: Any,
    ) -> NoiseCorrectedClassifier:
        """Fit the estimator and estimate the noise.

        Parameters
        ----------
        X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features)
            Training rows, passed to the estimator as they are.
        y : array-like of shape (n_samples,)
            Labels.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights, for the estimator if it takes them and for the noise estimate.
        **fit_params : dict
            Metadata routed to the estimator's `fit`, when metadata routing is enabled.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            If a parameter, the labels or the weights are not as described, there are fewer than
            two rows, or the estimator fails to fit.
        TypeError
            If `fit_params` are given without metadata routing, or the estimator does not take
            features of this type.
        """
        self._validate_params()
        if self.cv is None:
            raise ValueError(
                "cv=None would estimate the noise from labels that the estimator has seen: "
                "give a number of folds or a splitter."
            )
        X, labels, codes, weight = self._check_rows(X, y, sample_weight)
        if len(codes) < 2:
            raise ValueError("NoiseCorrectedClassifier needs folds, but found n_samples=1.")
        rng = check_random_state(self.random_state)
        proba = self._fit_estimator(
            self._estimator_to_correct(),
            X,
            labels,
            folds=make_folds(self.cv, X, codes, rng, weight),
            sample_weight=None if sample_weight is None else weight,
            fit_params=fit_params,
            rng=rng,
        )
        if self.joint == "cleanlab":
            self.noise_matrix_ = cleanlab_noise_matrix(codes, proba, weight)
        else:
            # The estimate is held by so many rows, against which weights of mean 1 are weighed.
            weight = weight * (np.count_nonzero(weight) / weight.sum())
            self.noise_matrix_ = estimate_noise_matrix(codes, proba, sample_weight=weight)
        self.label_posterior_ = label_posterior(
            proba, codes, self.noise_matrix_, sharpening=self.sharpening
        )
        return self

    def predict_proba(self, X: Any) -> FloatArray:
        """Return probabilities of the true classes.

        Parameters
        ----------
        X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features)
            Rows to predict.

        Returns
        -------
        proba : ndarray of shape (n_samples, n_classes)
            Rows sum to 1, columns as in `classes_`.
        """
        proba = self._raw_proba(X)
        if self.correction == "transition":
            return undo_noise(proba, self.noise_matrix_)
        return sharpen(proba, self.sharpening)

    def __sklearn_is_fitted__(self) -> bool:
        """Whether the last fit came to its end."""
        return hasattr(self, "label_posterior_")
