"""What the speed benchmarks share: the machine they ran on, timing, memory, where results go."""

from __future__ import annotations

import csv
import datetime
import json
import os
import platform
import shlex
import sys
import time
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from sklearn_dsink.datasets import flip_labels

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
FIGURES = ROOT / "docs" / "_static"


def one_thread() -> None:
    """Hold the numerical libraries to one thread, here and in processes started from here."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = "1"
    threadpool_limits(1)
    torch.set_num_threads(1)


def wall_and_cpu(function: Callable[[], Any], repeats: int = 1) -> dict[str, float]:
    """Return the shortest wall time and the shortest processor time of some runs, in seconds.

    Of one thread alone on a machine they are the same; processor time hardly moves when other
    programs want the same cores.
    """
    wall, cpu = [], []
    for _ in range(repeats):
        start, cpu_start = time.perf_counter(), time.process_time()
        function()
        wall.append(time.perf_counter() - start)
        cpu.append(time.process_time() - cpu_start)
    return {"wall": min(wall), "cpu": min(cpu)}


def make_task(
    n_samples: int, n_features: int, n_classes: int, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return float32 features, given labels and true labels of a long-tailed, noisy task.

    Classes are Gaussian clouds, two to a class, of sizes down to a tenth of the largest; a fifth
    of the labels moved to another class.
    """
    rng = np.random.default_rng(seed)
    share = 0.1 ** np.linspace(0, 1, n_classes)
    truth = rng.choice(n_classes, n_samples, p=share / share.sum())
    centers = rng.normal(size=(2, n_classes, n_features)).astype(np.float32)
    X = rng.standard_normal((n_samples, n_features), dtype=np.float32)
    X *= 1.5
    for low in range(0, n_samples, 100_000):
        rows = slice(low, low + 100_000)
        X[rows] += centers[rng.integers(0, 2, len(truth[rows])), truth[rows]]
    given = flip_labels(truth, 0.2, random_state=seed)[0]
    return X, given, truth


def peak_of(function: Callable[[], Any]) -> int:
    """Return the most bytes that numpy and Python held at once during a call."""
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def forget_peak() -> None:
    """Let the high-water mark of this process's memory start again from what it holds now."""
    Path("/proc/self/clear_refs").write_text("5")


def held_memory() -> tuple[int, int]:
    """Return the bytes that this process holds, and the most it held since `forget_peak`."""
    lines = Path("/proc/self/status").read_text().splitlines()
    found = dict(line.split(":", 1) for line in lines)
    now, peak = (int(found[name].split()[0]) * 1024 for name in ("VmRSS", "VmHWM"))
    return now, peak


def available_memory() -> int:
    """Return the bytes that a new array may take without pushing anything out."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("/proc/meminfo does not name MemAvailable")


def copy_bandwidth(n_threads: int = 1, size: int = 2**28) -> float:
    """Return the bytes per second, read and written, of copying an array larger than any cache."""
    source, target = np.ones(size // 4, np.float32), np.empty(size // 4, np.float32)
    target[:] = source
    pieces = np.array_split(target, n_threads), np.array_split(source, n_threads)
    with ThreadPoolExecutor(n_threads) as pool:
        times = wall_and_cpu(lambda: list(pool.map(np.copyto, *pieces)), 15)
    # Processor time, as of what is set against it: a busy machine makes neither look better.
    return 2 * source.nbytes / (times["cpu"] / n_threads)


def machine() -> dict[str, Any]:
    """Return what a figure needs beside it: processor, memory, versions, date."""
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    names = ("sklearn-dsink", "numpy", "scipy", "scikit-learn", "torch", "skorch", "POT")
    return {
        "processor": model,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory / 2**30, 1),
        "load": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in names},
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
    }


def command() -> str:
    """Return the command that is running, without folders, which are nobody else's."""
    words = ["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]]
    for place, word in enumerate(words[:-1], 1):
        if word == "--data":
            words[place] = "FOLDER"
        elif word in ("--out", "--accuracy"):
            words[place] = Path(words[place]).name
    return shlex.join(words)


def save(name: str, results: Any) -> Path:
    """Write results with the machine and the command that made them, as JSON."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    record = {"command": command(), "machine": machine(), "results": results}
    path.write_text(json.dumps(record, indent=1) + "\n")
    return path


def save_table(name: str, rows: list[dict[str, Any]]) -> None:
    """Write rows of text as a CSV file that the documentation includes."""
    FIGURES.mkdir(exist_ok=True)
    with (FIGURES / f"{name}.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def caption(record: dict[str, Any] | None = None) -> str:
    """Return one line for a figure: the machine and the date."""
    facts = record or machine()
    return (
        f"{facts['processor']}, {facts['cores']} cores, {facts['memory_gib']} GiB; {facts['date']}"
    )
