"""What each part of the default recipe is worth: one setting changed at a time.

    python benchmarks/ablation.py --out docs/_static/ablation.csv [--data FOLDER]

With --pair NAME the auxiliaries are those of a pair of pairs.py, of four folds.

One line a cell, seed and setting goes into the CSV as soon as it is known; a second run does what
is missing. Beside it, `ablation_summary.csv` has the effect of each change in points of balanced
accuracy, of the prediction and of the surrogate labels on the training rows, paired by cell and
seed, with its standard error, and the processor seconds of a fit. Scores use clean labels; the
fits do not see them.
"""

from __future__ import annotations

import argparse
import time
import warnings
from contextlib import ExitStack
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
from _machine import one_thread
from _rows import Rows, add_options, chosen_cells
from accuracy import Task
from cells import ALL_CELLS, make_cell
from imblearn.ensemble import BalancedRandomForestClassifier
from pairs import PAIRS
from sklearn.metrics import balanced_accuracy_score

from sklearn_dsink import PAPER, DSinkClassifier
from sklearn_dsink.imbalance import KernelClassifier
from sklearn_dsink.label_model import fit_label_model
from sklearn_dsink.scaling import SmoothClipper

SCORES = ("accuracy", "labels", "seconds")
CELLS = [
    "digits-IF10-symmetric0.4",
    "digits-IF50-symmetric0.2",
    "digits-IF10-joint0.2",
    "digits-IF50-pair0.2",
    "satimage-IF50-symmetric0.4",
    "optdigits-IF100-pair0.2",
]

BALANCED_FOREST = BalancedRandomForestClassifier(
    100, sampling_strategy="all", replacement=True, bootstrap=False
)

# What is changed, and how: parameters by name, constants by the path of a module.
CHANGES: dict[str, dict[str, Any]] = {
    "default": {},
    "auxiliaries fitted once": {"refine": False},
    "three folds instead of five": {"cv": 3},
    "eight folds instead of five": {"cv": 8},
    "f_L a balanced random forest": {"imb_aux": BALANCED_FOREST},
    "no label model (f_N as it is)": {"noise_correction": False},
    "the likeliest exponents as they are": {"sklearn_dsink.evidence._POWER": 1.0},
    "exponents to the power 0.8": {"sklearn_dsink.evidence._POWER": 0.8},
    "noise matrix held by 10 rows": {
        "sklearn_dsink.evidence.fit_label_model": partial(fit_label_model, pseudo_count=10.0)
    },
    "noise matrix held by 100 rows": {
        "sklearn_dsink.evidence.fit_label_model": partial(fit_label_model, pseudo_count=100.0)
    },
    "label model of ten rounds at most": {
        "sklearn_dsink.evidence.fit_label_model": partial(fit_label_model, max_iter=10)
    },
    "label model of forty rounds at least": {
        "sklearn_dsink.evidence.fit_label_model": partial(fit_label_model, min_iter=40)
    },
    "label model that starts once": {"sklearn_dsink.label_model._LIKELIER": np.inf},
    "auxiliaries read columns with their tails": {
        "sklearn_dsink.defaults.SmoothClipper": partial(SmoothClipper, limit=1e6)
    },
    "columns weigh alike in f_L": {
        "sklearn_dsink.defaults.KernelClassifier": partial(KernelClassifier, weigh_columns=False)
    },
    "columns of f_L weighed by the rows left out too": {
        "sklearn_dsink.imbalance.KernelClassifier._weigh_without": KernelClassifier._add_up_without
    },
    "f_L on a Gaussian kernel in any case": {
        "sklearn_dsink.defaults.KernelClassifier": partial(KernelClassifier, kernel="gaussian")
    },
    "trees look at the root of the columns, few or many": {
        "sklearn_dsink.defaults._LEAST_COLUMNS": 1
    },
    "exponents without a prior": {"sklearn_dsink.label_model._PRECISION": 0.0},
    "f_L tuned with twice the landmarks": {
        "sklearn_dsink.imbalance._kernel_classifier._TUNING_LANDMARKS": 500
    },
    "regularisation of f_L chosen with all landmarks": {
        "sklearn_dsink.imbalance._kernel_classifier._TUNING_LANDMARKS": 10**6
    },
    "half of the prediction the target's": {"sklearn_dsink.classifier.TARGET_SHARE": 0.5},
    "class shares of f_L": {"class_marginal": "imb_aux"},
    "cross-entropy on the given labels too": {"base_loss": "cross_entropy"},
    "no prior correction of the target": {"prior_correction": False},
    "surrogate labels never renewed": {"warmup": 10**6},
    "surrogate labels renewed every fifth epoch": {"renew_every": 5},
    "relaxed class shares (gamma 2)": {"relaxation": 2.0},
    "prediction by the target alone": {"combine": False},
    "in-sample probabilities": {"cv": None},
    "published settings, default auxiliaries": PAPER,
}


def run(task: Task, seed: int, pair: str | None, change: dict[str, Any]) -> dict[str, str]:
    parameters = {name: value for name, value in change.items() if "." not in name}
    start = time.process_time()
    with ExitStack() as stack:
        for path in change.keys() - parameters.keys():
            stack.enter_context(patch(path, change[path]))
        clf = DSinkClassifier(*PAIRS[pair], cv=4) if pair else DSinkClassifier()
        clf.set_params(random_state=seed, **parameters).fit(task.X, task.y)
        seconds = time.process_time() - start
        predicted = clf.predict(task.X_test)
    surrogate = clf.surrogate_labels_.argmax(axis=1)
    scores = (
        balanced_accuracy_score(task.cell.y_test, task.classes[predicted]),
        balanced_accuracy_score(task.cell.y_true, task.classes[surrogate]),
        seconds,
    )
    return dict(zip(SCORES, (f"{value:.5g}" for value in scores), strict=True))


def summarize(path: Path) -> pd.DataFrame:
    """Paired effects against the default, in points."""
    table = pd.read_csv(path).set_index(["cell", "seed"])
    default = table[table["change"] == "default"]
    rows = []
    for change in CHANGES:
        part = table[table["change"] == change]
        if part.empty:
            continue
        row: dict[str, Any] = {"change": change, "fits": len(part)}
        for column in ("accuracy", "labels"):
            effect = 100 * (part[column] - default[column]).dropna()
            row[f"{column}, points"] = round(effect.mean(), 1) + 0.0  # no -0.0
            row[f"{column}, error"] = round(effect.sem(), 1)
        row["seconds"] = round(part["seconds"].mean(), 1)
        rows.append(row)
    return pd.DataFrame(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add_options(parser, seeds=3)
    parser.add_argument("--changes", nargs="+", choices=CHANGES, default=CHANGES, metavar="CHANGE")
    parser.add_argument("--pair", choices=PAIRS, metavar="PAIR", help="default ones without")
    args = parser.parse_args()
    one_thread()
    warnings.simplefilter("ignore")
    rows = Rows(args.out, ("cell", "seed", "change"), SCORES, again=args.again)
    changes = dict.fromkeys(["default", *args.changes])  # effects are against it
    cells = chosen_cells(parser, args, {name: ALL_CELLS[name] for name in CELLS})
    for seed, cell in product(range(args.seeds), cells):
        for change in changes:
            if rows.missing(cell, seed, change):
                task = Task.of(make_cell(cell, seed, args.data))
                key = {"cell": cell, "seed": seed, "change": change}
                rows.add(key | run(task, seed, args.pair, CHANGES[change]))
    summary = summarize(args.out)
    summary.to_csv(
        args.out.with_name(f"{args.out.stem}_summary.csv"), index=False, lineterminator="\n"
    )
    print(summary.to_string(index=False))


if __name__ == "__main__":
    main()
