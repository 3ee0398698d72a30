"""Histogram of the quality of the given labels, group by group."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..inspection import FLAGGED_BELOW, GROUPS, find_label_issues, fitted
from ._style import GROUP_COLORS, GROUP_DASHES, check_lengths, legend_above, new_axes, tidy


class LabelQualityDisplay:
    """How the quality of the given labels is spread in each class group.

    Use :meth:`from_estimator` or :meth:`from_predictions` to make one.

    Parameters
    ----------
    quality : array-like of shape (n_samples,)
        Of the given label, in [0, 1]: a column of :func:`~sklearn_dsink.find_label_issues`.
    group : array-like of shape (n_samples,)
        ``"many"``, ``"medium"`` or ``"few"`` of each row.
    threshold : float, default=0.3
        Where flags begin, drawn as a line.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Where it was drawn.
    figure_ : matplotlib Figure
        The figure of `ax_`.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from sklearn_dsink.plots import LabelQualityDisplay
    >>> display = LabelQualityDisplay([0.1, 0.8, 0.9], ["few", "many", "many"]).plot()
    >>> plt.close(display.figure_)
    """

    def __init__(self, quality: Any, group: Any, *, threshold: float = FLAGGED_BELOW) -> None:
        check_lengths(quality=quality, group=group)
        self.quality = quality
        self.group = group
        self.threshold = threshold

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: Any = None) -> LabelQualityDisplay:
        """Draw the label quality of a fitted DSinkClassifier's training rows.

        Parameters
        ----------
        estimator : object
            Fitted, with a method ``label_issues``.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        display : LabelQualityDisplay
        """
        fitted(estimator, "surrogate_labels_")
        return cls.from_issues(estimator.label_issues(), ax=ax)

    @classmethod
    def from_predictions(
        cls, y: Any, surrogate_labels: Any, *, ax: Any = None, **options: Any
    ) -> LabelQualityDisplay:
        """Find the label issues of arrays and draw their quality.

        Parameters
        ----------
        y : array-like of shape (n_samples,)
            Given labels.
        surrogate_labels : array-like of shape (n_samples, n_classes)
            Rows sum to 1.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.
        **options : dict
            Passed to :func:`~sklearn_dsink.find_label_issues`.

        Returns
        -------
        display : LabelQualityDisplay
        """
        return cls.from_issues(find_label_issues(y, surrogate_labels, **options), ax=ax)

    @classmethod
    def from_issues(cls, issues: Any, *, ax: Any = None) -> LabelQualityDisplay:
        """Draw a table that :func:`~sklearn_dsink.find_label_issues` returned.

        Parameters
        ----------
        issues : DataFrame
            With ``quality`` and ``group``.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        display : LabelQualityDisplay
        """
        threshold = issues.attrs.get("threshold", FLAGGED_BELOW)
        return cls(issues["quality"], issues["group"], threshold=threshold).plot(ax)

    def plot(self, ax: Any = None) -> LabelQualityDisplay:
        """Draw one outline a group, each as a share of the group's rows.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        self : LabelQualityDisplay
        """
        ax = new_axes(ax)
        quality, group = np.asarray(self.quality, dtype=float), np.asarray(self.group)
        edges = np.linspace(0, 1, 21)
        for name in GROUPS:
            own = quality[group == name]
            if not len(own):
                continue
            share = np.histogram(own, edges)[0] / len(own)
            flagged = np.mean(own < self.threshold)
            ax.stairs(
                share,
                edges,
                color=GROUP_COLORS[name],
                linestyle=GROUP_DASHES[name],
                linewidth=2,
                label=f"{name}: {len(own)} rows, {flagged:.0%} flagged",
            )
        ax.axvspan(0, self.threshold, color="0.5", alpha=0.12, linewidth=0, label="flagged")
        ax.set_xlim(0, 1)
        ax.set_ylim(0)
        ax.set_xlabel("quality of the given label")
        ax.set_ylabel("share of the group's rows")
        legend_above(ax)
        tidy(ax)
        self.ax_, self.figure_ = ax, ax.get_figure()
        return self
