"""Losses that wrong labels disturb less than cross-entropy."""

from __future__ import annotations

import math

import torch
from torch.nn import functional as F

from ._base import SampleLoss, log_prob_of

#: -log of the floor 1e-4 that reverse cross-entropy puts under the one-hot label.
REVERSE_CE_SCALE = -math.log(1e-4)


class GCE(SampleLoss):
    """Generalised cross-entropy (1 - p_y^q) / q.

    Its gradient is cross-entropy's times p_y^q, so samples that the net disbelieves count less.
    With many classes p_y starts near 1 / n_classes and rare clean samples starve.

    Parameters
    ----------
    q : float, default=0.7
        In [0, 1]; 0 is cross-entropy (the limit), 1 is 1 - p_y, half the mean absolute error.
    truncation : float or None, default=None
        Samples with p_y up to this value have the constant loss (1 - truncation^q) / q and no
        gradient.
    truncate_from : float, default=1/3
        Share of the epochs after which truncation begins. Before it hardly any sample would pass.

    References
    ----------
    Z. Zhang, M. R. Sabuncu: Generalized Cross Entropy Loss for Training Deep Neural Networks with
    Noisy Labels. NeurIPS 2018. Equations 6 (loss) and 9 (truncation).
    """

    def __init__(
        self, q: float = 0.7, truncation: float | None = None, truncate_from: float = 1 / 3
    ) -> None:
        super().__init__()
        self.q = q
        self.truncation = truncation
        self.truncate_from = truncate_from
        self.truncating = truncation is not None

    def set_epoch(self, epoch: int, n_epochs: int) -> None:
        """Truncate from the chosen epoch on."""
        self.truncating = self.truncation is not None and epoch >= self.truncate_from * n_epochs

    def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return losses of shape (n_samples,)."""
        log_p = log_prob_of(logits, labels)
        if self.truncating and self.truncation is not None:
            log_p = log_p.clamp_min(math.log(self.truncation))
        return -log_p if self.q == 0 else -torch.expm1(self.q * log_p) / self.q


class SCE(SampleLoss):
    """Symmetric cross-entropy: -alpha log p_y + beta A (1 - p_y), with A = -log 1e-4.

    Parameters
    ----------
    alpha : float, default=0.1
        Weight of cross-entropy. Published: 0.1 for 10 classes, 6 for 100.
    beta : float, default=1.0
        Weight of reverse cross-entropy. Published: 1 for 10 classes, 0.1 for 100.

    References
    ----------
    Y. Wang, X. Ma, Z. Chen, Y. Luo, J. Yi, J. Bailey: Symmetric Cross Entropy for Robust Learning
    with Noisy Labels. ICCV 2019. Equations 6 and 7.
    """

    def __init__(self, alpha: float = 0.1, beta: float = 1.0) -> None:
        super().__init__()
        self.alpha = alpha
        self.beta = beta

    def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return losses of shape (n_samples,)."""
        log_p = log_prob_of(logits, labels)
        return -self.alpha * log_p - self.beta * REVERSE_CE_SCALE * torch.expm1(log_p)


class ActivePassive(SampleLoss):
    """Normalised plus reverse cross-entropy: alpha log p_y / sum_k log p_k + beta A (1 - p_y).

    Parameters
    ----------
    alpha : float, default=1.0
        Weight of the active, normalised cross-entropy. Published: 1 for 10 classes, 10 for 100.
    beta : float, default=1.0
        Weight of the passive, reverse cross-entropy. Published: 1 for 10 classes, 0.1 for 100.
    normalize_passive : bool, default=False
        Whether the passive term is (1 - p_y) / (n_classes - 1), which is reverse cross-entropy
        over its sum over all labels; A cancels.

    References
    ----------
    X. Ma, H. Huang, Y. Wang, S. Romano, S. Erfani, J. Bailey: Normalized Loss Functions for Deep
    Learning with Noisy Labels. ICML 2020. Equations 6 (normalised) and 10 (active-passive).
    """

    def __init__(
        self, alpha: float = 1.0, beta: float = 1.0, normalize_passive: bool = False
    ) -> None:
        super().__init__()
        self.alpha = alpha
        self.beta = beta
        self.normalize_passive = normalize_passive

    def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return losses of shape (n_samples,)."""
        log_p = F.log_softmax(logits, dim=1)
        log_py = log_p.gather(1, labels[:, None]).squeeze(1)
        scale = 1 / (logits.shape[1] - 1) if self.normalize_passive else REVERSE_CE_SCALE
        return self.alpha * log_py / log_p.sum(dim=1) - self.beta * scale * torch.expm1(log_py)


class AGCE(SampleLoss):
    """Asymmetric GCE: ((a + 1)^q - (a + p_y)^q) / q.

    Parameters
    ----------
    a : float, default=0.6
        Offset, above 0.
    q : float, default=0.6
        Exponent, above 0.

    References
    ----------
    X. Zhou, X. Liu, J. Jiang, X. Gao, X. Ji: Asymmetric Loss Functions for Learning with Noisy
    Labels. ICML 2021. Equation 17.
    """

    def __init__(self, a: float = 0.6, q: float = 0.6) -> None:
        super().__init__()
        self.a = a
        self.q = q

    def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return losses of shape (n_samples,)."""
        p = log_prob_of(logits, labels).exp()
        loss: torch.Tensor = ((self.a + 1) ** self.q - (self.a + p) ** self.q) / self.q
        return loss


class ELR(SampleLoss):
    """Early-learning regularisation: -log p_y + strength * log(1 - <t_i, p>).

    t_i is sample i's running mean of what the net has predicted for it,
    t_i <- memory t_i + (1 - memory) p, updated before the loss is taken, in training only. The
    term keeps the net at what it learnt first, before it memorises wrong labels.

    Parameters
    ----------
    strength : float, default=3.0
        lambda in the paper. Published: 3 for symmetric noise on 10 classes, 1 for asymmetric, 7
        for 100 classes.
    memory : float, default=0.7
        beta in the paper. Published: 0.7 for symmetric noise on 10 classes, else 0.9.

    Notes
    -----
    p is clamped to [1e-4, 1 - 1e-4] in the regulariser, and scaled back to sum 1 before it enters
    t, as in the authors' code; so the logarithm stays finite.

    References
    ----------
    S. Liu, J. Niles-Weed, N. Razavian, C. Fernandez-Granda: Early-Learning Regularization
    Prevents Memorization of Noisy Labels. NeurIPS 2020. Equations 6 (loss) and 9 (targets).
    """

    needs_index = True
    targets: torch.Tensor

    def __init__(self, strength: float = 3.0, memory: float = 0.7) -> None:
        super().__init__()
        self.strength = strength
        self.memory = memory
        self.register_buffer("targets", torch.zeros(0, 0), persistent=False)

    def prepare(self, class_counts: torch.Tensor, n_samples: int) -> None:
        """Start with an empty memory."""
        self.targets = torch.zeros(n_samples, len(class_counts))

    def forward(
        self, logits: torch.Tensor, labels: torch.Tensor, index: torch.Tensor
    ) -> torch.Tensor:
        """Return losses of shape (n_samples,) for the training rows `index`."""
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))  # 1 - 1e-4 is no half
        p = F.softmax(logits, dim=1).clamp(1e-4, 1 - 1e-4)
        if self.training:
            with torch.no_grad():
                seen = (p / p.sum(dim=1, keepdim=True)).to(self.targets.dtype)
                self.targets[index] = self.memory * self.targets[index] + (1 - self.memory) * seen
        agreement = (self.targets[index].to(p.dtype) * p).sum(dim=1)
        return F.cross_entropy(logits, labels, reduction="none") + self.strength * torch.log1p(
            -agreement
        )
