"""One fit of an auxiliary and what it predicts then; and how many of them run side by side."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import clone
from sklearn.dummy import DummyClassifier
from sklearn.utils import _safe_indexing, gen_batches
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import _num_samples

from ._arrays import FloatArray, empty_beside
from ._limits import LimitedWorkers
from ._progress import Progress
from ._seeding import seeded
from .auxiliaries import left_out_proba, named
from .checkpoint import Checkpoint, is_kept, read_result, write_result
from .folds import Rows
from .probabilities import align_columns, predict_aligned

# Entries of (n_samples, n_classes) beyond which probabilities are kept in half precision, which
# has three digits.
HALF_PRECISION_SIZE = 500_000

# Entries of what an auxiliary reads, or answers, at a time.
_PREDICTED_SIZE = 2**22

# Of another library's error in ours: a search quotes the tracebacks of all its fits.
_MOST_CHARACTERS = 500


@dataclass(frozen=True)
class LeavesOut:
    """Parts of the training rows to predict as if they had been left out of the fit.

    Attributes
    ----------
    labels : ndarray of shape (n_samples,)
        Of all training rows.
    sample_weight : ndarray of shape (n_samples,) or None
        Of all training rows.
    parts : tuple of ndarray of int
        Their probabilities follow one another.
    """

    labels: npt.NDArray[Any]
    sample_weight: FloatArray | None
    parts: tuple[Rows, ...]


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
    leaves_out : LeavesOut or None, default=None
        What the model is asked besides, of an auxiliary that needs no fit for it.
    """

    name: str
    template: Any
    rows: Rows
    labels: npt.NDArray[Any]
    params: dict[str, Any]
    seed: int
    stage: str
    predicts: Rows | None = None
    leaves_out: LeavesOut | None = None


@dataclass(frozen=True)
class RunOptions:
    """How fits are run, which changes none of their results.

    Attributes
    ----------
    n_jobs : int, default=None
        Fits that run at the same time.
    verbose : int, default=0
        Above 0, the fits are counted aloud.
    checkpoint : Checkpoint, default=None
        Keeps each result as soon as there is one, and gives those that it has.
    fit_timeout : float, default=None
        Seconds that one fit with its predictions may take.  Each then runs in a process that can
        be killed, as many at a time as with `n_jobs`.
    """

    n_jobs: int | None = None
    verbose: int = 0
    checkpoint: Checkpoint | None = None
    fit_timeout: float | None = None


def run_jobs(
    jobs: Sequence[Job],
    X: Mapping[str, Any],
    *,
    classes: npt.NDArray[Any],
    class_share: FloatArray,
    title: str = "auxiliary fits",
    options: RunOptions | None = None,
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
    title : str, default="auxiliary fits"
        Shown with the progress.
    options : RunOptions, default=None
        None runs them one by one, in silence, and keeps nothing.

    Yields
    ------
    result : ndarray, classifier or tuple of both
        In the order of the jobs: probabilities of the rows to predict, or the fitted model, with
        its probabilities of the parts that it leaves out if there are any.

    Raises
    ------
    TimeoutError
        If a fit was not done in time.
    """
    options = options or RunOptions()
    kept, seconds = options.checkpoint, options.fit_timeout
    places: list[list[Path]] = [[] for _ in jobs]
    if kept is not None:
        places = [_places(*each) for each in zip(jobs, kept.next_stage(len(jobs)), strict=True)]
    # What is kept is read here, where the user's own classes are known.
    finished = [bool(each) and all(map(is_kept, each)) for each in places]
    limited = nullcontext() if seconds is None else LimitedWorkers(seconds)
    counted = closing(Progress(title, len(jobs), options.verbose))
    with counted as progress, limited as workers:
        todo = [
            delayed(_run_and_keep)(job, X[job.name], classes, class_share, each, workers)
            for job, each, is_finished in zip(jobs, places, finished, strict=True)
            if not is_finished
        ]
        parallel = Parallel(
            n_jobs=options.n_jobs,
            return_as="generator",
            backend=None if workers is None else "threading",  # each waits for a process
        )
        done = iter(parallel(todo) if todo else ())
        for job, each, is_finished in zip(jobs, places, finished, strict=True):
            result, not_kept = (_read(job, each), "") if is_finished else next(done)
            if not_kept:  # by a worker, which does not know the classes of a script
                not_kept = _keep(job, each, result)
            if not_kept:
                warnings.warn(
                    f"{job.name}, fitted on {job.stage}, is not kept in checkpoint_dir: "
                    f"{not_kept}. After an interruption this one fit is done again.",
                    UserWarning,
                    stacklevel=2,
                )
            progress.advance()
            yield result
        next(done, None)  # joblib kills its workers where this is not read to the end


def by_auxiliary(
    jobs: Sequence[Job], results: Iterable[Any]
) -> Iterator[tuple[str, Iterator[tuple[Job, Any]]]]:
    """Group jobs and results by the auxiliary's name; each group is to be used up in its turn."""
    return groupby(zip(jobs, results, strict=True), key=lambda done: done[0].name)


def _read(job: Job, places: list[Path]) -> Any:
    """Give a job's result as `_run_and_keep` kept it."""
    parts = tuple(read_result(place, job.template) for place in places)
    return parts if job.leaves_out else parts[0]


def _run_and_keep(
    job: Job,
    X: Any,
    classes: npt.NDArray[Any],
    class_share: FloatArray,
    places: list[Path],
    workers: LimitedWorkers | None,
) -> tuple[Any, str]:
    """Give a job's result and, where that has to be kept and cannot, the reason."""
    if workers is None:
        result = _run(job, X, classes, class_share)
    else:
        result = _run_limited(job, X, classes, class_share, workers)
    return result, _keep(job, places, result)


def _keep(job: Job, places: list[Path], result: Any) -> str:
    parts = result if job.leaves_out else (result,)
    reasons = [
        write_result(each, part, job.template) for each, part in zip(places, parts, strict=False)
    ]
    return next(filter(None, reasons), "")


def _places(job: Job, place: Path) -> list[Path]:
    """Where the parts of a job's result are kept."""
    if job.leaves_out is None:
        return [place]
    return [place, place.with_name(f"{place.name}-left-out")]


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
            f"{named(job.name, job.template)} was not fitted on {job.stage} within "
            f"fit_timeout={workers.seconds} s. Raise fit_timeout, or give a faster classifier."
        ) from error


def _run(job: Job, X: Any, classes: npt.NDArray[Any], class_share: FloatArray) -> Any:
    template, params = job.template, job.params
    # One class, in a fold or where all others are thought wrong, is what many classifiers refuse.
    if job.leaves_out is None and len(np.unique(job.labels)) == 1:
        template, params = DummyClassifier(), {}
    whole = np.array_equal(job.rows, np.arange(_num_samples(X)))
    try:
        with seeded(job.seed):
            model = clone(template)
            model.fit(X if whole else _safe_indexing(X, job.rows), job.labels, **params)
    except Exception as error:
        raise ValueError(_failure(job, error)) from error
    if job.leaves_out is not None:
        return model, _leave_out(job, job.leaves_out, model, X, classes, class_share)
    if job.predicts is None:
        return model
    return predict_by_blocks(model, X, job.predicts, classes, class_share, job.name)


def _failure(job: Job, error: Exception) -> str:
    reason = str(error)
    cut = reason[:_MOST_CHARACTERS] + " ..." if len(reason) > _MOST_CHARACTERS else reason
    failure = (
        f"{named(job.name, job.template)} failed when fitted on {job.stage}: "
        f"{type(error).__name__}: {cut}"
    )
    if "could not convert string to float" in reason:
        failure += (
            ". It reads numbers only: put sklearn_dsink.inputs.TabularEncoder() before it in a "
            "pipeline, and let X be a data frame."
        )
    if "must have the same dtype" in reason:
        failure += (
            ". A skorch net inside another estimator reads float32 and label codes where it is "
            "wrapped: sklearn_dsink.auxiliaries.IntegerLabelClassifier(net)."
        )
    return failure


def _leave_out(
    job: Job,
    wanted: LeavesOut,
    model: Any,
    X: Any,
    classes: npt.NDArray[Any],
    class_share: FloatArray,
) -> FloatArray:
    try:
        with seeded(job.seed):
            probas = left_out_proba(model, X, wanted.labels, wanted.parts, wanted.sample_weight)
    except Exception as error:
        raise ValueError(_failure(job, error)) from error
    known = np.unique(job.labels).tolist()
    proba = align_columns(np.concatenate(probas), known, np.asarray(classes).tolist(), class_share)
    return proba.astype(kept_dtype(len(wanted.labels) * len(classes)), copy=False)


def predict_by_blocks(
    model: Any,
    X: Any,
    rows: Rows | None,
    classes: npt.NDArray[Any],
    class_share: FloatArray,
    name: str,
) -> FloatArray:
    """Probabilities of some rows, or of all, asked for block by block."""
    n_samples = _num_samples(X)
    n_rows = n_samples if rows is None else len(rows)
    proba = empty_beside(X, (n_rows, len(classes)), kept_dtype(n_samples * len(classes)))
    width = math.prod(getattr(X, "shape", ())[1:])  # 1 for texts
    size = max(_PREDICTED_SIZE // max(width, len(classes)), 1)
    for part in gen_batches(n_rows, size):
        some = X if n_rows <= size and rows is None else None
        if some is None:
            some = _safe_indexing(X, part if rows is None else rows[part])
        proba[part] = predict_aligned(model, some, classes, class_share, name)
    return proba


def kept_dtype(n_entries: int) -> type[np.floating[Any]]:
    """Keep no more of a probability than is known of it, and less where memory is short."""
    return np.float16 if n_entries > HALF_PRECISION_SIZE else np.float32
