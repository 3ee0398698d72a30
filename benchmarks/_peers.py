"""What one would take instead of D-SINK: other libraries' classifiers, and a few of our own.

All see standardised features and the given labels as codes, with the parameters they come with:
nothing is tuned, and what handles class sizes by a switch has it on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cleanlab.classification import CleanLearning
from imblearn.ensemble import BalancedRandomForestClassifier
from lightgbm import LGBMClassifier
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.svm import SVC

from sklearn_dsink import NetClassifier
from sklearn_dsink.imbalance import LogitAdjustedClassifier, PriorCorrectedClassifier


@dataclass(frozen=True)
class Peer:
    """How a classifier is made from a seed, and up to how many classes it is worth the wait."""

    make: Callable[[int], Any]
    most_classes: int = 1000


def forest(seed: int) -> Any:
    return RandomForestClassifier(200, class_weight="balanced_subsample", random_state=seed)


def logistic(seed: int) -> Any:
    return LogisticRegression(max_iter=500, class_weight="balanced")


def clean_learning(base: Callable[[int], Any]) -> Callable[[int], Any]:
    options = {"n_jobs": 1}
    return lambda seed: CleanLearning(
        base(seed), seed=seed, verbose=False, find_label_issues_kwargs=options
    )


PEERS = {
    "SVC balanced": Peer(lambda seed: SVC(class_weight="balanced", random_state=seed)),
    "LR balanced": Peer(logistic),
    "RF balanced": Peer(forest, most_classes=60),
    "BalancedRF (imblearn)": Peer(
        lambda seed: BalancedRandomForestClassifier(
            200, sampling_strategy="all", replacement=True, bootstrap=False, random_state=seed
        )
    ),
    "ExtraTrees prior-corrected": Peer(lambda seed: PriorCorrectedClassifier(random_state=seed)),
    "CleanLearning(RF balanced)": Peer(clean_learning(forest), most_classes=60),
    "CleanLearning(LR balanced)": Peer(clean_learning(logistic)),
    "LightGBM balanced": Peer(
        lambda seed: LGBMClassifier(
            class_weight="balanced", random_state=seed, n_jobs=1, verbose=-1
        ),
        most_classes=30,
    ),
    "HistGB balanced": Peer(
        lambda seed: HistGradientBoostingClassifier(class_weight="balanced", random_state=seed),
        most_classes=30,
    ),
    "net": Peer(lambda seed: NetClassifier(random_state=seed)),
    "net logit-adjusted": Peer(lambda seed: LogitAdjustedClassifier(random_state=seed)),
}
