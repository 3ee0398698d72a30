"""Auxiliaries taught again, on what the training labels probably are.

The corrected label of a row was found with models that have seen the given labels of other rows.
Refitted on it as it is, an auxiliary would find those given labels again, and think them less
noisy than they are.  So the corrected labels that teach a fold's model come from models that have
not seen that fold: fits that leave out two folds at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ._arrays import FloatArray
from .auxiliaries import (
    accepts_sample_weight,
    is_frozen,
    looks_for_wrong_labels,
    take_params,
    weight_parameters,
)
from .crossfit import Auxiliary
from .folds import Fold, Rows
from .jobs import Job, RunOptions, by_auxiliary, kept_dtype, run_jobs
from .label_model import LabelModel

# Classes below this probability teach nothing of a row that is worth a copy of it.
_LEAST_PROBA = 0.05

# Copies weigh the classes half-way between their sizes and all alike: the tail is heard, and what
# is wrong in its corrected labels is not shouted.  An auxiliary that balances by itself goes on
# from there: the default f_L goes half of what is left.
REFIT_BALANCE = 0.5


def can_be_refitted(estimator: Any) -> bool:
    """Whether an auxiliary takes weighted rows and is not frozen.

    One that looks for wrong labels by folds of its own would find copies of a row in several.
    """
    if is_frozen(estimator) or looks_for_wrong_labels(estimator):
        return False
    return accepts_sample_weight(estimator)


def weighted_copies(
    posterior: FloatArray, *, balance: float, sample_weight: FloatArray | None = None
) -> tuple[Rows, Rows, FloatArray]:
    """Write rows with a distribution over classes as weighted rows with a label.

    Parameters
    ----------
    posterior : ndarray of shape (n_samples, n_classes)
        Rows sum to 1.
    balance : float
        Copies of a class of total weight ``n`` weigh ``n ** -balance``: 0 leaves the classes as
        they are, 1 makes them weigh alike.
    sample_weight : ndarray of shape (n_samples,), default=None
        Weights of the rows; all alike if None.

    Returns
    -------
    rows, labels : ndarray of int
        Row and class of each copy; classes of a probability below 0.05 are left out.
    weight : ndarray of float
        Sums to the rows' weights.

    Examples
    --------
    >>> import numpy as np
    >>> weighted_copies(np.array([[0.99, 0.01], [0.4, 0.6]]), balance=0)
    (array([0, 1, 1]), array([0, 0, 1]), array([1. , 0.4, 0.6]))
    """
    kept = posterior >= np.minimum(_LEAST_PROBA, posterior.max(axis=1, keepdims=True))
    rows, labels = np.nonzero(kept)
    weight = posterior[rows, labels]
    weight = weight / np.bincount(rows, weights=weight)[rows]
    row_weight = np.ones(len(posterior)) if sample_weight is None else sample_weight
    weight = weight * row_weight[rows]
    totals = np.bincount(labels, weights=weight, minlength=posterior.shape[1])
    # A class of less than one row in all does not get the weight of a whole class.
    weight = weight * np.maximum(totals, 1.0)[labels] ** -balance
    return rows, labels, weight * (row_weight.sum() / weight.sum())


def refit_auxiliaries(
    auxiliaries: dict[str, Auxiliary],
    model: LabelModel,
    X: Any,
    codes: npt.NDArray[np.integer[Any]],
    *,
    classes: npt.NDArray[Any],
    folds: list[Fold],
    sample_weight: FloatArray | None = None,
    options: RunOptions | None = None,
) -> dict[str, Auxiliary]:
    """Refit auxiliaries on the label model's posterior, fold by fold and on all rows.

    Parameters
    ----------
    auxiliaries : dict of str to Auxiliary
        Fitted on the given labels, with what they say of rows they have not seen.
    model : LabelModel
        Fitted to the auxiliaries' out-of-fold probabilities, in the order of the dict.
    X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features)
        Features.
    codes : ndarray of shape (n_samples,), dtype int
        Given labels as codes.
    classes : ndarray of shape (n_classes,)
        Labels of the codes.
    folds : list of (train, test)
        The folds that the auxiliaries were fitted with.
    sample_weight : ndarray of shape (n_samples,), default=None
        Weights of the rows; rows of weight 0 teach nothing.
    options : RunOptions, default=None
        How the fits are run.

    Returns
    -------
    refitted : dict of str to Auxiliary
        Those that take weighted rows and are not frozen.
    """
    n_samples = len(codes)
    weight = np.ones(n_samples) if sample_weight is None else sample_weight
    lessons = []  # which all auxiliaries share
    for taught, tested, posterior in _lessons(auxiliaries, model, codes, folds):
        heavy = taught[weight[taught] > 0]
        copies, labels, copy_weight = weighted_copies(
            posterior[heavy], balance=REFIT_BALANCE, sample_weight=weight[heavy]
        )
        lessons.append((heavy[copies], classes[labels], copy_weight, tested))

    refitted = {name: aux for name, aux in auxiliaries.items() if can_be_refitted(aux.template)}
    jobs = []
    for name, aux in refitted.items():
        template, stage = aux.behind_encoder, "corrected labels"
        for rows, labels, copy_weight, tested in lessons:
            params = {
                **take_params(aux.params, rows, n_samples),
                **weight_parameters(aux.template, copy_weight),
            }
            jobs.append(Job(name, template, rows, labels, params, aux.seed, stage, tested))
    results = run_jobs(
        jobs,
        {name: aux.reads(X) for name, aux in refitted.items()},
        classes=classes,
        class_share=model.class_share,
        title="refits on corrected labels",
        options=options,
    )
    out = {}
    for name, done in by_auxiliary(jobs, results):
        aux = refitted[name]
        _, estimator = next(done)
        proba = np.empty((n_samples, len(classes)), kept_dtype(n_samples * len(classes)))
        for job, result in done:
            proba[job.predicts] = result
        out[name] = replace(aux, estimator=estimator, proba=proba, unseen=None)
    return out


def _lessons(
    auxiliaries: dict[str, Auxiliary],
    model: LabelModel,
    codes: npt.NDArray[np.integer[Any]],
    folds: list[Fold],
) -> Iterator[tuple[Rows, Rows | None, FloatArray]]:
    """Give rows to teach, rows to predict then, and the posterior of all that teaches them.

    Outside of a fold it is that of models which have not seen the fold.
    """
    yield np.arange(len(codes)), None, model.posterior
    unseen = [aux.unseen for aux in auxiliaries.values() if aux.unseen is not None]
    for number, (train, test) in enumerate(folds):
        if len(unseen) < len(auxiliaries):
            yield train, test, model.posterior
        else:
            yield train, test, model.label([part[number] for part in unseen], codes)
