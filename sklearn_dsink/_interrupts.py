"""Ctrl-C while a net is trained: skorch takes it for the end of the training, we do not.

skorch's callbacks end a training by raising KeyboardInterrupt, so its ``fit`` swallows any, the
user's too, and leaves a net that is trained in part and passes for fitted.
"""

from __future__ import annotations

import dis
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from skorch import NeuralNet
from skorch.callbacks import Callback


@contextmanager
def ended_by_callbacks() -> Iterator[None]:
    """Take the end that a callback asks for as that of the block; raise any other interrupt."""
    try:
        yield
    except KeyboardInterrupt as error:
        if not _asked_for(error):
            raise


def train_net(net: NeuralNet, X: Any, y: Any, n_epochs: int | None = None) -> None:
    """Fit a net as its own ``fit`` does, but let a user's Ctrl-C out.

    Parameters
    ----------
    net : NeuralNet
        Initialized.
    X, y : object
        As ``fit`` takes them.
    n_epochs : int, default=None
        Epochs to train for; all of ``max_epochs`` if None.
    """
    net.notify("on_train_begin", X=X, y=y)
    with ended_by_callbacks():
        net.fit_loop(X, y, epochs=n_epochs)
    net.notify("on_train_end", X=X, y=y)


class _Interrupt(BaseException):
    """The user's Ctrl-C under a name that skorch lets through."""


@contextmanager
def letting_interrupts_out(net: NeuralNet) -> Iterator[None]:
    """Let a user's Ctrl-C out of the net's own ``fit``, for those who do not call it themselves.

    Parameters
    ----------
    net : NeuralNet
        Fitted inside the block, such as by the pipeline that it is a step of.
    """

    def fit_loop(*args: Any, **kwargs: Any) -> NeuralNet:
        try:
            with ended_by_callbacks():
                type(net).fit_loop(net, *args, **kwargs)
        except KeyboardInterrupt as error:
            raise _Interrupt from error
        return net

    net.fit_loop = fit_loop
    try:
        yield
    except _Interrupt as interrupt:
        raise KeyboardInterrupt from interrupt
    finally:
        del net.fit_loop


def _asked_for(error: KeyboardInterrupt) -> bool:
    """Whether a callback's own ``raise`` made it, amid which no Ctrl-C can come."""
    place = error.__traceback__
    assert place is not None  # it was caught
    while place.tb_next is not None:
        place = place.tb_next
    frame = place.tb_frame
    raised = frame.f_code.co_code[place.tb_lasti] == dis.opmap["RAISE_VARARGS"]
    return raised and isinstance(frame.f_locals.get("self"), Callback)
