"""D-SINK's calibration beside that of the best peer of each cell, calibrated as its user could.

    python benchmarks/calibration.py --data FOLDER --accuracy docs/_static/accuracy.csv \
        --out docs/_static/calibration.csv

The best peer of a cell, by the balanced accuracy in accuracy.py's rows, is put into scikit-learn's
CalibratedClassifierCV: one temperature by five-fold cross-validation. Like D-SINK it sees the
given labels only. Log-loss and calibration error are those of accuracy.py, on the clean test
part, its classes weighing alike; D-SINK's are read from accuracy.py's rows, and so are those of
the peer as it comes and those after the temperature that suits the test part best, which takes
clean labels that nobody has. A second run does what is missing.
"""

from __future__ import annotations

import argparse
import warnings
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from _machine import one_thread
from _peers import PEERS
from _rows import Rows, add_options, chosen_cells
from accuracy import Task, proba_scores
from cells import ALL_CELLS, make_cell
from cleanlab.classification import CleanLearning
from sklearn.calibration import CalibratedClassifierCV
from sklearn.metrics import balanced_accuracy_score

from sklearn_dsink._seeding import seeded
from sklearn_dsink.folds import deal_folds

SCORES = ("balanced_accuracy", "log_loss", "ece")


class CleanLearningOfAllClasses(CleanLearning):
    """CleanLearning as CalibratedClassifierCV needs it: its classes are named and stay."""

    def fit(self, X: np.ndarray, y: np.ndarray) -> CleanLearningOfAllClasses:
        super().fit(X, y)
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        proba = np.zeros((len(X), len(self.classes_)))
        kept = np.searchsorted(self.classes_, self.clf.classes_)  # cleaning may lose a class
        proba[:, kept] = super().predict_proba(X)
        return proba


def best_peers(rows: pd.DataFrame) -> dict[str, str]:
    """Name the peer of each cell that is best on average over the seeds."""
    means = rows.groupby(["cell", "method"], sort=False)["balanced_accuracy"].mean().unstack()
    peers = [name for name in PEERS if name in means]
    return means[peers].idxmax(axis=1).to_dict()


def calibrated_scores(task: Task, seed: int, peer: str) -> dict[str, Any]:
    """Fit a peer with its temperature on the given labels, and score it."""
    model = PEERS[peer].make(seed)
    if isinstance(model, CleanLearning):
        model = CleanLearningOfAllClasses(**model.get_params(deep=False))
    folds = deal_folds(task.y, 5, np.random.RandomState(seed))  # of classes with few rows too
    model = CalibratedClassifierCV(model, method="temperature", cv=folds, ensemble=False)
    model.fit(task.X, task.y)
    proba = np.zeros((len(task.X_test), len(task.classes)))
    proba[:, model.classes_] = model.predict_proba(task.X_test)
    predicted = task.classes[proba.argmax(axis=1)]
    scores = proba_scores(task, proba)
    return {
        "balanced_accuracy": round(balanced_accuracy_score(task.cell.y_test, predicted), 4),
        "log_loss": round(scores["log_loss"], 4),
        "ece": round(scores["ece"], 4),
    }


def summary(rows: pd.DataFrame, calibrated: pd.DataFrame) -> pd.DataFrame:
    """Give one line a cell and score: D-SINK, and the peer in three ways."""
    means = rows.drop(columns=["seed", "revision"]).groupby(["cell", "method"], sort=False).mean()
    lines = []
    for (cell, peer), runs in calibrated.groupby(["cell", "peer"], sort=False):
        ours, theirs = means.loc[(cell, "D-SINK")], means.loc[(cell, peer)]
        for title, score in (("log-loss", "log_loss"), ("calibration error", "ece")):
            lines.append(
                {
                    "score": title,
                    "cell": cell,
                    "D-SINK": ours[score],
                    "best peer": peer,
                    "as it comes": theirs[score],
                    "calibrated on given labels": runs[score].mean(),
                    "on the clean test part": theirs[f"best_{score}"],
                }
            )
    return pd.DataFrame(lines).sort_values("score", kind="stable", ascending=False)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add_options(parser, seeds=None)
    parser.add_argument("--accuracy", type=Path, required=True, help="CSV of accuracy.py")
    args = parser.parse_args()
    one_thread()
    if not args.accuracy.exists():
        parser.error(f"there is no {args.accuracy}: accuracy.py makes it")
    rows = pd.read_csv(args.accuracy)
    peers = best_peers(rows)
    calibrated = Rows(args.out, ("cell", "seed", "peer"), SCORES, again=args.again)
    seeds = map(int, sorted(rows["seed"].unique())[: args.seeds])
    cells = chosen_cells(parser, args, {name: ALL_CELLS[name] for name in peers})
    for seed, cell in product(seeds, cells):
        peer = peers[cell]
        if not calibrated.missing(cell, seed, peer):
            continue
        task = Task.of(make_cell(cell, seed, args.data))
        with seeded(seed), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a fold may lack a class of one row
            key = {"cell": cell, "seed": seed, "peer": peer}
            calibrated.add(key | calibrated_scores(task, seed, peer))
    known = pd.read_csv(args.out)
    known = known[known["peer"] == known["cell"].map(peers)]  # another one may have been best
    table = summary(rows, known)
    path = args.out.with_name(args.out.stem + "_summary.csv")
    table.to_csv(path, index=False, float_format="%.3f", lineterminator="\n")
    print(path.read_text())
    for title, cells in table.groupby("score", sort=False):
        for way in table.columns[4:]:
            known = cells.dropna(subset=[way])
            better = known["D-SINK"] <= known[way]
            print(
                f"{title}, peer {way}: {known[way].mean():.3f}, D-SINK "
                f"{known['D-SINK'].mean():.3f}, no worse in {better.sum()} of {len(known)}"
            )


if __name__ == "__main__":
    main()
