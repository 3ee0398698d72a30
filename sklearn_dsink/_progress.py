"""Progress of a long fit: a live bar in a terminal or a notebook, plain lines in a log file."""

from __future__ import annotations

import logging
import sys
import time
from typing import Any

from skorch.callbacks import Callback
from tqdm.auto import tqdm

logger = logging.getLogger("sklearn_dsink")

# Lines that a log file gets in place of a bar.
_N_LINES = 10


class Progress:
    """Count steps of one stage.

    Parameters
    ----------
    stage : str
        What is under way.
    total : int
        Steps to come.
    verbose : int
        0 shows nothing.
    """

    def __init__(self, stage: str, total: int, verbose: int) -> None:
        self.stage, self.total, self.verbose = stage, total, verbose
        self.done, self.skipped, self.start = 0, 0, time.perf_counter()
        self.bar: Any = None
        if verbose and (sys.stderr.isatty() or "ipykernel" in sys.modules):
            self.bar = tqdm(total=total, desc=stage)

    def skip(self, n_steps: int) -> None:
        """Count steps that an earlier run has done."""
        self.done += n_steps
        self.skipped += n_steps
        if self.bar is not None:
            self.bar.update(n_steps)

    def advance(self, **facts: float) -> None:
        """Count one step, and show the facts beside it."""
        self.done += 1
        shown = {key: f"{value:.3g}" for key, value in facts.items()}
        if self.bar is not None:
            self.bar.set_postfix(shown, refresh=False)
            self.bar.update()
        elif self.verbose and self.done * _N_LINES // self.total > (
            (self.done - 1) * _N_LINES // self.total
        ):
            seconds = time.perf_counter() - self.start
            left = seconds / (self.done - self.skipped) * (self.total - self.done)
            facts_text = "".join(f", {key} {value}" for key, value in shown.items())
            print(
                f"{self.stage} {self.done}/{self.total}{facts_text}, {left:.0f} s left",
                file=sys.stderr,
                flush=True,
            )

    def close(self) -> None:
        """End the stage."""
        logger.info(
            "%s: %d of %d done in %.1f s",
            self.stage,
            self.done,
            self.total,
            time.perf_counter() - self.start,
        )
        if self.bar is not None:
            self.bar.close()


class EpochProgress(Callback):
    """Show the target's epochs with their loss and the transport's error.

    Parameters
    ----------
    verbose : int
        0 shows nothing.
    """

    def __init__(self, verbose: int) -> None:
        self.verbose = verbose

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        """Open the stage."""
        self.progress_ = Progress("target epochs", net.max_epochs, self.verbose)

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Count an epoch."""
        latest = net.history[-1]
        keys = {"loss": "train_loss", "marginal_error": "marginal_error"}
        self.progress_.advance(
            **{name: latest[key] for name, key in keys.items() if key in latest}
        )

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        """Close the stage."""
        self.progress_.close()
