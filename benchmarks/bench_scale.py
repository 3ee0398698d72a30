"""Growth with the number of rows: time by stage and peak memory, 64 features and 100 classes.

    python benchmarks/bench_scale.py                        # 10^4, 10^5 and 10^6 rows
    python benchmarks/bench_scale.py --rows 10000 100000 --cold  # printed only
    python benchmarks/bench_scale.py --device cuda          # the target on a device, by the clock
    python benchmarks/bench_scale.py --rows 4000000 --memory-limit 900     # MiB, from disk

Two auxiliaries that scale, five folds, five target epochs with a renewal after each but the last.
Each size runs on one thread, in a process of its own, so that its peak memory is its own, after a
fit of 2,000 rows: what the first fit of a process sets up counts for no size, but with --cold.
Times are processor seconds, which other programs hardly change.

With --memory-limit the rows come as an iterator of blocks, which are written to a file and mapped,
auxiliaries come fitted on a sample, and the kernel refuses the process more private memory than
that (RLIMIT_DATA: everything but files).
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from _machine import (
    FIGURES,
    caption,
    forget_peak,
    held_memory,
    machine,
    make_task,
    one_thread,
    save,
    save_table,
)
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.frozen import FrozenEstimator
from sklearn.utils import gen_batches

from sklearn_dsink import DSinkClassifier, classifier, evidence, surrogate, target
from sklearn_dsink.blocks import store_blocks
from sklearn_dsink.defaults import default_target

N_FEATURES, N_CLASSES, N_EPOCHS = 64, 100, 5

# Colours that nobody confuses: Okabe and Ito (2008).
OKABE_ITO = "#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9"


class Stages:
    """Processor seconds by stage; what an inner stage takes is not counted for the outer one."""

    def __init__(self):
        self.seconds = defaultdict(float)
        self.inner = [0.0]

    def watch(self, owner, name, stage):
        function = getattr(owner, name)

        @functools.wraps(function)
        def timed(*args, **kwargs):
            self.inner.append(0.0)
            start = time.process_time()
            try:
                return function(*args, **kwargs)
            finally:
                elapsed = time.process_time() - start
                self.seconds[stage] += elapsed - self.inner.pop()
                self.inner[-1] += elapsed

        setattr(owner, name, timed)


def make_classifier(X, device):
    """Two auxiliaries that scale, and the default net for five epochs."""
    net = default_target(X[:1000], N_CLASSES)
    net.set_params(max_epochs=N_EPOCHS, batch_size=512, device=device)
    uniform = np.full(N_CLASSES, 1 / N_CLASSES)
    return DSinkClassifier(
        LinearDiscriminantAnalysis(solver="lsqr"),
        LinearDiscriminantAnalysis(solver="lsqr", priors=uniform),
        net,
        cv=5,
        refine=False,
        warmup=1,
        random_state=0,
    )


def fit_once(n_samples, device="cpu", cold=False):
    """Fit in this process; return times, memory and accuracy."""
    one_thread()
    if not cold:
        X, y, _ = make_task(2000, N_FEATURES, N_CLASSES)
        make_classifier(X, device).fit(X, y)
    X, y, truth = make_task(n_samples + 10_000, N_FEATURES, N_CLASSES)
    X_test, y_test = X[n_samples:].copy(), truth[n_samples:]
    X, y = X[:n_samples], y[:n_samples]
    clf = make_classifier(X, device)
    stages = Stages()
    stages.watch(evidence, "fit_auxiliaries", "auxiliaries")
    stages.watch(evidence, "refit_auxiliaries", "auxiliaries")
    stages.watch(evidence, "fit_label_model", "label model")
    stages.watch(surrogate, "solve_labels", "transport")
    stages.watch(classifier, "log_probabilities", "target's forward passes")
    stages.watch(target, "log_probabilities", "target's forward passes")
    stages.watch(classifier, "fit_target", "target's training")
    forget_peak()
    before, _ = held_memory()
    start, wall = time.process_time(), time.perf_counter()
    clf.fit(X, y)
    seconds, wall = time.process_time() - start, time.perf_counter() - wall
    peak = held_memory()[1] - before
    stages.seconds["rest"] = seconds - sum(stages.seconds.values())
    matrix = 4 * n_samples * N_CLASSES
    return {
        "n_samples": n_samples,
        "seconds": seconds,
        "wall_seconds": wall,
        "stages": dict(stages.seconds),
        "peak_bytes": peak,
        "peak_of_bar": peak / (3 * X.nbytes + 2 * matrix),
        "peak_float32_matrices_beside_3_X": (peak - 3 * X.nbytes) / matrix,
        "accuracy": float(np.mean(clf.predict(X_test) == y_test)),
        "accuracy_noise_aux": float(np.mean(clf.noise_aux_.predict(X_test) == y_test)),
        "labels_right": float(np.mean(clf.surrogate_labels_.argmax(axis=1) == truth[:n_samples])),
    }


def fit_from_disk(folder, memory_limit):
    """Fit on rows that come block by block, in a process that may not hold them."""
    one_thread()
    source = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("X", "y", "truth")}
    truth, some = source["truth"], slice(0, 50_000)
    X, y = source["X"][some], source["y"][some]
    net = default_target(X[some], N_CLASSES).set_params(max_epochs=2, batch_size=512)
    models = [
        LinearDiscriminantAnalysis(solver="lsqr", priors=priors).fit(X[some], y[some])
        for priors in (None, np.full(N_CLASSES, 1 / N_CLASSES))
    ]
    resource.setrlimit(resource.RLIMIT_DATA, (memory_limit, memory_limit))
    frozen = map(FrozenEstimator, models)  # they need no folds
    clf = DSinkClassifier(*frozen, net, cv=None, warmup=1, random_state=0)
    rows = gen_batches(len(truth), 10_000)
    blocks = ((source["X"][part], source["y"][part]) for part in rows)
    start, wall = time.process_time(), time.perf_counter()
    X, y = store_blocks(blocks, folder / "stored")
    stored = time.process_time() - start
    clf.fit(X, y)
    seconds, wall = time.process_time() - start, time.perf_counter() - wall
    others = slice(some.stop, some.stop + 10_000)  # of these, no true label was seen
    return {
        "n_samples": len(X),
        "memory_limit": memory_limit,
        "features_bytes": X.nbytes,
        "matrix_bytes": 4 * len(X) * N_CLASSES,
        "seconds": seconds,
        "stored_seconds": stored,
        "wall_seconds": wall,
        "accuracy": float(np.mean(clf.predict(X[others]) == truth[others])),
        "accuracy_noise_aux": float(np.mean(models[0].predict(X[others]) == truth[others])),
        "labels_right": float(
            np.mean(clf.surrogate_labels_[others].argmax(axis=1) == truth[others])
        ),
    }


def under_limit(n_samples, memory_limit):
    """Write a task to disk, and fit it in a process that gets so many bytes."""
    with tempfile.TemporaryDirectory() as folder:
        task = make_task(n_samples, N_FEATURES, N_CLASSES)
        for name, array in zip(("X", "y", "truth"), task, strict=True):
            np.save(Path(folder) / f"{name}.npy", array)
        del task, array
        command = [sys.executable, __file__, "--folder", folder]
        command += ["--memory-limit", str(memory_limit // 2**20)]
        found = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(found.stdout)


def tabulate(row):
    """Return one line of the documentation's table."""
    return {
        "rows": f"{row['n_samples']:,}",
        "fit, s": f"{row['seconds']:.4g}",
        "by the clock": f"{row['wall_seconds']:.4g}",
        **{f"{stage}, s": f"{seconds:.3g}" for stage, seconds in row["stages"].items()},
        "peak above X, MiB": f"{row['peak_bytes'] / 2**20:,.0f}",
        "accuracy": f"{row['accuracy']:.3f}",
        "noise_aux": f"{row['accuracy_noise_aux']:.3f}",
    }


def draw(rows):
    """Draw time by stage and peak memory against rows, log-log."""
    fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    sizes = [row["n_samples"] for row in rows]
    left.plot(sizes, [row["seconds"] for row in rows], "k-o", label="whole fit")
    for stage, marker, color in zip(rows[0]["stages"], "sD^vPX", OKABE_ITO, strict=True):
        seconds = [row["stages"][stage] for row in rows]
        left.plot(sizes, seconds, "--", marker=marker, color=color, label=stage, markersize=4)
    left.set(xscale="log", yscale="log", xlabel="rows", ylabel="processor seconds", title="Time")
    left.set_ylim(top=20 * rows[-1]["seconds"])  # room for the legend above the lines
    left.legend(fontsize=7, loc="upper left", ncols=2)
    right.plot(sizes, [row["peak_bytes"] / 2**20 for row in rows], "k-o", label="peak above data")
    for label, copies in (("X", 0), ("3 X + 2 float32 matrices", 2)):
        right.plot(
            sizes,
            [
                4 * n * ((3 if copies else 1) * N_FEATURES + copies * N_CLASSES) / 2**20
                for n in sizes
            ],
            "--",
            label=label,
        )
    right.set(xscale="log", yscale="log", xlabel="rows", ylabel="MiB", title="Memory")
    right.legend(fontsize=7)
    fig.text(0.005, -0.05, caption(), fontsize=7)
    FIGURES.mkdir(exist_ok=True)
    fig.savefig(FIGURES / "bench_scale.png", dpi=120, bbox_inches="tight")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--memory-limit", type=int, metavar="MIB", help="fit from disk")
    parser.add_argument("--device", default="cpu", help="of the target, such as cuda")
    parser.add_argument("--cold", action="store_true", help="no fit before, nothing is saved")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if min(options.rows) < 10_000:
        parser.error("--rows: of fewer than 10,000 a fold may lack one of the 100 classes")
    if options.folder:
        print(json.dumps(fit_from_disk(options.folder, options.memory_limit * 2**20)))
        return
    if options.memory_limit:
        found = under_limit(max(options.rows), options.memory_limit * 2**20)
        print(json.dumps(found))
        save("scale_from_disk", found)
        return
    if options.one:
        print(json.dumps(fit_once(options.one, options.device, options.cold)))
        return
    print(json.dumps(machine()))
    rows = []
    for n_samples in options.rows:
        command = [sys.executable, __file__, "--one", str(n_samples), "--device", options.device]
        command += ["--cold"] if options.cold else []
        found = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        rows.append(json.loads(found.stdout))
        print(json.dumps(rows[-1]))
    results = {"fits": rows}
    if len(rows) > 1:
        first, last = rows[0], rows[-1]
        growth = math.log(last["n_samples"] / first["n_samples"])
        results["slope_of_time"] = math.log(last["seconds"] / first["seconds"]) / growth
        print(f"log-log slope of time: {results['slope_of_time']:.2f}")
    if options.device != "cpu" and not options.cold:
        save(f"scale_{options.device}", results)
    if sys.argv[1:]:
        return  # what the documentation shows is made without options
    save("scale", results)
    save_table("bench_scale", [tabulate(row) for row in rows])
    draw(rows)


if __name__ == "__main__":
    main()
