"""What a user's skorch net becomes to learn as a target: ours in loss and loaders, its own else.

Its batches have a dict as their y, which only our criterion reads; what of the net asks for labels
is given the user's, as codes.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sklearn.base import clone
from skorch import NeuralNetClassifier
from skorch.dataset import ValidSplit
from torch import nn
from torch.utils.data import DataLoader

from ._label_scores import scores_labels
from .iterators import TensorIterator
from .nets import softmax_of_logits

# What a user's options of a loader may be for ours to do the same, faster.
_OUR_OPTIONS = {"batch_size", "shuffle", "drop_last"}


@dataclass
class _SplitByLabel:
    """Let the net's own train split, which stratifies by y, see the labels alone."""

    split: Any

    def __call__(self, dataset: Any, y: Any = None, **params: Any) -> Any:
        train, valid = self.split(dataset, y["label"], **params)
        if valid and not isinstance(valid[0][1], Mapping):
            raise ValueError(
                "target: its train_split gives rows of its own as the validation part, which have "
                "no surrogate labels for its valid_loss. Hold back some of the training rows "
                "instead, by train_split=skorch.dataset.ValidSplit(...)."
            )
        return train, valid


def module_outputs(net: NeuralNetClassifier) -> str:
    """Tell from a net's own criterion what its module returns: skorch's NLLLoss takes the log."""
    criterion = net.criterion if isinstance(net.criterion, type) else type(net.criterion)
    return "proba" if issubclass(criterion, nn.NLLLoss) else "logits"


def _watches_validation(net: NeuralNetClassifier) -> bool:
    callbacks = [c[1] if isinstance(c, tuple) else c for c in net.callbacks or []]
    return any(
        str(getattr(c, "monitor", "")).startswith("valid") or (scores_labels(c) and not c.on_train)
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
    net: NeuralNetClassifier, criterion: Callable[[], nn.Module], n_classes: int
) -> NeuralNetClassifier:
    """Clone a skorch classifier and give the clone our criterion, label codes and fast loaders.

    Parameters
    ----------
    net : NeuralNetClassifier
        Unfitted or fitted; stays as it is.
    criterion : callable
        Makes the loss of the clone.
    n_classes : int
        Number of classes, which are codes to the clone.

    Returns
    -------
    net : NeuralNetClassifier
        Unfitted.

    Raises
    ------
    ValueError
        If workers of its loaders are to persist.
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
    copy.set_params(
        criterion=criterion, train_split=_train_split(net), classes=list(range(n_classes))
    )
    # skorch infers it from the criterion, which is ours now.
    if copy.predict_nonlinearity == "auto" and module_outputs(net) == "logits":
        copy.set_params(predict_nonlinearity=softmax_of_logits)
    for loader in ("iterator_train", "iterator_valid"):
        options = copy.get_params_for(loader)
        if options.get("persistent_workers"):
            raise ValueError(
                f"target: with {loader}__persistent_workers=True its workers keep the first "
                "surrogate labels, which are renewed as the net learns. Leave it out: workers "
                "then start anew with each epoch."
            )
        if getattr(copy, loader) is DataLoader and options.keys() <= _OUR_OPTIONS:
            copy.set_params(**{loader: TensorIterator})
    return copy
