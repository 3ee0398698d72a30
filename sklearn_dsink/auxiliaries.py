"""Auxiliary classifiers as the fit needs them: cloned, seeded, given what they can read.

An auxiliary is any scikit-learn classifier.  Three kinds need a word of help, and get it here: a
skorch net reads float32 arrays and labels 0..n_classes-1, a few libraries read only such labels,
and a frozen estimator is used as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, clone
from sklearn.ensemble import StackingClassifier, VotingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import _safe_indexing, get_tags
from sklearn.utils.metadata_routing import _routing_enabled, get_routing_for_object
from sklearn.utils.validation import (
    check_is_fitted,
    has_fit_parameter,
)
from skorch import NeuralNetClassifier

from ._arrays import normalize_rows
from ._interrupts import letting_interrupts_out
from ._seeding import draw_seed
from .inputs import TabularEncoder, validate_features
from .nets import leave_training
from .scaling import SmoothClipper
from .validation import number_classes

# Classifiers of these packages read the labels 0..n_classes-1 only, with none left out.
_INTEGER_LABELS_ONLY = {"skorch", "xgboost", "cleanlab"}
# Steps of a pipeline that read no labels.
_UNLABELED = {TabularEncoder, SmoothClipper}
# Of an estimator in a message, for its reason comes after it.
_MOST_CHARACTERS = 200


def is_pipeline(estimator: Any) -> bool:
    """Whether the estimator is a pipeline, scikit-learn's or imbalanced-learn's."""
    return isinstance(estimator, Pipeline)


def final_step(estimator: Any) -> Any:
    """Return the last step of a pipeline, of any depth, or the estimator itself."""
    while is_pipeline(estimator):
        estimator = estimator.steps[-1][1]
    return estimator


def is_frozen(estimator: Any) -> bool:
    """Whether the estimator was fitted beforehand and is to be used untouched."""
    return isinstance(estimator, FrozenEstimator)


def leaves_out(estimator: Any) -> bool:
    """Whether the auxiliary tells what it would say of rows that it leaves out, without a fit.

    Its last step has ``leave_out_proba(X, y, parts, sample_weight=None)``, see
    :meth:`sklearn_dsink.imbalance.KernelClassifier.leave_out_proba`; steps before it do not look
    at labels, and are fitted on all rows.
    """
    steps = estimator.steps[:-1] if is_pipeline(estimator) else []
    last = estimator.steps[-1][1] if is_pipeline(estimator) else estimator
    return hasattr(last, "leave_out_proba") and all(type(s) in _UNLABELED for _, s in steps)


def left_out_proba(
    estimator: Any,
    X: Any,
    y: npt.NDArray[Any],
    parts: Sequence[npt.NDArray[np.integer[Any]]],
    sample_weight: npt.NDArray[np.floating[Any]] | None,
) -> list[npt.NDArray[np.floating[Any]]]:
    """Ask a fitted auxiliary that `leaves_out` for the probabilities of parts of its rows."""
    if is_pipeline(estimator):
        for _, step in estimator.steps[:-1]:
            X = step.transform(X)
        estimator = estimator.steps[-1][1]
    probas: list[npt.NDArray[np.floating[Any]]]
    probas = estimator.leave_out_proba(X, y, parts, sample_weight)
    return probas


def draws_globally(estimator: Any) -> bool:
    """Whether the estimator may draw from the global generators, as nets do, even to predict."""
    inner = estimator.estimator if is_frozen(estimator) else estimator
    return isinstance(inner, IntegerLabelClassifier) or reads_integer_labels_only(inner)


def check_auxiliary(estimator: Any, name: str) -> None:
    """Refuse an auxiliary that gives no probabilities, and say what to do."""
    if estimator is None:
        return
    if isinstance(estimator, type):
        raise TypeError(f"{name}={estimator!r} is a class; give an instance of it.")
    if not hasattr(estimator, "fit"):
        raise TypeError(
            f"{name}={estimator!r} has no fit: give a classifier, such as "
            "sklearn.ensemble.ExtraTreesClassifier()."
        )
    last = final_step(estimator)
    # By its default final estimator it gives probabilities, but says so only once it is fitted.
    stacks = isinstance(last, StackingClassifier) and last.final_estimator is None
    if not stacks and not hasattr(estimator, "predict_proba"):
        raise TypeError(
            f"{named(name, estimator)} has no predict_proba. Wrap a classifier that only decides "
            "in sklearn.calibration.CalibratedClassifierCV."
        )
    if is_frozen(estimator):
        try:
            check_is_fitted(estimator)
        except NotFittedError as error:
            raise ValueError(
                f"{named(name, estimator)} is not fitted. Fit the classifier before freezing it."
            ) from error


def named(name: str, estimator: Any) -> str:
    """Write a parameter and its estimator, in one line that is not long, for a message."""
    estimator = _unwrapped(estimator)
    # scikit-learn's own repr knows what to leave out; a class's own is cut off.
    shortens = type(estimator).__repr__ is BaseEstimator.__repr__
    text = estimator.__repr__(N_CHAR_MAX=_MOST_CHARACTERS) if shortens else repr(estimator)
    text = " ".join(text.split())
    too_long = not shortens and len(text) > _MOST_CHARACTERS
    return f"{name}={text[:_MOST_CHARACTERS]} ..." if too_long else f"{name}={text}"


def reads_integer_labels_only(estimator: Any) -> bool:
    """Whether the estimator's library takes no labels but ``0..n_classes-1``."""
    return not _INTEGER_LABELS_ONLY.isdisjoint(_packages(estimator))


def looks_for_wrong_labels(estimator: Any) -> bool:
    """Whether the estimator is cleanlab's, which splits the rows into folds of its own."""
    return "cleanlab" in _packages(_unwrapped(estimator))


def _packages(estimator: Any) -> set[str]:
    """Name the packages of the last step's class and of those that it inherits from."""
    return {base.__module__.partition(".")[0] for base in type(final_step(estimator)).__mro__}


def _unwrapped(estimator: Any) -> Any:
    """Return what reads label codes behind its wrapper, which passes all parameters on."""
    return estimator.estimator if isinstance(estimator, IntegerLabelClassifier) else estimator


def accepts_sample_weight(estimator: Any) -> bool:
    """Whether ``fit`` takes ``sample_weight``.

    A pipeline takes weights if its last step does, unless one of its steps resamples the rows, as
    imbalanced-learn's samplers do: the last step then sees other rows than those weighted.  A
    voting classifier takes them if all its voters do, and a classifier that corrects another one
    if that one does.
    """
    estimator = _unwrapped(estimator)
    while is_pipeline(estimator):
        if any(hasattr(step, "fit_resample") for _, step in estimator.steps):
            return False
        estimator = estimator.steps[-1][1]
    inner = corrected_by(estimator)
    if inner is not None:
        return is_frozen(inner) or accepts_sample_weight(inner)
    return all(has_fit_parameter(part, "sample_weight") for part in _weighed(estimator))


def corrected_by(estimator: Any) -> Any:
    """Return the classifier that one of ours corrects, or None."""
    inner = getattr(estimator, "_estimator_to_correct", None)
    return None if inner is None else inner()


def _weighed(estimator: Any) -> list[Any]:
    """Return those that ``sample_weight`` reaches: the estimator, or the voters it asks."""
    if not isinstance(estimator, VotingClassifier):
        return [estimator]
    return [voter for _, voter in estimator.estimators if voter != "drop"]


def weight_parameters(
    estimator: Any, sample_weight: npt.NDArray[np.floating[Any]] | None
) -> dict[str, Any]:
    """Name the weights as the estimator's ``fit`` wants them, or leave them out.

    A pipeline passes parameters to a step only under the step's name, unless metadata is routed.
    """
    if sample_weight is None or not accepts_sample_weight(estimator):
        return {}
    if _routing_enabled():
        return {"sample_weight": sample_weight}
    prefix, estimator = "", _unwrapped(estimator)
    while is_pipeline(estimator):
        name, estimator = estimator.steps[-1]
        prefix += f"{name}__"
    return {f"{prefix}sample_weight": sample_weight}


def take_params(
    params: dict[str, Any], rows: npt.NDArray[np.integer[Any]], n_samples: int
) -> dict[str, Any]:
    """Take the rows of those parameters that have an entry a row.

    Parameters
    ----------
    params : dict
        Parameters of ``fit``.
    rows : ndarray of int
        Rows to take.
    n_samples : int
        Training rows in all.

    Returns
    -------
    params : dict
    """
    return {
        key: _safe_indexing(value, rows)
        if hasattr(value, "__len__") and not isinstance(value, str) and len(value) == n_samples
        else value
        for key, value in params.items()
    }


def request_weights(estimator: Any) -> Any:
    """Let our copy of an auxiliary ask for ``sample_weight`` where scikit-learn routes metadata.

    Steps of a pipeline before the last are asked for nothing that the user did not set.
    """
    if not _routing_enabled():
        return estimator
    last = estimator
    while is_pipeline(last):
        for _, step in last.steps[:-1]:
            request = getattr(get_routing_for_object(step), "fit", None)
            if request is not None and request.requests.get("sample_weight", False) is None:
                step.set_fit_request(sample_weight=False)
        last = last.steps[-1][1]
    for part in _weighed(last):
        if has_fit_parameter(part, "sample_weight"):
            part.set_fit_request(sample_weight=True)
    inner = corrected_by(last)
    if inner is not None and not is_frozen(inner):
        request_weights(inner)
    return estimator


def as_read_by(estimator: Any, X: Any) -> Any:
    """Return X as the estimator reads it: dense float32 for a net, as it is for all others."""
    inner = estimator.estimator if is_frozen(estimator) else estimator
    if isinstance(inner, NeuralNetClassifier):
        return to_float32(X)
    return X


def to_float32(X: Any) -> Any:
    """Return X as a dense float32 array."""
    return np.ascontiguousarray(X.toarray() if sparse.issparse(X) else X, dtype=np.float32)


def feed_net(estimator: Any) -> Any:
    """Let a pipeline that ends in a skorch net hand it float32, whatever the steps before give."""
    if is_pipeline(estimator) and isinstance(final_step(estimator), NeuralNetClassifier):
        feed_net(estimator.steps[-1][1])
        cast = FunctionTransformer(to_float32)
        estimator.steps.insert(len(estimator.steps) - 1, ("to_float32", cast))
    return estimator


def set_missing_random_states(estimator: Any, rng: np.random.RandomState) -> None:
    """Seed every ``random_state`` of the estimator that the user left at None."""
    if is_frozen(estimator):
        return
    seeds = {
        key: draw_seed(rng)
        for key, value in sorted(estimator.get_params(deep=True).items())
        if value is None and (key == "random_state" or key.endswith("__random_state"))
    }
    if seeds:
        estimator.set_params(**seeds)


class IntegerLabelClassifier(ClassifierMixin, MetaEstimatorMixin, BaseEstimator):
    """Let a classifier that reads only the labels 0..n_classes-1 take any labels.

    Parameters
    ----------
    estimator : classifier
        A skorch ``NeuralNetClassifier`` (which also gets dense float32 features), or a classifier
        such as xgboost's or cleanlab's.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels seen in fit.
    estimator_ : classifier
        The fitted classifier; its own classes are ``0..n_classes-1``.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.naive_bayes import GaussianNB
    >>> from sklearn_dsink.auxiliaries import IntegerLabelClassifier
    >>> iris = load_iris()
    >>> names = iris.target_names[iris.target]
    >>> IntegerLabelClassifier(GaussianNB()).fit(iris.data, names).predict(iris.data[:1])
    array(['setosa'], dtype='<U10')
    """

    def __init__(self, estimator: Any) -> None:
        self.estimator = estimator

    def fit(self, X: Any, y: Any, **fit_params: Any) -> IntegerLabelClassifier:
        """Fit the classifier on label codes.

        Parameters
        ----------
        X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features)
            Features.
        y : array-like of shape (n_samples,)
            Labels of any type.
        **fit_params : dict
            Passed on.

        Returns
        -------
        self : object
            The fitted wrapper.
        """
        X = validate_features(self, X, reset=True)
        self.classes_, codes = number_classes(y)
        estimator = feed_net(clone(self.estimator))
        net = final_step(estimator)
        is_net = isinstance(net, NeuralNetClassifier)
        with letting_interrupts_out(net) if is_net else nullcontext():
            estimator.fit(as_read_by(estimator, X), codes.astype(np.int64), **fit_params)
        if is_net:
            leave_training(net)
        self.estimator_ = estimator
        return self

    def predict_proba(self, X: Any) -> Any:
        """Probabilities of `classes_`.

        Parameters
        ----------
        X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features)
            Features.

        Returns
        -------
        proba : ndarray of shape (n_samples, n_classes)
            What the classifier answers, a column a class.
        """
        check_is_fitted(self, "estimator_")
        X = validate_features(self, X, reset=False)
        proba = self.estimator_.predict_proba(as_read_by(self.estimator_, X))
        is_net = isinstance(final_step(self.estimator_), NeuralNetClassifier)
        n_classes = len(self.classes_)
        if is_net and proba.ndim == 2 and proba.shape[1] > n_classes and proba.min() >= 0:
            # A net may be built for more classes than these rows have: the outputs left over are
            # the last ones, and no label belongs to them.
            return normalize_rows(proba[:, :n_classes])
        return proba

    def predict(self, X: Any) -> Any:
        """Label of the largest probability.

        Parameters
        ----------
        X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features)
            Features.

        Returns
        -------
        y : ndarray of shape (n_samples,)
            Labels out of `classes_`.
        """
        proba = self.predict_proba(X)
        return self.classes_[np.argmax(proba, axis=1)]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags = get_tags(self.estimator).input_tags
        return tags


def prepare(estimator: Any, rng: np.random.RandomState) -> Any:
    """Return an unfitted, seeded clone that takes any labels; a frozen estimator comes back as is.

    Parameters
    ----------
    estimator : classifier
        What the user gave.
    rng : RandomState
        Source of the seeds that the user left open.

    Returns
    -------
    estimator : classifier
        Ready for ``fit(X, y)``.
    """
    copy = clone(estimator)
    if is_frozen(copy):
        return copy
    set_missing_random_states(copy, rng)
    request_weights(copy)
    return IntegerLabelClassifier(copy) if reads_integer_labels_only(copy) else copy
