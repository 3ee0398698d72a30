"""Time and memory of the transport beside POT's solvers, at the same marginal error.

    python benchmarks/bench_transport.py              # everything
    python benchmarks/bench_transport.py --crossover  # which solver "auto" should take, by size
    python benchmarks/bench_transport.py --device cuda  # tensors on a device, by the clock

One thread unless a row says otherwise. Times are the shortest of several runs, in processor
seconds, of two threads along the longer path; all sides get float32 scores of two experts, and
POT's float64 cost is made before its time starts.
"""

from __future__ import annotations

import argparse
import json
import time
from functools import partial
from unittest.mock import patch

import matplotlib.pyplot as plt
import numpy as np
import ot
import torch
from _machine import (
    FIGURES,
    available_memory,
    caption,
    copy_bandwidth,
    machine,
    one_thread,
    peak_of,
    save,
    save_table,
    wall_and_cpu,
)

from sklearn_dsink._kernel import GibbsKernel, default_block_size
from sklearn_dsink.transport import class_totals, solve, solve_labels

TOL = 1e-6


def make_scores(n_samples, n_classes, sharpness=1.0, seed=0):
    """Return the mean log-probabilities of two experts, and class shares that are not theirs."""
    rng = np.random.default_rng(seed)
    prior = 0.01 ** np.linspace(0, 1, n_classes)
    prior /= prior.sum()
    y = rng.choice(n_classes, n_samples, p=prior)
    scores = np.zeros((n_samples, n_classes), np.float32)
    for low in range(0, n_samples, 10_000):  # blocks keep the largest set within memory
        rows = np.arange(low, min(low + 10_000, n_samples))
        for skill in (4.0, 3.0):
            logits = 1.5 * rng.standard_normal((len(rows), n_classes), dtype=np.float32)
            logits[np.arange(len(rows)), y[rows]] += skill
            logits *= sharpness
            logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True))
            scores[rows] += 0.5 * np.maximum(logits, np.log(1e-12))
    marginal = prior**0.6
    return scores, marginal / marginal.sum()


def longest_path(function, repeats):
    """Return the shortest processor seconds along the longest path through a solver's threads.

    The main thread's own, and those of the slowest helper at each pass. On two idle cores it is
    the time by the clock, but for the helpers' waiting for each other; on busy ones the clock
    says little.
    """
    over_shares = GibbsKernel._over_shares
    helped = 0.0

    def watched(self, work):
        nonlocal helped
        seconds = []

        def timed(blocks):
            start = time.thread_time()
            try:
                return work(blocks)
            finally:
                seconds.append(time.thread_time() - start)

        results = over_shares(self, timed)
        helped += max(seconds) if self.n_jobs > 1 else 0.0
        return results

    paths = []
    with patch.object(GibbsKernel, "_over_shares", watched):
        for _ in range(repeats):
            helped, start = 0.0, time.thread_time()
            function()
            paths.append(time.thread_time() - start + helped)
    return min(paths)


def ours(scores, marginal, n_jobs, bandwidth, repeats):
    """Time the class potentials, with their labels and without, and one pass."""
    labels = np.empty_like(scores)
    labels.fill(0)

    def run():
        return solve(scores, marginal, solver="potentials", n_jobs=n_jobs)

    def label():
        solve_labels(scores, marginal, solver="potentials", n_jobs=n_jobs, out=labels)

    result = run()
    seconds = longest_path(run, repeats)
    with GibbsKernel(
        scores, None, block_size=default_block_size(scores), n_jobs=n_jobs, out=labels
    ) as kernel:
        kernel.totals(result.potentials)  # the first pass writes the kernel
        one_pass = longest_path(lambda: kernel.totals(result.potentials), 5 * repeats)
    with_labels = longest_path(label, repeats)
    with patch.object(GibbsKernel, "labels"):
        in_place = longest_path(label, repeats)
    rate = scores.nbytes / bandwidth
    row = {
        "solver": "potentials",
        "threads": n_jobs,
        "seconds": seconds,
        "wall_seconds": wall_and_cpu(run, repeats)["wall"],
        "n_iter": result.n_iter,
        "marginal_error": float(abs(class_totals(scores, result.potentials) - marginal).sum()),
        "pass_seconds": one_pass,
        "in_place_seconds": in_place,
        "labels_seconds": with_labels,
        "pass_of_copy_bandwidth": rate / one_pass,
        # The scores are read and the kernel is written in the first pass, then read at each.
        "solve_of_copy_bandwidth": (1 + result.n_iter) * rate / seconds,
        "in_place_of_copy_bandwidth": (1 + result.n_iter) * rate / in_place,
        "labels_of_copy_bandwidth": (3 + result.n_iter) * rate / with_labels,
    }
    if n_jobs == 1:
        row["peak_copies"] = peak_of(run) / scores.nbytes
    return row


def theirs(scores, marginal, method, repeats):
    """Time POT's `method` to an L1 error of `TOL` at most, its stop being a Euclidean norm."""
    cost = -2.0 * scores.astype(np.float64)
    mass = np.full(len(scores), 1 / len(scores))
    stop = TOL / np.sqrt(len(marginal))

    found = {}

    def run():
        plan, log = ot.sinkhorn(mass, marginal, cost, 2.0, method=method, stopThr=stop, log=True)
        found.update(shares=plan.sum(axis=0), n_iter=log["niter"] + 1)

    times = wall_and_cpu(run, repeats)
    return {
        "solver": f"ot.{method}",
        "threads": 1,
        "seconds": times["cpu"],
        "wall_seconds": times["wall"],
        "n_iter": found["n_iter"],
        "marginal_error": float(abs(found["shares"] - marginal).sum()),
    }


def compare(n_samples, n_classes, sharpness, bandwidth):
    """Return one row per solver for one problem."""
    scores, marginal = make_scores(n_samples, n_classes, sharpness)
    large = scores.size > 10_000_000
    repeats = 7 if large else 15
    rows = [ours(scores, marginal, n_jobs, bandwidth, repeats) for n_jobs in (1, 2)]
    # Cost, kernel, scaled kernel, plan and one temporary, all float64.
    needed = 5 * 8 * scores.size
    for method in ("sinkhorn", "sinkhorn_log"):
        slow = method == "sinkhorn_log" and (large or sharpness > 1)
        if slow or needed > 0.5 * available_memory():
            print(f"  ot.{method} left out: {needed / 2**30:.1f} GiB, or many minutes")
        else:
            once = large or method == "sinkhorn_log"
            rows.append(theirs(scores, marginal, method, 1 if once else 3))
    case = {"n_samples": n_samples, "n_classes": n_classes, "sharpness": sharpness}
    for row in rows:
        row["relative"] = row["seconds"] / rows[0]["seconds"]
        print("  " + json.dumps(row))
    return [{**case, **row} for row in rows]


def on_device(device, n_samples, n_classes):
    """Time tensors on a device, by the clock: the class potentials, and POT in float64."""
    scores, marginal = make_scores(n_samples, n_classes)
    scores = torch.as_tensor(scores, device=device)
    cost = -2.0 * scores.double()
    mass = torch.full((n_samples,), 1 / n_samples, dtype=torch.float64, device=device)
    wanted = torch.as_tensor(marginal, device=device)
    target, stop = torch.empty_like(scores), TOL / np.sqrt(n_classes)

    def sinkhorn():
        with torch.no_grad():
            found["plan"] = ot.sinkhorn(mass, wanted, cost, 2.0, stopThr=stop)

    found = {}
    runs = {
        "copy": lambda: target.copy_(scores),
        "potentials": lambda: found.update(result=solve(scores, marginal, solver="potentials")),
        "ot.sinkhorn": sinkhorn,
    }
    seconds = {}
    for name, run in runs.items():

        def finished(run=run):
            run()
            if scores.is_cuda:
                torch.cuda.synchronize(device)

        finished()
        seconds[name] = wall_and_cpu(finished, 5)["wall"]
    n_iter = found["result"].n_iter
    shares = class_totals(scores, found["result"].potentials)
    return {
        "n_samples": n_samples,
        "n_classes": n_classes,
        "device": torch.cuda.get_device_name(device) if scores.is_cuda else device,
        "n_iter": n_iter,
        "marginal_error": float(abs(shares - wanted).sum()),
        "marginal_error_pot": float(abs(found["plan"].sum(dim=0) - wanted).sum()),
        "wall_seconds": seconds,
        "solve_of_copy_bandwidth": (1 + n_iter) / 2 * seconds["copy"] / seconds["potentials"],
    }


def crossover():
    """Time both of our solvers from tiny problems on, to see where "potentials" begins to win."""
    rows = []
    for n_classes in (2, 10, 100):
        for n_samples in (30, 100, 300, 1000, 3000, 10_000):
            scores, marginal = make_scores(n_samples, n_classes)
            row = {"n_samples": n_samples, "n_classes": n_classes}
            for solver in ("potentials", "pot"):
                run = partial(solve, scores, marginal, solver=solver)
                row[solver] = wall_and_cpu(run, 30)["cpu"]
            rows.append(row)
            print(
                f"  {n_samples:>6} x {n_classes:<4}"
                f" potentials {1e3 * row['potentials']:7.2f} ms   pot {1e3 * row['pot']:7.2f} ms"
                f"   {row['pot'] / row['potentials']:.1f} x"
            )
    return rows


def tabulate(rows):
    """Write the table of the documentation."""
    table = []
    for row in rows:
        ours = row["solver"] == "potentials"
        table.append(
            {
                "rows x classes": f"{row['n_samples']:,} x {row['n_classes']}",
                "logits": f"x {row['sharpness']:g}",
                "solver": row["solver"] + (", two threads" if row["threads"] > 1 else ""),
                "iterations": row["n_iter"],
                "seconds": f"{row['seconds']:.3g}",
                "by the clock": f"{row['wall_seconds']:.3g}",
                "relative": f"{row['relative']:.3g}",
                "marginal error": f"{row['marginal_error']:.0e}",
                "copy bandwidth, a pass": f"{row['pass_of_copy_bandwidth']:.0%}" if ours else "",
                "a whole solve": f"{row['solve_of_copy_bandwidth']:.0%}" if ours else "",
                "in place": f"{row['in_place_of_copy_bandwidth']:.0%}" if ours else "",
                "with labels": f"{row['labels_of_copy_bandwidth']:.0%}" if ours else "",
                "copies of S": f"{row['peak_copies']:.2f}" if "peak_copies" in row else "",
            }
        )
    save_table("bench_transport", table)


def draw(rows, small):
    """Draw time against size for both solvers, and the bars of the large problems."""
    fig, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
    for solver, color in (("pot", "tab:gray"), ("potentials", "tab:blue")):
        for n_classes, style in ((2, ":"), (10, "--"), (100, "-")):
            points = [row for row in small if row["n_classes"] == n_classes]
            left.plot(
                [row["n_samples"] for row in points],
                [row[solver] for row in points],
                style,
                color=color,
                label=f"{solver}, {n_classes} classes",
            )
    left.set(xscale="log", yscale="log", xlabel="rows", ylabel="seconds", title="By size")
    left.legend(fontsize=7)
    rows = [row for row in rows if row["threads"] == 1 and row["sharpness"] == 1.0]
    names = [f"{row['solver']}\n{row['n_samples']:,} x {row['n_classes']}" for row in rows]
    bars = right.barh(
        names[::-1],
        [row["seconds"] for row in rows][::-1],
        color=["tab:blue" if row["solver"] == "potentials" else "tab:gray" for row in rows][::-1],
    )
    right.bar_label(bars, [f" {row['seconds']:.2g} s" for row in rows][::-1], fontsize=8)
    right.set(xscale="log", xlabel="seconds", title=f"To a marginal error of {TOL:g}")
    right.margins(x=0.2)
    right.tick_params(axis="y", labelsize=7)
    fig.text(0.005, -0.04, caption(), fontsize=7)
    FIGURES.mkdir(exist_ok=True)
    fig.savefig(FIGURES / "bench_transport.png", dpi=120, bbox_inches="tight")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--crossover", action="store_true", help="only the small sizes")
    parser.add_argument("--small", action="store_true", help="leave the million rows out")
    parser.add_argument("--device", default="cpu", help="of the tensors, such as cuda")
    options = parser.parse_args()
    one_thread()
    print(json.dumps(machine()))
    if options.device != "cpu":
        sizes = [100_000] if options.small else [100_000, 1_000_000]
        found = [on_device(options.device, n_samples, 100) for n_samples in sizes]
        print(json.dumps(found, indent=1))
        save(f"transport_{options.device}", found)
        return
    print("solvers by size")
    small = crossover()
    if options.crossover:
        return
    bandwidth, shared = copy_bandwidth(), copy_bandwidth(2)
    print(f"copying moves {bandwidth / 1e9:.1f} GB/s, two threads {shared / 1e9:.1f}")
    rows = []
    cases = [(100_000, 10, 1.0), (100_000, 100, 1.0), (100_000, 100, 4.0)]
    cases += [] if options.small else [(1_000_000, 100, 1.0)]
    for n_samples, n_classes, sharpness in cases:
        print(f"{n_samples:,} x {n_classes}, sharpness {sharpness:g}")
        rows += compare(n_samples, n_classes, sharpness, bandwidth)
    results = {
        "copy_bandwidth": bandwidth,
        "of_two_threads": shared,
        "problems": rows,
        "by_size": small,
    }
    if options.small:
        return  # what the documentation shows is made without options
    save("transport", results)
    tabulate(rows)
    draw(rows, small)


if __name__ == "__main__":
    main()
