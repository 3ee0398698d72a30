"""Fits of the auxiliaries: on all rows, and fold by fold for their training probabilities."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import combinations, groupby
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import clone
from sklearn.dummy import DummyClassifier
from sklearn.utils import _safe_indexing, gen_batches
from sklearn.utils.parallel import Parallel, delayed

from ._arrays import FloatArray, empty_beside, normalize_rows
from ._limits import LimitedWorkers
from ._progress import Progress
from ._seeding import seeded
from .auxiliaries import is_frozen, leaves_out, left_out_proba, prepare, weight_parameters
from .checkpoint import Checkpoint, read_result, write_result
from .folds import Fold, Rows
from .inputs import TabularEncoder
from .probabilities import align_columns, predict_aligned
from .shared_encoding import (
    after_encoder,
    fit_shared_encoder,
    read_by_each,
    reads_encoded,
    with_encoder,
)

# Entries of (n_samples, n_classes) beyond which probabilities are kept in half precision, which
# has three digits.
HALF_PRECISION_SIZE = 500_000

# Entries of what an auxiliary reads, or answers, at a time.
_PREDICTED_SIZE = 2**22


@dataclass(frozen=True)
class Auxiliary:
    """A fitted auxiliary, the probabilities it gives the training rows, and how to fit it again.

    Attributes
    ----------
    estimator : classifier
        Fitted on all rows, as the `encoder` gives them; or the frozen estimator that was given.
    proba : ndarray of shape (n_samples, n_classes), dtype float32 or float16
        Out-of-fold with folds, in-sample without them or where the estimator is frozen.
    template : classifier
        Seeded and unfitted; the frozen estimator itself.
    params : dict
        Further parameters of ``fit``, by training row where they are that long.
    seed : int
        Seeds each fit.
    unseen : ndarray of shape (n_folds, n_samples, n_classes), of the same dtype, or None
        For each fold, probabilities of the rows outside it by models that have seen neither the
        fold nor the row.  None unless asked for.
    encoder : TabularEncoder or None
        First step of the template, where it is fitted once for all fits.
    """

    estimator: Any
    proba: FloatArray
    template: Any
    params: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    unseen: FloatArray | None = None
    encoder: TabularEncoder | None = None

    @property
    def classifier(self) -> Any:
        """The estimator behind its encoder: reads X as the user gives it."""
        return with_encoder(self.encoder, self.template, self.estimator)


@dataclass(frozen=True)
class Job:
    """One fit of an auxiliary, and the rows it predicts then.

    Attributes
    ----------
    name : str
        Parameter named in errors.
    template : classifier
        Cloned, then fitted.
    rows : ndarray of int
        Training rows; a row may stand there more than once.
    labels : ndarray
        Label of each of the `rows`.
    params : dict
        Parameters of ``fit``, by element of `rows` where they are per row.
    seed : int
        Seeds the fit.
    stage : str
        What is fitted, for errors.
    predicts : ndarray of int or None
        Rows to predict.  None asks for the fitted model instead.
    parts : tuple of ndarray of int, default=()
        Parts of the rows to leave out and predict, of an auxiliary that needs no fit for each:
        their probabilities follow one another.
    """

    name: str
    template: Any
    rows: Rows
    labels: npt.NDArray[Any]
    params: dict[str, Any]
    seed: int
    stage: str
    predicts: Rows | None = None
    parts: tuple[Rows, ...] = ()


def run_jobs(
    jobs: Sequence[Job],
    X: Mapping[str, Any],
    *,
    classes: npt.NDArray[Any],
    class_share: FloatArray,
    n_jobs: int | None = None,
    title: str = "auxiliary fits",
    verbose: int = 0,
    checkpoint: Checkpoint | None = None,
    fit_timeout: float | None = None,
) -> Iterator[Any]:
    """Run fits side by side, and give each result when it is there.

    Parameters
    ----------
    jobs : sequence of Job
        What to fit.
    X : mapping of str to {array-like, sparse matrix, dataframe}
        Training rows, as the jobs of each name read them.
    classes : ndarray of shape (n_classes,)
        Columns of the probabilities.
    class_share : ndarray of shape (n_classes,)
        Share of each class in the training rows.
    n_jobs : int, default=None
        Fits that run at the same time.
    title : str, default="auxiliary fits"
        Shown with the progress.
    verbose : int, default=0
        Above 0, the fits are counted aloud.
    checkpoint : Checkpoint, default=None
        Keeps each result as soon as there is one, and gives those that it has.
    fit_timeout : float, default=None
        Seconds that one fit with its predictions may take.  Each then runs in a process that can
        be killed, as many at a time as with `n_jobs`.

    Yields
    ------
    result : ndarray or classifier
        In the order of the jobs: probabilities of the rows to predict, or the fitted model.

    Raises
    ------
    TimeoutError
        If a fit was not done in time.
    """
    progress = Progress(title, len(jobs), verbose)
    places = [None] * len(jobs) if checkpoint is None else checkpoint.next_stage(len(jobs))
    limited = nullcontext() if fit_timeout is None else LimitedWorkers(fit_timeout)
    with limited as workers:
        done = Parallel(
            n_jobs=n_jobs,
            return_as="generator",
            backend=None if workers is None else "threading",  # each waits for a process
        )(
            delayed(_run_or_read)(job, X[job.name], classes, class_share, place, workers)
            for job, place in zip(jobs, places, strict=True)
        )
        for job, (result, not_kept) in zip(jobs, done, strict=True):
            if not_kept:
                warnings.warn(
                    f"{job.name}, fitted on {job.stage}, is not kept in checkpoint_dir: "
                    f"{not_kept}. After an interruption this one fit is done again.",
                    UserWarning,
                    stacklevel=2,
                )
            progress.advance()
            yield result
    progress.close()


def by_auxiliary(
    jobs: Sequence[Job], results: Iterable[Any]
) -> Iterator[tuple[str, Iterator[tuple[Job, Any]]]]:
    """Group jobs and results by the auxiliary's name; each group is to be used up in its turn."""
    return groupby(zip(jobs, results, strict=True), key=lambda done: done[0].name)


def _run_or_read(
    job: Job,
    X: Any,
    classes: npt.NDArray[Any],
    class_share: FloatArray,
    place: Path | None,
    workers: LimitedWorkers | None,
) -> tuple[Any, str]:
    """Give a job's result and, where that has to be kept and cannot, the reason."""
    result = None if place is None else read_result(place, job.template)
    if result is not None:
        return result, ""
    if workers is None:
        result = _run(job, X, classes, class_share)
    else:
        result = _run_limited(job, X, classes, class_share, workers)
    return result, "" if place is None else write_result(place, result, job.template)


def _run_limited(
    job: Job,
    X: Any,
    classes: npt.NDArray[Any],
    class_share: FloatArray,
    workers: LimitedWorkers,
) -> Any:
    try:
        return workers.run(_run, job, X, classes, class_share)
    except TimeoutError as error:
        raise TimeoutError(
            f"{job.name}={job.template!r} was not fitted on {job.stage} within "
            f"fit_timeout={workers.seconds} s. Raise fit_timeout, or give a faster classifier."
        ) from error


def _run(job: Job, X: Any, classes: npt.NDArray[Any], class_share: FloatArray) -> Any:
    if job.parts:
        return _leave_out(job, X, classes, class_share)
    template, params = job.template, job.params
    if len(np.unique(job.labels)) == 1:  # in a fold, or where all others are thought wrong
        template, params = DummyClassifier(), {}  # many classifiers refuse a single class
    whole = len(job.rows) == X.shape[0] and np.array_equal(job.rows, np.arange(X.shape[0]))
    try:
        with seeded(job.seed):
            model = clone(template).fit(
                X if whole else _safe_indexing(X, job.rows), job.labels, **params
            )
    except Exception as error:
        raise ValueError(_failure(job, error)) from error
    if job.predicts is None:
        return model
    return _predict(model, X, job.predicts, classes, class_share, job.name)


def _failure(job: Job, error: Exception) -> str:
    return (
        f"{job.name}={job.template!r} failed when fitted on {job.stage}: "
        f"{type(error).__name__}: {error}"
    )


def _leave_out(job: Job, X: Any, classes: npt.NDArray[Any], class_share: FloatArray) -> FloatArray:
    weight = next(iter(job.params.values()), None)  # all that such an auxiliary's fit can take
    known = np.unique(job.labels if weight is None else job.labels[weight > 0])
    try:
        with seeded(job.seed):
            probas = left_out_proba(job.template, X, job.labels, job.parts, weight)
    except Exception as error:
        raise ValueError(_failure(job, error)) from error
    proba = align_columns(
        np.concatenate(probas), known.tolist(), np.asarray(classes).tolist(), class_share
    )
    return proba.astype(_kept_dtype(X.shape[0] * len(classes)), copy=False)


def _predict(
    model: Any,
    X: Any,
    rows: Rows | None,
    classes: npt.NDArray[Any],
    class_share: FloatArray,
    name: str,
) -> FloatArray:
    """Probabilities of some rows, or of all, asked for block by block."""
    n_rows = X.shape[0] if rows is None else len(rows)
    proba = empty_beside(X, (n_rows, len(classes)), _kept_dtype(X.shape[0] * len(classes)))
    size = max(_PREDICTED_SIZE // max(X.shape[1], len(classes)), 1)
    for part in gen_batches(n_rows, size):
        some = X if n_rows <= size and rows is None else None
        if some is None:
            some = _safe_indexing(X, part if rows is None else rows[part])
        proba[part] = predict_aligned(model, some, classes, class_share, name)
    return proba


def _kept_dtype(n_entries: int) -> type[np.floating[Any]]:
    """Keep no more of a probability than is known of it, and less where memory is short."""
    return np.float16 if n_entries > HALF_PRECISION_SIZE else np.float32


def take_params(params: dict[str, Any], rows: Rows, n_samples: int) -> dict[str, Any]:
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
        None gives in-sample probabilities.
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
        test = np.concatenate([folds[k][1] for k in held_out]) if folds else None
        train = heavy if test is None else np.setdiff1d(heavy, test)
        number = " and ".join(str(k + 1) for k in held_out)
        parts.append((train, y[train], test, f"all but fold {number} of {len(folds or [])}"))

    prepared: dict[str, tuple[Any, dict[str, Any], int]] = {}
    encoders: dict[str, TabularEncoder | None] = {}
    shared, jobs = None, []
    for name, estimator in auxiliaries.items():
        template = prepare(estimator, random_state)
        if fit_params is not None:
            params = fit_params.get(name, {})
        else:
            params = weight_parameters(estimator, sample_weight)
            if sample_weight is not None and not params and not is_frozen(template):
                warnings.warn(
                    f"{name}={estimator!r} takes no sample_weight and is fitted without it.",
                    UserWarning,
                    stacklevel=3,
                )
        seed = int(random_state.randint(np.iinfo(np.int32).max))
        prepared[name] = template, params, seed
        encoders[name] = None
        if is_frozen(template):
            continue
        if reads_encoded(template, X):
            if shared is None:
                with seeded(seed):
                    shared = fit_shared_encoder(X, heavy)
            encoders[name] = shared
            template = after_encoder(shared, template)
        shortcut = folds is not None and leaves_out(template)
        for train, labels, test, stage in parts[:1] if shortcut else parts:
            own = take_params(params, train, n_samples)
            jobs.append(Job(name, template, train, labels, own, seed, stage, test))
        if shortcut:
            tests = tuple(test for _, _, test, _ in parts if test is not None)
            everything, stage = np.arange(n_samples), "all but some rows"
            jobs.append(Job(name, template, everything, y, params, seed, stage, parts=tests))

    features = read_by_each(encoders, X)
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
        _, models[name] = next(done)
        if folds is not None:
            probas[name] = _out_of_fold(done, X, folds, nested, len(classes))

    fitted = {}
    for name, (template, params, seed) in prepared.items():
        model = models.get(name, template)  # a frozen one is its own
        if name in probas:
            proba, unseen = probas[name]
        else:
            proba = _predict(model, features[name], None, classes, class_share, name)
            every_fold = (len(folds or []), *proba.shape)
            unseen = np.broadcast_to(proba, every_fold) if nested else None
        fitted[name] = Auxiliary(model, proba, template, params, seed, unseen, encoders[name])
    return fitted


def _held_out(folds: list[Fold] | None, nested: bool) -> list[tuple[int, ...]]:
    numbers = range(len(folds or []))
    return list(combinations(numbers, 2)) if nested else [(k,) for k in numbers]


def _answers(job: Job, result: FloatArray) -> list[tuple[Rows, FloatArray]]:
    """Give the rows that a job has predicted, with what it says of them."""
    if not job.parts:
        assert job.predicts is not None
        return [(job.predicts, result)]
    ends = np.cumsum([len(part) for part in job.parts])[:-1]
    return list(zip(job.parts, np.split(result, ends), strict=True))


def _out_of_fold(
    done: Iterable[tuple[Job, Any]], X: Any, folds: list[Fold], nested: bool, n_classes: int
) -> tuple[FloatArray, FloatArray | None]:
    """Put one auxiliary's probabilities together, each answer as it comes."""
    answers = (answer for job, result in done for answer in _answers(job, result))
    n_samples = X.shape[0]
    dtype = _kept_dtype(n_samples * n_classes)
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
