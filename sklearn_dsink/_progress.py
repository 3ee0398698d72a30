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

# Columns of the table of epochs: what the history calls them, and how they are written.
_COLUMNS = {
    "epoch": ("epoch", "{:d}"),
    "train_loss": ("train loss", "{:.4g}"),
    "valid_loss": ("valid loss", "{:.4g}"),
    "marginal_error": ("marginal error", "{:.1e}"),
    "labels_moved": ("labels moved", "{:.2%}"),
    "dur": ("seconds", "{:.2f}"),
}


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

    def advance(self, *, line: str = "", **facts: float) -> None:
        """Count one step, and show the facts beside it; a line of a table stays where it is."""
        self.done += 1
        shown = {key: f"{value:.3g}" for key, value in facts.items()}
        if line:
            tqdm.write(line, file=sys.stderr)
        if self.bar is not None:
            self.bar.set_postfix(shown, refresh=False)
            self.bar.update()
        elif (
            self.verbose
            and not line
            and self.done * _N_LINES // self.total > ((self.done - 1) * _N_LINES // self.total)
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
        0 shows nothing, 1 a bar, 2 a table with a line an epoch as well.
    """

    def __init__(self, verbose: int) -> None:
        self.verbose = verbose

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        """Open the stage."""
        self.progress_ = Progress("target epochs", net.max_epochs, self.verbose)
        self.columns_ = [key for key in _COLUMNS if key != "valid_loss" or net.train_split]
        if self.verbose >= 2:
            titles = [_COLUMNS[key][0] for key in self.columns_]
            tqdm.write("  ".join(titles), file=sys.stderr)

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Count an epoch."""
        latest = net.history[-1]
        keys = {"loss": "train_loss", "marginal_error": "marginal_error"}
        self.progress_.advance(
            line=self._line(latest) if self.verbose >= 2 else "",
            **{name: latest[key] for name, key in keys.items() if key in latest},
        )

    def _line(self, latest: Any) -> str:
        cells = []
        for key in self.columns_:
            title, form = _COLUMNS[key]
            cells.append((form.format(latest[key]) if key in latest else "").rjust(len(title)))
        return "  ".join(cells)

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        """Close the stage."""
        self.progress_.close()
