"""Scores for the transport, and class shares that are not theirs."""

from __future__ import annotations

import numpy as np
from scipy.special import log_softmax


def make_scores(n_samples=200, n_classes=6, sharpness=1.0, seed=0):
    """Return scores of two experts that know the class, and shares neither of them has."""
    rng = np.random.default_rng(seed)
    prior = 0.5 ** np.linspace(0, 5, n_classes)
    y = rng.choice(n_classes, n_samples, p=prior / prior.sum())
    logits = rng.normal(size=(2, n_samples, n_classes))
    logits[:, np.arange(n_samples), y] += 2
    scores = log_softmax(sharpness * logits, axis=2).mean(axis=0)
    marginal = prior**0.5
    return scores, marginal / marginal.sum()
