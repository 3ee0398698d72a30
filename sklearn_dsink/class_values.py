"""Class priors and shares as the user gives them: a word, or a number for each class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ._arrays import FloatArray


def read_by_class(values: Any, classes: npt.NDArray[Any], name: str) -> FloatArray:
    """Read one number a class: by label, or in the order of the classes.

    Parameters
    ----------
    values : mapping of label to float, Series with the labels as index, or array-like
        An array-like has the order of `classes`.
    classes : ndarray of shape (n_classes,)
        Sorted labels.
    name : str
        Of the parameter, for messages.

    Returns
    -------
    numbers : ndarray of shape (n_classes,), dtype float64
        In the order of `classes`.

    Raises
    ------
    ValueError
        If there is not one number for each class.

    Examples
    --------
    >>> import numpy as np
    >>> read_by_class({"b": 0.7, "a": 0.3}, np.array(["a", "b"]), "class_prior")
    array([0.3, 0.7])
    """
    labels = classes.tolist()
    if isinstance(values, Mapping | pd.Series):
        given = list(values.keys())
        if len(given) != len(labels) or set(given) != set(labels):
            raise ValueError(
                f"{name} must have one number for each class: it has {given[:10]}, the classes "
                f"are {labels[:10]}."
            )
        values = [values[label] for label in labels]
    try:
        numbers = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must hold numbers: {error}.") from error
    if numbers.shape != classes.shape:
        raise ValueError(
            f"{name} has shape {numbers.shape}, expected ({len(labels)},): one number for each "
            f"class, in the order {labels[:10]}."
        )
    return numbers


def read_prior(prior: Any, classes: npt.NDArray[Any], name: str = "class_prior") -> FloatArray:
    """Read positive class shares: by label, or in the order of the classes.

    Parameters
    ----------
    prior : mapping of label to float, Series with the labels as index, or array-like
        Need not sum to 1.
    classes : ndarray of shape (n_classes,)
        Sorted labels.
    name : str, default="class_prior"
        Of the parameter, for messages.

    Returns
    -------
    shares : ndarray of shape (n_classes,), dtype float64
        In the order of `classes`; they sum to 1.

    Raises
    ------
    ValueError
        If there is not one positive finite number for each class.

    Examples
    --------
    >>> import numpy as np
    >>> read_prior({"b": 3, "a": 1}, np.array(["a", "b"]))
    array([0.25, 0.75])
    """
    shares = read_by_class(prior, classes, name)
    if not np.all(np.isfinite(shares)) or np.any(shares <= 0):
        raise ValueError(
            f"{name} must hold positive finite numbers, found {shares.tolist()[:10]}. A class "
            "that cannot occur gets a small share, such as 1e-6."
        )
    scaled: FloatArray = shares / shares.sum()
    return scaled


def check_prior(class_prior: Any, classes: npt.NDArray[Any]) -> None:
    """Check ``class_prior``, a word or numbers, once the classes are known.

    Parameters
    ----------
    class_prior : {"uniform", "train"}, mapping or array-like of shape (n_classes,)
        The parameter as the user gave it.
    classes : ndarray of shape (n_classes,)
        Classes of y.

    Raises
    ------
    ValueError
        If it is another word, or there is not one positive finite number for each class.
    """
    if isinstance(class_prior, str):
        if class_prior not in ("uniform", "train"):
            raise ValueError(
                f"class_prior must be 'uniform', 'train' or numbers, found {class_prior!r}."
            )
        return
    read_prior(class_prior, classes)
