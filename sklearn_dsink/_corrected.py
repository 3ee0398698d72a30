"""The base of classifiers that fit another classifier and correct its probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.utils import get_tags, indexable
from sklearn.utils.metadata_routing import (
    MetadataRouter,
    MethodMapping,
    _routing_enabled,
    process_routing,
)
from sklearn.utils.validation import _check_sample_weight, check_is_fitted

from ._arrays import FloatArray
from .auxiliaries import request_weights
from .crossfit import fit_auxiliaries
from .folds import Fold
from .jobs import RunOptions
from .probabilities import predict_aligned
from .validation import forget_fit, number_classes

Labels = npt.NDArray[Any]
Codes = npt.NDArray[np.integer[Any]]


def default_trees(n_estimators: int = 200) -> ExtraTreesClassifier:
    """Return extremely randomised trees, whose leaves average several labels."""
    return ExtraTreesClassifier(n_estimators, min_samples_leaf=2)


class CorrectedClassifier(ClassifierMixin, MetaEstimatorMixin, BaseEstimator):
    """A classifier that fits its `estimator` and corrects the probabilities it predicts.

    Subclasses have the parameters `estimator` and `n_jobs`.  Their `fit` calls `_check_rows` and
    `_fit_estimator`; their `predict_proba` corrects `_raw_proba`.
    """

    estimator: Any
    n_jobs: int | None

    def predict(self, X: Any) -> npt.NDArray[Any]:
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
        return self.classes_[proba.argmax(axis=1)]

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
                estimator=self._estimator_to_correct(),
                method_mapping=MethodMapping().add(caller="fit", callee="fit"),
            )
        )

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags = get_tags(self._estimator_to_correct()).input_tags
        return tags

    def _estimator_to_correct(self) -> Any:
        return request_weights(default_trees()) if self.estimator is None else self.estimator

    def _check_rows(
        self, X: Any, y: Any, sample_weight: Any
    ) -> tuple[Any, Labels, Codes, FloatArray]:
        """Forget an earlier fit, check all but the features, set `classes_` and `_class_share`.

        Returns
        -------
        X, labels, codes, weight : indexable and ndarrays of shape (n_samples,)
            Weights are 1 where none were given.
        """
        forget_fit(self)
        if y is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is None."
            )
        self.classes_, codes = number_classes(y)
        X, labels = indexable(X, self.classes_[codes])
        weight = _check_sample_weight(
            sample_weight, codes, dtype=np.float64, ensure_non_negative=True
        )
        if weight.sum() == 0:
            raise ValueError("sample_weight is zero for every row: nothing is left to fit.")
        self._class_share = np.bincount(codes, weights=weight) / weight.sum()
        return X, labels, codes, weight

    def _fit_estimator(
        self,
        estimator: Any,
        X: Any,
        labels: Labels,
        *,
        folds: list[Fold] | None,
        sample_weight: FloatArray | None,
        fit_params: dict[str, Any],
        rng: np.random.RandomState,
    ) -> FloatArray:
        """Set `estimator_`, fitted on all rows, and return probabilities of the training rows.

        See `fit_auxiliaries` for the parameters; `fit_params` are those of the own ``fit``.
        """
        params = self._routed_params(sample_weight, fit_params)
        try:
            fitted = fit_auxiliaries(
                {"estimator": estimator},
                X,
                labels,
                classes=self.classes_,
                class_share=self._class_share,
                folds=folds,
                sample_weight=sample_weight,
                fit_params=None if params is None else {"estimator": params},
                options=RunOptions(self.n_jobs),
                random_state=rng,
            )["estimator"]
        except ValueError as error:
            if isinstance(error.__cause__, TypeError):  # features of a type it cannot read
                raise TypeError(str(error)) from error.__cause__
            raise
        self.estimator_ = fitted.classifier
        for name in ("n_features_in_", "feature_names_in_"):
            if hasattr(self.estimator_, name):
                setattr(self, name, getattr(self.estimator_, name))
        return fitted.proba

    def _routed_params(
        self, sample_weight: FloatArray | None, fit_params: dict[str, Any]
    ) -> dict[str, Any] | None:
        """Return what routing gives the estimator; None without it: weights go by default."""
        if _routing_enabled():
            if sample_weight is not None:
                fit_params = fit_params | {"sample_weight": sample_weight}
            return dict(process_routing(self, "fit", **fit_params).estimator.fit)
        if fit_params:
            raise TypeError(
                f"fit got unexpected arguments {sorted(fit_params)}: enable metadata routing to "
                "pass them on to the estimator."
            )
        return None

    def _raw_proba(self, X: Any) -> FloatArray:
        check_is_fitted(self)
        (X,) = indexable(X)
        return predict_aligned(self.estimator_, X, self.classes_, self._class_share, "estimator")
