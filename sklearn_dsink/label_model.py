r"""What each training label probably is: several models, class shares and a noise matrix in one.

A row of true class :math:`c` has the features :math:`x` and was given the label :math:`y`:

.. math::

    P(c \mid x) \propto \nu_c^a \prod_k p_k(c \mid x)^{t_k}, \qquad
    P(y \mid x) = \sum_c P(c \mid x)\, T_{cy}

with models :math:`p_k` fitted to the given labels, the shares :math:`\nu` of the classes among
these, and the noise matrix :math:`T`.  Probabilities fitted to noisy labels are too flat, and
flatter for the weaker model: the exponents undo that.  What weighs classes alike has taken their
shares out of its probabilities, those of the labels it was given: :math:`\nu^a` puts them back.
Everything is found by expectation-maximisation on the given labels; no clean label is needed.

What it finds depends on where it starts.  Sure models and many wrong labels may explain the given
labels, and so may unsure models and few: of tables whose classes overlap, the latter do it better.
So it may start twice, taking either the models or the labels at their word.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import logsumexp

from ._arrays import (
    FloatArray,
    cache_blocks,
    column_totals,
    empty_beside,
    log_softmax,
    normalize_rows,
)
from .noise_model import check_labeled, joint_counts, noise_matrix_from_joint

# Share of the uniform distribution mixed into each model: a forest's exact zero is no proof.
SMOOTHING = 0.01

# Parameters are few, so a part of many rows finds them as well as all: noise matrix and class
# shares by these many rows, the exponents, a handful that takes longest, by these many entries.
_MAX_ROWS = 10_000
_MAX_ENTRIES = 2**18
_MAX_EXPONENT = 20.0

# Where models are weak, each round of expectation-maximisation still finds more of the labels
# right: by more than this share of them it goes on.
_SETTLED = 0.003

_RIDGE = 1e-3

# Precision of a normal prior on the exponents, of standard deviation 2: what a thousand rows say
# of them it leaves as it is, and a hundred do not raise a model to any power.
_PRECISION = 0.25

# Share of the labels that are wrong where it starts by taking them at their word.
_DOUBT = 0.05

# What it finds from there has to explain the labels better by so much, in the mean log-likelihood
# of a row, and to leave no class larger by more than this factor: of the labels of a small class
# many may be a large one's, and to believe those is no explanation.  Some rows more in each class
# keep a handful from deciding.
_LIKELIER = 0.002
_LARGER = 1.2
_MORE_ROWS = 5.0

# Rows that have to speak for an offset of 1: a class of fewer keeps about what it had.
_OFFSET_ROWS = 3.0


@dataclass(frozen=True)
class LabelModel:
    """Parameters of the label model, and the posterior of the rows it was fitted on.

    Attributes
    ----------
    exponents : ndarray of shape (n_models,)
        Exponent t of each model.
    prior_exponent : float
        Exponent a of the shares of the given labels, in [0, 1].
    given_share : ndarray of shape (n_classes,)
        Class shares nu of the given labels; sums to 1.
    class_share : ndarray of shape (n_classes,)
        Class shares pi of the true labels, with one row added to each class; sums to 1.
    noise_matrix : ndarray of shape (n_classes, n_classes)
        ``P(given | true)``; rows are true classes.
    offset : ndarray of shape (n_classes,)
        Class potentials by which the pooled models come closer to the class shares over the
        training rows: the biases that they have to single classes.  For rows to come.
    posterior : ndarray of shape (n_samples, n_classes)
        Probability of each true class, given the features and the given label.
    n_iter : int
        Rounds of expectation-maximisation until it ended.
    """

    exponents: FloatArray
    prior_exponent: float
    given_share: FloatArray
    class_share: FloatArray
    noise_matrix: FloatArray
    offset: FloatArray
    posterior: FloatArray
    n_iter: int

    def log_proba(self, probas: Sequence[FloatArray]) -> FloatArray:
        """Pool the models, without a given label.

        Parameters
        ----------
        probas : sequence of ndarray of shape (n_samples, n_classes)
            Probabilities, a model each, in the order of the fit.

        Returns
        -------
        log_proba : ndarray of shape (n_samples, n_classes)
            For the training rows' own class shares; rows are normalized.
        """
        log_prior = self.prior_exponent * np.log(self.given_share)
        return _pooled(self.exponents, _smoothed(probas), log_prior)

    def label(self, probas: Sequence[FloatArray], y: npt.NDArray[np.integer[Any]]) -> FloatArray:
        """Posterior of the true class of rows whose given label is known.

        Parameters
        ----------
        probas : sequence of ndarray of shape (n_samples, n_classes)
            Probabilities, a model each, in the order of the fit.
        y : ndarray of shape (n_samples,), dtype int
            Given labels as codes.

        Returns
        -------
        posterior : ndarray of shape (n_samples, n_classes)
            Rows sum to 1; in the dtype of `probas`, float32 for half precision.
        """
        posterior = empty_beside(probas[0], probas[0].shape, _log_dtype(probas[0]))
        for rows in cache_blocks(posterior.shape):
            proba = np.exp(self.log_proba([each[rows] for each in probas]))
            posterior[rows] = normalize_rows(proba * self.noise_matrix.T[y[rows]])
        return posterior


def smooth(proba: FloatArray) -> FloatArray:
    """Mix a share of the uniform distribution into probabilities."""
    return (1.0 - SMOOTHING) * proba + SMOOTHING / proba.shape[1]


def smooth_log(proba: FloatArray) -> FloatArray:
    """Logarithm of probabilities that keep a share of the uniform distribution."""
    return np.log(smooth(proba))


def _smoothed(probas: Sequence[FloatArray], rows: Any = slice(None)) -> list[FloatArray]:
    """`smooth_log` of each model for the rows asked for: no second matrix is kept."""
    return [smooth_log(each[rows].astype(_log_dtype(each), copy=False)) for each in probas]


def _log_dtype(proba: FloatArray) -> np.dtype[Any]:
    return np.promote_types(proba.dtype, np.float32)


def fit_label_model(
    probas: Sequence[FloatArray],
    y: npt.NDArray[np.integer[Any]],
    *,
    sample_weight: FloatArray | None = None,
    min_iter: int = 10,
    max_iter: int = 40,
    pseudo_count: float = 30.0,
    power: float = 1.0,
    n_starts: int = 2,
) -> LabelModel:
    """Fit exponents, class shares and noise matrix to the given labels.

    Parameters
    ----------
    probas : sequence of ndarray of shape (n_samples, n_classes)
        Out-of-fold probabilities, a model each.
    y : ndarray of shape (n_samples,), dtype int
        Given labels as codes ``0..n_classes-1``.
    sample_weight : ndarray of shape (n_samples,), default=None
        Weights >= 0, in any unit; None weighs all alike.
    min_iter, max_iter : int, default=10 and 40
        Rounds of expectation-maximisation, at least and at most.  It ends early on purpose: the
        likeliest models are too sure, and too many labels wrong.  Between the two it goes on only
        while a round finds more of the labels right, by more than 0.3 % of the rows.
    pseudo_count : float, default=30.0
        Rows by which each row of the noise matrix is held to "kept, or moved to any class".
    power : float, default=1.0
        In the end the exponents are multiplied by it.  Surer models with more noise explain the
        given labels about as well as less sure ones with less noise; below 1 leans to the latter.
    n_starts : {1, 2}, default=2
        1 starts by taking the models at their word only, 2 the given labels too.

    Returns
    -------
    model : LabelModel

    Raises
    ------
    ValueError
        If a matrix does not hold probabilities, or `y` the codes of its columns.

    References
    ----------
    Miller, Dunson (2019). Robust Bayesian inference via coarsening. JASA 114, for the power.
    Dempster, Laird, Rubin (1977). Maximum likelihood from incomplete data via the EM algorithm.
    Northcutt, Jiang, Chuang (2021). Confident learning. JAIR 70.  Hong et al. (2025), D-SINK,
    arXiv:2510.08179, whose geometric mean of two models this extends by exponents and labels.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> true = rng.integers(2, size=1000)
    >>> given = np.where(rng.random(1000) < 0.2, 1 - true, true)
    >>> proba = np.where(true[:, None] == [0, 1], 0.8, 0.2)  # flattened by the noise
    >>> model = fit_label_model([proba], given)
    >>> model.noise_matrix.round(1)
    array([[0.8, 0.2],
           [0.2, 0.8]])
    >>> bool(np.mean(model.posterior.argmax(axis=1) == true) > 0.99)
    True
    """
    probas = [check_labeled(proba, y)[0] for proba in probas]
    y = np.asarray(y)
    n_samples, n_classes = probas[0].shape
    weight = np.ones(n_samples) if sample_weight is None else np.asarray(sample_weight)
    weight = weight / weight[weight > 0].mean()
    sample = _Sample.draw(probas, y, weight)
    joint = sample.count(np.ones(len(probas)), 0.0, None)
    found = _maximise(sample, joint, pseudo_count, min_iter, max_iter)
    given = sample.given_share
    if n_starts > 1:
        trusted = (1.0 - _DOUBT) * np.diag(given) + _DOUBT * np.outer(given, given)
        other = _maximise(sample, joint.sum() * trusted, pseudo_count, min_iter, max_iter)
        likelier = sample.log_likelihood(other) - sample.log_likelihood(found)
        totals, before = (each.joint.sum(axis=1) + _MORE_ROWS for each in (other, found))
        if likelier > _LIKELIER and np.all(totals <= _LARGER * before):
            found = other

    share = _smoothed_share(found.joint.sum(axis=1))
    exponents, prior_exponent = power * found.exponents, power * found.prior_exponent
    rows = sample.rows
    log_eta = np.empty((len(rows), n_classes), _log_dtype(probas[0]))
    for part in cache_blocks(log_eta.shape):
        some = [scores.astype(np.float64) for scores in _smoothed(probas, rows[part])]
        log_eta[part] = _pooled(exponents, some, prior_exponent * np.log(given))
    offset = _fit_offset(log_eta, share, sample.row_weight)
    del log_eta
    none = np.empty((0, n_classes))
    model = LabelModel(
        exponents, prior_exponent, given, share, found.noise_matrix, offset, none, found.n_iter
    )
    posterior = model.label(probas, y)
    share = _smoothed_share(column_totals(posterior, weight))
    return replace(model, class_share=share, posterior=posterior)


@dataclass(frozen=True)
class _Found:
    """Where expectation-maximisation ended."""

    exponents: FloatArray
    prior_exponent: float
    noise_matrix: FloatArray
    joint: FloatArray
    n_iter: int


@dataclass(frozen=True)
class _Sample:
    """Rows that the parameters are found by, and the fewer that are enough for the exponents."""

    probas: Sequence[FloatArray]
    y: npt.NDArray[np.integer[Any]]
    rows: npt.NDArray[np.intp]
    row_weight: FloatArray
    few: npt.NDArray[np.intp]
    few_weight: FloatArray
    few_scores: Sequence[FloatArray]
    given_share: FloatArray

    @classmethod
    def draw(
        cls,
        probas: Sequence[FloatArray],
        y: npt.NDArray[np.integer[Any]],
        weight: FloatArray,
    ) -> _Sample:
        """Take rows of positive weight, evenly over the classes; they stand for all of these."""
        n_classes = probas[0].shape[1]
        heavy = np.flatnonzero(weight > 0)
        rows = heavy[_some_rows(y[heavy], _MAX_ROWS)]
        # What is added as so many rows is weighed against all rows, not against those taken.
        row_weight = weight[rows] * (len(heavy) / weight[rows].sum())
        few = _some_rows(y[rows], max(_MAX_ENTRIES // n_classes, 1))
        few_weight, few = row_weight[few] / row_weight[few].mean(), rows[few]
        few_scores = _smoothed(probas, few)
        totals = np.bincount(y[heavy], weight[heavy], n_classes) / weight[heavy].mean()
        share = _smoothed_share(totals)
        return cls(probas, y, rows, row_weight, few, few_weight, few_scores, share)

    def count(
        self, exponents: FloatArray, prior_exponent: float, noise_matrix: FloatArray | None
    ) -> FloatArray:
        """Count the rows by what their posterior says they are and by what they were given."""
        n_classes = len(self.given_share)
        log_prior = prior_exponent * np.log(self.given_share)
        joint = np.zeros((n_classes, n_classes))
        for part in cache_blocks((len(self.rows), n_classes)):
            labels = self.y[self.rows[part]]
            given = None if noise_matrix is None else noise_matrix.T[labels]
            some = _smoothed(self.probas, self.rows[part])
            posterior = _posterior(exponents, some, log_prior, given)
            joint += joint_counts(posterior, labels, self.row_weight[part])
        return joint

    def few_posterior(
        self, exponents: FloatArray, prior_exponent: float, noise_matrix: FloatArray
    ) -> FloatArray:
        """Posterior of the rows that the exponents are fitted to."""
        log_prior = prior_exponent * np.log(self.given_share)
        posterior: FloatArray = np.empty((len(self.few), len(self.given_share)))
        for part in cache_blocks(posterior.shape):
            some = [scores[part] for scores in self.few_scores]
            given = noise_matrix.T[self.y[self.few[part]]]
            posterior[part] = _posterior(exponents, some, log_prior, given)
        return posterior

    def log_likelihood(self, found: _Found) -> float:
        """Mean log-probability of the given labels, of the rows that the exponents see."""
        log_prior = found.prior_exponent * np.log(self.given_share)
        total = 0.0
        for part in cache_blocks((len(self.few), len(self.given_share))):
            some = [scores[part] for scores in self.few_scores]
            proba = _posterior(found.exponents, some, log_prior, None)
            of_given = (proba * found.noise_matrix.T[self.y[self.few[part]]]).sum(axis=1)
            total += float(self.few_weight[part] @ np.log(of_given))
        return total / len(self.few)


def _maximise(
    sample: _Sample, joint: FloatArray, pseudo_count: float, min_iter: int, max_iter: int
) -> _Found:
    """Expectation-maximisation, from a noise matrix with the models taken at their word."""
    exponents: FloatArray = np.ones(len(sample.few_scores))
    prior_exponent = 0.0
    noise_matrix = noise_matrix_from_joint(joint, pseudo_count)
    n_iter, kept = 0, -1.0
    while n_iter < max_iter:
        n_iter += 1
        joint = sample.count(exponents, prior_exponent, noise_matrix)
        posterior = sample.few_posterior(exponents, prior_exponent, noise_matrix)
        noise_matrix = noise_matrix_from_joint(joint, pseudo_count)
        exponents, prior_exponent = _fit_exponents(sample, posterior, exponents, prior_exponent)
        before, kept = kept, joint.trace() / joint.sum()
        if n_iter >= min_iter and kept - before <= _SETTLED:
            break
    return _Found(exponents, prior_exponent, noise_matrix, joint, n_iter)


def _pooled(
    exponents: FloatArray, log_scores: Sequence[FloatArray], log_prior: FloatArray | float
) -> FloatArray:
    total = sum(t * scores for t, scores in zip(exponents, log_scores, strict=True))
    return log_softmax(np.asarray(total + log_prior))


def _posterior(
    exponents: FloatArray,
    log_scores: Sequence[FloatArray],
    log_prior: FloatArray | float,
    given: FloatArray | None,
) -> FloatArray:
    """Pool the models in float64, with the probability of the given labels or without."""
    doubled = [scores.astype(np.float64) for scores in log_scores]
    proba = np.exp(_pooled(exponents, doubled, log_prior))
    return proba if given is None else normalize_rows(proba * given)


def _smoothed_share(totals: npt.NDArray[Any]) -> FloatArray:
    """Shares of class totals with one row added to each, so that none vanishes."""
    return np.asarray((totals + 1.0) / (totals + 1.0).sum())


def _fit_exponents(
    sample: _Sample, posterior: FloatArray, exponents: FloatArray, prior_exponent: float
) -> tuple[FloatArray, float]:
    """Maximise the expected log-posterior in (t, a), held a little to where they are."""
    log_scores, log_share = sample.few_scores, np.log(sample.given_share)
    n_models, n_samples = len(log_scores), len(posterior)
    start = np.append(exponents, prior_exponent)
    mass = (sample.few_weight / n_samples)[:, None]
    prior = _PRECISION / sample.row_weight.sum()

    def negative(theta: FloatArray) -> tuple[float, FloatArray]:
        moved, powers = theta - start, theta[:-1]
        value = _RIDGE * moved @ moved + prior * powers @ powers / 2
        gradient = 2 * _RIDGE * moved
        gradient[:-1] += prior * powers
        for part in cache_blocks(posterior.shape):
            some = np.stack([scores[part] for scores in log_scores], dtype=np.float64)
            wanted = posterior[part] * mass[part]
            log_eta = log_softmax(np.tensordot(theta[:-1], some, 1) + theta[-1] * log_share)
            gap = mass[part] * np.exp(log_eta) - wanted
            value -= np.vdot(wanted, log_eta)
            gradient[:-1] += some.reshape(n_models, -1) @ gap.ravel()
            gradient[-1] += gap.sum(axis=0) @ log_share
        return float(value), gradient

    bounds = [(0.0, _MAX_EXPONENT)] * n_models + [(0.0, 1.0)]
    theta = minimize(
        negative, start, jac=True, bounds=bounds, method="L-BFGS-B", options={"maxiter": 20}
    ).x
    return theta[:-1], float(theta[-1])


def _fit_offset(log_eta: FloatArray, share: FloatArray, weight: FloatArray) -> FloatArray:
    """Minimise the semi-dual of the transport to the class shares, with a ridge on the offsets."""
    totals = share * weight.sum()

    def semi_dual(offset: FloatArray) -> tuple[float, FloatArray]:
        ridge = _OFFSET_ROWS * offset
        value, gradient = (ridge / 2 - totals) @ offset, ridge - totals
        for part in cache_blocks(log_eta.shape):
            shifted = log_eta[part] + offset
            normalizer = logsumexp(shifted, axis=1, keepdims=True)
            value += weight[part] @ normalizer[:, 0]
            gradient += weight[part] @ np.exp(shifted - normalizer)
        return float(value), gradient

    start = np.zeros(len(share))
    return np.asarray(minimize(semi_dual, start, jac=True, method="L-BFGS-B").x)


def _some_rows(y: npt.NDArray[np.integer[Any]], n_rows: int) -> npt.NDArray[np.intp]:
    """Return every k-th row in the order of the classes, which keeps their shares; or all rows.

    Within a class the order is random: every second row may be of another kind.
    """
    step = -(-len(y) // n_rows)
    if step == 1:
        return np.arange(len(y))
    order = np.random.RandomState(0).permutation(len(y))
    return order[np.argsort(y[order], kind="stable")][::step]
