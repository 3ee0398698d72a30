"""Class shares: as given, as the imbalance-robust auxiliary sees them, as the labels meet them."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..inspection import encode, fitted, probability_matrix
from ._style import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    check_lengths,
    class_axis_title,
    legend_above,
    name_classes,
    new_axes,
    tidy,
)


class ClassSharesDisplay:
    """Share of each class among the given, the estimated and the surrogate labels.

    Use :meth:`from_estimator` or :meth:`from_predictions` to make one.

    Parameters
    ----------
    classes : array-like of shape (n_classes,)
        Labels.
    given : array-like of shape (n_classes,)
        Shares among the given labels.
    surrogate : array-like of shape (n_classes,)
        Shares among the surrogate labels.
    marginal : array-like of shape (n_classes,), default=None
        What the imbalance-robust auxiliary says: the mean of its probabilities.
    true : array-like of shape (n_classes,), default=None
        Shares among clean labels, where they are known.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Where it was drawn.
    figure_ : matplotlib Figure
        The figure of `ax_`.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from sklearn_dsink.plots import ClassSharesDisplay
    >>> surrogate_labels = [[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]]
    >>> display = ClassSharesDisplay.from_predictions(["a", "b", "b"], surrogate_labels)
    >>> display.surrogate
    array([0.6, 0.4])
    >>> plt.close(display.figure_)
    """

    def __init__(
        self, classes: Any, given: Any, surrogate: Any, *, marginal: Any = None, true: Any = None
    ) -> None:
        check_lengths(
            classes=classes, given=given, surrogate=surrogate, marginal=marginal, true=true
        )
        self.classes = classes
        self.given = given
        self.surrogate = surrogate
        self.marginal = marginal
        self.true = true

    @classmethod
    def from_estimator(cls, estimator: Any, y: Any, *, ax: Any = None) -> ClassSharesDisplay:
        """Draw the shares of a fitted DSinkClassifier.

        Parameters
        ----------
        estimator : object
            Fitted, with ``classes_``, ``surrogate_labels_`` and ``imb_aux_proba_``.
        y : array-like of shape (n_samples,)
            The labels it was fitted on.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        display : ClassSharesDisplay
        """
        classes, surrogate, imb = fitted(
            estimator, "classes_", "surrogate_labels_", "imb_aux_proba_"
        )
        return cls.from_predictions(y, surrogate, imb_proba=imb, classes=classes, ax=ax)

    @classmethod
    def from_predictions(
        cls,
        y: Any,
        surrogate_labels: Any,
        *,
        imb_proba: Any = None,
        y_true: Any = None,
        classes: Any = None,
        ax: Any = None,
    ) -> ClassSharesDisplay:
        """Draw the shares of arrays.

        Parameters
        ----------
        y : array-like of shape (n_samples,)
            Given labels.
        surrogate_labels : array-like of shape (n_samples, n_classes)
            Rows sum to 1.
        imb_proba : array-like of shape (n_samples, n_classes), default=None
            Probabilities of the imbalance-robust auxiliary.
        y_true : array-like of shape (n_samples,), default=None
            Clean labels, where they are known.
        classes : array-like of shape (n_classes,), default=None
            The label of each column; None takes the sorted labels of `y`.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        display : ClassSharesDisplay
        """
        classes, codes = encode(y, classes)
        surrogate = probability_matrix(surrogate_labels, "surrogate_labels", codes, classes)

        def shares(codes: Any) -> Any:
            return np.bincount(codes, minlength=len(classes)) / len(codes)

        marginal = None
        if imb_proba is not None:
            marginal = probability_matrix(imb_proba, "imb_proba", codes, classes).mean(axis=0)
        true = None if y_true is None else shares(encode(y_true, classes)[1])
        return cls(
            classes, shares(codes), surrogate.mean(axis=0), marginal=marginal, true=true
        ).plot(ax)

    def plot(self, ax: Any = None) -> ClassSharesDisplay:
        """Draw, the largest surrogate share first, by its logarithm where shares differ much.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        self : ClassSharesDisplay
        """
        ax = new_axes(ax)
        order = np.argsort(-np.asarray(self.surrogate, dtype=float), kind="stable")
        place = np.arange(len(order))
        n_classes = len(order)
        size = float(np.clip(220 / n_classes, 2.5, 8))
        series = [
            ("given labels", self.given, "s", GREY, "none"),
            ("imbalance-robust auxiliary", self.marginal, "^", ORANGE, ORANGE),
            ("clean labels", self.true, "D", GREEN, "none"),
            ("surrogate labels", self.surrogate, "o", BLUE, BLUE),
        ]
        present = [entry for entry in series if entry[1] is not None]
        # With room to spare the markers of a class stand side by side, else one above the other.
        shifts = np.linspace(-0.24, 0.24, len(present)) if n_classes <= 30 else [0] * len(present)
        for (name, values, marker, color, face), shift in zip(present, shifts, strict=True):
            ax.plot(
                place + shift,
                np.asarray(values, dtype=float)[order],
                marker,
                label=name,
                color=color,
                markerfacecolor=face,
                markersize=size,
                linestyle="-" if name == "surrogate labels" and n_classes > 30 else "none",
                linewidth=1,
            )
        shown = np.concatenate([np.asarray(values, dtype=float) for _, values, *_ in present])
        if shown[shown > 0].min() * 5 < shown.max():
            ax.set_yscale("log")
        else:  # nearly balanced: a logarithm would make mountains of little differences
            ax.set_ylim(0, 1.1 * shown.max())
        step = name_classes(ax, np.asarray(self.classes)[order])
        ax.set_xlim(-0.6, n_classes - 0.4)
        ax.set_xlabel(class_axis_title("class, by surrogate share", step))
        ax.set_ylabel("share of the rows")
        # Falling from the left, the shares leave the space above the axes alone.
        legend_above(ax)
        tidy(ax)
        self.ax_, self.figure_ = ax, ax.get_figure()
        return self
