"""What several models say together, and what it means under another class prior."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ._arrays import FloatArray, log_softmax


def pool(log_scores: Sequence[FloatArray], weights: Sequence[float]) -> FloatArray:
    """Weighted geometric mean of several models, up to the scale of each row.

    Parameters
    ----------
    log_scores : sequence of ndarray of shape (n_samples, n_classes)
        Logarithms, a model each; a constant added to a row changes nothing.
    weights : sequence of float
        Exponent of each model.

    Returns
    -------
    log_proba : ndarray of shape (n_samples, n_classes)
        Rows are normalized.

    Examples
    --------
    >>> import numpy as np
    >>> np.exp(pool([np.log([[0.8, 0.2]]), np.log([[0.2, 0.8]])], [0.5, 0.5]))
    array([[0.5, 0.5]])
    """
    total = sum(weight * scores for weight, scores in zip(weights, log_scores, strict=True))
    return log_softmax(np.asarray(total))


def apply_prior(log_proba: FloatArray, log_prior: FloatArray) -> FloatArray:
    """Turn a posterior under the uniform class prior into that under another, by Bayes' rule.

    Parameters
    ----------
    log_proba : ndarray of shape (n_samples, n_classes)
        Logarithm of the posterior under the uniform prior.
    log_prior : ndarray of shape (n_classes,)
        Logarithm of the prior wanted.

    Returns
    -------
    log_proba : ndarray of shape (n_samples, n_classes)
        Rows are normalized.

    Examples
    --------
    >>> import numpy as np
    >>> np.exp(apply_prior(np.log([[0.5, 0.5]]), np.log([0.9, 0.1])))
    array([[0.9, 0.1]])
    """
    return log_softmax(log_proba + log_prior)


def check_prior(class_prior: Any, classes: npt.NDArray[Any]) -> None:
    """Check ``class_prior``, a word or an array, once the classes are known.

    Parameters
    ----------
    class_prior : {"uniform", "train"} or array-like of shape (n_classes,)
        The parameter as the user gave it.
    classes : ndarray of shape (n_classes,)
        Classes of y.

    Raises
    ------
    ValueError
        If an array has the wrong length, or holds anything but positive finite numbers.
    """
    if isinstance(class_prior, str):
        return
    prior = np.asarray(class_prior, dtype=np.float64)
    if prior.shape != (len(classes),):
        raise ValueError(
            f"class_prior has shape {prior.shape}, expected ({len(classes)},): one positive "
            f"number for each class, in the order {classes.tolist()[:10]}."
        )
    if not np.all(np.isfinite(prior)) or np.any(prior <= 0):
        raise ValueError(
            f"class_prior must hold positive finite numbers, found {prior.tolist()[:10]}. A class "
            "that cannot occur gets a small share, such as 1e-6."
        )
