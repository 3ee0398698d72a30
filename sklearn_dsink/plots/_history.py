"""How the training went: losses, marginal error, labels moved."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..inspection import fitted
from ._style import BLUE, GREEN, ORANGE, RED, tidy

_LOSSES = {"train_loss": (BLUE, "-"), "valid_loss": (RED, "--")}


class HistoryDisplay:
    """Losses, transport error and share of labels moved, epoch by epoch.

    Use :meth:`from_estimator` to make one.

    Parameters
    ----------
    history : list of dict
        One entry an epoch, with any of ``train_loss``, ``valid_loss``, ``marginal_error`` and
        ``labels_moved``; an epoch that lacks a key has no point there.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes
        One a panel that has data.
    ax_ : matplotlib Axes
        The first of them.
    figure_ : matplotlib Figure
        Their figure.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from sklearn_dsink.plots import HistoryDisplay
    >>> history = [{"train_loss": 2.0}, {"train_loss": 1.5, "labels_moved": 0.1}]
    >>> display = HistoryDisplay(history).plot()
    >>> len(display.axes_)
    2
    >>> plt.close(display.figure_)
    """

    def __init__(self, history: Any) -> None:
        self.history = history

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: Any = None) -> HistoryDisplay:
        """Draw the training of a fitted DSinkClassifier.

        Parameters
        ----------
        estimator : object
            Fitted, with ``history_``.
        ax : matplotlib Axes, default=None
            As in :meth:`plot`.

        Returns
        -------
        display : HistoryDisplay
        """
        (history,) = fitted(estimator, "history_")
        return cls(history).plot(ax)

    def plot(self, ax: Any = None) -> HistoryDisplay:
        """Draw a panel for the losses, one for the marginal error, one for the labels moved.

        Parameters
        ----------
        ax : matplotlib Axes or sequence of Axes, default=None
            One for each panel that has data; a single one is enough for the losses alone. None
            makes a figure.

        Returns
        -------
        self : HistoryDisplay

        Raises
        ------
        ValueError
            If the history holds none of the keys, or `ax` is too few axes.
        """
        panels = [
            panel for panel in (_losses, _marginal_error, _labels_moved) if panel(self, None)
        ]
        if not panels:
            raise ValueError("history holds no losses: it needs epochs with a 'train_loss'.")
        if ax is None:
            import matplotlib.pyplot as plt

            _, axes = plt.subplots(
                len(panels),
                1,
                sharex=True,
                squeeze=False,
                figsize=(7.0, 1.4 + 1.5 * len(panels)),
                layout="constrained",
            )
            self.axes_ = axes.ravel()
        else:
            self.axes_ = np.atleast_1d(np.asarray(ax, dtype=object))
            if len(self.axes_) == 1:
                panels = panels[:1]
            elif len(self.axes_) < len(panels):
                raise ValueError(f"ax holds {len(self.axes_)} axes, and {len(panels)} are needed.")
        for axes, panel in zip(self.axes_, panels, strict=False):
            panel(self, axes)
            tidy(axes)
        bottom = self.axes_[len(panels) - 1]
        bottom.set_xlabel("epoch")
        bottom.xaxis.get_major_locator().set_params(integer=True)
        self.ax_, self.figure_ = self.axes_[0], self.axes_[0].get_figure()
        return self

    def _series(self, key: str) -> tuple[list[int], list[float]]:
        points = [
            (int(epoch.get("epoch", number)), float(epoch[key]))
            for number, epoch in enumerate(self.history, start=1)
            if epoch.get(key) is not None
        ]
        return [x for x, _ in points], [value for _, value in points]


# A panel draws itself, and says without an axes whether it has something to draw.


def _losses(display: HistoryDisplay, ax: Any) -> bool:
    series = {key: display._series(key) for key in _LOSSES}
    series = {key: points for key, points in series.items() if points[0]}
    if ax is not None:
        for key, (epochs, values) in series.items():
            color, dash = _LOSSES[key]
            ax.plot(epochs, values, dash, color=color, label=key.replace("_", " "))
        ax.set_ylabel("loss")
        ax.legend(frameon=False, fontsize=9)
    return bool(series)


def _marginal_error(display: HistoryDisplay, ax: Any) -> bool:
    epochs, errors = display._series("marginal_error")
    if ax is not None:
        ax.plot(epochs, np.maximum(errors, 1e-16), _line(epochs), color=ORANGE)
        ax.set_yscale("log")
        ax.set_ylabel("marginal error")
    return bool(epochs)


def _labels_moved(display: HistoryDisplay, ax: Any) -> bool:
    epochs, moved = display._series("labels_moved")
    if ax is not None:
        ax.plot(epochs, np.asarray(moved) * 100, _line(epochs), color=GREEN)
        ax.set_ylim(0)
        ax.set_ylabel("labels moved (%)")
    return bool(epochs)


def _line(epochs: list[int]) -> str:
    return ".-" if len(epochs) <= 40 else "-"
