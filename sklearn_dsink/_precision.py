"""Mixed precision of a net: the format in which layers compute, and what float16 asks for besides.

Gradients below 6e-8 are zero in float16.  The loss is therefore multiplied by a large scale before
the backward pass, and the weights' gradients, which are float32, are divided by it before anybody
looks at them.  A step whose gradients overflowed is left out, and the scale halved.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from skorch import NeuralNetClassifier
from skorch.dataset import unpack_data
from torch.amp.grad_scaler import GradScaler

_DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


def check_autocast(autocast: str | None) -> None:
    """Raise a ValueError unless `autocast` is None or names a format of mixed precision."""
    if autocast not in (None, *_DTYPES):
        raise ValueError(f"autocast must be None, 'bfloat16' or 'float16', got {autocast!r}.")


def computing_in(autocast: str | None, device: torch.device) -> AbstractContextManager[Any]:
    """Let torch's operations inside the block compute in this format; None changes nothing."""
    if autocast is None:
        return nullcontext()
    return torch.autocast(device.type, dtype=_DTYPES[autocast])


class LossScalingNet(NeuralNetClassifier):
    """A skorch classifier that scales its loss where its module computes in float16.

    The module says so by an attribute ``autocast="float16"``; any other is trained as skorch's own
    classifier trains it.  Callbacks see gradients that are not scaled.

    Attributes
    ----------
    grad_scaler_ : torch.amp.GradScaler or None
        Holds the scale; None where gradients are not scaled.

    skipped_steps_ : int
        Steps of the latest epoch that were left out; the history has them for each epoch.
    """

    def initialize_optimizer(self, *args: Any, **kwargs: Any) -> LossScalingNet:
        """Initialize the optimizer, and the scale with it."""
        super().initialize_optimizer(*args, **kwargs)
        scaled = getattr(self.module_, "autocast", None) == "float16"
        self.grad_scaler_ = self._new_scaler() if scaled else None
        self.skipped_steps_ = 0
        return self

    def _new_scaler(self) -> GradScaler:
        return GradScaler(next(self.module_.parameters()).device.type)

    def train_step_single(self, batch: Any, **fit_params: Any) -> dict[str, Any]:
        """Compute the loss and its gradients, as skorch does but for the scale."""
        if self.grad_scaler_ is None:
            return super().train_step_single(batch, **fit_params)
        self._set_training(True)
        Xi, yi = unpack_data(batch)
        y_pred = self.infer(Xi, **fit_params)
        loss = self.get_loss(y_pred, yi, X=Xi, training=True)
        self.grad_scaler_.scale(loss).backward()
        for optimizer in self._all_optimizers():
            self.grad_scaler_.unscale_(optimizer)
        return {"loss": loss, "y_pred": y_pred}

    def _all_optimizers(self) -> list[torch.optim.Optimizer]:
        return [getattr(self, f"{name}_") for name in self._optimizers]

    def _step_optimizer(self, step_fn: Callable[[], torch.Tensor]) -> None:
        scaler = self.grad_scaler_
        if scaler is None:
            super()._step_optimizer(step_fn)
            return
        optimizers = self._all_optimizers()
        try:
            if any(map(_needs_closure, optimizers)):
                super()._step_optimizer(partial(self._finite, scaler, step_fn))
                return
            step_fn()
            for optimizer in optimizers:
                scaler.step(optimizer)
            self.skipped_steps_ += self._overflowed(scaler)
        except BaseException:
            # Amid a step a scaler can be neither pickled nor used again, and skorch's trainings
            # may be ended there by a KeyboardInterrupt and gone on with later.
            self.grad_scaler_ = self._new_scaler()
            self.grad_scaler_.load_state_dict(scaler.state_dict())
            raise

    def _finite(self, scaler: GradScaler, step_fn: Callable[[], torch.Tensor]) -> torch.Tensor:
        """Evaluate until the gradients are finite: amid a line search no step can be left out."""
        loss = step_fn()
        while self._overflowed(scaler):
            loss = step_fn()
        return loss

    def _overflowed(self, scaler: GradScaler) -> bool:
        """Let the scale follow the gradients, and tell whether these were infinite or NaN."""
        before = scaler.get_scale()
        scaler.update()
        scale = scaler.get_scale()
        if scale < 1:
            raise ValueError(
                "autocast='float16': gradients are infinite or NaN even where the loss is not "
                "scaled, so that no step can be taken. Use autocast='bfloat16' or None, lower the "
                f"learning rate (lr={self.lr}), or check X for huge values."
            )
        return scale < before

    def on_epoch_begin(self, *args: Any, **kwargs: Any) -> None:
        """Count from zero."""
        super().on_epoch_begin(*args, **kwargs)
        self.skipped_steps_ = 0

    def on_epoch_end(self, *args: Any, **kwargs: Any) -> None:
        """Write into the history how many steps were left out; an epoch without any is told."""
        super().on_epoch_end(*args, **kwargs)
        if self.grad_scaler_ is None:
            return
        self.history.record("skipped_steps", self.skipped_steps_)
        if 0 < self.skipped_steps_ == self.history[-1, "train_batch_count"]:
            warnings.warn(
                f"autocast='float16': nothing was learned in epoch {len(self.history)}, since the "
                f"gradients of all its steps ({self.skipped_steps_}) overflowed. The scale of the "
                f"loss is down to {self.grad_scaler_.get_scale():g}; if this goes on, use "
                "autocast='bfloat16' or None.",
                UserWarning,
                stacklevel=2,
            )


def check_scales(net_class: type[NeuralNetClassifier]) -> None:
    """Raise a ValueError unless nets of this class scale their loss."""
    if not issubclass(net_class, LossScalingNet):
        raise ValueError(
            f"autocast='float16' needs a net that scales its loss, and {net_class.__name__} does "
            "not; use autocast='bfloat16' or None, or a net of sklearn_dsink.nets.make_net."
        )


def _needs_closure(optimizer: torch.optim.Optimizer) -> bool:
    """Whether it evaluates the loss itself, as LBFGS does, several times a step."""
    closure = inspect.signature(optimizer.step).parameters.get("closure")
    return closure is not None and closure.default is inspect.Parameter.empty
