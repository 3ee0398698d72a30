"""Rows of a benchmark that are kept as they come, and what the benchmarks on cells are told.

A second run does what is missing; with ``--again`` also what another revision has left. Each row
names its revision, and a JSON beside the CSV has the command, revision and machine of every run
that wrote to it.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from _machine import ROOT, command, machine
from cells import ALL_CELLS, Spec, available

#: Whose classifiers are compared, beside the packages that D-SINK runs on.
PACKAGES = ("imbalanced-learn", "cleanlab", "lightgbm", "pandas")


def revision() -> str:
    """Return the short hash of the revision checked out, marked where its code was changed."""

    def git(*words: str) -> str:
        answer = subprocess.run(
            ["git", *words], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True
        )
        return answer.stdout.strip()

    changed = git("status", "--porcelain", "--", "sklearn_dsink", "benchmarks/*.py")
    return git("rev-parse", "--short", "HEAD") + ("-dirty" if changed else "")


class Rows:
    """A CSV with a line for each key, and the record of its runs beside it.

    Parameters
    ----------
    path : Path
        The CSV, continued if it exists.
    keys, scores : sequence of str
        Columns that tell rows apart, and the others.
    again : bool
        Whether rows of another revision are to be replaced, which writes the whole CSV: by one
        process at a time.
    """

    def __init__(
        self, path: Path, keys: Iterable[str], scores: Iterable[str], again: bool = False
    ) -> None:
        self.path = path
        self.keys = tuple(keys)
        self.fields = (*self.keys, "revision", *scores)
        self.again = again
        self.revision = revision()
        self._noted = False
        self._rows: dict[tuple[str, ...], dict[str, Any]] = {}
        if path.exists():
            with path.open(newline="") as file:
                for row in csv.DictReader(file):
                    self._rows[tuple(row[key] for key in self.keys)] = row

    def missing(self, *key: Any) -> bool:
        """Whether the row of a key is still to be made."""
        row = self._rows.get(tuple(map(str, key)))
        return row is None or (self.again and row["revision"] != self.revision)

    def add(self, row: dict[str, Any]) -> None:
        """Write a row, in the place of an earlier one of its key."""
        self._note_run()
        key = tuple(str(row[name]) for name in self.keys)
        replaces = key in self._rows
        self._rows[key] = row | {"revision": self.revision}
        new = replaces or not self.path.exists()
        with self.path.open("w" if new else "a", newline="") as file:
            writer = csv.DictWriter(file, self.fields, lineterminator="\n")
            if new:
                writer.writeheader()
            writer.writerows(self._rows.values() if new else [self._rows[key]])
        print(*(value for name, value in row.items() if value is not None), flush=True)

    def _note_run(self) -> None:
        """Add this run to the record, once it has something to show."""
        if self._noted:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        record = self.path.with_suffix(".json")
        runs = json.loads(record.read_text()) if record.exists() else []
        facts = machine()
        facts["versions"] |= {name: version(name) for name in PACKAGES}
        runs.append({"command": command(), "revision": self.revision, "machine": facts})
        record.write_text(json.dumps(runs, indent=1) + "\n")
        self._noted = True


def add_options(parser: argparse.ArgumentParser, seeds: int | None) -> None:
    """Say where rows are kept, and of which cells and seeds."""
    parser.add_argument("--out", type=Path, required=True, help="CSV, continued if it exists")
    parser.add_argument("--again", action="store_true", help="replace rows of other revisions")
    parser.add_argument("--seeds", type=how_many, default=seeds, help="how many")
    add_cell_options(parser)


def add_cell_options(parser: argparse.ArgumentParser) -> None:
    """Say which cells are run, and where their sets are."""
    parser.add_argument("--data", type=Path, help="folder of the .npz sets; bundled sets without")
    parser.add_argument(
        "--cells", nargs="+", choices=ALL_CELLS, metavar="CELL", help="names, as in cells.py"
    )


def how_many(text: str) -> int:
    """Read a number of one or more."""
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{number} is less than 1")
    return number


def chosen_cells(
    parser: argparse.ArgumentParser, args: argparse.Namespace, group: dict[str, Spec] | None
) -> list[str]:
    """Return the cells named, whose sets have to be there, or those of a group that are."""
    if args.cells:
        cells = available(args.data, {name: ALL_CELLS[name] for name in args.cells})
        if missing := set(args.cells) - set(cells):
            parser.error(f"no set of {sorted(missing)} is there: name their folder by --data")
    elif not (cells := available(args.data, group)):
        parser.error("none of the sets is there: name their folder by --data, or install them")
    return cells
