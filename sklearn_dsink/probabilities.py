"""Probabilities that an auxiliary gives the training rows: out-of-fold, in-sample or frozen.

Columns are always those of the whole training set: an auxiliary, or one fold of it, may know
fewer classes.
"""

from __future__ import annotations

import numbers
import warnings
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from joblib import Parallel, delayed
from sklearn.base import clone
from sklearn.dummy import DummyClassifier
from sklearn.model_selection import check_cv
from sklearn.utils import _safe_indexing

from ._arrays import FloatArray, normalize_rows
from ._progress import Progress
from ._seeding import seeded
from .auxiliaries import as_read_by, draws_globally, is_frozen, prepare, weight_parameters

Fold = tuple[npt.NDArray[np.integer[Any]], npt.NDArray[np.integer[Any]]]


@dataclass(frozen=True)
class Auxiliary:
    """A fitted auxiliary and the probabilities it gives the training rows.

    Attributes
    ----------
    estimator : classifier
        Fitted on all rows, or the frozen estimator that was given.
    proba : ndarray of shape (n_samples, n_classes)
        Out-of-fold with folds, in-sample without them or where the estimator is frozen.
    """

    estimator: Any
    proba: FloatArray


def deal_folds(
    y: npt.NDArray[np.integer[Any]], n_folds: int, rng: np.random.RandomState
) -> list[Fold]:
    """Stratified folds that any class size fits into.

    The rows, shuffled and sorted by class, are dealt out like cards: a class of ``n`` rows is in
    ``min(n, n_folds)`` folds, and folds differ by one row at most.

    Parameters
    ----------
    y : ndarray of shape (n_samples,), dtype int
        Label codes.
    n_folds : int
        At least 2; of fewer rows than that, each is a fold.
    rng : RandomState
        Shuffles the rows within their class.

    Returns
    -------
    folds : list of (train, test)
        Row numbers.

    Examples
    --------
    >>> import numpy as np
    >>> folds = deal_folds(np.array([0, 0, 0, 0, 1]), 2, np.random.RandomState(0))
    >>> [len(test) for _, test in folds]
    [3, 2]
    """
    shuffled = rng.permutation(len(y))
    dealt = shuffled[np.argsort(y[shuffled], kind="stable")]
    fold_of = np.empty(len(y), dtype=np.intp)
    fold_of[dealt] = np.arange(len(y)) % min(n_folds, len(y))
    return [
        (np.flatnonzero(fold_of != k), np.flatnonzero(fold_of == k))
        for k in range(fold_of.max() + 1)
    ]


def make_folds(
    cv: Any, X: Any, y: npt.NDArray[np.integer[Any]], rng: np.random.RandomState
) -> list[Fold] | None:
    """Resolve `cv`: None, a number of folds, a splitter or an iterable of splits.

    Parameters
    ----------
    cv : None, int, splitter or iterable
        None asks for in-sample probabilities.
    X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features)
        Features, for splitters that look at them.
    y : ndarray of shape (n_samples,), dtype int
        Label codes.
    rng : RandomState
        Shuffles the folds of an integer `cv`.

    Returns
    -------
    folds : list of (train, test) or None

    Raises
    ------
    ValueError
        If an integer `cv` is below 2, or the test parts do not hold every row exactly once.
    """
    if cv is None:
        return None
    if isinstance(cv, numbers.Integral):
        if cv < 2:
            raise ValueError(
                f"cv={cv}: give at least 2 folds, or cv=None for in-sample probabilities."
            )
        return deal_folds(y, int(cv), rng)
    folds = list(check_cv(cv, y, classifier=True).split(X, y))
    times_tested = np.bincount(np.concatenate([test for _, test in folds]), minlength=len(y))
    if len(times_tested) != len(y) or np.any(times_tested != 1):
        raise ValueError(
            f"cv={cv!r} does not put every row into exactly one test part, so there is no "
            "out-of-fold probability for each row. Use KFold, StratifiedKFold or GroupKFold."
        )
    return folds


def check_proba(proba: Any, n_samples: int, n_columns: int, name: str) -> FloatArray:
    """Check what an auxiliary's ``predict_proba`` returned; rows leave summing to 1 exactly.

    Parameters
    ----------
    proba : array-like of shape (n_samples, n_columns)
        The auxiliary's answer.
    n_samples, n_columns : int
        The shape it must have: rows asked for, classes it knows.
    name : str
        Parameter named in the error.

    Returns
    -------
    proba : ndarray of shape (n_samples, n_columns)
        float32 where the auxiliary answered so, float64 else.

    Raises
    ------
    ValueError
        If the shape is another, or a value is NaN, infinite or negative, or a row does not sum
        to 1 within 1e-3.
    """
    values = np.asarray(proba)
    if values.shape != (n_samples, n_columns):
        raise ValueError(
            f"{name}: predict_proba returned shape {values.shape}, expected "
            f"{(n_samples, n_columns)} (rows asked for, classes it was fitted on)."
        )
    values = values if values.dtype == np.float32 else values.astype(np.float64)
    advice = "Wrap it in sklearn.calibration.CalibratedClassifierCV, or use another classifier."
    for bad, what in (
        (~np.isfinite(values).all(axis=1), "are NaN or infinite"),
        ((values < 0).any(axis=1), "are negative"),
        (np.abs(values.sum(axis=1) - 1) > 1e-3, "do not sum to 1"),
    ):
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            hint = (
                " A skorch net whose module returns logits needs "
                "criterion=torch.nn.CrossEntropyLoss."
                if np.isfinite(values).all()
                else ""
            )
            raise ValueError(
                f"{name}: probabilities of {int(bad.sum())} of {n_samples} rows {what} "
                f"(first: row {row}, {np.array2string(values[row, :5], precision=3)}). "
                f"{advice}{hint}"
            )
    return normalize_rows(values)


def align_columns(
    proba: FloatArray, known: Sequence[Any], classes: Sequence[Any], class_share: FloatArray
) -> FloatArray:
    """Put the columns of `known` classes where `classes` has them.

    A class that the model never saw gets its share of the training rows, the best guess of one
    who knows nothing of it, and the other columns are scaled to make room.

    Parameters
    ----------
    proba : ndarray of shape (n_samples, n_known)
        Rows sum to 1.
    known : sequence of length n_known
        Classes of the columns.
    classes : sequence of length n_classes
        Classes wanted, sorted.
    class_share : ndarray of shape (n_classes,)
        Share of each class in the training rows.

    Returns
    -------
    proba : ndarray of shape (n_samples, n_classes)
        Rows sum to 1.

    Raises
    ------
    ValueError
        If `known` has a class that `classes` has not.

    Examples
    --------
    >>> import numpy as np
    >>> align_columns(
    ...     np.array([[0.5, 0.5]]), ["a", "c"], ["a", "b", "c"], np.array([0.5, 0.2, 0.3])
    ... )
    array([[0.4, 0.2, 0.4]])
    """
    position = {label: column for column, label in enumerate(classes)}
    strangers = [label for label in known if label not in position]
    if strangers:
        raise ValueError(
            f"it predicts the classes {strangers[:5]}, which y does not have; "
            f"y has {list(classes)[:10]}."
        )
    columns = [position[label] for label in known]
    if columns == list(range(len(classes))):
        return proba
    unseen = np.setdiff1d(np.arange(len(classes)), columns)
    out = np.empty((len(proba), len(classes)), dtype=proba.dtype)
    out[:, columns] = proba * (1.0 - class_share[unseen].sum())
    out[:, unseen] = class_share[unseen]
    return normalize_rows(out)


def predict_aligned(
    estimator: Any, X: Any, classes: npt.ArrayLike, class_share: FloatArray, name: str
) -> FloatArray:
    """Return checked probabilities of a fitted auxiliary, columns as in `classes`.

    Parameters
    ----------
    estimator : fitted classifier
        With ``classes_`` and ``predict_proba``.
    X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features)
        Features as the auxiliary reads them.
    classes : sequence of length n_classes
        Classes wanted.
    class_share : ndarray of shape (n_classes,)
        Share of each class in the training rows.
    name : str
        Parameter named in errors.

    Returns
    -------
    proba : ndarray of shape (n_samples, n_classes)
    """
    known = np.asarray(estimator.classes_).tolist()
    n_rows = X.shape[0] if hasattr(X, "shape") else len(X)
    # Some draw from the global generators even to predict: skorch's data loader, for one.
    with seeded(0) if draws_globally(estimator) else nullcontext():
        answer = estimator.predict_proba(as_read_by(estimator, X))
    proba = check_proba(answer, n_rows, len(known), name)
    try:
        return align_columns(proba, known, np.asarray(classes).tolist(), class_share)
    except ValueError as error:
        raise ValueError(f"{name}={estimator!r}: {error}") from error


def _fit(
    estimator: Any,
    X: Any,
    y: Any,
    rows: Any,
    fit_params: dict[str, Any],
    seed: int,
    name: str,
    stage: str,
) -> Any:
    if rows is not None:
        X, y = _safe_indexing(X, rows), y[rows]
        fit_params = {
            key: _safe_indexing(value, rows) if _is_per_row(value) else value
            for key, value in fit_params.items()
        }
    try:
        with seeded(seed):
            return clone(estimator).fit(X, y, **fit_params)
    except Exception as error:
        raise ValueError(
            f"{name}={estimator!r} failed when fitted on {stage}: {type(error).__name__}: {error}"
        ) from error


def _is_per_row(value: Any) -> bool:
    return hasattr(value, "__len__") and not isinstance(value, str | dict)


def _fit_and_predict(
    estimator: Any,
    X: Any,
    y: Any,
    fold: Fold,
    fit_params: dict[str, Any],
    seed: int,
    classes: Any,
    class_share: FloatArray,
    name: str,
    stage: str,
) -> FloatArray:
    train, test = fold
    if len(np.unique(y[train])) == 1:  # many classifiers refuse a single class
        estimator, fit_params = DummyClassifier(), {}
    fitted = _fit(estimator, X, y, train, fit_params, seed, name, stage)
    return predict_aligned(fitted, _safe_indexing(X, test), classes, class_share, name)


def fit_auxiliaries(
    auxiliaries: dict[str, Any],
    X: Any,
    y: Any,
    *,
    classes: Any,
    class_share: FloatArray,
    folds: list[Fold] | None,
    sample_weight: FloatArray | None = None,
    fit_params: dict[str, dict[str, Any]] | None = None,
    n_jobs: int | None = None,
    random_state: np.random.RandomState,
    verbose: int = 0,
) -> dict[str, Auxiliary]:
    """Fit auxiliaries on all rows and give their probabilities for the training rows.

    Parameters
    ----------
    auxiliaries : dict of str to classifier
        Parameter names and what the user gave for them.
    X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features)
        Features, passed to the auxiliaries as they are.
    y : ndarray of shape (n_samples,)
        Labels in the user's own type.
    classes : ndarray of shape (n_classes,)
        Sorted classes of `y`.
    class_share : ndarray of shape (n_classes,)
        Weighted share of each class in `y`.
    folds : list of (train, test) or None
        None gives in-sample probabilities.
    sample_weight : ndarray of shape (n_samples,), default=None
        Passed to the auxiliaries that accept it; others are named in a warning.  Rows of weight 0
        are in no training part, so that they count for nothing with any auxiliary.
    fit_params : dict of str to dict, default=None
        Routed parameters by auxiliary, in place of `sample_weight`.
    n_jobs : int, default=None
        Fits that run at the same time, over auxiliaries and folds.
    random_state : RandomState
        Source of the seeds.
    verbose : int, default=0
        Above 0, the fits are counted aloud.

    Returns
    -------
    fitted : dict of str to Auxiliary
    """
    heavy = None
    if sample_weight is not None and not np.all(sample_weight > 0):
        heavy = np.flatnonzero(sample_weight > 0)
        folds = folds and [(train[sample_weight[train] > 0], test) for train, test in folds]
    tasks: list[Any] = []
    owners: list[tuple[str, Any]] = []
    prepared: dict[str, Any] = {}
    for name, estimator in auxiliaries.items():
        ready = prepared[name] = prepare(estimator, random_state)
        if is_frozen(ready):
            continue
        if fit_params is not None:
            params = fit_params.get(name, {})
        else:
            params = weight_parameters(estimator, sample_weight)
            if sample_weight is not None and not params:
                warnings.warn(
                    f"{name}={estimator!r} takes no sample_weight and is fitted without it.",
                    UserWarning,
                    stacklevel=3,
                )
        seed = int(random_state.randint(np.iinfo(np.int32).max))
        tasks.append(delayed(_fit)(ready, X, y, heavy, params, seed, name, "all rows"))
        owners.append((name, None))
        for number, fold in enumerate(folds or [], start=1):
            stage = f"fold {number} of {len(folds or [])}"
            tasks.append(
                delayed(_fit_and_predict)(
                    ready, X, y, fold, params, seed, classes, class_share, name, stage
                )
            )
            owners.append((name, fold[1]))

    results: Iterable[Any] = Parallel(n_jobs=n_jobs, return_as="generator")(tasks)
    progress = Progress("auxiliary fits", len(tasks), verbose)
    models = {name: ready for name, ready in prepared.items() if is_frozen(ready)}
    proba: dict[str, FloatArray] = {
        name: np.empty((len(y), len(classes)))
        for name in prepared
        if folds is not None and name not in models
    }
    for (name, rows), result in zip(owners, results, strict=True):
        if rows is None:
            models[name] = result
        else:
            proba[name][rows] = result
        progress.advance()
    progress.close()
    for name in prepared.keys() - proba.keys():
        proba[name] = predict_aligned(models[name], X, classes, class_share, name)
    return {name: Auxiliary(models[name], proba[name]) for name in prepared}
