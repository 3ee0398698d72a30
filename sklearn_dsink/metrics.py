"""Scores that look at the head, the middle and the tail of the classes separately.

Balanced accuracy is scikit-learn's :func:`sklearn.metrics.balanced_accuracy_score`. The
functions here need one thing more than truth and prediction: the class sizes in training. Count
them on clean labels where those are known, and say so.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.metrics import confusion_matrix, make_scorer
from sklearn.utils import check_array, check_consistent_length
from sklearn.utils._param_validation import Interval, StrOptions, validate_parameter_constraints
from sklearn.utils.multiclass import unique_labels
from sklearn.utils.validation import _check_sample_weight, column_or_1d

from .inspection import GROUPS, check_column_order, class_groups

__all__ = [
    "expected_calibration_error",
    "geometric_mean_score",
    "make_shot_scorer",
    "shot_accuracy_score",
    "shot_groups",
]


def shot_groups(y_train: Any, *, many: float = 100, few: float = 20) -> dict[Hashable, str]:
    """Sort the classes into many-shot, medium-shot and few-shot by their size in training.

    Parameters
    ----------
    y_train : array-like of shape (n_train_samples,)
        Training labels, clean where they are known: class sizes are counted on them.
    many : float, default=100
        A class with more rows than this is many-shot.
    few : float, default=20
        A class with fewer rows than this is few-shot; the rest, both bounds included, is
        medium-shot. At most `many`.

    Returns
    -------
    groups : dict of label to {"many", "medium", "few"}
        One entry for each class of `y_train`, in sorted order.

    Raises
    ------
    ValueError
        If `few` exceeds `many` or a bound is negative.

    References
    ----------
    Liu et al., "Large-Scale Long-Tailed Recognition in an Open World", CVPR 2019.

    Examples
    --------
    >>> from sklearn_dsink.metrics import shot_groups
    >>> shot_groups(["a"] * 101 + ["b"] * 20 + ["c"] * 19)
    {'a': 'many', 'b': 'medium', 'c': 'few'}
    """
    bound = [Interval(Real, 0, None, closed="left")]
    validate_parameter_constraints(
        {"many": bound, "few": bound}, {"many": many, "few": few}, caller_name="shot_groups"
    )
    classes, counts = np.unique(column_or_1d(y_train), return_counts=True)
    names = class_groups(counts, many=many, few=few).tolist()
    return dict(zip(classes.tolist(), names, strict=True))


def shot_accuracy_score(
    y_true: Any,
    y_pred: Any,
    *,
    y_train: Any,
    group: str | None = None,
    many: float = 100,
    few: float = 20,
    average: str = "macro",
    sample_weight: Any = None,
) -> dict[str, float] | float:
    """Accuracy on the many-shot, medium-shot and few-shot classes.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        True labels of the rows scored. Each must occur in `y_train`.
    y_pred : array-like of shape (n_samples,)
        Predicted labels.
    y_train : array-like of shape (n_train_samples,)
        Training labels, clean where they are known: class sizes are counted on them.
    group : {"many", "medium", "few"}, default=None
        The one group to score. None: all three.
    many, few : float, default=100, 20
        Bounds of the groups, see :func:`shot_groups`.
    average : {"macro", "micro"}, default="macro"
        "macro" is the mean of the classes' recalls, "micro" the share of right rows. They are
        equal where the rows scored are balanced, as in the published protocols.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the rows scored.

    Returns
    -------
    score : dict of group name to float, or float
        Accuracy of each group, or of the group asked for. NaN for a group with no (weighted)
        row in `y_true`.

    Raises
    ------
    ValueError
        If a parameter is out of its range or `y_true` has a class that `y_train` has not.

    See Also
    --------
    make_shot_scorer : The same as a scorer, for a grid search.
    sklearn.metrics.balanced_accuracy_score : The mean recall over all classes.

    Examples
    --------
    >>> from sklearn_dsink.metrics import shot_accuracy_score
    >>> y_train = ["a"] * 150 + ["b"] * 50 + ["c"] * 5
    >>> y_true = ["a", "a", "b", "b", "c", "c"]
    >>> y_pred = ["a", "a", "b", "a", "a", "a"]
    >>> shot_accuracy_score(y_true, y_pred, y_train=y_train)
    {'many': 1.0, 'medium': 0.5, 'few': 0.0}
    """
    validate_parameter_constraints(
        {
            "group": [StrOptions(set(GROUPS)), None],
            "average": [StrOptions({"macro", "micro"})],
        },
        {"group": group, "average": average},
        caller_name="shot_accuracy_score",
    )
    groups = shot_groups(y_train, many=many, few=few)
    truth = column_or_1d(y_true)
    _check_known(truth, groups, "y_train")
    classes, right, total = _class_recalls(truth, y_pred, sample_weight)
    wanted = GROUPS if group is None else (group,)
    scores = {}
    for name in wanted:
        members = np.array([groups.get(c) == name for c in classes.tolist()]) & (total > 0)
        if not members.any():
            scores[name] = float("nan")
        elif average == "macro":
            scores[name] = float(np.mean(right[members] / total[members]))
        else:
            scores[name] = float(right[members].sum() / total[members].sum())
    return scores if group is None else scores[group]


def make_shot_scorer(
    group: str, y_train: Any, *, many: float = 100, few: float = 20, average: str = "macro"
) -> Callable[..., float]:
    """Make a scorer of one group's accuracy, for GridSearchCV and its like.

    The class sizes are those of `y_train` as given here, not of the fold a search happens to
    fit on: the groups are the same in every fold.

    Parameters
    ----------
    group : {"many", "medium", "few"}
        The group to score.
    y_train : array-like of shape (n_train_samples,)
        Labels on which class sizes are counted.
    many, few : float, default=100, 20
        Bounds of the groups, see :func:`shot_groups`.
    average : {"macro", "micro"}, default="macro"
        See :func:`shot_accuracy_score`.

    Returns
    -------
    scorer : callable
        ``scorer(estimator, X, y)``, greater is better.

    Raises
    ------
    ValueError
        If no class of `y_train` is in the group, so that every score would be NaN.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.model_selection import GridSearchCV
    >>> from sklearn_dsink.datasets import make_long_tailed
    >>> from sklearn_dsink.metrics import make_shot_scorer
    >>> X, y = make_long_tailed(*load_digits(return_X_y=True), 20, random_state=0)
    >>> search = GridSearchCV(
    ...     LogisticRegression(max_iter=2000),
    ...     {"class_weight": [None, "balanced"]},
    ...     scoring={"few": make_shot_scorer("few", y), "many": make_shot_scorer("many", y)},
    ...     refit="few",
    ...     cv=3,
    ... ).fit(X / 16, y)
    >>> search.best_params_
    {'class_weight': 'balanced'}
    """
    validate_parameter_constraints(
        {"group": [StrOptions(set(GROUPS))]},
        {"group": group},
        caller_name="make_shot_scorer",
    )
    groups = shot_groups(y_train, many=many, few=few)
    if group not in groups.values():
        found = {name: list(groups.values()).count(name) for name in GROUPS}
        raise ValueError(
            f"group={group!r} has no class in y_train (classes by group: {found}): choose other "
            "bounds `many` and `few`."
        )
    return make_scorer(
        shot_accuracy_score,
        y_train=column_or_1d(y_train),
        group=group,
        many=many,
        few=few,
        average=average,
    )


def geometric_mean_score(y_true: Any, y_pred: Any, *, sample_weight: Any = None) -> float:
    r"""Geometric mean of the classes' recalls, over the classes that occur in `y_true`.

    .. math:: G = \Bigl( \prod_{c} \mathrm{recall}_c \Bigr)^{1 / C}

    It is 0 as soon as one class is never recognised. imbalanced-learn's function of this name
    also counts a class that occurs in the prediction only, with a recall of 0, so that one
    stray prediction on a fold without a rare class gives 0; here such classes are left out, as
    scikit-learn's balanced accuracy does.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n_samples,)
        True and predicted labels.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the rows.

    Returns
    -------
    score : float
        Between 0 and 1.

    Raises
    ------
    ValueError
        If there are not as many predictions and weights as true labels, or all weights are 0.

    References
    ----------
    Kubat and Matwin, "Addressing the Curse of Imbalanced Training Sets", ICML 1997.

    Examples
    --------
    >>> from sklearn_dsink.metrics import geometric_mean_score
    >>> geometric_mean_score([0, 0, 0, 0, 1], [0, 2, 2, 2, 1])
    0.5
    """
    _, right, total = _class_recalls(column_or_1d(y_true), y_pred, sample_weight)
    recall = right[total > 0] / total[total > 0]
    if recall.size == 0:
        raise ValueError("sample_weight is zero for every row: no class is left to score.")
    if np.any(recall == 0):
        return 0.0
    return float(np.exp(np.mean(np.log(recall))))


def expected_calibration_error(
    y_true: Any,
    y_proba: Any,
    *,
    labels: Any = None,
    kind: str = "top-label",
    n_bins: int = 15,
    strategy: str = "uniform",
    sample_weight: Any = None,
) -> float:
    r"""How far stated probabilities are from observed shares, on average.

    .. math:: \mathrm{ECE} = \sum_b \frac{|B_b|}{n}
        \bigl| \mathrm{share\ right}(B_b) - \mathrm{mean\ probability}(B_b) \bigr|

    over bins :math:`B_b` of the probability.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        True labels.
    y_proba : array-like of shape (n_samples, n_classes)
        Predicted probabilities, one column for each class.
    labels : array-like of shape (n_classes,), default=None
        The classes of the columns, as in ``classes_``. None: the sorted labels of `y_true`,
        which must then be as many as there are columns.
    kind : {"top-label", "classwise"}, default="top-label"
        "top-label" looks at the largest probability of each row and at whether that class is
        right. "classwise" looks at every class's probability against whether the row is of
        that class, and gives the mean over classes, in which a tail class weighs as much as a
        large one.
    n_bins : int, default=15
        Number of bins.
    strategy : {"uniform", "quantile"}, default="uniform"
        Bins of equal width, or of equal numbers of rows, those of weight 0 left out.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the rows.

    Returns
    -------
    error : float
        Between 0 (calibrated) and 1.

    Raises
    ------
    ValueError
        If the shapes do not agree, `y_true` has a class that `labels` has not, the columns of a
        frame are the classes in another order, a probability is outside [0, 1] or a parameter out
        of range.

    References
    ----------
    Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, equation 3 (top-label).
    Kull et al., "Beyond temperature scaling", NeurIPS 2019, equation 4 (classwise).

    Examples
    --------
    >>> from sklearn_dsink.metrics import expected_calibration_error
    >>> expected_calibration_error([0, 1, 1, 1], [[0.2, 0.8]] * 4)
    0.05
    """
    validate_parameter_constraints(
        {
            "kind": [StrOptions({"top-label", "classwise"})],
            "n_bins": [Interval(Integral, 1, None, closed="left")],
            "strategy": [StrOptions({"uniform", "quantile"})],
        },
        {"kind": kind, "n_bins": n_bins, "strategy": strategy},
        caller_name="expected_calibration_error",
    )
    truth = column_or_1d(y_true)
    proba = check_array(y_proba, dtype=np.float64, input_name="y_proba")
    check_consistent_length(truth, proba)
    classes = unique_labels(truth) if labels is None else column_or_1d(labels)
    if len(classes) != proba.shape[1]:
        raise ValueError(
            f"y_proba has {proba.shape[1]} columns for {len(classes)} classes: pass `labels`, the "
            "class of each column (such as classes_)."
        )
    _check_known(truth, classes.tolist(), "labels")
    check_column_order(y_proba, "y_proba", classes)
    if proba.min() < 0 or proba.max() > 1 + 1e-6:
        raise ValueError(
            f"y_proba must lie in [0, 1]: found {proba.min():.3g} to {proba.max():.3g}."
        )
    weight = _check_sample_weight(sample_weight, proba, dtype=np.float64, ensure_non_negative=True)
    if weight.sum() == 0:
        raise ValueError("sample_weight is zero for every row: nothing is left to score.")
    counted = weight > 0  # quantiles go by rows
    truth, proba, weight = truth[counted], proba[counted], weight[counted]
    if kind == "top-label":
        top = proba.argmax(axis=1)
        right = classes[top] == truth
        return _binned_error(proba[np.arange(len(top)), top], right, weight, n_bins, strategy)
    errors = [
        _binned_error(proba[:, k], truth == label, weight, n_bins, strategy)
        for k, label in enumerate(classes)
    ]
    return float(np.mean(errors))


def _check_known(truth: np.ndarray, known: Iterable[Hashable], name: str) -> None:
    unseen = sorted(set(truth.tolist()) - set(known), key=str)
    if unseen:
        raise ValueError(f"y_true has classes that {name} has not: {unseen[:5]!r}.")


def _class_recalls(
    truth: np.ndarray, y_pred: Any, sample_weight: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Classes, weight of the right rows and weight of all rows of each, prediction included."""
    prediction = column_or_1d(y_pred)
    classes = unique_labels(truth, prediction)
    matrix = confusion_matrix(truth, prediction, labels=classes, sample_weight=sample_weight)
    return classes, np.diag(matrix).astype(float), matrix.sum(axis=1).astype(float)


def _binned_error(
    proba: np.ndarray, right: np.ndarray, weight: np.ndarray, n_bins: int, strategy: str
) -> float:
    if strategy == "uniform":
        inner = np.arange(1, n_bins) / n_bins
    else:
        inner = np.unique(np.quantile(proba, np.arange(1, n_bins) / n_bins))
    # A probability on an edge belongs to the bin below it, as in the paper's (lo, hi].
    bins = np.searchsorted(inner, proba, side="left")
    gap = np.bincount(bins, weights=weight * (right - proba), minlength=len(inner) + 1)
    return float(np.abs(gap).sum() / weight.sum())
