"""The noise matrix as a heat map."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.metrics import confusion_matrix
from sklearn.utils.multiclass import unique_labels

from ..inspection import fitted
from ._style import class_axis_title, name_classes, new_axes

_MOST_WITH_NUMBERS = 12


class NoiseMatrixDisplay:
    """Heat map of ``P(given label | true label)``.

    Use :meth:`from_estimator` or :meth:`from_predictions` to make one.

    Parameters
    ----------
    noise_matrix : array-like of shape (n_classes, n_classes)
        Rows are true classes and sum to 1.
    classes : array-like of shape (n_classes,), default=None
        Labels; None takes 0, 1, ...

    Attributes
    ----------
    ax_ : matplotlib Axes
        Where it was drawn.
    figure_ : matplotlib Figure
        The figure of `ax_`.
    im_ : matplotlib AxesImage
        The map.
    text_ : ndarray of Text, or None
        The numbers in the cells; None above 12 classes, where they would not be read.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from sklearn_dsink.plots import NoiseMatrixDisplay
    >>> display = NoiseMatrixDisplay([[0.9, 0.1], [0.3, 0.7]], classes=["cat", "dog"]).plot()
    >>> display.text_[1, 0].get_text()
    '.30'
    >>> plt.close(display.figure_)
    """

    def __init__(self, noise_matrix: Any, classes: Any = None) -> None:
        self.noise_matrix = noise_matrix
        self.classes = classes

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: Any = None) -> NoiseMatrixDisplay:
        """Draw the noise matrix of a fitted DSinkClassifier.

        Parameters
        ----------
        estimator : object
            Fitted, with ``classes_`` and ``noise_matrix_``.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        display : NoiseMatrixDisplay
        """
        matrix, classes = fitted(estimator, "noise_matrix_", "classes_")
        return cls(matrix, classes).plot(ax)

    @classmethod
    def from_predictions(
        cls, y_true: Any, y: Any, *, classes: Any = None, ax: Any = None
    ) -> NoiseMatrixDisplay:
        """Count and draw the noise between true and given labels.

        Parameters
        ----------
        y_true : array-like of shape (n_samples,)
            True labels.
        y : array-like of shape (n_samples,)
            Given labels.
        classes : array-like of shape (n_classes,), default=None
            Labels in the order wanted; None takes the sorted labels of both.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        display : NoiseMatrixDisplay
        """
        classes = unique_labels(y_true, y) if classes is None else np.asarray(classes)
        matrix = confusion_matrix(y_true, y, labels=classes, normalize="true")
        return cls(matrix, classes).plot(ax)

    def plot(self, ax: Any = None) -> NoiseMatrixDisplay:
        """Draw; colours go by the square root, so that small probabilities show.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        self : NoiseMatrixDisplay

        Raises
        ------
        ValueError
            If the matrix is not square, or `classes` has another length.
        """
        from matplotlib.colors import PowerNorm

        matrix = np.asarray(self.noise_matrix, dtype=float)
        n_classes = len(matrix)
        classes = np.arange(n_classes) if self.classes is None else np.asarray(self.classes)
        if matrix.shape != (n_classes, n_classes) or len(classes) != n_classes:
            raise ValueError(
                f"noise_matrix must be square with one row a class, got shape {matrix.shape} and "
                f"{len(classes)} classes."
            )
        side = 5.6 if n_classes <= 30 else 8.0
        ax = new_axes(ax, figsize=(side * 1.12, side))
        self.im_ = ax.imshow(
            matrix, cmap="Blues", norm=PowerNorm(0.5, 0, 1), interpolation="nearest"
        )
        figure = ax.get_figure()
        bar = figure.colorbar(self.im_, ax=ax, shrink=0.8, ticks=[0, 0.01, 0.05, 0.2, 0.5, 1])
        bar.ax.set_yticklabels(["0", ".01", ".05", ".2", ".5", "1"])
        bar.set_label("P(given | true)")
        self.text_ = _numbers(ax, matrix) if n_classes <= _MOST_WITH_NUMBERS else None
        step_x = name_classes(ax, classes, "x")
        step_y = name_classes(ax, classes, "y")
        ax.set_xlabel(class_axis_title("given label", step_x))
        ax.set_ylabel(class_axis_title("true label", step_y))
        self.ax_, self.figure_ = ax, figure
        return self


def _numbers(ax: Any, matrix: Any) -> Any:
    """Write each probability into its cell, light on dark."""
    text = np.empty(matrix.shape, dtype=object)
    for (row, column), value in np.ndenumerate(matrix):
        number = f"{value:.2f}".removeprefix("0")
        text[row, column] = ax.text(
            column,
            row,
            number,
            ha="center",
            va="center",
            fontsize=9,
            color="white" if value > 0.35 else "black",
        )
    return text
