"""What is chosen for speed, and whether it costs accuracy: precision, and how often Q is renewed.

    python benchmarks/speed_choices.py --data FOLDER

Each choice is one change of the default recipe. Effects are in points of balanced accuracy, paired
by cell and seed: of the prediction, of the target alone, and of the surrogate labels on the
training rows. Scores use clean labels; the fits do not see them. One thread, processor seconds.
"""

from __future__ import annotations

import argparse
import time
import warnings
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
from _machine import machine, one_thread, save, save_table
from _rows import how_many
from accuracy import Task
from cells import available, make_cell
from sklearn.metrics import balanced_accuracy_score

from sklearn_dsink import DSinkClassifier, crossfit, jobs, target, transport

CELLS = [
    "digits-IF10-symmetric0.4",
    "digits-IF50-symmetric0.2",
    "digits-IF50-symmetric0.4",
    "satimage-IF50-joint0.2",
    "optdigits-IF50-joint0.4",
    "optdigits-IF100-pair0.2",
]

# Parameters that are changed, and what is put in the place of the package's own.
CHOICES: dict[str, tuple[dict[str, Any], list[tuple[Any, str, Any]]]] = {
    "default": ({}, []),
    "kept in double precision, transport too": (
        {},
        [
            (jobs, "kept_dtype", lambda n_entries: np.float64),
            (crossfit, "kept_dtype", lambda n_entries: np.float64),
            (transport, "FLOAT64_SIZE", np.inf),
        ],
    ),
    "transport in single precision": ({}, [(transport, "FLOAT64_SIZE", 0)]),
    "probabilities kept in half precision": ({}, [(jobs, "HALF_PRECISION_SIZE", 0)]),
    "renewed every 5th epoch": ({"renew_every": 5}, []),
    "never renewed": ({"warmup": 10**6}, []),
}


def run(cell_name: str, seed: int, data: Path | None, choice: str) -> dict[str, float]:
    """Fit one choice on one cell; a renewal is a forward pass and a transport."""
    task = Task.of(make_cell(cell_name, seed, data))
    parameters, replaced = CHOICES[choice]
    renewing = 0.0
    update = target.RenewSurrogate.update

    def timed(self: Any, net: Any) -> Any:
        nonlocal renewing
        start = time.process_time()
        try:
            return update(self, net)
        finally:
            renewing += time.process_time() - start

    with ExitStack() as stack:
        stack.enter_context(patch.object(target.RenewSurrogate, "update", timed))
        for owner, name, value in replaced:
            stack.enter_context(patch.object(owner, name, value))
        start = time.process_time()
        clf = DSinkClassifier(random_state=seed, **parameters).fit(task.X, task.y)
        seconds = time.process_time() - start
    labels = task.classes[clf.surrogate_labels_.argmax(axis=1)]
    prediction = task.classes[clf.predict(task.X_test)]
    alone = task.classes[clf.set_params(combine=False).predict(task.X_test)]
    return {
        "prediction": balanced_accuracy_score(task.cell.y_test, prediction),
        "target alone": balanced_accuracy_score(task.cell.y_test, alone),
        "labels": balanced_accuracy_score(task.cell.y_true, labels),
        "seconds": seconds,
        "renewing": renewing,
    }


def tabulate(fits: pd.DataFrame) -> list[dict[str, str]]:
    """Return mean effects against the default, with their standard errors."""
    fits = fits.set_index(["cell", "seed"])
    default = fits[fits["choice"] == "default"]
    rows = []
    for choice in CHOICES:
        part = fits[fits["choice"] == choice]
        row = {"choice": choice, "fits": str(len(part))}
        for score in ("prediction", "target alone", "labels"):
            effect = 100 * (part[score] - default[score])
            row[f"{score}, points"] = (
                f"{100 * part[score].mean():.2f}"
                if choice == "default"
                else f"{effect.mean():+.2f} ± {effect.sem():.2f}"
            )
        row["fit, s"] = f"{part['seconds'].mean():.3g}"
        row["renewals' share"] = f"{part['renewing'].sum() / part['seconds'].sum():.1%}"
        rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--seeds", type=how_many, default=3)
    options = parser.parse_args()
    one_thread()
    warnings.simplefilter("ignore")
    fits = []
    for seed in range(options.seeds):
        for cell in [name for name in CELLS if name in available(options.data)]:
            for choice in CHOICES:
                found = run(cell, seed, options.data, choice)
                fits.append({"cell": cell, "seed": seed, "choice": choice, **found})
                print(fits[-1], flush=True)
    save("speed_choices", fits)
    table = tabulate(pd.DataFrame(fits))
    save_table("speed_choices", table)
    print(machine())
    print(pd.DataFrame(table).to_string(index=False))


if __name__ == "__main__":
    main()
