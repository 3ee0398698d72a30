"""D-SINK over auxiliaries that a user would give, against the better of the two alone.

    python benchmarks/pairs.py --out docs/_static/pairs.csv [--data FOLDER]

One line a cell, seed and pair goes into the CSV as soon as it is known; a second run does what is
missing. `pairs_summary.csv` beside it has, for each pair, the mean gain over the better auxiliary
(which nobody knows without clean labels) and over each one, in points of balanced accuracy, and in
how many cells D-SINK is more than half a point below the better one.
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
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from _machine import machine
from cells import CELLS, available, make_cell
from imblearn.ensemble import BalancedRandomForestClassifier, EasyEnsembleClassifier
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.preprocessing import StandardScaler

from sklearn_dsink import DSinkClassifier
from sklearn_dsink.imbalance import LogitAdjustedClassifier
from sklearn_dsink.noise import GCEClassifier

PAIRS: dict[str, tuple[Any, Any]] = {
    "LogisticRegression, BalancedRandomForest": (
        LogisticRegression(max_iter=500),
        BalancedRandomForestClassifier(
            100, sampling_strategy="all", replacement=True, bootstrap=False
        ),
    ),
    "GCE net, logit-adjusted net": (GCEClassifier(), LogitAdjustedClassifier()),
    "HistGradientBoosting, EasyEnsemble": (
        HistGradientBoostingClassifier(max_iter=50),
        EasyEnsembleClassifier(10),
    ),
}
FIELDS = ("cell", "seed", "pair", "dsink", "noise_aux", "imb_aux", "seconds")


def run(cell_name: str, seed: int, data: Path | None, pair: str, cv: int) -> list[float]:
    """Fit once; both auxiliaries alone are those that D-SINK has fitted on all rows."""
    cell = make_cell(cell_name, seed, data)
    scaler = StandardScaler().fit(cell.X_train)
    X, X_test = scaler.transform(cell.X_train), scaler.transform(cell.X_test)
    start = time.process_time()
    clf = DSinkClassifier(*PAIRS[pair], cv=cv, random_state=seed).fit(X, cell.y_observed)
    seconds = time.process_time() - start
    predictions = (model.predict(X_test) for model in (clf, clf.noise_aux_, clf.imb_aux_))
    return [*(balanced_accuracy_score(cell.y_test, each) for each in predictions), seconds]


def summarize(path: Path) -> pd.DataFrame:
    """Gains of each pair, in points, over cell means."""
    table = pd.read_csv(path)
    cells = table.groupby(["pair", "cell"], sort=False).mean(numeric_only=True)
    better = cells[["noise_aux", "imb_aux"]].max(axis=1)
    gain = 100 * (cells["dsink"] - better)
    columns = {
        "cells": gain.groupby("pair", sort=False).size(),
        "D-SINK": 100 * cells["dsink"].groupby("pair", sort=False).mean(),
        "above f_N": 100
        * (cells["dsink"] - cells["noise_aux"]).groupby("pair", sort=False).mean(),
        "above f_L": 100 * (cells["dsink"] - cells["imb_aux"]).groupby("pair", sort=False).mean(),
        "above the better of both": gain.groupby("pair", sort=False).mean(),
        "worst cell": gain.groupby("pair", sort=False).min(),
        "cells more than 0.5 below": (gain < -0.5).groupby("pair", sort=False).sum(),
        "seconds": cells["seconds"].groupby("pair", sort=False).mean(),
    }
    return pd.DataFrame(columns).round(1).reset_index()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", type=Path, help="folder of the .npz sets; bundled sets without")
    parser.add_argument("--cells", nargs="*", help="those of the data at hand without")
    parser.add_argument("--pairs", nargs="*", choices=PAIRS, default=PAIRS, metavar="PAIR")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--cv", type=int, default=4)
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    done = set()
    if args.out.is_file():
        done = set(pd.read_csv(args.out)[["cell", "seed", "pair"]].itertuples(index=False))
        done = {tuple(key) for key in done}
    else:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(",".join(FIELDS) + "\n")
    args.out.with_suffix(".json").write_text(json.dumps(machine(), indent=1) + "\n")
    for seed in range(args.seeds):
        for cell in args.cells or available(args.data, CELLS):
            for pair in args.pairs:
                if (cell, seed, pair) in done:
                    continue
                scores = run(cell, seed, args.data, pair, args.cv)
                with args.out.open("a", newline="") as file:
                    csv.writer(file).writerow([cell, seed, pair, *(f"{v:.5g}" for v in scores)])
    summary = summarize(args.out)
    summary.to_csv(args.out.with_name(f"{args.out.stem}_summary.csv"), index=False)
    print(summary.to_string(index=False))


if __name__ == "__main__":
    main()
