"""Peak memory of a fit, D-SINK's and that of what one would take instead.

    python benchmarks/memory.py --data FOLDER

Each fit runs in a process of its own, after one of the same classifier on a few digits: what a
first fit imports and sets up counts for none. Memory is by how much the process grew above what
it held before the fit, at its largest; one thread.
"""

from __future__ import annotations

import argparse
import gc
import json
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

from _machine import forget_peak, held_memory, machine, one_thread, save, save_table
from _peers import PEERS
from accuracy import Task
from cells import available, make_cell

from sklearn_dsink import DSinkClassifier

# Of the cells: letters, the most rows, the most irregular table, the widest embedding.
CELLS = [
    "letter-IF20-joint0.2",
    "shuttle-own-symmetric0.2",
    "page_blocks-own-pair0.2",
    "banking77-IF10-joint0.2",
]
FIRST = "digits-IF50-symmetric0.2"


def make(method: str) -> Any:
    if method == "D-SINK":
        return DSinkClassifier(random_state=0)
    if method == "D-SINK, refine=False":
        return DSinkClassifier(refine=False, random_state=0)
    return PEERS[method].make(0)


def growth(cell: str, method: str, data: Path | None) -> float:
    """Fit in this process; return by how many MiB it grew."""
    one_thread()
    warnings.simplefilter("ignore")
    first = Task.of(make_cell(FIRST, 0))
    make(method).fit(first.X, first.y)
    task = Task.of(make_cell(cell, 0, data))
    gc.collect()
    forget_peak()
    before, _ = held_memory()
    make(method).fit(task.X, task.y)
    return (held_memory()[1] - before) / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="folder of the .npz sets; digits without")
    parser.add_argument("--one", nargs=2, metavar=("CELL", "METHOD"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(growth(*args.one, args.data)))
        return
    print(json.dumps(machine()))
    folder = ["--data", str(args.data)] if args.data else []
    found: dict[str, dict[str, float]] = {}
    for cell in [name for name in CELLS if name in available(args.data)] or [FIRST]:
        n_classes = len(Task.of(make_cell(cell, 0, args.data)).classes)
        for method in ("D-SINK", "D-SINK, refine=False", *PEERS):
            if method in PEERS and n_classes > PEERS[method].most_classes:
                continue
            command = [sys.executable, __file__, *folder, "--one", cell, method]
            answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            found.setdefault(method, {})[cell] = json.loads(answer.stdout)
            print(cell, method, f"{found[method][cell]:.0f} MiB", flush=True)
    save("memory", found)
    cells = list(next(iter(found.values())))
    save_table(
        "memory",
        [
            {"MiB": method} | {c: f"{sizes[c]:.0f}" if c in sizes else "" for c in cells}
            for method, sizes in found.items()
        ],
    )


if __name__ == "__main__":
    main()
