"""Reliability of multiclass probabilities: how often the class named with .8 is right."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..class_values import read_by_class
from ..inspection import GROUPS, class_groups, encode, fitted, probability_matrix
from ..metrics import expected_calibration_error
from ._style import BLUE, GREY, GROUP_COLORS, GROUP_DASHES, legend_above, new_axes, tidy


class ReliabilityDisplay:
    """Share of right predictions against the probability that they were made with.

    Looks at the likeliest class of each row (top-label reliability), as for two classes
    :class:`sklearn.calibration.CalibrationDisplay` looks at the positive one. Use
    :meth:`from_estimator` or :meth:`from_predictions` to make one.

    Parameters
    ----------
    confidence : array-like of shape (n_samples,)
        Probability of the likeliest class.
    right : array-like of shape (n_samples,), dtype bool
        Whether it is the true one.
    group : array-like of shape (n_samples,), default=None
        Class group of the true class; given, each group has a curve of its own.
    n_bins : int, default=10
        Bins of equal width.
    calibration_error : float, default=None
        Expected calibration error, shown in the legend.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Where it was drawn.
    figure_ : matplotlib Figure
        The figure of `ax_`.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from sklearn_dsink.plots import ReliabilityDisplay
    >>> proba = [[0.9, 0.1], [0.7, 0.3], [0.2, 0.8]]
    >>> display = ReliabilityDisplay.from_predictions(["a", "b", "b"], proba)
    >>> display.right.tolist()
    [True, False, True]
    >>> plt.close(display.figure_)
    """

    def __init__(
        self,
        confidence: Any,
        right: Any,
        *,
        group: Any = None,
        n_bins: int = 10,
        calibration_error: float | None = None,
    ) -> None:
        self.confidence = confidence
        self.right = right
        self.group = group
        self.n_bins = n_bins
        self.calibration_error = calibration_error

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        counts: Any = None,
        n_bins: int = 10,
        ax: Any = None,
    ) -> ReliabilityDisplay:
        """Draw the reliability of a fitted classifier on test rows.

        Parameters
        ----------
        estimator : object
            Fitted, with ``classes_`` and ``predict_proba``.
        X : array-like of shape (n_samples, n_features)
            Test rows.
        y : array-like of shape (n_samples,)
            Their clean labels.
        counts : mapping or array-like of shape (n_classes,), default=None
            Training rows of each class, by label or in the order of the classes; given, each class
            group has a curve of its own.
        n_bins : int, default=10
            Bins of equal width.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        display : ReliabilityDisplay
        """
        (classes,) = fitted(estimator, "classes_")
        return cls.from_predictions(
            y, estimator.predict_proba(X), classes=classes, counts=counts, n_bins=n_bins, ax=ax
        )

    @classmethod
    def from_predictions(
        cls,
        y_true: Any,
        proba: Any,
        *,
        classes: Any = None,
        counts: Any = None,
        n_bins: int = 10,
        ax: Any = None,
    ) -> ReliabilityDisplay:
        """Draw the reliability of probabilities.

        Parameters
        ----------
        y_true : array-like of shape (n_samples,)
            Clean labels.
        proba : array-like of shape (n_samples, n_classes)
            Rows sum to 1.
        classes : array-like of shape (n_classes,), default=None
            The label of each column; None takes the sorted labels of `y_true`.
        counts : mapping or array-like of shape (n_classes,), default=None
            Training rows of each class, by label or in the order of the classes; given, each class
            group has a curve of its own.
        n_bins : int, default=10
            Bins of equal width.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        display : ReliabilityDisplay
        """
        classes, codes = encode(y_true, classes)
        matrix = probability_matrix(proba, "proba", codes, classes)
        error = expected_calibration_error(
            codes, matrix, labels=np.arange(len(classes)), n_bins=n_bins
        )
        group = None
        if counts is not None:
            group = class_groups(read_by_class(counts, classes, "counts"))[codes]
        return cls(
            matrix.max(axis=1),
            matrix.argmax(axis=1) == codes,
            group=group,
            n_bins=n_bins,
            calibration_error=error,
        ).plot(ax)

    def plot(self, ax: Any = None) -> ReliabilityDisplay:
        """Draw; markers grow with the rows of their bin.

        Bins of fewer than 5 rows are left out; of less than 100 rows, those below a twentieth.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        self : ReliabilityDisplay
        """
        ax = new_axes(ax, figsize=(5.4, 5.2))
        ax.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--", label="calibrated")
        confidence, right = np.asarray(self.confidence, dtype=float), np.asarray(self.right)
        name = "all rows"
        if self.calibration_error is not None:
            name += f", calibration error {self.calibration_error:.3f}"
        self._curve(
            ax, confidence, right, color=BLUE if self.group is None else "black", label=name
        )
        if self.group is not None:
            group = np.asarray(self.group)
            for key in GROUPS:
                own = group == key
                if own.any():
                    self._curve(
                        ax,
                        confidence[own],
                        right[own],
                        color=GROUP_COLORS[key],
                        linestyle=GROUP_DASHES[key],
                        label=f"{key}, {own.sum()} rows",
                    )
        ax.set_xlim(0, 1.02)
        ax.set_ylim(0, 1.02)
        ax.set_aspect("equal")
        ax.set_xlabel("probability of the likeliest class")
        ax.set_ylabel("share of rows where it is the true one")
        legend_above(ax)
        tidy(ax, grid="both")
        self.ax_, self.figure_ = ax, ax.get_figure()
        return self

    def _curve(self, ax: Any, confidence: Any, right: Any, **style: Any) -> None:
        # As in expected_calibration_error: on an edge, of the bin below it.
        edges = np.arange(1, self.n_bins) / self.n_bins
        bins = np.searchsorted(edges, confidence, side="left")
        rows = np.bincount(bins, minlength=self.n_bins)
        # A bin of a row or two says nothing, and its point would jump across the picture.
        filled = rows >= max(1, min(5, len(right) // 20))
        x = np.bincount(bins, weights=confidence, minlength=self.n_bins)[filled] / rows[filled]
        y = np.bincount(bins, weights=right, minlength=self.n_bins)[filled] / rows[filled]
        ax.plot(x, y, linewidth=1.6, **style)
        sizes = 12 + 90 * rows[filled] / rows.max()
        ax.scatter(x, y, s=sizes, color=style["color"], zorder=3)
