"""What tells a loss that changes in training which epoch begins."""

from __future__ import annotations

from typing import Any

from skorch.callbacks import Callback

from .losses import SampleLoss


class LossEpochs(Callback):
    """Tell the loss in a net's criterion which epoch begins.

    Epochs count from the net's first one, also where a training goes on: the phases of a loss that
    are over do not come again.
    """

    def on_epoch_begin(self, net: Any, **kwargs: Any) -> None:
        """Pass on the number of finished epochs and of all epochs."""
        criterion = getattr(net.criterion_, "_orig_mod", net.criterion_)  # before torch.compile
        for loss in criterion.children():
            if isinstance(loss, SampleLoss):  # what is inside it is its own to tell
                loss.set_epoch(len(net.history) - 1, net.max_epochs)
