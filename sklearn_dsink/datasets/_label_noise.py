"""Mislabel a share of the rows of a data set."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Real
from typing import Any

import numpy as np
from scipy import sparse
from scipy.optimize import brentq
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_array, check_consistent_length
from sklearn.utils._param_validation import Interval, StrOptions, validate_parameter_constraints

from ..validation import number_classes
from ._labels import decode_like, generator

NOISE_KINDS = {"symmetric", "pair", "asymmetric", "joint", "instance"}


def flip_labels(
    y: Any,
    rate: float | None = None,
    *,
    kind: str = "symmetric",
    transition: Any = None,
    X: Any = None,
    exact: bool = False,
    random_state: Any = None,
) -> tuple[Any, np.ndarray]:
    r"""Mislabel a share of the rows and say what was done.

    With :math:`r` the `rate`, :math:`n_j` the class sizes in `y`, :math:`n` their sum and
    :math:`C` their number, a label of class :math:`i` is replaced by :math:`j \ne i` with
    probability

    - "symmetric": :math:`T_{ij} = r / (C - 1)`, the own class left out, so that a share
      :math:`r` of the labels really changes (codes that draw from all classes change only
      :math:`r (C - 1) / C`);
    - "pair": :math:`T_{i, i + 1} = r`, the last class going to the first;
    - "joint": :math:`T_{ij} = r n_j / (n - n_i)`, so that wrong labels follow class sizes;
    - "asymmetric": by a class map or by a full matrix, see `transition`;
    - "instance": with a probability that falls with the row's distance to the class
      boundary, :math:`\sigma(b - 2 m_i / s)`, with :math:`m_i` the log-odds of the own class
      against the nearest other one in a logistic regression fitted to (X, y), :math:`s` the
      standard deviation of :math:`m` and :math:`b` such that the mean over all rows is
      :math:`r`. The new label is that nearest other class.

    Parameters
    ----------
    y : array-like of shape (n_samples,)
        Clean labels of any type that can be sorted, at least two classes.
    rate : float, default=None
        Share of labels that move, between 0 and 1. Required, unless `transition` is a matrix.
    kind : {"symmetric", "pair", "asymmetric", "joint", "instance"}, default="symmetric"
        Where they move to.
    transition : mapping or array-like of shape (n_classes, n_classes), default=None
        Only for ``kind="asymmetric"``. A mapping from class to class: a share `rate` of each
        mapped class moves to its image, other classes stay clean. A matrix of P(given | true),
        rows for the true classes in sorted order, each summing to 1: used as it is, without
        `rate`.
    X : {array-like, sparse matrix} of shape (n_samples, n_features), default=None
        Numeric input rows, required for ``kind="instance"``.
    exact : bool, default=False
        If False, every row moves independently, so that rates hold on average. If True, the
        number of rows of each class that move is its expectation, rounded.
    random_state : int, RandomState instance, numpy Generator or None, default=None
        Fixes the rows drawn and their new labels.

    Returns
    -------
    y_noisy : same container as y, of shape (n_samples,)
        Observed labels, with the type (and index) of `y`.
    noise_matrix : ndarray of shape (n_classes, n_classes), dtype float64
        What was realised: share of the rows of true class i (sorted order) that are now
        labelled j. Rows sum to 1.

    Raises
    ------
    ValueError
        If a parameter is out of its range, missing, or given without being used.

    See Also
    --------
    make_long_tailed : Give the classes a long tail; to be done first.

    References
    ----------
    Patrini et al., "Making Deep Neural Networks Robust to Label Noise: a Loss Correction
    Approach", CVPR 2017 (symmetric, asymmetric). Han et al., "Co-teaching", NeurIPS 2018
    (pair). Wei et al., "Robust Long-Tailed Learning under Label Noise", 2021 (joint).

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_dsink.datasets import flip_labels
    >>> y = np.repeat(["cat", "dog"], 100)
    >>> y_noisy, noise_matrix = flip_labels(y, 0.2, exact=True, random_state=0)
    >>> (y_noisy != y).mean().item()
    0.2
    >>> noise_matrix.tolist()
    [[0.8, 0.2], [0.2, 0.8]]
    """
    validate_parameter_constraints(
        {
            "rate": [Interval(Real, 0, 1, closed="both"), None],
            "kind": [StrOptions(NOISE_KINDS)],
            "transition": ["array-like", Mapping, None],
            "X": ["array-like", "sparse matrix", None],
            "exact": ["boolean"],
        },
        {"rate": rate, "kind": kind, "transition": transition, "X": X, "exact": exact},
        caller_name="flip_labels",
    )
    classes, y_code = number_classes(y)
    n_classes = len(classes)
    if n_classes < 2:
        raise ValueError("y has one class only: flip_labels needs at least two.")
    _check_flip_arguments(rate, kind, transition, X)
    rng = generator(random_state)
    if kind == "instance":
        flip_proba, destination = _instance_flips(X, y_code, float(rate or 0.0))
        moved = _draw_rows(flip_proba, y_code, exact, rng)
        new = destination[moved]
    else:
        matrix = _transition_matrix(kind, rate, transition, classes, np.bincount(y_code))
        moved = _draw_rows(1.0 - np.diag(matrix)[y_code], y_code, exact, rng)
        if kind == "symmetric":
            new = (y_code[moved] + rng.integers(1, n_classes, len(moved))) % n_classes
        else:
            new = _draw_destinations(matrix, y_code[moved], rng)
    noisy_code = y_code.copy()
    noisy_code[moved] = new
    realised = np.zeros((n_classes, n_classes))
    np.add.at(realised, (y_code, noisy_code), 1.0)
    return decode_like(y, y_code, noisy_code), realised / realised.sum(axis=1, keepdims=True)


def _check_flip_arguments(rate: float | None, kind: str, transition: Any, X: Any) -> None:
    """Refuse arguments that are missing, and arguments that would be ignored."""
    if kind == "asymmetric":
        if transition is None:
            raise ValueError(
                "transition is None: kind='asymmetric' needs a class map with a rate, or a "
                "matrix of P(given | true)."
            )
    elif transition is not None:
        raise ValueError(f"transition is given but kind={kind!r} does not use it: leave it out.")
    if isinstance(transition, Mapping) or transition is None:
        if rate is None:
            raise ValueError("rate is None: give the share of labels that move, from 0 to 1.")
    elif rate is not None:
        raise ValueError(
            f"rate={rate!r} is given with a transition matrix, which says it all: pass rate=None."
        )
    if kind == "instance" and X is None:
        raise ValueError("X is None: kind='instance' needs the input rows.")
    if kind != "instance" and X is not None:
        raise ValueError(f"X is given but kind={kind!r} does not use it: leave it out.")


def _transition_matrix(
    kind: str, rate: float | None, transition: Any, classes: np.ndarray, counts: np.ndarray
) -> np.ndarray:
    """P(given | true) of the class-level noise kinds, shape (n_classes, n_classes)."""
    n_classes = len(classes)
    if kind == "asymmetric" and not isinstance(transition, Mapping):
        return _check_transition_matrix(transition, n_classes)
    assert rate is not None
    leave, destination = np.full(n_classes, rate), 1.0 - np.eye(n_classes)
    if kind == "joint":
        destination *= counts
    elif kind == "pair":
        destination = np.roll(np.eye(n_classes), 1, axis=1)
    elif kind == "asymmetric":
        position = {label: code for code, label in enumerate(classes.tolist())}
        leave[:] = 0.0
        for source, image in transition.items():
            if source not in position or image not in position:
                raise ValueError(
                    f"transition maps {source!r} to {image!r}, and y has the classes "
                    f"{classes.tolist()!r} only."
                )
            if source == image:
                continue
            leave[position[source]] = rate
            destination[position[source]] = np.eye(n_classes)[position[image]]
    destination = destination / destination.sum(axis=1, keepdims=True)
    return np.diag(1.0 - leave) + leave[:, None] * destination


def _check_transition_matrix(transition: Any, n_classes: int) -> np.ndarray:
    matrix = check_array(transition, dtype=np.float64, input_name="transition")
    if matrix.shape != (n_classes, n_classes):
        raise ValueError(
            f"transition has shape {matrix.shape}: it must be ({n_classes}, {n_classes}), one "
            "row and column for each class of y in sorted order."
        )
    if matrix.min() < 0 or not np.allclose(matrix.sum(axis=1), 1.0, atol=1e-6):
        raise ValueError(
            "transition must have rows of probabilities that sum to 1: found entries from "
            f"{matrix.min():.3g} and row sums from {matrix.sum(axis=1).min():.3g} to "
            f"{matrix.sum(axis=1).max():.3g}."
        )
    return matrix / matrix.sum(axis=1, keepdims=True)


def _draw_rows(
    flip_proba: np.ndarray, y_code: np.ndarray, exact: bool, rng: np.random.Generator
) -> np.ndarray:
    """Positions of the rows whose label moves, in increasing order."""
    if not exact:
        return np.flatnonzero(rng.random(len(flip_proba)) < flip_proba)
    moved = []
    for code in range(y_code.max() + 1):
        rows = np.flatnonzero(y_code == code)
        weights = flip_proba[rows]
        # 1e-9: a tie such as 0.3 * 5 rounds up whichever side floating point puts it on.
        size = int(np.floor(weights.sum() + 0.5 + 1e-9))
        if size:
            moved.append(rng.choice(rows, size, replace=False, p=weights / weights.sum()))
    return np.sort(np.concatenate(moved)) if moved else np.empty(0, dtype=np.int64)


def _draw_destinations(
    matrix: np.ndarray, y_code: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Draw the new class of each row that moves, from its row of `matrix` off the diagonal."""
    off = matrix * (1.0 - np.eye(len(matrix)))
    cdf = np.cumsum(off, axis=1)
    u = rng.random(len(y_code)) * cdf[y_code, -1]
    # The first class whose cumulated share exceeds u; classes of share zero are never met.
    return np.argmax(cdf[y_code] > u[:, None], axis=1)


def _instance_flips(X: Any, y_code: np.ndarray, rate: float) -> tuple[np.ndarray, np.ndarray]:
    """Flip probability and nearest other class of each row."""
    X = check_array(X, accept_sparse="csr", dtype=np.float64, input_name="X")
    check_consistent_length(X, y_code)
    model = make_pipeline(
        StandardScaler(with_mean=not sparse.issparse(X)), LogisticRegression(max_iter=2000)
    )
    log_proba = model.fit(X, y_code).predict_log_proba(X)
    rows = np.arange(len(y_code))
    # exp(-700) is still above 0 in double precision: no -inf - -inf below.
    log_proba = np.maximum(log_proba, -700.0)
    own = log_proba[rows, y_code].copy()
    log_proba[rows, y_code] = -np.inf
    nearest = np.argmax(log_proba, axis=1)
    margin = own - log_proba[rows, nearest]
    if rate in (0.0, 1.0):
        return np.full(len(margin), rate), nearest
    steep = -2.0 * margin / max(float(margin.std()), 1e-12)
    bound = float(np.abs(steep).max()) + 50.0
    offset = brentq(lambda b: float(expit(b + steep).mean()) - rate, -bound, bound)
    return expit(offset + steep), nearest
