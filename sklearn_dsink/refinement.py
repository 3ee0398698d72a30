"""Auxiliaries taught again, on what the training labels probably are.

The corrected label of a row was found with models that have seen the given labels of other rows.
Refitted on it as it is, an auxiliary would find those given labels again, and think them less
noisy than they are.  So the corrected labels that teach a fold's model come from models that have
not seen that fold: fits that leave out two folds at a time.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from ._arrays import FloatArray
from .auxiliaries import accepts_sample_weight, is_frozen, weight_parameters
from .crossfit import Auxiliary, Job, run_jobs, take_params
from .folds import Fold, Rows
from .label_model import LabelModel, smooth_log

# Fits without two folds grow with the square of the folds; more are merged into these.
_MOST_FOLDS = 5

# Classes below this probability teach nothing of a row that is worth a copy of it.
_LEAST_PROBA = 0.05


def can_be_refitted(auxiliary: Auxiliary) -> bool:
    """Whether an auxiliary takes weighted rows and is not frozen."""
    return not is_frozen(auxiliary.template) and accepts_sample_weight(auxiliary.template)


def weighted_copies(posterior: FloatArray, *, balanced: bool) -> tuple[Rows, Rows, FloatArray]:
    """Write rows with a distribution over classes as weighted rows with a label.

    Parameters
    ----------
    posterior : ndarray of shape (n_samples, n_classes)
        Rows sum to 1.
    balanced : bool
        Whether each class gets the same total weight.

    Returns
    -------
    rows, labels : ndarray of int
        Row and class of each copy; classes of a probability below 0.05 are left out.
    weight : ndarray of float
        Sums to the number of rows; without `balanced`, to 1 a row.

    Examples
    --------
    >>> import numpy as np
    >>> weighted_copies(np.array([[0.99, 0.01], [0.4, 0.6]]), balanced=False)
    (array([0, 1, 1]), array([0, 0, 1]), array([1. , 0.4, 0.6]))
    """
    kept = posterior >= np.minimum(_LEAST_PROBA, posterior.max(axis=1, keepdims=True))
    rows, labels = np.nonzero(kept)
    weight = posterior[rows, labels]
    weight = weight / np.bincount(rows, weights=weight)[rows]
    if balanced:
        totals = np.bincount(labels, weights=weight, minlength=posterior.shape[1])
        # A class of less than one row in all does not get the weight of a whole class.
        weight = weight / np.maximum(totals, 1.0)[labels]
        weight *= len(posterior) / weight.sum()
    return rows, labels, weight


def refit_auxiliaries(
    auxiliaries: dict[str, Auxiliary],
    model: LabelModel,
    X: Any,
    codes: npt.NDArray[np.integer[Any]],
    *,
    classes: npt.NDArray[Any],
    class_share: FloatArray,
    folds: list[Fold],
    sample_weight: FloatArray | None = None,
    balanced: frozenset[str] = frozenset(),
    n_jobs: int | None = None,
    verbose: int = 0,
) -> dict[str, Auxiliary]:
    """Refit auxiliaries on the label model's posterior, fold by fold and on all rows.

    Parameters
    ----------
    auxiliaries : dict of str to Auxiliary
        Fitted on the given labels.  Those that cannot be refitted come back as they are.
    model : LabelModel
        Fitted to the auxiliaries' out-of-fold probabilities, in the order of the dict.
    X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features)
        Features.
    codes : ndarray of shape (n_samples,), dtype int
        Given labels as codes.
    classes : ndarray of shape (n_classes,)
        Labels of the codes.
    class_share : ndarray of shape (n_classes,)
        Share of each class in the training rows.
    folds : list of (train, test)
        The folds that the auxiliaries were fitted with.
    sample_weight : ndarray of shape (n_samples,), default=None
        Weights of the rows; rows of weight 0 teach nothing.
    balanced : set of str
        Auxiliaries whose classes are to weigh alike, because they do not see to it themselves.
    n_jobs : int, default=None
        Fits that run at the same time.
    verbose : int, default=0
        Above 0, the fits are counted aloud.

    Returns
    -------
    refitted : dict of str to Auxiliary
    """
    refitted = {name: aux for name, aux in auxiliaries.items() if can_be_refitted(aux)}
    if not refitted:
        return auxiliaries
    n_samples = len(codes)
    weight = np.ones(n_samples) if sample_weight is None else sample_weight
    fold_of = _merged_folds(folds, n_samples)
    run: dict[str, Any] = {
        "classes": classes,
        "class_share": class_share,
        "n_jobs": n_jobs,
        "verbose": verbose,
    }

    posteriors = _unseen_posteriors(auxiliaries, model, X, codes, classes, weight, fold_of, run)
    jobs = []
    for name, aux in refitted.items():
        for fold, posterior in enumerate([*posteriors, model.posterior]):
            everything = fold == len(posteriors)
            outside = (fold_of != fold) & (weight > 0)
            jobs.append(
                _teach(
                    name,
                    aux,
                    np.flatnonzero(outside),
                    posterior[outside],
                    weight,
                    classes,
                    balanced=name in balanced,
                    stage="corrected labels",
                    predicts=None if everything else np.flatnonzero(fold_of == fold),
                )
            )
    results = run_jobs(jobs, X, title="refits on corrected labels", **run)
    out = dict(auxiliaries)
    for name, aux in refitted.items():
        own = [(job, r) for job, r in zip(jobs, results, strict=True) if job.name == name]
        proba = np.empty((n_samples, len(classes)), dtype=np.float32)
        for job, result in own[:-1]:
            proba[job.predicts] = result
        out[name] = Auxiliary(own[-1][1], proba, aux.template, aux.params, aux.seed)
    return out


def _merged_folds(folds: list[Fold], n_samples: int) -> Rows:
    fold_of = np.empty(n_samples, dtype=np.intp)
    for number, (_, test) in enumerate(folds):
        fold_of[test] = number % _MOST_FOLDS
    return fold_of


def _unseen_posteriors(
    auxiliaries: dict[str, Auxiliary],
    model: LabelModel,
    X: Any,
    codes: npt.NDArray[np.integer[Any]],
    classes: npt.NDArray[Any],
    weight: FloatArray,
    fold_of: Rows,
    run: dict[str, Any],
) -> list[FloatArray]:
    """For each fold, a posterior of all other rows from models that have not seen the fold."""
    n_folds = int(fold_of.max()) + 1
    if n_folds < 3:  # nothing would be left to fit on without two of them
        return [model.posterior] * n_folds
    pairs = list(combinations(range(n_folds), 2))
    jobs = []
    for name, aux in auxiliaries.items():
        if is_frozen(aux.template):
            continue
        for pair in pairs:
            rows = np.flatnonzero(~np.isin(fold_of, pair) & (weight > 0))
            params = take_params(aux.params, rows, len(codes))
            predicts = np.flatnonzero(np.isin(fold_of, pair))
            stage = f"all folds but {pair[0] + 1} and {pair[1] + 1}"
            labels = classes[codes[rows]]
            jobs.append(Job(name, aux.template, rows, labels, params, aux.seed, stage, predicts))
    results = run_jobs(jobs, X, title="fits without two folds", **run)

    scores = {
        name: [smooth_log(aux.proba).astype(np.float32) for _ in range(n_folds)]
        for name, aux in auxiliaries.items()
    }
    for job, result in zip(jobs, results, strict=True):
        predicted: Any = job.predicts
        first, second = np.unique(fold_of[predicted])
        # Without fold `first`, what this model says of fold `second` may be used; and vice versa.
        for unseen, labelled in ((first, second), (second, first)):
            mine = fold_of[predicted] == labelled
            scores[job.name][unseen][predicted[mine]] = smooth_log(result[mine])
    return [
        model.label([scores[name][fold] for name in auxiliaries], codes) for fold in range(n_folds)
    ]


def _teach(
    name: str,
    aux: Auxiliary,
    rows: Rows,
    posterior: FloatArray,
    weight: FloatArray,
    classes: npt.NDArray[Any],
    *,
    balanced: bool,
    stage: str,
    predicts: Rows | None,
) -> Job:
    copies, labels, copy_weight = weighted_copies(posterior, balanced=balanced)
    rows = rows[copies]
    params = {
        **take_params(aux.params, rows, len(weight)),
        **weight_parameters(aux.template, copy_weight * weight[rows]),
    }
    return Job(name, aux.template, rows, classes[labels], params, aux.seed, stage, predicts)
