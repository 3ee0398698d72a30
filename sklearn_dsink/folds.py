"""Folds that any class size fits into."""

from __future__ import annotations

import numbers
import reprlib
from functools import reduce
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import check_cv

Rows = npt.NDArray[np.integer[Any]]
Fold = tuple[Rows, Rows]


def deal_folds(
    y: npt.NDArray[np.integer[Any]],
    n_folds: int,
    rng: np.random.RandomState,
    sample_weight: npt.NDArray[np.floating[Any]] | None = None,
) -> list[Fold]:
    """Stratified folds that any class size fits into.

    The rows, shuffled and sorted by class, are dealt out like cards: a class of ``n`` rows is in
    ``min(n, n_folds)`` folds, and folds differ by one row at most.  Rows of weight 0, which
    nothing is learnt from, are dealt last, so that they leave all this as it is among the others.

    Parameters
    ----------
    y : ndarray of shape (n_samples,), dtype int
        Label codes.
    n_folds : int
        At least 2; of fewer rows of positive weight than that, each is in a fold of its own.
    rng : RandomState
        Shuffles the rows within their class.
    sample_weight : ndarray of shape (n_samples,), default=None
        Weights >= 0; None weighs all alike.

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
    idle = np.zeros(len(y), dtype=bool) if sample_weight is None else sample_weight == 0
    dealt = shuffled[np.lexsort((y[shuffled], idle[shuffled]))]
    fold_of = np.empty(len(y), dtype=np.intp)
    fold_of[dealt] = np.arange(len(y)) % min(n_folds, len(y), max(2, np.sum(~idle)))
    return [
        (np.flatnonzero(fold_of != k), np.flatnonzero(fold_of == k))
        for k in range(fold_of.max() + 1)
    ]


def make_folds(
    cv: Any,
    X: Any,
    y: npt.NDArray[np.integer[Any]],
    rng: np.random.RandomState,
    sample_weight: npt.NDArray[np.floating[Any]] | None = None,
    split_params: dict[str, Any] | None = None,
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
    sample_weight : ndarray of shape (n_samples,), default=None
        Weights >= 0, for an integer `cv`.
    split_params : dict, default=None
        What a splitter is given besides, such as ``groups``.

    Returns
    -------
    folds : list of (train, test) or None

    Raises
    ------
    ValueError
        If an integer `cv` is below 2, a splitter fails, a split holds no numbers of rows, or the
        test parts do not hold every row exactly once.
    """
    if cv is None:
        return None
    if isinstance(cv, numbers.Integral):
        if cv < 2:
            raise ValueError(
                f"cv={cv}: give at least 2 folds, or cv=None for in-sample probabilities."
            )
        return deal_folds(y, int(cv), rng, sample_weight)
    given = reprlib.repr(cv)  # of splits in a list the first are enough
    try:
        splits = list(check_cv(cv, y, classifier=True).split(X, y, **(split_params or {})))
    except ValueError as error:
        raise ValueError(
            f"cv={given} cannot split the rows: {error} Where it needs groups, give the splits "
            "themselves, cv=list(splitter.split(X, y, groups)), or enable metadata routing and "
            "call fit(X, y, groups=groups)."
        ) from error
    n_samples = len(y)
    folds = [
        (np.unique(_row_numbers(train, n_samples)), _row_numbers(test, n_samples))
        for train, test in splits
    ]
    folds = [(train, test) for train, test in folds if len(test)]  # an empty part asks for nothing
    tested = np.concatenate([np.empty(0, dtype=np.intp), *(test for _, test in folds)])
    if np.any(np.bincount(tested, minlength=n_samples) != 1):
        raise ValueError(
            f"cv={given} does not put every row into exactly one test part, so there is no "
            "out-of-fold probability for each row. Use KFold, StratifiedKFold or GroupKFold, "
            "not repeated or shuffled splits."
        )
    return folds


def _row_numbers(rows: Any, n_samples: int) -> Rows:
    """Give the rows of a split, numbers or a mask in an array or a list, as numbers."""
    rows = np.asarray(rows)
    if rows.dtype == bool:
        return np.flatnonzero(rows)
    if rows.size == 0:
        return np.empty(0, dtype=np.intp)
    if rows.dtype.kind not in "iu" or rows.min() < 0 or rows.max() >= n_samples:
        raise ValueError(
            f"cv: a split must hold numbers of rows, 0 to {n_samples - 1}, or a mask of them; "
            f"found {reprlib.repr(rows.tolist())}."
        )
    return rows


def merge_folds(folds: list[Fold], n_folds: int) -> list[Fold]:
    """Merge folds into at most `n_folds`, whole ones, so that groups stay together.

    Rows that a fold's training part leaves out stay left out.

    Parameters
    ----------
    folds : list of (train, test)
        Their test parts hold each row once.
    n_folds : int
        Most folds to come.

    Returns
    -------
    folds : list of (train, test)

    Examples
    --------
    >>> import numpy as np
    >>> singles = [(np.delete(np.arange(4), k), np.array([k])) for k in range(4)]
    >>> [test.tolist() for _, test in merge_folds(singles, 2)]
    [[0, 2], [1, 3]]
    """
    if len(folds) <= n_folds:
        return folds
    merged = [folds[k::n_folds] for k in range(n_folds)]
    return [
        (taught_without(some), np.sort(np.concatenate([test for _, test in some])))
        for some in merged
    ]


def taught_without(folds: list[Fold]) -> Rows:
    """Return the rows in the training parts of all these folds, in their order."""
    return reduce(np.intersect1d, [train for train, _ in folds])


def are_complements(folds: list[Fold], n_samples: int) -> bool:
    """Whether each training part holds all rows but those of its test part."""
    return all(len(train) + len(test) == n_samples for train, test in folds)
