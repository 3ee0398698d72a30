"""Accuracy class by class, from head to tail."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.metrics import recall_score

from ..class_values import read_by_class
from ..inspection import GROUPS, class_groups, encode, fitted
from ._style import (
    GROUP_COLORS,
    GROUP_HATCHES,
    check_lengths,
    class_axis_title,
    legend_above,
    name_classes,
    new_axes,
    tidy,
)


class ShotAccuracyDisplay:
    """Accuracy of each class, classes sorted by size, in bands of many, medium and few.

    Use :meth:`from_estimator` or :meth:`from_predictions` to make one.

    Parameters
    ----------
    classes : array-like of shape (n_classes,)
        Labels.
    accuracy : array-like of shape (n_classes,)
        Share of the class's test rows that were predicted right; NaN where there are none.
    counts : array-like of shape (n_classes,)
        Training rows of the class, counted or estimated.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Where it was drawn.
    figure_ : matplotlib Figure
        The figure of `ax_`.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from sklearn_dsink.plots import ShotAccuracyDisplay
    >>> display = ShotAccuracyDisplay.from_predictions(
    ...     ["a", "a", "b"], ["a", "b", "b"], counts=[500, 12]
    ... )
    >>> display.accuracy
    array([0.5, 1. ])
    >>> plt.close(display.figure_)
    """

    def __init__(self, classes: Any, accuracy: Any, counts: Any) -> None:
        check_lengths(classes=classes, accuracy=accuracy, counts=counts)
        self.classes = classes
        self.accuracy = accuracy
        self.counts = counts

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any, y: Any, *, counts: Any = None, ax: Any = None
    ) -> ShotAccuracyDisplay:
        """Draw the accuracy of a fitted classifier on test rows.

        Parameters
        ----------
        estimator : object
            Fitted, with ``classes_`` and ``predict``.
        X : array-like of shape (n_samples, n_features)
            Test rows.
        y : array-like of shape (n_samples,)
            Their clean labels.
        counts : mapping or array-like of shape (n_classes,), default=None
            Training rows of each class, by label or in the order of the classes; None takes the
            totals of ``surrogate_labels_``.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        display : ShotAccuracyDisplay
        """
        (classes,) = fitted(estimator, "classes_")
        if counts is None:
            (surrogate,) = fitted(estimator, "surrogate_labels_")
            counts = np.asarray(surrogate).sum(axis=0)
        return cls.from_predictions(y, estimator.predict(X), counts=counts, classes=classes, ax=ax)

    @classmethod
    def from_predictions(
        cls, y_true: Any, y_pred: Any, *, counts: Any, classes: Any = None, ax: Any = None
    ) -> ShotAccuracyDisplay:
        """Draw the accuracy of predictions.

        Parameters
        ----------
        y_true : array-like of shape (n_samples,)
            Clean labels of test rows.
        y_pred : array-like of shape (n_samples,)
            Predicted labels.
        counts : mapping or array-like of shape (n_classes,)
            Training rows of each class, by label (such as ``y_train.value_counts()``) or in the
            order of the classes.
        classes : array-like of shape (n_classes,), default=None
            The label of each count; None takes the sorted labels of `y_true`.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        display : ShotAccuracyDisplay
        """
        classes, codes = encode(y_true, classes)
        accuracy = recall_score(
            classes[codes], y_pred, labels=classes, average=None, zero_division=np.nan
        )
        return cls(classes, accuracy, read_by_class(counts, classes, "counts")).plot(ax)

    def plot(self, ax: Any = None) -> ShotAccuracyDisplay:
        """Draw, the largest class first.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        self : ShotAccuracyDisplay
        """
        ax = new_axes(ax)
        counts = np.asarray(self.counts, dtype=float)
        order = np.argsort(-counts, kind="stable")
        accuracy = np.asarray(self.accuracy, dtype=float)[order]
        groups = class_groups(counts[order])
        n_classes = len(order)
        for group in GROUPS:
            places = np.flatnonzero(groups == group)
            if not len(places):
                continue
            color = GROUP_COLORS[group]
            tested = accuracy[places][~np.isnan(accuracy[places])]
            mean = tested.mean() if len(tested) else np.nan
            noun = "class" if len(places) == 1 else "classes"
            ax.axvspan(places[0] - 0.5, places[-1] + 0.5, color=color, alpha=0.1, linewidth=0)
            ax.bar(
                places,
                np.nan_to_num(accuracy[places]),
                width=0.8 if n_classes <= 60 else 1.0,
                color=color,
                hatch=GROUP_HATCHES[group] if n_classes <= 60 else None,
                edgecolor="white",
                linewidth=0.5 if n_classes <= 60 else 0,
                label=f"{group}: {len(places)} {noun}, mean {mean:.2f}",
            )
            ax.hlines(
                mean, places[0] - 0.5, places[-1] + 0.5, color="black", linewidth=1.4, zorder=3
            )
        step = name_classes(ax, np.asarray(self.classes)[order])
        ax.set_xlim(-0.5, n_classes - 0.5)
        ax.set_ylim(0, 1)
        ax.set_xlabel(class_axis_title("class, by training rows", step))
        ax.set_ylabel("accuracy")
        legend_above(ax, ncols=3)
        tidy(ax)
        self.ax_, self.figure_ = ax, ax.get_figure()
        return self
