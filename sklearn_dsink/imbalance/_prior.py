"""Class priors: exchange them in probabilities, estimate them, weigh classes by their size.

Pure functions over arrays.
"""

from __future__ import annotations

import warnings
from numbers import Integral, Real
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_array
from sklearn.utils._param_validation import Interval, validate_parameter_constraints
from sklearn.utils.validation import _check_sample_weight, column_or_1d

from .._arrays import PROBA_FLOOR, FloatArray
from ..class_values import read_prior
from ..losses._imbalance import inverse_effective_number

__all__ = ["adjust_prior", "effective_number_weights", "estimate_class_prior_em"]


def adjust_prior(proba: Any, prior: Any, *, tau: float = 1.0) -> FloatArray:
    r"""Divide a class prior out of probabilities: post-hoc logit adjustment.

    .. math:: \tilde p_c(x) \propto p_c(x) \, / \, \pi_c^{\tau}

    With :math:`\tau = 1` and the prior of the data that the probabilities were learned from,
    these are the probabilities for a uniform class prior (Bayes' rule), and their argmax
    minimises the balanced error.

    Parameters
    ----------
    proba : array-like of shape (n_samples, n_classes)
        Probabilities; those below 1e-6 are read as 1e-6, so that no class is ruled out.
    prior : array-like of shape (n_classes,)
        Positive class shares; need not sum to 1.
    tau : float, default=1.0
        Strength, at least 0; 0 leaves the probabilities as they are (but for the clipping).

    Returns
    -------
    proba : ndarray of shape (n_samples, n_classes), dtype float64
        Rows sum to 1.

    Raises
    ------
    ValueError
        If the prior's length is not the number of columns or an entry is not positive.

    References
    ----------
    Menon et al., "Long-tail learning via logit adjustment", ICLR 2021, equation 9.

    Examples
    --------
    >>> from sklearn_dsink.imbalance import adjust_prior
    >>> adjust_prior([[0.8, 0.2]], [0.9, 0.1]).round(3).tolist()
    [[0.308, 0.692]]
    """
    validate_parameter_constraints(
        {"tau": [Interval(Real, 0, None, closed="left")]}, {"tau": tau}, caller_name="adjust_prior"
    )
    values = check_array(proba, dtype=np.float64, input_name="proba")
    shares = _read_shares(prior, values.shape[1], "prior")
    return softmax(np.log(np.clip(values, PROBA_FLOOR, None)) - tau * np.log(shares), axis=1)


def _read_shares(prior: Any, n_classes: int, name: str) -> FloatArray:
    """Read class shares in the order of the columns, which have no labels here."""
    return read_prior(column_or_1d(prior), np.arange(n_classes), name)


def estimate_class_prior_em(
    proba: Any,
    train_prior: Any,
    *,
    sample_weight: Any = None,
    max_iter: int = 1000,
    tol: float = 1e-6,
) -> npt.NDArray[np.float64]:
    r"""Estimate the class shares of unlabelled rows from a classifier's probabilities.

    Expectation-maximisation: probabilities learned under the prior :math:`\pi^{tr}` are
    re-weighted to the current estimate and averaged,

    .. math::
        \pi_c^{(s+1)} = \frac1n \sum_i \frac{p_c(x_i) \, \pi_c^{(s)} / \pi_c^{tr}}
        {\sum_k p_k(x_i) \, \pi_k^{(s)} / \pi_k^{tr}}, \qquad \pi^{(0)} = \pi^{tr}

    which climbs the likelihood of the rows. It is exact where the probabilities are right and
    only the class shares differ between training and these rows.

    Parameters
    ----------
    proba : array-like of shape (n_samples, n_classes)
        Probabilities of the rows whose class shares are wanted.
    train_prior : array-like of shape (n_classes,)
        Class shares under which `proba` was learned (all alike for a classifier that was
        balanced); positive.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the rows.
    max_iter : int, default=1000
        Most iterations.
    tol : float, default=1e-6
        Stop when no share moves by more than this.

    Returns
    -------
    prior : ndarray of shape (n_classes,), dtype float64
        Estimated shares, summing to 1. A class may come out at 0.

    Raises
    ------
    ValueError
        If the shapes do not agree, `train_prior` has an entry that is not positive or a weight
        is negative.

    Warns
    -----
    ConvergenceWarning
        If shares still moved by more than `tol` after `max_iter` iterations.

    References
    ----------
    Saerens, Latinne and Decaestecker, "Adjusting the Outputs of a Classifier to New a Priori
    Probabilities", Neural Computation 2002, equation 2.9.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_dsink.imbalance import estimate_class_prior_em
    >>> proba = np.repeat([[0.9, 0.1], [0.1, 0.9]], [80, 20], axis=0)
    >>> estimate_class_prior_em(proba, [0.5, 0.5]).round(3).tolist()
    [0.875, 0.125]
    """
    validate_parameter_constraints(
        {
            "max_iter": [Interval(Integral, 1, None, closed="left")],
            "tol": [Interval(Real, 0, None, closed="left")],
        },
        {"max_iter": max_iter, "tol": tol},
        caller_name="estimate_class_prior_em",
    )
    values = check_array(proba, dtype=np.float64, input_name="proba")
    prior = start = _read_shares(train_prior, values.shape[1], "train_prior")
    weight = _check_sample_weight(
        sample_weight, values, dtype=np.float64, ensure_non_negative=True
    )
    weight = weight / weight.sum()
    likelihood = np.clip(values, PROBA_FLOOR, None) / start
    for _ in range(max_iter):
        joint = likelihood * prior
        new = weight @ (joint / joint.sum(axis=1, keepdims=True))
        moved = np.abs(new - prior).max()
        prior = new
        if moved <= tol:
            break
    else:
        warnings.warn(
            f"class shares still move by {moved:.2g} after max_iter={max_iter} iterations "
            f"(tol={tol:.2g}): raise max_iter or tol.",
            ConvergenceWarning,
            stacklevel=2,
        )
    return prior / prior.sum()


def effective_number_weights(
    class_counts: Any, *, beta: float = 0.9999
) -> npt.NDArray[np.float64]:
    r"""Class weights by the effective number of samples, with mean 1.

    .. math:: w_c \propto \frac{1 - \beta}{1 - \beta^{n_c}}

    :math:`\beta = 0` weighs all classes alike, :math:`\beta \to 1` by the inverse of their
    size.

    Parameters
    ----------
    class_counts : array-like of shape (n_classes,)
        Rows (or summed sample weights) of each class, positive.
    beta : float, default=0.9999
        In [0, 1].

    Returns
    -------
    weights : ndarray of shape (n_classes,), dtype float64
        They sum to the number of classes.

    Raises
    ------
    ValueError
        If a count is not positive or `beta` is outside [0, 1].

    References
    ----------
    Cui et al., "Class-Balanced Loss Based on Effective Number of Samples", CVPR 2019,
    equations 2 and 4.

    Examples
    --------
    >>> from sklearn_dsink.imbalance import effective_number_weights
    >>> effective_number_weights([100, 10], beta=1.0).round(3).tolist()
    [0.182, 1.818]
    >>> effective_number_weights([100, 10], beta=0.0).tolist()
    [1.0, 1.0]
    """
    validate_parameter_constraints(
        {"beta": [Interval(Real, 0, 1, closed="both")]},
        {"beta": beta},
        caller_name="effective_number_weights",
    )
    counts = np.asarray(column_or_1d(class_counts), dtype=np.float64)
    if not np.isfinite(counts).all() or (counts <= 0).any():
        raise ValueError(
            f"class_counts must hold finite, positive counts: found {counts.tolist()}."
        )
    weights = inverse_effective_number(torch.as_tensor(counts), beta).numpy()
    return np.asarray(weights * (len(counts) / weights.sum()))
