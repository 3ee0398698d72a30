"""Classification losses on logits, one value a sample.

Each loss is a module whose ``forward(logits, labels)`` gives losses of shape (n_samples,) from
logits of shape (n_samples, n_classes) and int64 labels. With p the softmax of the logits z and y
the label, formulas below speak of p_y; they are computed from log p, so that no value or gradient
is lost where p_y is 0 or 1.

Besides ``forward`` a loss may use two hooks, which :class:`~sklearn_dsink.NetClassifier` calls:
``prepare(class_counts, n_samples)`` once before training, ``set_epoch(epoch, n_epochs)`` before
each epoch. A loss with ``needs_index`` receives the training row of each sample as a third
argument. :class:`WeightedMean` makes a loss a criterion for skorch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

#: -log of the floor 1e-4 that reverse cross-entropy puts under the one-hot label.
REVERSE_CE_SCALE = -math.log(1e-4)


def log_prob_of(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Log-probability of each sample's label, shape (n_samples,)."""
    return -F.cross_entropy(logits, labels, reduction="none")


def soft_cross_entropy(logits: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Cross-entropy with a distribution over classes as the label: -sum_k q_k log p_k.

    Parameters
    ----------
    logits : tensor of shape (n_samples, n_classes)
        Logits.
    rows : tensor of shape (n_samples, n_classes)
        Label distributions q.

    Returns
    -------
    loss : tensor of shape (n_samples,)
    """
    return F.cross_entropy(logits, rows, reduction="none")


def effective_number_weights(class_counts: torch.Tensor, beta: float = 0.9999) -> torch.Tensor:
    """Class weights (1 - beta) / (1 - beta^n_c), scaled to a mean of 1 over the samples.

    Parameters
    ----------
    class_counts : tensor of shape (n_classes,)
        Samples n_c of each class; a class without samples weighs as much as one with one.
    beta : float, default=0.9999
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
    # (1 - beta) is common to all and cancels in the scaling; expm1 keeps beta near 1 exact.
    effective = -torch.expm1(counts * math.log(beta)) if beta > 0 else torch.ones_like(counts)
    weights = 1 / effective
    weights = weights * (class_counts.sum() / (class_counts * weights).sum())
    return weights.to(class_counts.dtype)


class SampleLoss(nn.Module):
    """Base of the losses: what a criterion and a classifier may rely on."""

    needs_index = False

    def prepare(self, class_counts: torch.Tensor, n_samples: int) -> None:
        """Learn the sizes of the classes and of the training set; called before training.

        Parameters
        ----------
        class_counts : tensor of shape (n_classes,)
            Samples of each class, or their summed weights.
        n_samples : int
            Number of rows that an index can name.
        """

    def set_epoch(self, epoch: int, n_epochs: int) -> None:
        """Learn that `epoch` of `n_epochs` epochs are done; called before each."""


class WeightedMean(nn.Module):
    """Criterion: the weighted mean of a loss over a batch.

    Parameters
    ----------
    loss : SampleLoss
        Loss of single samples.

    Notes
    -----
    As its second argument it takes labels, or what skorch makes of a dict: ``label`` and
    optionally ``weight`` and ``index``. A batch whose weights are all zero has loss 0.
    """

    def __init__(self, loss: SampleLoss) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, logits: torch.Tensor, target: Any) -> torch.Tensor:
        """Return a scalar."""
        if not isinstance(target, Mapping):
            target = {"label": target}
        index = (target["index"],) if self.loss.needs_index else ()
        losses: torch.Tensor = self.loss(logits, target["label"], *index)
        if "weight" not in target:
            return losses.mean()
        weight = target["weight"].to(losses.dtype)
        total = weight.sum().clamp_min(torch.finfo(losses.dtype).tiny)
        return (weight * losses).sum() / total


class CrossEntropy(SampleLoss):
    """-log p_y, or with label smoothing e: -(1 - e) log p_y - e mean_k log p_k.

    Parameters
    ----------
    label_smoothing : float, default=0.0
        e above, in [0, 1].
    """

    def __init__(self, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing

    def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return losses of shape (n_samples,)."""
        return F.cross_entropy(
            logits, labels, reduction="none", label_smoothing=self.label_smoothing
        )


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
        p = F.softmax(logits, dim=1).clamp(1e-4, 1 - 1e-4)
        if self.training:
            with torch.no_grad():
                seen = (p / p.sum(dim=1, keepdim=True)).to(self.targets.dtype)
                self.targets[index] = self.memory * self.targets[index] + (1 - self.memory) * seen
        agreement = (self.targets[index].to(p.dtype) * p).sum(dim=1)
        return F.cross_entropy(logits, labels, reduction="none") + self.strength * torch.log1p(
            -agreement
        )


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
        As in :func:`effective_number_weights`.
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
        self.class_weights = effective_number_weights(class_counts, self.beta)

    def set_epoch(self, epoch: int, n_epochs: int) -> None:
        """Weigh from the chosen epoch on."""
        self.loss.set_epoch(epoch, n_epochs)
        self.weighing = epoch >= self.start * n_epochs

    def forward(self, logits: torch.Tensor, labels: torch.Tensor, *index: Any) -> torch.Tensor:
        """Return losses of shape (n_samples,)."""
        losses: torch.Tensor = self.loss(logits, labels, *index)
        return losses * self.class_weights[labels].to(losses.dtype) if self.weighing else losses


#: Losses by name, with their published defaults.
LOSSES: dict[str, type[SampleLoss]] = {
    "cross_entropy": CrossEntropy,
    "gce": GCE,
    "sce": SCE,
    "active_passive": ActivePassive,
    "agce": AGCE,
    "elr": ELR,
    "logit_adjusted": LogitAdjusted,
    "focal": Focal,
    "ldam": LDAM,
    "class_balanced": ClassBalanced,
}
