"""Two nets in one module, for methods in which nets teach each other."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from ..nets import TabularNet


class TwinNet(nn.Module):
    """Two tabular nets that differ in their initial weights and dropout only.

    In training `forward` gives the logits of both, shape (n_samples, 2, n_classes). In evaluation
    it gives the logarithm of their mean probabilities, shape (n_samples, n_classes).

    Parameters
    ----------
    **options : dict
        Those of :class:`~sklearn_dsink.nets.TabularNet`.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.nets = nn.ModuleList([TabularNet(**options), TabularNet(**options)])

    def both(self, X: torch.Tensor) -> torch.Tensor:
        """Return the logits of both nets, shape (n_samples, 2, n_classes)."""
        return torch.stack([net(X) for net in self.nets], dim=1)

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        """Return both nets' logits in training, the log of their mean probabilities else."""
        logits = self.both(X)
        if self.training:
            return logits
        return torch.logsumexp(F.log_softmax(logits, dim=2), dim=1) - math.log(2)


def twin_cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of each sample under each net, shape (n_samples, 2)."""
    return F.cross_entropy(logits.transpose(1, 2), labels[:, None].expand(-1, 2), reduction="none")
