"""What the classifier survives: any data, a hundred fits in one process, faults from outside.

    python benchmarks/reliability.py sweep                  # 2,000 random problems
    python benchmarks/reliability.py sweep --examples 100
    python benchmarks/reliability.py memory                 # 100 fits in one process
    python benchmarks/reliability.py faults                 # the tests that break something
    python benchmarks/reliability.py tests build/test-long.xml   # what `make test-long` wrote
    python benchmarks/reliability.py pins                   # dates of the pinned dependencies

Each writes its part of benchmarks/results/reliability.json, and the tables and the figure that
docs/reliability.rst shows.
"""

from __future__ import annotations

import argparse
import gc
import json
import re
import subprocess
import sys
import tempfile
import time
import traceback
import tracemalloc
import warnings
import xml.etree.ElementTree as ElementTree
import zipfile
from collections import Counter
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from _machine import FIGURES, RESULTS, ROOT, caption, held_memory, machine, one_thread, save_table

from sklearn_dsink import DSinkClassifier, _parameters
from sklearn_dsink.datasets import flip_labels

sys.path.insert(0, str(ROOT / "tests"))
from _problems import FLAGS, LABELS, RECIPES, SCALES, WEIGHTS, Problem, outcome, short_target

#: Tests that break something from outside, or look for what it left behind.
FAULTS = (
    *("faults", "bad_input", "checkpoint", "checkpoint_files", "concurrency", "limits"),
    *("report", "persistence", "persistence_pandas", "persistence_types"),
)


def random_problem(rng):
    """Draw a problem."""
    return Problem(
        n_rows=int(rng.integers(1, 201)),
        n_features=int(rng.integers(1, 51)),
        n_classes=int(rng.integers(2, 31)),
        seed=int(rng.integers(10**6)),
        labels=str(rng.choice(sorted(LABELS))),
        scale=str(rng.choice(sorted(SCALES))),
        weights=str(rng.choice(sorted(WEIGHTS))),
        flags=tuple(flag for flag in FLAGS if rng.random() < 0.25),
        recipe=str(rng.choice(sorted(RECIPES))),
        auxiliaries="trees" if rng.random() < 0.85 else "defaults",
    )


def traits(problem):
    """Name what is unusual about a problem, for the rows of the table."""
    X, y, _ = problem.data()
    sizes = np.unique(np.asarray(y), return_counts=True)[1]
    found = [f"labels: {problem.labels}", f"recipe: {problem.recipe}", *problem.flags]
    found += [f"auxiliaries: {problem.auxiliaries}"]
    found += [f"scale: {problem.scale}"] if problem.scale != "ordinary" else []
    found += [f"weights: {problem.weights}"] if problem.weights != "none" else []
    found += ["a class of one row"] if sizes.min() == 1 else []
    found += ["one class or one row"] if len(sizes) < 2 else []
    found += ["fewer rows than features"] if X.shape[0] < X.shape[1] else []
    return found


def sweep(n_examples, seed):
    """Fit random problems and count what becomes of them."""
    _parameters.default_target = short_target(3)
    rng, counts, failures = np.random.default_rng(seed), Counter(), []
    for number in range(n_examples):
        problem = random_problem(rng)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                result = outcome(problem)
        except Exception:
            result = "failed"
            failures.append({"problem": repr(problem), "error": traceback.format_exc(limit=-3)})
            print(problem, traceback.format_exc(limit=-3), file=sys.stderr, flush=True)
        for trait in ["all", *traits(problem)]:
            counts[trait, result] += 1
        if (number + 1) % 100 == 0:
            print(f"{number + 1}/{n_examples}, {len(failures)} failed", flush=True)
    rows = []
    for trait in sorted({trait for trait, _ in counts}, key=lambda name: (name != "all", name)):
        row = {name: counts[trait, name] for name in ("survived", "clear error", "failed")}
        rows.append({"problems": trait, "tried": sum(row.values()), **row})
    save_table("reliability_sweep", rows)
    return {"examples": n_examples, "seed": seed, "table": rows, "failures": failures}


def memory(n_fits):
    """Fit again and again in this process, and see whether it grows."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(500, 20))
    true = (X[:, :4] @ rng.normal(size=(4, 5))).argmax(axis=1)
    y, _ = flip_labels(true, 0.2, random_state=0)
    tracemalloc.start()
    held, traced = [], []
    for number in range(n_fits):
        DSinkClassifier(cv=2, random_state=number).fit(X, y).predict_proba(X)
        gc.collect()
        held.append(held_memory()[0] / 2**20)
        traced.append(tracemalloc.get_traced_memory()[0] / 2**20)
    tracemalloc.stop()
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    number = np.arange(1, n_fits + 1)
    for ax, values, title in zip(
        axes, (held, traced), ("held by the process (RSS)", "traced by Python"), strict=True
    ):
        ax.plot(number, values, color="#4477aa")
        ax.set(xlabel="fits", ylabel="MiB", title=title, ylim=(0, 1.15 * max(values)))
    figure.supxlabel(caption(), fontsize=7)
    figure.savefig(FIGURES / "reliability_memory.png", dpi=150)
    rows = [
        {
            "after fits": str(n),
            "held by the process": f"{held[n - 1]:.0f} MiB",
            "traced by Python": f"{traced[n - 1]:.2f} MiB",
        }
        for n in sorted({1, min(10, n_fits), min(50, n_fits), n_fits})
    ]
    save_table("reliability_memory", rows)
    return {"rss_mib": np.round(held, 1).tolist(), "traced_mib": np.round(traced, 3).tolist()}


def verdicts(path):
    """Read a JUnit file: (module, test, verdict, seconds), a row a case."""
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        kinds = {child.tag: child.get("type", "") for child in case}
        if "failure" in kinds or "error" in kinds:
            verdict = "failed"
        elif "skipped" in kinds:
            xfail = kinds["skipped"] == "pytest.xfail"
            verdict = "failed as expected" if xfail else "skipped"
        else:
            verdict = "survived"
        name = case.get("name", "").partition("[")[0]
        yield case.get("classname", ""), name, verdict, float(case.get("time", 0))


def faults():
    """Run the tests that break something, and say of each sort how many cases survived."""
    files = [str(ROOT / "tests" / f"test_{name}.py") for name in FAULTS]
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files]
        command += ["-m", "slow or not slow", f"--junitxml={report}"]
        subprocess.run(command, cwd=ROOT, check=False)
        counts = Counter()
        for module, name, verdict, _ in verdicts(report):
            words = name.removeprefix("test_").replace("_", " ")
            counts[module.removeprefix("tests.test_").replace("_", " "), words, verdict] += 1
    rows = []
    for module, words in dict.fromkeys(key[:2] for key in counts):
        survived, failed = counts[module, words, "survived"], counts[module, words, "failed"]
        if survived + failed:
            row = {"where": module, "what": words, "tried": survived + failed}
            rows.append({**row, "survived": survived, "failed": failed})
    save_table("reliability_faults", rows)
    return rows


def tests(paths):
    """Sum the verdicts of a whole test run up, by file; it may have been run in parts."""
    counts, seconds = Counter(), Counter()
    for module, _, verdict, time_taken in (case for path in paths for case in verdicts(path)):
        file = module if module.startswith("tests.") else "examples in docstrings"
        for name in (file, "all"):
            counts[name, verdict] += 1
            seconds[name] += time_taken
    rows = []
    for name in sorted(seconds, key=lambda name: (name != "all", name)):
        row = {
            kind: counts[name, kind]
            for kind in ("survived", "failed as expected", "skipped", "failed")
        }
        row = {"file": name.removeprefix("tests."), "tried": sum(row.values()), **row}
        rows.append({**row, "seconds": f"{seconds[name]:.0f}"})
    save_table("reliability_tests", rows)
    return rows


def pins():
    """Date the wheels that constraints.txt pins, as their archives say, by downloading them."""
    import tomllib  # Python 3.11

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [
        *project["dependencies"],
        *(d for e in ("plot", "tabular", "cli", "onnx") for d in extras[e]),
    ]
    names = sorted({re.match(r"[\w-]+", d)[0].lower() for d in wanted} - {"torch"})
    pinned = dict(
        line.split("==")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line
    )
    pinned = {name.lower(): version for name, version in pinned.items()}
    rows = []
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            command = [
                sys.executable,
                "-m",
                "pip",
                "download",
                "--quiet",
                "--no-deps",
                "-d",
                folder,
            ]
            subprocess.run([*command, f"{name}=={pinned[name]}"], check=True)
            (path,) = Path(folder).iterdir()
            with zipfile.ZipFile(path) as wheel:
                year, month, day = max(info.date_time for info in wheel.infolist())[:3]
        # Reproducible builds write a date of long ago.
        date = f"{year}-{month:02}-{day:02}" if year > 2020 else "not told"
        rows.append({"package": name, "version": pinned[name], "built": date})
    save_table("reliability_pins", rows)
    return rows


def keep(part, results, seconds):
    """Write one part of the results, with what it was measured on, beside the others."""
    path = RESULTS / "reliability.json"
    record = json.loads(path.read_text()) if path.exists() else {}
    command = f"python benchmarks/reliability.py {' '.join(sys.argv[1:])}"
    record[part] = {
        "command": command,
        "machine": machine(),
        "seconds": round(seconds),
        "results": results,
    }
    path.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(results, indent=1)[:4000])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parts = parser.add_subparsers(dest="part", required=True)
    part = parts.add_parser("sweep")
    part.add_argument("--examples", type=int, default=2000)
    part.add_argument("--seed", type=int, default=0)
    parts.add_parser("memory").add_argument("--fits", type=int, default=100)
    parts.add_parser("faults")
    parts.add_parser("pins")
    parts.add_parser("tests").add_argument("junit", type=Path, nargs="+")
    options = parser.parse_args()
    one_thread()
    start = time.perf_counter()
    if options.part == "sweep":
        results = sweep(options.examples, options.seed)
    elif options.part == "memory":
        results = memory(options.fits)
    elif options.part == "faults":
        results = faults()
    elif options.part == "pins":
        results = pins()
    else:
        results = tests(options.junit)
    keep(options.part, results, time.perf_counter() - start)


if __name__ == "__main__":
    main()
