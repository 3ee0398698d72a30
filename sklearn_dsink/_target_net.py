"""What a user's skorch net becomes to learn as a target: ours in loss and loaders, its own else.

Its batches have a dict as their y, which only our criterion reads; what of the net asks for labels
is given the user's, as codes.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sklearn.base import clone
from skorch import NeuralNetClassifier
from skorch.callbacks import BatchScoring, EpochScoring
from skorch.dataset import ValidSplit
from skorch.utils import to_numpy
from torch import nn
from torch.utils.data import DataLoader

from .iterators import TensorIterator


@dataclass
class _SplitByLabel:
    """Let the net's own train split, which stratifies by y, see the labels alone."""

    split: Any

    def __call__(self, dataset: Any, y: Any = None, **params: Any) -> Any:
        return self.split(dataset, y["label"], **params)


def given_labels(target: Any) -> Any:
    """Give the labels of a batch, or of all rows, as a scorer wants them."""
    return to_numpy(target["label"])


def module_outputs(net: NeuralNetClassifier) -> str:
    """Tell from a net's own criterion what its module returns: skorch's NLLLoss takes the log."""
    criterion = net.criterion if isinstance(net.criterion, type) else type(net.criterion)
    return "proba" if issubclass(criterion, nn.NLLLoss) else "logits"


def _scores_labels(callback: Any) -> bool:
    return isinstance(callback, EpochScoring | BatchScoring)


def score_by_labels(net: NeuralNetClassifier) -> None:
    """Let the callbacks of an initialized net score it by the given labels."""
    for _, callback in net.callbacks_:
        if _scores_labels(callback) and callback.target_extractor is to_numpy:
            callback.target_extractor = given_labels


def _watches_validation(net: NeuralNetClassifier) -> bool:
    callbacks = [c[1] if isinstance(c, tuple) else c for c in net.callbacks or []]
    return any(
        str(getattr(c, "monitor", "")).startswith("valid")
        or (_scores_labels(c) and not c.on_train)
        for c in callbacks
    )


def _train_split(net: NeuralNetClassifier) -> Any:
    """Keep the net's validation part if somebody looks at it; skorch's default holds back a fifth.

    Rows held back teach the target nothing, so skorch's untouched default counts only when a
    callback such as EarlyStopping watches a validation score.
    """
    split = net.train_split
    untouched = (
        isinstance(split, ValidSplit)
        and (split.cv, split.stratified, split.random_state) == (5, True, None)
        and not _watches_validation(net)
    )
    return None if split is None or untouched else _SplitByLabel(split)


def prepare_net(
    net: NeuralNetClassifier, criterion: Callable[[], nn.Module]
) -> NeuralNetClassifier:
    """Clone a skorch classifier and give the clone our criterion and fast loaders.

    Parameters
    ----------
    net : NeuralNetClassifier
        Unfitted or fitted; stays as it is.
    criterion : callable
        Makes the loss of the clone.

    Returns
    -------
    net : NeuralNetClassifier
        Unfitted.
    """
    copy = clone(net)
    own = sorted(name for name in vars(copy) if name.startswith("criterion__"))
    if own:
        warnings.warn(
            f"target: its loss is replaced by D-SINK's, so {', '.join(own)} has no effect; "
            "pass a loss by base_loss instead.",
            UserWarning,
            stacklevel=2,
        )
        for name in own:
            delattr(copy, name)
    copy.set_params(criterion=criterion, train_split=_train_split(net))
    for loader in ("iterator_train", "iterator_valid"):
        if getattr(copy, loader) is DataLoader:
            copy.set_params(**{loader: TensorIterator})
    return copy
