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

import os

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import argparse
import csv
import json
import time
import warnings
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
import torch
from _machine import machine
from cells import ALL_CELLS, available, make_cell
from imblearn.ensemble import BalancedRandomForestClassifier
from pairs import PAIRS
from sklearn.metrics import balanced_accuracy_score
from sklearn.preprocessing import StandardScaler

from sklearn_dsink import PAPER, DSinkClassifier
from sklearn_dsink.imbalance import KernelClassifier
from sklearn_dsink.label_model import fit_label_model
from sklearn_dsink.scaling import SmoothClipper

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


def run(
    cell_name: str, seed: int, data: Path | None, pair: str | None, change: dict[str, Any]
) -> list[float]:
    cell = make_cell(cell_name, seed, data)
    scaler = StandardScaler().fit(cell.X_train)
    X, X_test = scaler.transform(cell.X_train), scaler.transform(cell.X_test)
    parameters = {name: value for name, value in change.items() if "." not in name}
    start = time.process_time()
    with ExitStack() as stack:
        for path in change.keys() - parameters.keys():
            stack.enter_context(patch(path, change[path]))
        clf = DSinkClassifier(*PAIRS[pair], cv=4) if pair else DSinkClassifier()
        clf.set_params(random_state=seed, **parameters).fit(X, cell.y_observed)
        seconds = time.process_time() - start
        predicted = clf.predict(X_test)
    surrogate = clf.classes_[clf.surrogate_labels_.argmax(axis=1)]
    return [
        balanced_accuracy_score(cell.y_test, predicted),
        balanced_accuracy_score(cell.y_true, surrogate),
        seconds,
    ]


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
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--cells", nargs="*")
    parser.add_argument("--changes", nargs="*", choices=CHANGES, default=CHANGES, metavar="CHANGE")
    parser.add_argument("--pair", choices=PAIRS, metavar="PAIR", help="default ones without")
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    cells = args.cells or available(args.data, {name: ALL_CELLS[name] for name in CELLS})
    done = set()
    if args.out.is_file():
        done = set(pd.read_csv(args.out)[["cell", "seed", "change"]].itertuples(index=False))
    else:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text("cell,seed,change,accuracy,labels,seconds\n")
    args.out.with_suffix(".json").write_text(json.dumps(machine(), indent=1) + "\n")
    done = {tuple(key) for key in done}
    for seed in range(args.seeds):
        for cell in cells:
            for change in args.changes:
                if (cell, seed, change) in done:
                    continue
                scores = run(cell, seed, args.data, args.pair, CHANGES[change])
                with args.out.open("a", newline="") as file:
                    csv.writer(file).writerow([cell, seed, change, *(f"{v:.5g}" for v in scores)])
    summary = summarize(args.out)
    summary.to_csv(args.out.with_name(f"{args.out.stem}_summary.csv"), index=False)
    print(summary.to_string(index=False))


if __name__ == "__main__":
    main()
