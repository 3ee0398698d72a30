"""Every auxiliary alone on noisy, long-tailed cells: balanced and few-shot accuracy, fit seconds.

    python benchmarks/auxiliaries.py --data FOLDER --out docs/_static/auxiliaries.csv

One line a fit goes into the CSV as soon as it is done; a second run does what is missing. Beside
it, `auxiliaries_summary.csv` has one line a method, means over cells and seeds, and
`auxiliaries_cells.csv` the balanced accuracy of each cell. Features are standardised, defaults are
used, nothing is tuned; one thread. Few-shot classes are those with fewer than 20 clean training
rows.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
from _machine import one_thread
from _rows import Rows, add_options, chosen_cells
from cells import ALL_CELLS, make_cell
from cleanlab.classification import CleanLearning
from imblearn.ensemble import (
    BalancedRandomForestClassifier,
    EasyEnsembleClassifier,
    RUSBoostClassifier,
)
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
from sklearn.metrics import balanced_accuracy_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_dsink import NetClassifier, imbalance, noise
from sklearn_dsink._seeding import seeded
from sklearn_dsink.auxiliaries import IntegerLabelClassifier
from sklearn_dsink.metrics import shot_accuracy_score

CELLS = [
    "digits-IF10-symmetric0.4",
    "digits-IF50-symmetric0.2",
    "digits-IF50-symmetric0.4",
    "optdigits-IF50-joint0.4",
    "optdigits-IF100-pair0.2",
    "satimage-IF50-symmetric0.4",
]
BUNDLED_CELLS = [
    "digits-IF10-symmetric0.4",
    "digits-IF50-symmetric0.2",
    "digits-IF10-joint0.2",
    "digits-IF50-pair0.2",
    "breast_cancer-IF10-symmetric0.2",
    "wine-IF5-joint0.2",
]


def clean_learning(seed: int) -> Any:
    forest = RandomForestClassifier(200, class_weight="balanced", random_state=seed)
    return IntegerLabelClassifier(CleanLearning(forest, seed=seed))


def ours(make: Callable[..., Any], **options: Any) -> Callable[[int], Any]:
    return lambda seed: make(random_state=seed, **options)


# name: (what it is robust to, how it is made from a seed)
METHODS: dict[str, tuple[str, Callable[[int], Any]]] = {
    "NetClassifier": ("none", ours(NetClassifier)),
    "ExtraTreesClassifier": ("none", ours(ExtraTreesClassifier, n_estimators=200)),
    **{name: ("noise", ours(getattr(noise, name))) for name in noise.__all__},
    "CleanLearning (forest)": ("noise", clean_learning),
    **{
        name: ("imbalance", ours(getattr(imbalance, name)))
        for name in imbalance.__all__
        if name.endswith("Classifier")
    },
    "BalancedRandomForestClassifier": (
        "imbalance",
        ours(BalancedRandomForestClassifier, n_estimators=200),
    ),
    "EasyEnsembleClassifier": ("imbalance", ours(EasyEnsembleClassifier)),
    "RUSBoostClassifier": ("imbalance", ours(RUSBoostClassifier)),
}
SCORES = ("robust_to", "balanced_accuracy", "many", "medium", "few", "fit_seconds")


def score(method: str, cell_name: str, seed: int, data: Path | None) -> dict[str, Any]:
    """Fit one method to one cell."""
    cell = make_cell(cell_name, seed, data)
    robust_to, make = METHODS[method]
    model = make_pipeline(StandardScaler(), make(seed))
    facts = {"cell": cell_name, "seed": seed, "method": method, "robust_to": robust_to}
    start = time.perf_counter()
    try:
        with seeded(seed), warnings.catch_warnings():
            # Some undersample classes of three rows and say so; it is scored all the same.
            warnings.simplefilter("ignore")
            model.fit(cell.X_train, cell.y_observed)
    except ValueError as error:
        if "ensemble can not be fit" not in str(error):
            raise
        # Boosting gives up on labels that look random: no score, and counted as failed.
        return facts | {"fit_seconds": round(time.perf_counter() - start, 2)}
    seconds = time.perf_counter() - start
    predicted = model.predict(cell.X_test)
    shots = shot_accuracy_score(cell.y_test, predicted, y_train=cell.y_true)
    return {
        **facts,
        "balanced_accuracy": round(balanced_accuracy_score(cell.y_test, predicted), 4),
        **{group: round(value, 4) for group, value in shots.items()},
        "fit_seconds": round(seconds, 2),
    }


def summarise(rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Percentages, a line a method, best first: over all cells, and cell by cell."""
    scores = 100 * rows.groupby(["method", "cell"])[["balanced_accuracy", "few"]].mean()
    cells = scores["balanced_accuracy"].unstack()
    plain = cells.reindex(["NetClassifier"]).iloc[0]  # NaN where it was left out
    by_seed = 100 * rows.groupby(["method", "seed"])["balanced_accuracy"].mean()
    table = pd.DataFrame(
        {
            "robust to": rows.groupby("method")["robust_to"].first(),
            "balanced accuracy": cells.mean(axis=1),
            "standard error": by_seed.groupby("method").sem(),
            "few-shot accuracy": scores["few"].groupby("method").mean(),
            "worst cell less plain net": (cells - plain).min(axis=1),
            "failed fits": rows["balanced_accuracy"].isna().groupby(rows["method"]).sum(),
            "fit seconds": rows.groupby("method")["fit_seconds"].mean(),
        }
    )
    table = table.sort_values("balanced accuracy", ascending=False)
    return table.round(1).replace(-0.0, 0.0), cells.loc[table.index].round(1)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add_options(parser, seeds=3)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS, metavar="METHOD")
    args = parser.parse_args()
    one_thread()
    rows = Rows(args.out, ("cell", "seed", "method"), SCORES, again=args.again)
    group = {name: ALL_CELLS[name] for name in (BUNDLED_CELLS if args.data is None else CELLS)}
    cells = chosen_cells(parser, args, group)
    for seed, cell, method in product(range(args.seeds), cells, args.methods):
        if rows.missing(cell, seed, method):
            rows.add(score(method, cell, seed, args.data))
    summary, by_cell = summarise(pd.read_csv(args.out))
    for name, table in (("summary", summary), ("cells", by_cell)):
        table.reset_index().to_csv(
            args.out.with_name(f"{args.out.stem}_{name}.csv"), index=False, lineterminator="\n"
        )
        print(table.to_string())


if __name__ == "__main__":
    main()
