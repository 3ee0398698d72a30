"""Probabilities of a fitted auxiliary: checked, and a column for each class of the training set.

An auxiliary, or one fold of it, may know fewer classes than the training set has.
"""

from __future__ import annotations

import reprlib
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.utils.validation import _num_samples

from ._arrays import FloatArray, normalize_rows
from ._seeding import seeded
from .auxiliaries import as_read_by, draws_globally, named


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


def _known_classes(estimator: Any, name: str) -> list[Any]:
    if not hasattr(estimator, "classes_"):
        raise ValueError(f"{named(name, estimator)} has no classes_ after its fit.")
    known = np.asarray(estimator.classes_)
    if known.ndim != 1 or len(set(known.tolist())) < len(known):
        raise ValueError(
            f"{named(name, estimator)}: its classes_ must be labels in one row, each once; found "
            f"{reprlib.repr(known.tolist())}."
        )
    return list(known.tolist())


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

    Raises
    ------
    ValueError
        If the classifier fails, or what it gives are no probabilities; it is named.
    """
    known = _known_classes(estimator, name)
    # Some draw from the global generators even to predict: skorch's data loader, for one.
    try:
        with seeded(0) if draws_globally(estimator) else nullcontext():
            answer = np.asarray(estimator.predict_proba(as_read_by(estimator, X)))
    except Exception as error:
        raise ValueError(
            f"{named(name, estimator)} failed to predict: {type(error).__name__}: {error}"
        ) from error
    proba = check_proba(answer, _num_samples(X), len(known), name)
    try:
        return align_columns(proba, known, np.asarray(classes).tolist(), class_share)
    except ValueError as error:
        raise ValueError(f"{named(name, estimator)}: {error}") from error
