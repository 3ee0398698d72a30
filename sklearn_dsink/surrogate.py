"""Surrogate labels through time: f needs Q and Q needs f, so Q is renewed as f learns."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._arrays import FloatArray, column_totals, empty_beside
from .transport import TransportResult, floor_marginal, mean_log_proba, solve_labels

# The smallest float32 probability, as good as none. Nets whose inputs are not scaled may say less,
# and no class shares could be met with a row of -1e9.
_LOWEST_LOG = float(np.log(np.finfo(np.float32).tiny))


class SurrogateLabeler:
    """Solve the transport again and again, each time from where it ended before.

    Parameters
    ----------
    log_noise : ndarray of shape (n_samples, n_classes)
        Logarithm of the noise-robust auxiliary's probabilities of the training rows.
    class_marginal : ndarray of shape (n_classes,)
        Class shares that the labels must meet.
    sample_weight : ndarray of shape (n_samples,), default=None
        Masses of the rows.
    **options : dict
        `solver`, `relaxation`, `tol`, `max_iter` of `transport.solve`.

    Attributes
    ----------
    result : TransportResult
        The latest solution; its potentials start the next solve.  Not there before the first.

    Examples
    --------
    >>> import numpy as np
    >>> labeler = SurrogateLabeler(np.log([[0.8, 0.2], [0.6, 0.4]]), np.array([0.5, 0.5]))
    >>> rows, facts = labeler()
    >>> rows.mean(axis=0).round(3)
    array([0.5, 0.5])
    """

    result: TransportResult

    def __init__(
        self,
        log_noise: FloatArray,
        class_marginal: FloatArray,
        sample_weight: FloatArray | None = None,
        **options: Any,
    ) -> None:
        self.log_noise = log_noise
        self.class_marginal = class_marginal
        self.sample_weight = sample_weight
        self.options = options

    def shares(self, labels: FloatArray) -> FloatArray:
        """Return the class shares of labels: those asked for, unless the constraint is relaxed."""
        if self.options.get("relaxation") is None:
            return self.class_marginal
        totals = column_totals(labels, self.sample_weight)
        return floor_marginal(totals / totals.sum(), 0.5 / max(labels.shape))

    def __call__(
        self, log_target: FloatArray | None = None
    ) -> tuple[FloatArray, dict[str, float]]:
        """Label the training rows anew.

        Parameters
        ----------
        log_target : ndarray of shape (n_samples, n_classes), default=None
            Logarithm of what the target predicts now; overwritten by the labels.  Before it has
            learnt anything, None: the labels are then f_N's, with the class totals asked for.

        Returns
        -------
        labels : ndarray of shape (n_samples, n_classes)
            Rows sum to 1; `log_target` itself where that was given.
        facts : dict
            ``marginal_error`` and ``transport_n_iter``, for the history.
        """
        if log_target is not None:
            np.maximum(log_target, _LOWEST_LOG, out=log_target)
        scores = mean_log_proba(self.log_noise, log_target, out=log_target)
        if log_target is None:  # the scores are log_noise, which the next renewal still needs
            out = empty_beside(scores, scores.shape, scores.dtype)
        else:
            out = scores
        labels, self.result = solve_labels(
            scores,
            self.class_marginal,
            out=out,
            sample_weight=self.sample_weight,
            init=self.result.potentials if hasattr(self, "result") else None,
            **self.options,
        )
        facts = {
            "marginal_error": self.result.marginal_error,
            "transport_n_iter": float(self.result.n_iter),
        }
        return labels, facts
