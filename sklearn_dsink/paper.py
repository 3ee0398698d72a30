"""The settings under which DSinkClassifier is the published method."""

from __future__ import annotations

from typing import Any

#: The published method: ``DSinkClassifier(noise_aux=..., imb_aux=..., **PAPER)``.
PAPER: dict[str, Any] = {
    "alpha": 1.0,
    "cv": None,
    "class_prior": "train",
    "noise_correction": False,
    "refine": False,
    "class_marginal": "imb_aux",
    "base_loss": "cross_entropy",
    "prior_correction": False,
    "combine": False,
    "relaxation": None,
}
