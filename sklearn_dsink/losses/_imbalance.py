"""Losses that give small classes their due."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.nn import functional as F

from ._base import CrossEntropy, SampleLoss, log_prob_of


def inverse_effective_number(class_counts: torch.Tensor, beta: float) -> torch.Tensor:
    """Return 1 / (1 - beta^n_c) up to a common factor: 1 at beta = 0, 1 / n_c at beta = 1."""
    if beta == 0:
        return torch.ones_like(class_counts)
    # expm1 keeps beta near 1 exact
    return 1 / (class_counts if beta == 1 else -torch.expm1(class_counts * math.log(beta)))


def mean_one_weights(class_counts: torch.Tensor, beta: float) -> torch.Tensor:
    """Class weights (1 - beta) / (1 - beta^n_c), scaled to a mean of 1 over the samples.

    Parameters
    ----------
    class_counts : tensor of shape (n_classes,)
        Samples n_c of each class; a class without samples weighs as much as one with one.
    beta : float
        0 weighs classes alike; towards 1 the weights tend to 1 / n_c.

    Returns
    -------
    weights : tensor of shape (n_classes,)

    References
    ----------
    Y. Cui, M. Jia, T.-Y. Lin, Y. Song, S. Belongie: Class-Balanced Loss Based on Effective Number
    of Samples. CVPR 2019. Equation 2 and section 4.
    """
    counts = class_counts.double().clamp_min(1.0)
    weights = inverse_effective_number(counts, beta)  # what is common to all cancels below
    weights = weights * (class_counts.sum() / (class_counts * weights).sum())
    return weights.to(torch.promote_types(class_counts.dtype, torch.float32))


class LogitAdjusted(SampleLoss):
    """Cross-entropy of z + tau log pi, with pi the class shares of the training labels.

    The net's own logits z then answer for balanced classes. At tau = 1 this is the balanced
    softmax loss; at tau = 0 it is cross-entropy.

    Parameters
    ----------
    tau : float, default=1.0
        Strength of the adjustment.
    prior : tensor of shape (n_classes,) or None, default=None
        pi; None takes the shares of the labels (which label noise flattens).

    References
    ----------
    A. K. Menon et al.: Long-tail learning via logit adjustment. ICLR 2021. Equation 10.
    J. Ren et al.: Balanced Meta-Softmax for Long-Tailed Visual Recognition. NeurIPS 2020.
    Equation 4.
    """

    log_prior: torch.Tensor

    def __init__(self, tau: float = 1.0, prior: torch.Tensor | None = None) -> None:
        super().__init__()
        self.tau = tau
        self.prior = prior
        self.register_buffer("log_prior", torch.zeros(1))

    def prepare(self, class_counts: torch.Tensor, n_samples: int) -> None:
        """Take the class shares; a class without samples counts as one with half a sample."""
        prior = class_counts.clamp_min(0.5) if self.prior is None else self.prior
        self.log_prior = torch.log(prior / prior.sum())

    def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return losses of shape (n_samples,)."""
        adjusted = logits + self.tau * self.log_prior.to(logits.dtype)
        return F.cross_entropy(adjusted, labels, reduction="none")


class Focal(SampleLoss):
    """-(1 - p_y)^gamma log p_y: samples already right count less.

    Parameters
    ----------
    gamma : float, default=2.0
        Not negative; 0 is cross-entropy.

    References
    ----------
    T.-Y. Lin, P. Goyal, R. Girshick, K. He, P. Dollar: Focal Loss for Dense Object Detection.
    ICCV 2017. Equation 4.
    """

    def __init__(self, gamma: float = 2.0) -> None:
        super().__init__()
        self.gamma = gamma

    def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return losses of shape (n_samples,)."""
        log_p = log_prob_of(logits, labels)
        # The floor keeps the derivative of the power finite at p_y = 1 when gamma < 1.
        wrong = -torch.expm1(log_p).clamp_max(-torch.finfo(log_p.dtype).eps)
        return -(wrong**self.gamma) * log_p


class LDAM(SampleLoss):
    """Label-distribution-aware margin: cross-entropy after taking scale * m_y off z_y.

    m_c = max_margin n_c^(-1/4) / max_k n_k^(-1/4), so rare classes have to win by more. Made for
    a cosine head whose logits are `scale` times cosines.

    Parameters
    ----------
    max_margin : float, default=0.5
        Margin of the rarest class, in units of cosine.
    scale : float, default=30.0
        Scale of the cosine head.

    References
    ----------
    K. Cao, C. Wei, A. Gaidon, N. Arechiga, T. Ma: Learning Imbalanced Datasets with
    Label-Distribution-Aware Margin Loss. NeurIPS 2019. Equations 12 and 13.
    """

    margins: torch.Tensor

    def __init__(self, max_margin: float = 0.5, scale: float = 30.0) -> None:
        super().__init__()
        self.max_margin = max_margin
        self.scale = scale
        self.register_buffer("margins", torch.zeros(0))

    def prepare(self, class_counts: torch.Tensor, n_samples: int) -> None:
        """Take the margins from the class sizes."""
        margins = class_counts.clamp_min(1.0) ** -0.25
        self.margins = self.max_margin * margins / margins.max()

    def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return losses of shape (n_samples,)."""
        margins = F.one_hot(labels, logits.shape[1]) * self.margins.to(logits.dtype)
        return F.cross_entropy(logits - self.scale * margins, labels, reduction="none")


class ClassBalanced(SampleLoss):
    """Another loss times the effective-number weight of the sample's class.

    Around cross-entropy it is class-balanced re-weighting; around LDAM, with ``start=0.8``, it is
    LDAM with deferred re-weighting (LDAM-DRW).

    Parameters
    ----------
    loss : SampleLoss or None, default=None
        The loss to weigh; None is cross-entropy.
    beta : float, default=0.9999
        As in :func:`sklearn_dsink.imbalance.effective_number_weights`.
    start : float, default=0.0
        Share of the epochs after which the weights apply.

    References
    ----------
    Y. Cui et al.: Class-Balanced Loss Based on Effective Number of Samples. CVPR 2019.
    K. Cao et al.: Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss.
    NeurIPS 2019. Algorithm 1.
    """

    class_weights: torch.Tensor

    def __init__(
        self, loss: SampleLoss | None = None, beta: float = 0.9999, start: float = 0.0
    ) -> None:
        super().__init__()
        self.loss = CrossEntropy() if loss is None else loss
        self.beta = beta
        self.start = start
        self.needs_index = self.loss.needs_index
        self.weighing = start == 0
        self.register_buffer("class_weights", torch.ones(0))

    def prepare(self, class_counts: torch.Tensor, n_samples: int) -> None:
        """Take the weights from the class sizes."""
        self.loss.prepare(class_counts, n_samples)
        self.class_weights = mean_one_weights(class_counts, self.beta)

    def set_epoch(self, epoch: int, n_epochs: int) -> None:
        """Weigh from the chosen epoch on."""
        self.loss.set_epoch(epoch, n_epochs)
        self.weighing = epoch >= self.start * n_epochs

    def forward(self, logits: torch.Tensor, labels: torch.Tensor, *index: Any) -> torch.Tensor:
        """Return losses of shape (n_samples,)."""
        losses: torch.Tensor = self.loss(logits, labels, *index)
        return losses * self.class_weights[labels].to(losses.dtype) if self.weighing else losses
