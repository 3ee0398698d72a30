"""Auxiliaries fitted on all rows, and fold by fold for their training probabilities."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from sklearn.utils.validation import _num_samples

from ._arrays import FloatArray, empty_beside, normalize_rows
from ._seeding import draw_seed, seeded
from .auxiliaries import (
    is_frozen,
    leaves_out,
    named,
    prepare,
    take_params,
    weight_parameters,
)
from .folds import Fold, Rows, are_complements, taught_without
from .jobs import (
    Job,
    LeavesOut,
    RunOptions,
    by_auxiliary,
    kept_dtype,
    predict_by_blocks,
    run_jobs,
)
from .shared_encoding import Encoded, encode, reads_encoded, with_encoder


@dataclass(frozen=True, kw_only=True)
class Template:
    """An auxiliary that can be fitted, as often as it takes.

    Attributes
    ----------
    template : classifier
        Seeded and unfitted; or the frozen estimator that was given.
    params : dict
        Further parameters of ``fit``, by training row where they are that long.
    seed : int
        Seeds each fit.
    encoded : Encoded or None
        First step of the template, where it is fitted once for all fits.
    """

    template: Any
    params: dict[str, Any]
    seed: int
    encoded: Encoded | None

    @property
    def behind_encoder(self) -> Any:
        """What is left of the template to be fitted."""
        return self.template if self.encoded is None else self.template[1:]

    def reads(self, X: Any) -> Any:
        """Give the training rows as what is left to be fitted reads them."""
        return X if self.encoded is None else self.encoded.values


@dataclass(frozen=True, kw_only=True)
class Auxiliary(Template):
    """A fitted auxiliary, the probabilities it gives the training rows, and how to fit it again.

    Attributes
    ----------
    estimator : classifier
        Fitted on all rows, as its encoder gives them; or the frozen estimator that was given.
    proba : ndarray of shape (n_samples, n_classes), dtype float32 or float16
        Out-of-fold with folds, in-sample without them or where the estimator is frozen.  Of no
        rows where there was an empty list of folds.
    unseen : ndarray of shape (n_folds, n_samples, n_classes), of the same dtype, or None
        For each fold, probabilities of the rows outside it by models that have seen neither the
        fold nor the row.  None unless asked for.
    template, params, seed, encoded
        As in `Template`.
    """

    estimator: Any
    proba: FloatArray
    unseen: FloatArray | None

    @property
    def classifier(self) -> Any:
        """The estimator behind its encoder: reads X as the user gives it."""
        if self.encoded is None:
            return self.estimator
        return with_encoder(self.encoded.encoder, self.template, self.estimator)


class _Part(NamedTuple):
    """Rows to fit, their labels, the rows to predict then, and what this is called."""

    taught: Rows
    labels: Any
    tested: Rows | None
    stage: str


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
    random_state: np.random.RandomState,
    options: RunOptions | None = None,
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
    random_state : RandomState
        Source of the seeds.
    options : RunOptions, default=None
        How the fits are run.

    Returns
    -------
    fitted : dict of str to Auxiliary
    """
    templates = _make_templates(auxiliaries, X, sample_weight, fit_params, random_state)
    heavy = np.arange(len(y)) if sample_weight is None else np.flatnonzero(sample_weight > 0)
    # Auxiliaries share rows and labels, which of many rows and folds are not small.
    parts = [_Part(heavy, y[heavy], None, "all rows"), *_leave_out(folds or [], nested, y, heavy)]
    # What leaves rows out by itself does not leave out those that a splitter keeps from teaching.
    may_leave_out = bool(folds) and are_complements(folds or [], len(y))
    jobs = []
    for name, each in templates.items():
        if not is_frozen(each.template):
            jobs += _make_jobs(name, each, y, parts, may_leave_out)
    features = {name: each.reads(X) for name, each in templates.items()}
    how = {"classes": classes, "class_share": class_share, "options": options}
    results = run_jobs(jobs, features, **how)

    models, probas = {}, {}
    for name, done in by_auxiliary(jobs, results):
        job, models[name] = next(done)
        answers: Iterable[Any] = ((each.predicts, result) for each, result in done)
        if job.leaves_out is not None:
            models[name], proba = models[name]
            answers = _parts_of(job.leaves_out, proba)
        if folds:
            probas[name] = _out_of_fold(answers, X, folds, nested, len(classes))

    fitted = {}
    for name, each in templates.items():
        model = models.get(name, each.template)  # a frozen one is its own
        unseen = None
        if name in probas:
            proba, unseen = probas[name]
        elif folds == []:
            proba = np.empty((0, len(classes)), dtype=np.float32)
        else:
            proba = predict_by_blocks(model, features[name], None, classes, class_share, name)
            if nested:
                unseen = np.broadcast_to(proba, (len(folds or []), *proba.shape))
        fitted[name] = Auxiliary(**vars(each), estimator=model, proba=proba, unseen=unseen)
    return fitted


def _make_templates(
    auxiliaries: dict[str, Any],
    X: Any,
    sample_weight: FloatArray | None,
    fit_params: dict[str, dict[str, Any]] | None,
    random_state: np.random.RandomState,
) -> dict[str, Template]:
    """Seed the auxiliaries, name their weights, and fit the encoder that some of them share."""
    templates, shared = {}, None
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
                    stacklevel=6,  # who called DSinkClassifier.fit
                )
        seed = draw_seed(random_state)
        encoded = None
        if reads_encoded(estimator, X):
            if shared is None:
                with seeded(seed):
                    shared = encode(X, sample_weight)
            encoded = shared
        templates[name] = Template(template=template, params=params, seed=seed, encoded=encoded)
    return templates


def _make_jobs(
    name: str, auxiliary: Template, y: Any, parts: list[_Part], may_leave_out: bool
) -> list[Job]:
    """Fit each part, or all rows alone where the auxiliary tells what it says without others."""
    params, n_samples, whole = auxiliary.params, len(y), parts[0].taught
    template = auxiliary.behind_encoder
    leaving = None
    if may_leave_out and leaves_out(template):
        weight = _weight_in(params)
        if weight is None and len(whole) < n_samples:
            weight = np.isin(np.arange(n_samples), whole).astype(np.float64)
        tested = tuple(part.tested for part in parts if part.tested is not None)
        leaving, parts = LeavesOut(y, weight, tested), parts[:1]
    jobs = []
    for part in parts:
        own = take_params(params, part.taught, n_samples)
        rows = part.taught, part.labels
        jobs.append(
            Job(name, template, *rows, own, auxiliary.seed, part.stage, part.tested, leaving)
        )
    return jobs


def _leave_out(folds: list[Fold], nested: bool, y: Any, heavy: Rows) -> Iterator[_Part]:
    for held_out in _held_out(folds, nested):
        left_out = [folds[k] for k in held_out]
        tested = np.concatenate([test for _, test in left_out])
        taught = np.intersect1d(heavy, taught_without(left_out))
        number = " and ".join(str(k + 1) for k in held_out)
        yield _Part(taught, y[taught], tested, f"all but fold {number} of {len(folds)}")


def _held_out(folds: list[Fold], nested: bool) -> list[tuple[int, ...]]:
    numbers = range(len(folds))
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
