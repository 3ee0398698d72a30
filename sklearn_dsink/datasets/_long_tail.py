"""Give the classes of a data set a long tail."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.utils import _safe_indexing, check_consistent_length
from sklearn.utils._param_validation import Interval, StrOptions, validate_parameter_constraints
from sklearn.utils.validation import column_or_1d

from ..validation import number_classes
from ._labels import generator

_TAIL_CONSTRAINTS: dict[str, list[Any]] = {
    "imbalance_factor": [Interval(Real, 1, None, closed="left")],
    "kind": [StrOptions({"exponential", "step"})],
    "n_max": [Interval(Integral, 1, None, closed="left"), None],
    "n_min": [Interval(Integral, 1, None, closed="left")],
    "rounding": [StrOptions({"floor", "nearest"})],
}


def long_tail_counts(
    n_classes: int,
    n_max: int,
    imbalance_factor: float,
    *,
    kind: str = "exponential",
    n_min: int = 1,
    rounding: str = "floor",
) -> np.ndarray:
    r"""Class sizes of a long tail, the largest class first.

    With :math:`C` classes and the imbalance factor :math:`\rho`, the class of rank
    :math:`c = 0, \ldots, C - 1` has

    .. math::
        n_c = n_{max} \rho^{-c / (C - 1)} \quad \text{(exponential)}, \qquad
        n_c = \begin{cases} n_{max} & c < \lfloor C / 2 \rfloor \\
        n_{max} / \rho & \text{otherwise} \end{cases} \quad \text{(step)}

    rows, rounded as asked for and never fewer than `n_min`.

    Parameters
    ----------
    n_classes : int
        Number of classes, at least 1.
    n_max : int
        Rows of the largest class.
    imbalance_factor : float
        Largest class size divided by the smallest, at least 1.
    kind : {"exponential", "step"}, default="exponential"
        Shape of the tail.
    n_min : int, default=1
        No class gets fewer rows than this (nor more than `n_max`).
    rounding : {"floor", "nearest"}, default="floor"
        How fractions of a row are dropped; "floor" is what most published code does.

    Returns
    -------
    counts : ndarray of shape (n_classes,), dtype int64
        Class sizes, non-increasing.

    References
    ----------
    Cui et al., "Class-Balanced Loss Based on Effective Number of Samples", CVPR 2019
    (exponential). Buda et al., "A systematic study of the class imbalance problem in
    convolutional neural networks", Neural Networks 2018 (step).

    Examples
    --------
    >>> from sklearn_dsink.datasets import long_tail_counts
    >>> long_tail_counts(5, 100, 100).tolist()
    [100, 31, 10, 3, 1]
    >>> long_tail_counts(4, 100, 10, kind="step").tolist()
    [100, 100, 10, 10]
    """
    validate_parameter_constraints(
        _TAIL_CONSTRAINTS | {"n_classes": [Interval(Integral, 1, None, closed="left")]},
        {
            "n_classes": n_classes,
            "n_max": n_max,
            "imbalance_factor": imbalance_factor,
            "kind": kind,
            "n_min": n_min,
            "rounding": rounding,
        },
        caller_name="long_tail_counts",
    )
    rank = np.arange(n_classes)
    if kind == "exponential":
        exact = n_max * float(imbalance_factor) ** (-rank / max(n_classes - 1, 1))
    else:
        # One class alone is the head.
        head = rank < max(n_classes // 2, 1)
        exact = np.where(head, float(n_max), n_max / float(imbalance_factor))
    # 1e-9: an exact integer that floating point puts a hair below itself is not lost.
    rounded = np.floor(exact + 1e-9) if rounding == "floor" else np.rint(exact)
    return np.clip(rounded.astype(np.int64), min(n_min, n_max), n_max)


def make_long_tailed(
    X: Any,
    y: Any,
    imbalance_factor: float,
    *,
    kind: str = "exponential",
    n_max: int | None = None,
    n_min: int = 1,
    rounding: str = "floor",
    class_order: Any = "sorted",
    allow_short: bool = False,
    random_state: Any = None,
    return_indices: bool = False,
) -> tuple[Any, ...]:
    """Keep a random part of each class, so that class sizes have a long tail.

    Sizes are those of :func:`long_tail_counts`. The rows come back shuffled.

    Parameters
    ----------
    X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features)
        Input rows. Never copied as a whole; the container type is kept.
    y : array-like of shape (n_samples,)
        Class labels of any type that can be sorted. Use the clean labels: tail first, noise
        second.
    imbalance_factor : float
        Largest class size divided by the smallest, at least 1 (1: balanced).
    kind : {"exponential", "step"}, default="exponential"
        Shape of the tail.
    n_max : int, default=None
        Rows of the largest class. None: the size of the smallest class in `y`, so that every
        class can take every place in the order.
    n_min : int, default=1
        No class gets fewer rows than this.
    rounding : {"floor", "nearest"}, default="floor"
        How fractions of a row are dropped.
    class_order : {"sorted", "random", "frequency"} or array-like of shape (n_classes,), \
            default="sorted"
        Which class is the largest, which the second, and so on: the order of the sorted
        labels, a random one, by size in `y` (largest first, ties in sorted order), or the
        labels themselves in the order wanted.
    allow_short : bool, default=False
        What to do with a class that has fewer rows than its place in the tail asks for: keep
        all of its rows (True) or raise (False).
    random_state : int, RandomState instance, numpy Generator or None, default=None
        Fixes the rows drawn, their order and a random `class_order`.
    return_indices : bool, default=False
        If True, also return the positions of the kept rows.

    Returns
    -------
    X_lt : same container as X, of shape (n_kept, n_features)
        Kept rows.
    y_lt : same container as y, of shape (n_kept,)
        Their labels.
    indices : ndarray of shape (n_kept,), dtype int64
        Their positions in `X`. Only with ``return_indices=True``.

    Raises
    ------
    ValueError
        If a parameter is out of its range, or a class has fewer rows than its place in the
        tail asks for and `allow_short` is False.

    See Also
    --------
    flip_labels : Mislabel a share of the rows.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_dsink.datasets import make_long_tailed
    >>> X, y = np.zeros((300, 2)), np.repeat(["a", "b", "c"], 100)
    >>> X_lt, y_lt = make_long_tailed(X, y, 25, random_state=0)
    >>> [(y_lt == c).sum().item() for c in "abc"]
    [100, 20, 4]
    """
    validate_parameter_constraints(
        _TAIL_CONSTRAINTS | {"allow_short": ["boolean"], "return_indices": ["boolean"]},
        {
            "imbalance_factor": imbalance_factor,
            "kind": kind,
            "n_max": n_max,
            "n_min": n_min,
            "rounding": rounding,
            "allow_short": allow_short,
            "return_indices": return_indices,
        },
        caller_name="make_long_tailed",
    )
    check_consistent_length(X, y)
    classes, y_code = number_classes(y)
    available = np.bincount(y_code)
    rng = generator(random_state)
    order = _resolve_class_order(class_order, classes, available, rng)
    counts = long_tail_counts(
        len(classes),
        int(available.min()) if n_max is None else n_max,
        imbalance_factor,
        kind=kind,
        n_min=n_min,
        rounding=rounding,
    )
    short = np.flatnonzero(counts > available[order])
    if len(short) and not allow_short:
        code, wanted = order[short[0]], counts[short[0]]
        raise ValueError(
            f"make_long_tailed needs {wanted} rows of class {classes[code]!r}, y has "
            f"{available[code]}: lower n_max (or n_min), put larger classes first in "
            "class_order, or set allow_short=True."
        )
    kept = [
        rng.permutation(np.flatnonzero(y_code == code))[:count]
        for code, count in zip(order, counts, strict=True)
    ]
    indices = rng.permutation(np.concatenate(kept))
    out = (_safe_indexing(X, indices), _safe_indexing(y, indices))
    return (*out, indices) if return_indices else out


def _resolve_class_order(
    class_order: Any, classes: np.ndarray, available: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    n_classes = len(classes)
    if isinstance(class_order, str):
        if class_order == "sorted":
            return np.arange(n_classes)
        if class_order == "random":
            return rng.permutation(n_classes)
        if class_order == "frequency":
            return np.argsort(-available, kind="stable")
        raise ValueError(
            f"class_order={class_order!r} is none of 'sorted', 'random', 'frequency' or an "
            "array of the class labels."
        )
    given = column_or_1d(class_order)
    position = {label: code for code, label in enumerate(classes.tolist())}
    order = [position.get(label, -1) for label in given.tolist()]
    if sorted(order) != list(range(n_classes)):
        raise ValueError(
            f"class_order={given.tolist()!r} must hold each class of y once: {classes.tolist()!r}."
        )
    return np.asarray(order)
