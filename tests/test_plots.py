"""The displays show what they were given, keep to scikit-learn's manner, and stay readable."""

from __future__ import annotations

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline

from sklearn_dsink.inspection import find_label_issues
from sklearn_dsink.plots import (
    ClassSharesDisplay,
    HistoryDisplay,
    LabelQualityDisplay,
    NoiseMatrixDisplay,
    ReliabilityDisplay,
    ShotAccuracyDisplay,
)
from sklearn_dsink.plots._style import class_axis_title, name_classes


@pytest.fixture(autouse=True)
def _no_figure_stays_open():
    yield
    plt.close("all")


class Fitted(BaseEstimator):
    """The fitted attributes of a DSinkClassifier, and nothing behind them."""

    def fit(self, X, y):
        raise NotImplementedError

    def label_issues(self):
        return find_label_issues(self.y, self.surrogate_labels_, classes=self.classes_)

    def predict(self, X):
        return self.classes_[np.argmax(X, axis=1)]

    def predict_proba(self, X):
        return X


def fake_fit(n_classes: int) -> Fitted:
    rng = np.random.default_rng(0)
    sizes = np.maximum(3, 200 * 50.0 ** (-np.arange(n_classes) / (n_classes - 1))).astype(int)
    y = np.repeat(np.arange(n_classes), sizes)
    proba = rng.dirichlet(np.full(n_classes, 0.2), len(y)) * 0.6 + 0.4 * np.eye(n_classes)[y]
    model = Fitted()
    model.classes_ = np.array([f"class {i:03d} with a long name" for i in range(n_classes)])
    model.y = model.classes_[y]
    model.surrogate_labels_ = model.imb_aux_proba_ = proba
    model.noise_matrix_ = 0.8 * np.eye(n_classes) + 0.2 / n_classes
    model.history_ = [
        {"epoch": i, "train_loss": 1 / i, "valid_loss": 2 / i, "marginal_error": 0.1**i}
        for i in range(1, 5)
    ]
    return model


MAKERS = {
    "shares": lambda m, ax=None: ClassSharesDisplay.from_estimator(m, m.y, ax=ax),
    "noise": lambda m, ax=None: NoiseMatrixDisplay.from_estimator(m, ax=ax),
    "shot": lambda m, ax=None: ShotAccuracyDisplay.from_estimator(
        m, m.surrogate_labels_, m.y, ax=ax
    ),
    "quality": lambda m, ax=None: LabelQualityDisplay.from_estimator(m, ax=ax),
    "history": lambda m, ax=None: HistoryDisplay.from_estimator(m, ax=ax),
    "reliability": lambda m, ax=None: ReliabilityDisplay.from_estimator(
        m, m.surrogate_labels_, m.y, ax=ax
    ),
}


def boxes(axis, renderer):
    labels = [t for t in axis.get_ticklabels() if t.get_text() and t.get_visible()]
    return [label.get_window_extent(renderer) for label in labels]


@pytest.mark.parametrize("n_classes", [3, 150])
@pytest.mark.parametrize("name", MAKERS)
def test_labels_neither_overlap_nor_leave_the_picture(name, n_classes):
    display = MAKERS[name](fake_fit(n_classes))
    figure = display.figure_
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    for axis in (display.ax_.xaxis, display.ax_.yaxis):
        found = boxes(axis, renderer)
        for i, first in enumerate(found):
            assert not any(first.overlaps(second) for second in found[i + 1 :])
    page = figure.bbox
    for text in (display.ax_.xaxis.label, display.ax_.yaxis.label):
        box = text.get_window_extent(renderer)
        assert box.x0 >= page.x0 - 1
        assert box.x1 <= page.x1 + 1
        assert box.y0 >= page.y0 - 1
        assert box.y1 <= page.y1 + 1
    for box in boxes(display.ax_.yaxis, renderer):
        assert box.x0 >= page.x0 - 1
    legend = display.ax_.get_legend()
    if legend is not None:
        box = legend.get_window_extent(renderer)
        assert box.x0 >= page.x0 - 1
        assert box.x1 <= page.x1 + 1


@pytest.mark.parametrize("name", MAKERS)
def test_an_axes_that_is_given_is_drawn_on(name):
    _, ax = plt.subplots()
    display = MAKERS[name](fake_fit(3), ax)
    assert display.ax_ is ax
    assert display.figure_ is ax.get_figure()
    assert len(plt.get_fignums()) == 1


@pytest.mark.parametrize("name", MAKERS)
def test_an_unfitted_estimator_is_refused(name):
    model = Fitted()
    model.y = ["a"]
    maker = {
        "shot": lambda m: ShotAccuracyDisplay.from_estimator(m, [[1.0]], ["a"]),
        "reliability": lambda m: ReliabilityDisplay.from_estimator(m, [[1.0]], ["a"]),
    }.get(name, MAKERS[name])
    with pytest.raises(NotFittedError):
        maker(model)


@pytest.mark.parametrize("name", sorted(set(MAKERS) - {"shot", "reliability"}))
def test_the_classifier_in_a_pipeline_is_asked_for(name):
    model = make_pipeline(GaussianNB()).fit([[0.0], [1.0]], ["a", "b"])
    model.y = ["a"]
    with pytest.raises(TypeError, match=r"give the classifier in it: pipeline\[-1\]"):
        MAKERS[name](model)


def test_plot_can_be_called_again_and_returns_self():
    display = NoiseMatrixDisplay(np.eye(2))
    assert display.plot() is display
    first = display.figure_
    assert display.plot().figure_ is not first


def test_class_shares_are_those_of_the_arrays():
    surrogate = np.array([[1, 0], [0.5, 0.5], [0, 1], [0, 1]])
    display = ClassSharesDisplay.from_predictions(
        ["a", "a", "b", "a"], surrogate, y_true=["a", "b", "b", "b"]
    )
    assert display.given.tolist() == [0.75, 0.25]
    assert display.surrogate.tolist() == [0.375, 0.625]
    assert display.true.tolist() == [0.25, 0.75]
    # Drawn by falling surrogate share: b comes first.
    assert [t.get_text() for t in display.ax_.get_xticklabels()] == ["b", "a"]


def test_noise_matrix_of_labels_is_the_share_by_true_class():
    display = NoiseMatrixDisplay.from_predictions(["a", "a", "b", "b"], ["a", "b", "b", "b"])
    assert display.noise_matrix.tolist() == [[0.5, 0.5], [0, 1]]
    assert display.text_[0, 1].get_text() == ".50"
    assert NoiseMatrixDisplay(np.eye(13)).plot().text_ is None


def test_shot_accuracy_sorts_by_size_and_names_the_groups():
    display = ShotAccuracyDisplay.from_predictions(
        ["a", "a", "b", "c"], ["a", "b", "b", "a"], counts=[5, 50, 500]
    )
    assert display.accuracy.tolist() == [0.5, 1.0, 0.0]
    assert [t.get_text() for t in display.ax_.get_xticklabels()] == ["c", "b", "a"]
    legend = [t.get_text() for t in display.ax_.get_legend().get_texts()]
    assert legend == [
        "many: 1 class, mean 0.00",
        "medium: 1 class, mean 1.00",
        "few: 1 class, mean 0.50",
    ]


def test_counts_are_read_by_label():
    y = pd.Series(["a"] * 10 + ["b"] * 190)
    shot = ShotAccuracyDisplay.from_predictions(y, y, counts=y.value_counts())
    assert dict(zip(shot.classes, shot.counts, strict=True)) == {"a": 10, "b": 190}
    proba = np.where((y == "b").to_numpy()[:, None], [0.1, 0.9], [0.9, 0.1])
    reliability = ReliabilityDisplay.from_predictions(y, proba, counts=y.value_counts())
    assert set(reliability.group[y == "a"]) == {"few"}


def test_shot_accuracy_compares_labels_and_not_arrays():
    expected = [np.nan, 0.5, 1.0]
    for y_true, y_pred in [([1, 2, 1], [1, 2, 7]), ([[1], [2], [1]], [[1], [2], [7]])]:
        display = ShotAccuracyDisplay.from_predictions(
            y_true, y_pred, counts=[5, 5, 5], classes=[0, 1, 2]
        )
        np.testing.assert_array_equal(display.accuracy, expected)
    with pytest.raises(ValueError, match="string and number"):
        ShotAccuracyDisplay.from_predictions([1, 2, 2], ["1", "2", "2"], counts=[5, 5])


def test_legends_of_displays_side_by_side_do_not_touch():
    figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for ax in axes:
        ShotAccuracyDisplay(list("abc"), [0.9, 0.8, 0.7], [500, 50, 5]).plot(ax)
    figure.canvas.draw()
    left, right = (ax.get_legend().get_window_extent() for ax in axes)
    assert not left.overlaps(right)
    assert left.width < 1.1 * axes[0].get_window_extent().width


def test_history_leaves_out_what_was_not_recorded():
    display = HistoryDisplay([{"train_loss": 1.0}, {"train_loss": 0.5, "marginal_error": 1e-7}])
    assert len(display.plot().axes_) == 2
    assert display.axes_[1].lines[0].get_xdata().tolist() == [2]
    with pytest.raises(ValueError, match="holds no losses"):
        HistoryDisplay([{"epoch": 1}]).plot()
    _, axes = plt.subplots(2)
    with pytest.raises(ValueError, match="2 axes, and 3 are needed"):
        HistoryDisplay([{"train_loss": 1, "marginal_error": 1, "labels_moved": 0}]).plot(axes)


def test_quality_histogram_sums_to_one_in_each_group():
    display = LabelQualityDisplay([0.1, 0.2, 0.9, 0.8], ["few", "few", "many", "many"]).plot()
    heights = [patch.get_data().values.sum() for patch in display.ax_.patches[:2]]
    assert heights == [1, 1]
    legend = [t.get_text() for t in display.ax_.get_legend().get_texts()]
    assert "few: 2 rows, 100% flagged" in legend


def test_a_calibrated_model_lies_on_the_diagonal():
    rng = np.random.default_rng(0)
    p = rng.uniform(0.5, 1, 20000)
    y = (rng.random(20000) > p).astype(int)
    display = ReliabilityDisplay.from_predictions(y, np.column_stack([p, 1 - p]))
    x, share = display.ax_.lines[1].get_data()
    assert np.allclose(x, share, atol=0.03)
    assert display.calibration_error < 0.02


def test_the_curve_has_the_bins_of_the_error_in_its_legend():
    """Confidences on the edges of bins, as averages of ten trees are."""
    p = np.repeat([0.6, 0.7, 0.8, 0.9], 50)
    y = np.random.default_rng(0).random(len(p)) < 0.75
    proba = np.column_stack([1 - p, p])
    display = ReliabilityDisplay.from_predictions(y, proba, n_bins=10)
    (curve,) = (line for line in display.ax_.lines if len(line.get_xdata()) == 4)
    error = np.abs(curve.get_xdata() - curve.get_ydata()).mean()  # bins of as many rows
    assert error == pytest.approx(display.calibration_error)


def test_user_strings_are_not_taken_for_mathematics():
    labels = ["$\\frac{$", "two\nlines", "  "]
    with mpl.rc_context({"text.usetex": False}):
        display = NoiseMatrixDisplay(np.eye(3), labels).plot()
        display.figure_.canvas.draw()
    assert [t.get_text() for t in display.ax_.get_xticklabels()][1:] == ["two lines", "(empty)"]


def test_lengths_that_disagree_are_named():
    with pytest.raises(ValueError, match="classes 2, given 1, surrogate 2"):
        ClassSharesDisplay(["a", "b"], [1.0], [0.5, 0.5])
    with pytest.raises(ValueError, match="must be square"):
        NoiseMatrixDisplay(np.eye(2), ["a"]).plot()


def test_every_class_is_named_while_there_is_room():
    _, ax = plt.subplots()
    assert name_classes(ax, list("abcdef")) == 1
    assert name_classes(ax, range(1000)) > 1


def test_an_axis_title_says_how_many_classes_are_named():
    assert class_axis_title("class", 1) == "class"
    assert class_axis_title("class", 22) == "class; one in 22 is named"


def test_importing_the_displays_does_not_import_matplotlib():
    import subprocess
    import sys

    code = "import sys, sklearn_dsink.plots; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
