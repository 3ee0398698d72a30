"""Auxiliaries fitted on all rows, and fold by fold for their training probabilities."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
from sklearn.utils.validation import _num_samples

from ._arrays import FloatArray, empty_beside, normalize_rows
from ._seeding import seeded
from .auxiliaries import (
    is_frozen,
    leaves_out,
    named,
    prepare,
    take_params,
    weight_parameters,
)
from .checkpoint import Checkpoint
from .folds import Fold, Rows, are_complements, taught_without
from .jobs import Job, LeavesOut, by_auxiliary, kept_dtype, predict_by_blocks, run_jobs
from .shared_encoding import (
    Encoded,
    after_encoder,
    encode,
    reads_encoded,
    with_encoder,
)


@dataclass(frozen=True)
class Auxiliary:
    """A fitted auxiliary, the probabilities it gives the training rows, and how to fit it again.

    Attributes
    ----------
    estimator : classifier
        Fitted on all rows, as its encoder gives them; or the frozen estimator that was given.
    proba : ndarray of shape (n_samples, n_classes), dtype float32 or float16
        Out-of-fold with folds, in-sample without them or where the estimator is frozen.  Of no
        rows where there was an empty list of folds.
    template : classifier
        Seeded and unfitted; the frozen estimator itself.
    params : dict
        Further parameters of ``fit``, by training row where they are that long.
    seed : int
        Seeds each fit.
    unseen : ndarray of shape (n_folds, n_samples, n_classes), of the same dtype, or None
        For each fold, probabilities of the rows outside it by models that have seen neither the
        fold nor the row.  None unless asked for.
    encoded : Encoded or None
        First step of the template, where it is fitted once for all fits.
    """

    estimator: Any
    proba: FloatArray
    template: Any
    params: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    unseen: FloatArray | None = None
    encoded: Encoded | None = None

    @property
    def classifier(self) -> Any:
        """The estimator behind its encoder: reads X as the user gives it."""
        return with_encoder(self.encoded, self.template, self.estimator)


def fit_auxiliaries(
    auxiliaries: dict[str, Any],
    X: Any,
    y: Any,
    *,
    classes: Any,
    class_share: FloatArray,
    folds: list[Fold] | None,
    nested: bool = False,
    sample_weight: FloatArray | None = None,
    fit_params: dict[str, dict[str, Any]] | None = None,
    n_jobs: int | None = None,
    random_state: np.random.RandomState,
    verbose: int = 0,
    checkpoint: Checkpoint | None = None,
    fit_timeout: float | None = None,
) -> dict[str, Auxiliary]:
    """Fit auxiliaries on all rows and give their probabilities for the training rows.

    Parameters
    ----------
    auxiliaries : dict of str to classifier
        Parameter names and what the user gave for them.
    X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features)
        Features, passed to the auxiliaries as they are, or as their first step encodes them.
    y : ndarray of shape (n_samples,)
        Labels in the user's own type.
    classes : ndarray of shape (n_classes,)
        Sorted classes of `y`.
    class_share : ndarray of shape (n_classes,)
        Weighted share of each class in `y`.
    folds : list of (train, test) or None
        None gives in-sample probabilities, an empty list gives none.
    nested : bool, default=False
        Whether to leave out two folds at a time, each pair of them once.  A row's probability is
        then the mean over the fits without its fold, and what each of them says is kept in
        ``unseen``.  Needs three folds or more.
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
    checkpoint : Checkpoint, default=None
        Keeps the fits' results.
    fit_timeout : float, default=None
        Seconds that one fit with its predictions may take.

    Returns
    -------
    fitted : dict of str to Auxiliary
    """
    n_samples = len(y)
    heavy = np.arange(n_samples) if sample_weight is None else np.flatnonzero(sample_weight > 0)
    # Auxiliaries share rows and labels, which of many rows and folds are not small.
    parts: list[tuple[Rows, Any, Rows | None, str]] = [(heavy, y[heavy], None, "all rows")]
    for held_out in _held_out(folds, nested):
        left_out = [(folds or [])[k] for k in held_out]
        tested = np.concatenate([test for _, test in left_out])
        taught = np.intersect1d(heavy, taught_without(left_out))
        number = " and ".join(str(k + 1) for k in held_out)
        parts.append((taught, y[taught], tested, f"all but fold {number} of {len(folds or [])}"))

    prepared: dict[str, tuple[Any, dict[str, Any], int]] = {}
    encoded: dict[str, Encoded | None] = {}
    shared, jobs = None, []
    for name, estimator in auxiliaries.items():
        template = prepare(estimator, random_state)
        if fit_params is not None:
            params = fit_params.get(name, {})
        else:
            params = weight_parameters(estimator, sample_weight)
            if sample_weight is not None and not params and not is_frozen(template):
                warnings.warn(
                    f"{named(name, estimator)} takes no sample_weight and is fitted without it.",
                    UserWarning,
                    stacklevel=5,  # who called DSinkClassifier.fit
                )
        seed = int(random_state.randint(np.iinfo(np.int32).max))
        prepared[name] = template, params, seed
        encoded[name] = None
        if is_frozen(template):
            continue
        if reads_encoded(estimator, X):
            if shared is None:
                with seeded(seed):
                    shared = encode(X, sample_weight)
            encoded[name] = shared
            template = after_encoder(shared, template)
        # What it leaves out is left out alone, not with rows that a splitter keeps from teaching.
        shortcut = bool(folds) and are_complements(folds or [], n_samples) and leaves_out(template)
        leaving = None
        if shortcut:
            weight = _weight_in(params)
            if weight is None and len(heavy) < n_samples:
                weight = np.isin(np.arange(n_samples), heavy).astype(np.float64)
            leaving = LeavesOut(y, weight, tuple(part[2] for part in parts if part[2] is not None))
        for train, labels, test, stage in parts[:1] if shortcut else parts:
            own = take_params(params, train, n_samples)
            jobs.append(Job(name, template, train, labels, own, seed, stage, test, leaving))

    features = {name: X if each is None else each.values for name, each in encoded.items()}
    results = run_jobs(
        jobs,
        features,
        classes=classes,
        class_share=class_share,
        n_jobs=n_jobs,
        verbose=verbose,
        checkpoint=checkpoint,
        fit_timeout=fit_timeout,
    )
    models, probas = {}, {}
    for name, done in by_auxiliary(jobs, results):
        job, models[name] = next(done)
        if job.leaves_out is not None:
            models[name], proba = models[name]
            answers = _parts_of(job.leaves_out, proba)
        else:
            answers = (
                (each.predicts, result) for each, result in done if each.predicts is not None
            )
        if folds:
            probas[name] = _out_of_fold(answers, X, folds, nested, len(classes))

    fitted = {}
    for name, (template, params, seed) in prepared.items():
        model = models.get(name, template)  # a frozen one is its own
        if name in probas:
            proba, unseen = probas[name]
        elif folds == []:
            proba, unseen = np.empty((0, len(classes)), dtype=np.float32), None
        else:
            proba = predict_by_blocks(model, features[name], None, classes, class_share, name)
            every_fold = (len(folds or []), *proba.shape)
            unseen = np.broadcast_to(proba, every_fold) if nested else None
        fitted[name] = Auxiliary(model, proba, template, params, seed, unseen, encoded[name])
    return fitted


def _held_out(folds: list[Fold] | None, nested: bool) -> list[tuple[int, ...]]:
    numbers = range(len(folds or []))
    return list(combinations(numbers, 2)) if nested else [(k,) for k in numbers]


def _weight_in(params: dict[str, Any]) -> Any:
    """Return the weights among the parameters of a fit, whatever step they are for, or None."""
    return next((each for key, each in params.items() if key.endswith("sample_weight")), None)


def _parts_of(wanted: LeavesOut, proba: FloatArray) -> Iterator[tuple[Rows, FloatArray]]:
    """Give the parts that were left out, with what the model says of them."""
    ends = np.cumsum([len(part) for part in wanted.parts])[:-1]
    return zip(wanted.parts, np.split(proba, ends), strict=True)


def _out_of_fold(
    answers: Iterable[tuple[Rows, FloatArray]],
    X: Any,
    folds: list[Fold],
    nested: bool,
    n_classes: int,
) -> tuple[FloatArray, FloatArray | None]:
    """Put one auxiliary's probabilities together, each answer as it comes."""
    n_samples = _num_samples(X)
    dtype = kept_dtype(n_samples * n_classes)
    if not nested:
        proba = empty_beside(X, (n_samples, n_classes), dtype)
        for rows, result in answers:
            proba[rows] = result
        return proba, None
    proba = np.zeros((n_samples, n_classes), dtype=np.float32)
    unseen = np.full((len(folds), n_samples, n_classes), 1.0 / n_classes, dtype=dtype)
    for (rows, result), (first, second) in zip(answers, _held_out(folds, nested), strict=True):
        proba[rows] += result
        n_first = len(folds[first][1])
        # Without fold `first`, what this model says of fold `second` may be used; and vice versa.
        unseen[second, folds[first][1]] = result[:n_first]
        unseen[first, folds[second][1]] = result[n_first:]
    return normalize_rows(proba).astype(dtype, copy=False), unseen
