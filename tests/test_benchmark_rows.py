"""The benchmarks' rows: kept, made again, and those of the documentation complete."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FIGURES = ROOT / "docs" / "_static"

pytest.importorskip("lightgbm", reason="the benchmarks' peers are not installed")


@pytest.fixture
def benchmarks(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import _rows
    import cells

    yield _rows, cells
    for name in ("_rows", "_machine", "_keel", "cells"):
        sys.modules.pop(name, None)


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_rows_are_made_once_and_again_where_another_revision_left_them(
    benchmarks, tmp_path, monkeypatch
):
    module, _ = benchmarks
    path = tmp_path / "rows.csv"

    def fit(revision, score, again=False):
        monkeypatch.setattr(module, "revision", lambda: revision)
        rows = module.Rows(path, ("cell", "seed"), ("score",), again=again)
        for seed in (0, 1):
            if rows.missing("wine", seed):
                rows.add({"cell": "wine", "seed": seed, "score": score})

    fit("first", 0.5)
    fit("second", 0.6)
    assert [(row["revision"], row["score"]) for row in read(path)] == [("first", "0.5")] * 2
    fit("second", 0.7, again=True)
    fit("second", 0.8, again=True)
    assert [(row["revision"], row["score"]) for row in read(path)] == [("second", "0.7")] * 2
    # A run that had nothing to add is no part of the record.
    runs = json.loads(path.with_suffix(".json").read_text())
    assert [run["revision"] for run in runs] == ["first", "second"]
    assert all("numpy" in run["machine"]["versions"] for run in runs)


@pytest.mark.parametrize(
    ("table", "group"),
    [
        ("accuracy", "CELLS"),
        ("held_out", "HELD_OUT"),
        ("made", "MADE_CELLS"),
        ("two_classes", "TWO_CLASS_CELLS"),
        ("keel", "KEEL_CELLS"),
    ],
)
def test_the_tables_of_the_documentation_have_the_cells_that_their_command_runs(
    benchmarks, table, group
):
    _, cells = benchmarks
    rows = read(FIGURES / f"{table}.csv")
    assert {row["cell"] for row in rows} == set(getattr(cells, group))
    recorded = {run["revision"] for run in json.loads((FIGURES / f"{table}.json").read_text())}
    assert {row["revision"] for row in rows} <= recorded
