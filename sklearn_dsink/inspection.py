"""What a fit knows about the labels: which are probably wrong, and which classes bleed into which.

Functions over arrays; a fitted :class:`~sklearn_dsink.DSinkClassifier` hands its own to them.
"""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.utils import check_array, check_consistent_length, gen_batches
from sklearn.utils.validation import check_is_fitted, column_or_1d

from ._arrays import FloatArray
from ._columns import is_frame
from .class_values import read_by_class
from .label_model import smooth
from .validation import check_finite

__all__ = ["class_groups", "class_summary", "find_label_issues", "noisy_pairs"]

#: Class groups, from head to tail.
GROUPS = ("many", "medium", "few")

#: Labels of a lower quality are flagged; chosen by ``benchmarks/label_issues.py``.
FLAGGED_BELOW = 0.3

# Rows looked at together, so that what is made on the way is small beside the matrices given.
_BLOCK_ROWS = 10_000


def class_groups(
    counts: npt.ArrayLike, *, many: float = 100, few: float = 20
) -> npt.NDArray[np.str_]:
    """Name the group of each class: many-shot, medium-shot or few-shot.

    Parameters
    ----------
    counts : array-like of shape (n_classes,)
        Rows of each class; estimates need not be whole numbers.
    many : float, default=100
        A class with more rows is many-shot.
    few : float, default=20
        A class with fewer rows is few-shot; the rest is medium-shot.

    Returns
    -------
    groups : ndarray of shape (n_classes,), dtype str
        ``"many"``, ``"medium"`` or ``"few"``.

    Raises
    ------
    ValueError
        If `few` exceeds `many`.

    Examples
    --------
    >>> from sklearn_dsink.inspection import class_groups
    >>> class_groups([250, 100, 20, 7.5]).tolist()
    ['many', 'medium', 'medium', 'few']
    """
    if few > many:
        raise ValueError(f"few={few!r} must not exceed many={many!r}.")
    counts = np.asarray(counts, dtype=float)
    return np.where(counts > many, "many", np.where(counts < few, "few", "medium"))


def find_label_issues(
    y: Any,
    surrogate_labels: Any,
    *,
    classes: Any = None,
    noise_proba: Any = None,
    imb_proba: Any = None,
    index: Any = None,
    class_counts: Any = "estimated",
    threshold: float = FLAGGED_BELOW,
) -> pd.DataFrame:
    r"""Rank the rows by how surely their given label is wrong.

    The quality of a given label sets it against its strongest rival: with :math:`p_i` the
    geometric mean of the row's surrogate label and of `noise_proba`, which has not seen the given
    label and gets 1 % of the uniform distribution mixed in, it is
    :math:`p_{iy} / (p_{iy} + \max_{c \ne y} p_{ic})`.  Below one half both together prefer another
    class.

    Parameters
    ----------
    y : array-like of shape (n_samples,)
        Given labels.
    surrogate_labels : array-like of shape (n_samples, n_classes)
        Probability of each true class; rows sum to 1.
    classes : array-like of shape (n_classes,), default=None
        The label of each column; None takes the sorted labels of `y`.
    noise_proba : array-like of shape (n_samples, n_classes), default=None
        Out-of-fold probabilities of the noise-robust auxiliary. Without them the quality is that
        of the surrogate labels alone.
    imb_proba : array-like of shape (n_samples, n_classes), default=None
        The same of the imbalance-robust one; shown beside, not used.
    index : array-like of shape (n_samples,), default=None
        The user's name of each row; None takes the index of `y` where it is a pandas object,
        else row numbers.
    class_counts : {"estimated", "given"}, mapping or array-like, default="estimated"
        What the groups go by: the column totals of `surrogate_labels`, the counts of `y`, or
        counts of yours, by label (a dict, a Series such as ``y.value_counts()``) or in the order
        of the classes.  Label noise makes the counts of `y` more even, which hides the tail.
    threshold : float, default=0.3
        Rows with a quality below it are flagged. Lower it for fewer and surer flags; at 0.5 all
        rows are flagged where another class is likelier than the given one.

    Returns
    -------
    issues : DataFrame of n_samples rows
        Worst label first, ties in the order of the rows; named by `index`. Columns:

        - ``given_label``, ``suggested_label``: the label in `y`, and the likeliest class
        - ``quality``: of the given label, in [0, 1]; 0.5 is a draw with another class
        - ``suggested_proba``: probability that the suggested label is right, by the surrogate
          label
        - ``noise_label``, ``noise_proba``: the noise-robust auxiliary's choice, and its
          probability of the given label (where `noise_proba` is given)
        - ``imb_label``, ``imb_proba``: the same of the imbalance-robust one
        - ``group``: many, medium or few, of the given label's class
        - ``is_issue``: ``quality < threshold``

        ``issues.attrs["expected_precision"]`` holds the share of the flagged rows that is
        expected to be wrong, overall (``"all"``) and by group: the mean of ``1 - quality``.

    Raises
    ------
    ValueError
        If shapes disagree, a label of `y` is missing or not among `classes`, a matrix is no
        matrix of probabilities, a frame's columns are the classes in another order, its rows
        those of `y` in another order, or `threshold` is outside [0, 1].

    See Also
    --------
    class_summary : The same, class by class.

    References
    ----------
    C. Northcutt, L. Jiang, I. Chuang (2021). Confident Learning: Estimating Uncertainty in
    Dataset Labels. JAIR 70.

    F. Hong et al. (2025). Dual-granularity Sinkhorn distillation for enhanced learning from
    long-tailed noisy data. arXiv:2510.08179.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_dsink.inspection import find_label_issues
    >>> surrogate_labels = np.array([[0.9, 0.1], [0.2, 0.8], [0.05, 0.95]])
    >>> issues = find_label_issues(["cat", "dog", "cat"], surrogate_labels, index=[10, 11, 12])
    >>> issues[["given_label", "suggested_label", "quality", "is_issue"]].round(2)
       given_label suggested_label  quality  is_issue
    12         cat             dog     0.05      True
    11         dog             dog     0.80     False
    10         cat             cat     0.90     False
    >>> issues.attrs["expected_precision"]["all"]
    0.95
    """
    if index is None and isinstance(y, pd.Series):
        index = y.index
    classes, codes = encode(y, classes)
    q = probability_matrix(surrogate_labels, "surrogate_labels", codes, classes)
    _check_threshold(threshold)
    for name, matrix in (
        ("surrogate_labels", surrogate_labels),
        ("noise_proba", noise_proba),
        ("imb_proba", imb_proba),
    ):
        _check_row_order(y, matrix, name)
    views = {
        name: probability_matrix(proba, f"{name}_proba", codes, classes)
        for name, proba in (("noise", noise_proba), ("imb", imb_proba))
        if proba is not None
    }

    rows = np.arange(len(codes))
    best = np.argmax(q, axis=1)
    quality = _label_quality(q, views.get("noise"), codes)
    columns: dict[str, Any] = {
        "given_label": classes[codes],
        "suggested_label": classes[best],
        "quality": quality,
        "suggested_proba": q[rows, best],
    }
    for name, proba in views.items():
        columns[f"{name}_label"] = classes[np.argmax(proba, axis=1)]
        columns[f"{name}_proba"] = proba[rows, codes]
    counts = _class_counts(class_counts, codes, q, classes)
    columns["group"] = class_groups(counts)[codes]
    columns["is_issue"] = quality < threshold

    issues = pd.DataFrame(columns, index=_row_index(index, len(codes)))
    issues = issues.iloc[np.argsort(quality, kind="stable")]
    issues.attrs["threshold"] = float(threshold)
    issues.attrs["expected_precision"] = expected_precision(issues)
    return issues


def class_summary(
    y: Any, surrogate_labels: Any, *, classes: Any = None, issues: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Count each class as given and as estimated, and its issues.

    Parameters
    ----------
    y : array-like of shape (n_samples,)
        Given labels.
    surrogate_labels : array-like of shape (n_samples, n_classes)
        Probability of each true class; rows sum to 1.
    classes : array-like of shape (n_classes,), default=None
        The label of each column; None takes the sorted labels of `y`.
    issues : DataFrame, default=None
        Result of :func:`find_label_issues`; None finds them with its defaults.

    Returns
    -------
    summary : DataFrame of n_classes rows
        Largest estimated class first, named by label. Columns ``given`` and ``estimated`` (rows),
        ``group`` (by the estimate), ``issues`` (flagged rows given this label) and ``issue_rate``
        (their share of the rows given; 0 where there are none).

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_dsink.inspection import class_summary
    >>> class_summary(["a", "b", "a"], [[0.9, 0.1], [0.2, 0.8], [0.1, 0.9]])
       given  estimated group  issues  issue_rate
    b      1        1.8   few       0         0.0
    a      2        1.2   few       1         0.5
    """
    classes, codes = encode(y, classes)
    q = probability_matrix(surrogate_labels, "surrogate_labels", codes, classes)
    if issues is None:
        issues = find_label_issues(y, q, classes=classes)
    given = np.bincount(codes, minlength=len(classes))
    estimated = q.sum(axis=0)
    _, flagged_codes = encode(issues["given_label"][issues["is_issue"]], classes)
    flagged = np.bincount(flagged_codes, minlength=len(classes))
    summary = pd.DataFrame(
        {
            "given": given,
            "estimated": estimated,
            "group": class_groups(estimated),
            "issues": flagged,
            "issue_rate": flagged / np.maximum(given, 1),
        },
        index=_label_index(classes),
    )
    return summary.iloc[np.argsort(-estimated, kind="stable")]


def noisy_pairs(noise_matrix: Any, class_marginal: Any, *, classes: Any = None) -> pd.DataFrame:
    """List which classes bleed into which, the pairs that cost most rows first.

    Parameters
    ----------
    noise_matrix : array-like of shape (n_classes, n_classes)
        ``P(given | true)``; rows are true classes and sum to 1.
    class_marginal : mapping or array-like of shape (n_classes,)
        Share of each true class, by label or in the order of `classes`.
    classes : array-like of shape (n_classes,), default=None
        Labels; None takes 0, 1, ...

    Returns
    -------
    pairs : DataFrame of n_classes * (n_classes - 1) rows
        Columns ``true_label``, ``given_label``, ``proba`` (of the given label where the true one
        is as named), ``share`` (of all rows), sorted by ``share``.

    Raises
    ------
    ValueError
        If the shapes disagree, or a share by label is missing.

    Examples
    --------
    >>> from sklearn_dsink.inspection import noisy_pairs
    >>> noisy_pairs([[0.9, 0.1], [0.3, 0.7]], [0.8, 0.2], classes=["cat", "dog"])
      true_label given_label  proba  share
    0        cat         dog    0.1   0.08
    1        dog         cat    0.3   0.06
    """
    matrix = check_array(noise_matrix, input_name="noise_matrix")
    n_classes = len(matrix)
    labels = np.arange(n_classes) if classes is None else np.asarray(classes)
    if matrix.shape != (n_classes, n_classes) or len(labels) != n_classes:
        raise ValueError(
            f"noise_matrix of shape {matrix.shape} and classes of {len(labels)} entries disagree: "
            "both go by the same classes."
        )
    share = read_by_class(class_marginal, labels, "class_marginal")
    true, given = np.nonzero(~np.eye(n_classes, dtype=bool))
    pairs = pd.DataFrame(
        {
            "true_label": labels[true],
            "given_label": labels[given],
            "proba": matrix[true, given],
            "share": matrix[true, given] * share[true],
        }
    )
    return pairs.sort_values("share", ascending=False, kind="stable", ignore_index=True)


def encode(y: Any, classes: Any = None) -> tuple[npt.NDArray[Any], npt.NDArray[np.intp]]:
    """Give the classes and the code of each label; raise where a label is none of the classes."""
    y = column_or_1d(y)
    check_finite(y)
    if classes is None:
        return np.unique(y, return_inverse=True)
    classes = np.asarray(classes)
    names = _label_index(classes)
    if names.has_duplicates:
        raise ValueError(f"classes names {classes[names.duplicated()].tolist()[0]!r} twice.")
    codes = names.get_indexer(_label_index(y))
    if (codes < 0).any():
        raise ValueError(
            f"y holds the label {y[codes < 0][0]!r}, which is not among the {len(classes)} "
            "classes: pass every label in `classes`."
        )
    return classes, codes


def probability_matrix(
    proba: Any,
    name: str,
    codes: npt.NDArray[np.integer[Any]],
    classes: npt.NDArray[Any],
) -> FloatArray:
    """Return `proba` as float64 after checking its shape, and that rows are distributions."""
    matrix = check_array(proba, dtype=np.float64, input_name=name)
    if matrix.shape[1] != len(classes):
        raise ValueError(
            f"{name} has {matrix.shape[1]} columns and there are {len(classes)} classes: pass "
            "`classes` when y lacks one, in the order of the columns."
        )
    check_column_order(proba, name, classes)
    check_consistent_length(codes, matrix)
    if matrix.min() < 0 or not np.allclose(matrix.sum(axis=1), 1.0, atol=1e-3):
        row = int(np.argmax(np.abs(matrix.sum(axis=1) - 1.0) + (matrix.min(axis=1) < 0)))
        raise ValueError(
            f"{name} must hold probabilities that sum to 1 in each row; row {row} holds "
            f"{matrix[row].min():.4g} to {matrix[row].max():.4g} and sums to "
            f"{matrix[row].sum():.4g}."
        )
    return matrix


def check_column_order(proba: Any, name: str, classes: npt.NDArray[Any]) -> None:
    """Raise where the columns of a frame are named by the classes, in another order.

    Columns are read by position. Names that are numbers from 0 on are those of a frame without.
    """
    if not is_frame(proba):
        return
    names, labels = list(proba.columns), classes.tolist()
    if names in (labels, list(range(len(names)))):
        return
    if sorted(names, key=str) == sorted(labels, key=str):  # pyarrow's columns have no hash
        raise ValueError(
            f"{name} has the columns {names[:10]}, and the classes are {labels[:10]}: give the "
            "columns in the order of the classes."
        )


def _check_row_order(y: Any, matrix: Any, name: str) -> None:
    """Raise where the rows of a frame are named as those of y are, in another order."""
    if not isinstance(y, pd.Series | pd.DataFrame) or not isinstance(matrix, pd.DataFrame):
        return
    ours, theirs = y.index, matrix.index
    if ours.equals(theirs) or not (ours.is_unique and theirs.is_unique):
        return
    if len(ours) == len(theirs) and ours.isin(theirs).all():
        raise ValueError(
            f"{name} has the rows of y in another order, and rows are read by position: give "
            f"{name}.loc[y.index]."
        )


def fitted(estimator: Any, *attributes: str) -> tuple[Any, ...]:
    """Return attributes of a fitted estimator, and say what to give where it has them not."""
    check_is_fitted(estimator)
    if not all(hasattr(estimator, name) for name in attributes):
        raise TypeError(
            f"{type(estimator).__name__} has not {' and '.join(attributes)}: give a fitted "
            "DSinkClassifier. Of a Pipeline or a search, give the classifier in it: pipeline[-1], "
            "search.best_estimator_."
        )
    return tuple(getattr(estimator, name) for name in attributes)


def _label_quality(
    surrogate_labels: FloatArray,
    noise_proba: FloatArray | None,
    codes: npt.NDArray[np.integer[Any]],
) -> FloatArray:
    """Set each given label against its strongest rival, in the mean of both views.

    The surrogate label has seen the given label and how often it is right, the auxiliary has not:
    where a class is small, the one keeps too many labels and the other too few.
    """
    quality = np.empty(len(codes))
    for part in gen_batches(len(codes), _BLOCK_ROWS):
        views, given = surrogate_labels[part].copy(), codes[part]
        if noise_proba is not None:
            views = np.sqrt(views * smooth(noise_proba[part]))
        rows = np.arange(len(given))
        own = views[rows, given]
        views[rows, given] = 0.0
        quality[part] = own / (own + views.max(axis=1))
    return quality


def _label_index(labels: npt.NDArray[Any]) -> pd.Index[Any]:
    """Return an index of the labels; pandas has none of float16."""
    return pd.Index(labels.astype(np.float32) if labels.dtype == np.float16 else labels)


def _row_index(index: Any, n_samples: int) -> pd.Index[Any]:
    if index is None:
        return pd.RangeIndex(n_samples)
    names = index if isinstance(index, pd.Index) else pd.Index(index)  # as it is: of any levels
    if len(names) != n_samples:
        raise ValueError(f"index has {len(names)} entries and y has {n_samples}.")
    return names


def _check_threshold(threshold: Any) -> None:
    if not isinstance(threshold, Real) or not 0 <= float(threshold) <= 1:
        raise ValueError(f"threshold must be a number in [0, 1], got {threshold!r}.")


def _class_counts(
    class_counts: Any,
    codes: npt.NDArray[np.integer[Any]],
    q: FloatArray,
    classes: npt.NDArray[Any],
) -> FloatArray:
    if isinstance(class_counts, str):
        if class_counts == "estimated":
            return q.sum(axis=0)
        if class_counts == "given":
            return np.bincount(codes, minlength=q.shape[1]).astype(float)
        raise ValueError(
            f"class_counts must be 'estimated', 'given' or numbers, got {class_counts!r}."
        )
    return read_by_class(class_counts, classes, "class_counts")


def expected_precision(issues: pd.DataFrame) -> dict[str, float]:
    """Mean of one less the quality among the flagged rows; NaN where none is flagged."""
    flagged = issues[issues["is_issue"]]
    wrong = 1.0 - flagged["quality"]
    expected = {"all": float(wrong.mean())}
    for group in GROUPS:
        expected[group] = float(wrong[flagged["group"] == group].mean())
    return expected
