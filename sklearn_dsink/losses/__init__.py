"""Classification losses on logits, one value a sample.

Each loss is a module whose ``forward(logits, labels)`` gives losses of shape (n_samples,) from
logits of shape (n_samples, n_classes) and int64 labels. With p the softmax of the logits z and y
the label, formulas below speak of p_y; they are computed from log p, so that no value or gradient
is lost where p_y is 0 or 1.

Besides ``forward`` a loss may use two hooks, which :class:`~sklearn_dsink.NetClassifier`, and
:class:`~sklearn_dsink.DSinkClassifier` for its `base_loss`, call:
``prepare(class_counts, n_samples)`` once before training, ``set_epoch(epoch, n_epochs)`` before
each epoch. A loss with ``needs_index`` receives the training row of each sample as a third
argument. :class:`WeightedMean` makes a loss a criterion for skorch.
"""

from __future__ import annotations

from ._base import CrossEntropy, SampleLoss, WeightedMean
from ._imbalance import LDAM, ClassBalanced, Focal, LogitAdjusted
from ._noise import AGCE, ELR, GCE, SCE, ActivePassive

__all__ = [
    "AGCE",
    "ELR",
    "GCE",
    "LDAM",
    "LOSSES",
    "SCE",
    "ActivePassive",
    "ClassBalanced",
    "CrossEntropy",
    "Focal",
    "LogitAdjusted",
    "SampleLoss",
    "WeightedMean",
]

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
