"""D-SINK over auxiliaries that a user would give, against the better of the two alone.

    python benchmarks/pairs.py --out docs/_static/pairs.csv [--data FOLDER]

One line a cell, seed and pair goes into the CSV as soon as it is known; a second run does what is
missing. `pairs_summary.csv` beside it has, for each pair, the mean gain over the better auxiliary
(which nobody knows without clean labels) and over each one, in points of balanced accuracy, and in
how many cells D-SINK is more than half a point below the better one.
"""

from __future__ import annotations

import argparse
import time
import warnings
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
from _machine import one_thread
from _rows import Rows, add_options, chosen_cells
from accuracy import Task
from cells import CELLS, make_cell
from imblearn.ensemble import BalancedRandomForestClassifier, EasyEnsembleClassifier
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score

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
SCORES = ("dsink", "noise_aux", "imb_aux", "seconds")


def run(task: Task, seed: int, pair: str, cv: int) -> dict[str, str]:
    """Fit once; both auxiliaries alone are those that D-SINK has fitted on all rows."""
    start = time.process_time()
    clf = DSinkClassifier(*PAIRS[pair], cv=cv, random_state=seed).fit(task.X, task.y)
    seconds = time.process_time() - start
    models = (clf, clf.noise_aux_, clf.imb_aux_)
    predictions = [task.classes[model.predict(task.X_test)] for model in models]
    scores = [balanced_accuracy_score(task.cell.y_test, each) for each in predictions]
    return dict(zip(SCORES, (f"{value:.5g}" for value in (*scores, seconds)), strict=True))


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
    add_options(parser, seeds=1)
    parser.add_argument("--pairs", nargs="+", choices=PAIRS, default=PAIRS, metavar="PAIR")
    parser.add_argument("--cv", type=int, default=4)
    args = parser.parse_args()
    one_thread()
    warnings.simplefilter("ignore")
    rows = Rows(args.out, ("cell", "seed", "pair"), SCORES, again=args.again)
    cells = chosen_cells(parser, args, CELLS)
    for seed, cell in product(range(args.seeds), cells):
        for pair in args.pairs:
            if rows.missing(cell, seed, pair):
                task = Task.of(make_cell(cell, seed, args.data))
                key = {"cell": cell, "seed": seed, "pair": pair}
                rows.add(key | run(task, seed, pair, args.cv))
    summary = summarize(args.out)
    summary.to_csv(
        args.out.with_name(f"{args.out.stem}_summary.csv"), index=False, lineterminator="\n"
    )
    print(summary.to_string(index=False))


if __name__ == "__main__":
    main()
