"""Any data: learning problems of every size, scale and kind, and what became of a fit on them."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.tree import DecisionTreeClassifier, ExtraTreeClassifier

from sklearn_dsink import DSinkClassifier, _parameters

#: Label dtypes, from codes 0, 1, ...
LABELS = {
    "int64": lambda codes: codes,
    "int8": lambda codes: (codes - 7).astype(np.int8),
    "uint8": lambda codes: codes.astype(np.uint8),
    "gaps": lambda codes: 1000 * codes - 5,
    "float32": lambda codes: codes.astype(np.float32),
    "bool": lambda codes: codes > 0,
    "str": lambda codes: np.char.add("class ", codes.astype(str)),
    "bytes of any length": lambda codes: np.array(["x" * (c + 1) for c in codes]),
    "object": lambda codes: np.array([f"c{c}" for c in codes], dtype=object),
    "category": lambda codes: pd.Series(codes).astype("category"),
    "string": lambda codes: pd.Series(codes).astype(str).astype("string"),
    "Int64": lambda codes: pd.Series(codes, dtype="Int64"),
}
#: Decimal exponents of the features' scales.
SCALES = {"ordinary": (0, 0), "tiny": (-30, -20), "huge": (20, 30), "both": (-30, 30)}
#: Decimal exponents of the weights.
WEIGHTS = {"none": None, "zeros": (0, 0), "uneven": (-6, 6), "extreme": (-30, 30)}
#: Parts of a problem that may be there or not.
FLAGS = ("constant", "duplicate", "repeated rows", "missing values", "frame", "permuted")
#: Parameters of the classifier.
RECIPES: dict[str, dict[str, Any]] = {
    "default": {},
    "in-sample": {"cv": None},
    "five folds": {"cv": 5},
    "target alone": {"combine": False},
    "f_L's totals": {"class_marginal": "imb_aux"},
    "given labels": {"base_loss": "cross_entropy", "noise_correction": False},
    "no prior correction": {"prior_correction": False, "class_prior": "train"},
}

# An auxiliary that fails on a part of the data begins its message with its name.
_REFUSALS = re.compile(
    r"(?!noise_aux=|imb_aux=|target)"
    r".*(two rows or more|one class only|sample_weight is (zero|positive on rows of one class))"
)


@dataclass
class Problem:
    """Features, labels and weights, and how they are to be learnt from."""

    n_rows: int
    n_features: int
    n_classes: int
    seed: int
    labels: str = "int64"
    scale: str = "ordinary"
    weights: str = "none"
    flags: tuple[str, ...] = ()
    recipe: str = "default"
    auxiliaries: str = "tree"

    def data(self) -> tuple[Any, Any, Any]:
        """Draw X, y and the weights."""
        rng = np.random.default_rng(self.seed)
        n_rows, n_features = self.n_rows, self.n_features
        X = rng.normal(size=(n_rows, n_features))
        X *= 10.0 ** rng.uniform(*SCALES[self.scale], size=n_features)
        if "constant" in self.flags:
            X[:, 0] = X[0, 0]
        if "duplicate" in self.flags:
            X[:, -1] = X[:, 0]
        if "repeated rows" in self.flags:
            X = X[rng.integers(n_rows, size=n_rows)]
        if "missing values" in self.flags:
            X[rng.random(X.shape) < rng.choice([0.1, 0.9])] = np.nan
        codes = np.minimum(rng.geometric(rng.choice([0.05, 0.3, 0.8]), n_rows), self.n_classes) - 1
        if rng.random() < 0.9:  # two classes at least, where there are rows for them
            codes[:2] = np.arange(2)[:n_rows]
        weight = None
        if WEIGHTS[self.weights] is not None:
            weight = 10.0 ** rng.uniform(*WEIGHTS[self.weights], size=n_rows)
            if self.weights == "zeros":
                weight[rng.random(n_rows) < 0.5] = 0.0
        if "frame" in self.flags or "permuted" in self.flags:
            X = pd.DataFrame(X, columns=[f"column {i}" for i in range(n_features)])
        return X, LABELS[self.labels](codes), weight

    def classifier(self) -> DSinkClassifier:
        """Give the unfitted classifier."""
        auxiliaries = {
            "tree": (ExtraTreeClassifier(), DecisionTreeClassifier(class_weight="balanced")),
            "trees": (ExtraTreesClassifier(3), DecisionTreeClassifier(class_weight="balanced")),
            "defaults": (None, None),
        }[self.auxiliaries]
        settings = {"cv": 2, "warmup": 1, "random_state": 0, **RECIPES[self.recipe]}
        return DSinkClassifier(*auxiliaries, **settings)


def outcome(problem: Problem) -> str:
    """Fit, predict and check: "survived", or "clear error" where the data cannot be used.

    Columns in another order than those of fit have to be refused besides.

    Raises
    ------
    Exception
        Whatever else happens.
    """
    X, y, weight = problem.data()
    # scikit-learn's remark on labels of which most occur once or twice.
    warnings.filterwarnings("ignore", message="The number of unique classes")
    try:
        clf = problem.classifier().fit(X, y, sample_weight=weight)
    except ValueError as error:
        if _REFUSALS.match(str(error)):
            return "clear error"
        raise
    for rows in (clf.predict_proba(X), clf.surrogate_labels_):
        assert rows.shape == (len(X), len(clf.classes_))
        assert np.isfinite(rows).all()
        np.testing.assert_allclose(rows.sum(axis=1), 1, rtol=1e-5)
    assert set(clf.predict(X)) <= set(clf.classes_.tolist())
    assert clf.transport_error_ <= clf.tol
    if "permuted" in problem.flags and X.shape[1] > 1:
        with pytest.raises(ValueError, match="feature names should match"):
            clf.predict(X[X.columns[::-1]])
    return "survived"


def short_target(max_epochs: int) -> Any:
    """Give a stand-in for the default target that trains a few epochs."""
    default_target = _parameters.default_target

    def short(*args: Any, **kwargs: Any) -> Any:
        return default_target(*args, **kwargs).set_params(max_epochs=max_epochs)

    return short
