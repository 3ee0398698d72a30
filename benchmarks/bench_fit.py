"""What D-SINK costs above its parts: a whole fit, and predict_proba, beside hand-written ones.

    python benchmarks/bench_fit.py
    python benchmarks/bench_fit.py --device cuda   # the nets on a device; look at wall times

The parts of a fit are both auxiliaries fitted alone, cross-fits included, and a plain torch loop
that trains the same net on the given labels with the same batches, epochs and schedule. The parts
of a prediction are the net's forward pass and the auxiliaries' predict_proba. One thread; the
shortest of three runs.

With refine=True, the default for small sets, auxiliaries are fitted without each pair of folds,
and again on corrected labels, which these parts are not. So each fit has a second reference, "its
fits by hand": a plain loop over the very fits that D-SINK made, on the same rows, copies and
weights, each with the predictions that were asked for. Rows left out of the kernel classifier come
from one linear system there, as in D-SINK.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from contextlib import ExitStack
from unittest.mock import patch

import matplotlib.pyplot as plt
import numpy as np
import torch
from _machine import (
    FIGURES,
    caption,
    machine,
    make_task,
    one_thread,
    save,
    save_table,
    wall_and_cpu,
)
from sklearn.base import clone
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from torch import nn

from sklearn_dsink import DSinkClassifier, crossfit, refinement
from sklearn_dsink.auxiliaries import left_out_proba
from sklearn_dsink.defaults import default_imb_aux, default_noise_aux, default_target


def fit_auxiliary(estimator, X, y):
    """Fit on all rows, and on all but each of as many folds as D-SINK takes."""
    folds = StratifiedKFold(DSinkClassifier().cv, shuffle=True, random_state=0)
    cross_val_predict(estimator, X, y, cv=folds, method="predict_proba")
    return clone(estimator).fit(X, y)


def recording(jobs):
    """Let fits write down which fits of auxiliaries they make."""
    run_jobs = crossfit.run_jobs

    def recorded(own, *args, **kwargs):
        jobs.extend(own)
        return run_jobs(own, *args, **kwargs)

    stack = ExitStack()
    for module in (crossfit, refinement):
        stack.enter_context(patch.object(module, "run_jobs", recorded))
    return stack


def by_hand(jobs, X):
    """Make the same fits in a plain loop, with nothing around them."""
    for job in jobs:
        model = clone(job.template).fit(X[job.rows], job.labels, **job.params)
        if job.leaves_out is not None:
            left_out_proba(model, X, job.leaves_out.labels, job.leaves_out.parts, None)
        if job.predicts is not None:
            model.predict_proba(X[job.predicts])


def torch_loop(net, X, y):
    """Train the module of a skorch net by hand, as fast as plain torch allows."""
    torch.manual_seed(0)
    module = net.initialize().module_.train()
    optimizer = torch.optim.AdamW(
        module.parameters(), lr=net.lr, weight_decay=net.optimizer__weight_decay, fused=True
    )
    loss = nn.CrossEntropyLoss()
    X, y = torch.from_numpy(X).to(net.device), torch.from_numpy(y).to(net.device)
    steps, step = net.max_epochs * math.ceil(len(X) / net.batch_size), 0
    for _ in range(net.max_epochs):
        for rows in torch.randperm(len(X), device=X.device).split(net.batch_size):
            done = step / steps
            factor = min(1, 0.05 + 9.5 * done) * 0.5 * (1 + math.cos(math.pi * done))
            optimizer.param_groups[0]["lr"] = net.lr * factor
            optimizer.zero_grad()
            loss(module(X[rows]), y[rows]).backward()
            optimizer.step()
            step += 1
    return module.eval()


def in_turn(functions, repeats, best=None):
    """Time some functions, each in every round, so that what else runs is borne by all alike."""
    best = dict(best or {})
    for _ in range(repeats):
        for name, function in functions.items():
            found = wall_and_cpu(function)
            before = best.get(name, found)
            best[name] = {clock: min(found[clock], before[clock]) for clock in found}
    return best


@torch.inference_mode()
def forward(module, X):
    """Class probabilities of a module."""
    device = next(module.parameters()).device
    parts = [module(rows.to(device)).softmax(dim=1) for rows in torch.from_numpy(X).split(4096)]
    return torch.cat(parts).cpu().numpy()


def compare(n_samples, n_features, n_classes, repeats, device="cpu"):
    """Time a whole fit and a prediction, and their parts."""
    X, y, truth = make_task(n_samples + 20_000, n_features, n_classes)
    X, X_test, y, y_test = X[:n_samples], X[n_samples:], y[:n_samples], truth[n_samples:]
    noise_aux, imb_aux = default_noise_aux(n_features), default_imb_aux()
    net = default_target(X, n_classes).set_params(device=device)
    made = {}

    train = DSinkClassifier._fit_target
    training = {}

    def timed(*args, **kwargs):
        training.update(in_turn({"D-SINK, target": lambda: train(*args, **kwargs)}, 1, training))

    jobs = {True: [], False: []}

    def fit(refine):
        clf = DSinkClassifier(noise_aux, imb_aux, net, refine=refine, random_state=0)
        jobs[refine].clear()
        with patch.object(DSinkClassifier, "_fit_target", timed), recording(jobs[refine]):
            made["dsink"] = clf.fit(X, y)

    def loop():
        made["module"] = torch_loop(clone(net), X, y)

    parts = {
        "noise_aux": lambda: made.update(noise=fit_auxiliary(noise_aux, X, y)),
        "imb_aux": lambda: made.update(imb=fit_auxiliary(imb_aux, X, y)),
        "torch loop": loop,
    }
    fitting = in_turn(
        {
            **parts,
            "D-SINK, refine=True": lambda: fit(True),
            "D-SINK, refine=False": lambda: fit(False),
            "its fits by hand, refine=True": lambda: by_hand(jobs[True], X),
            "its fits by hand, refine=False": lambda: by_hand(jobs[False], X),
        },
        repeats,
    )

    fitting |= training

    def predict(combine):
        made["dsink"].set_params(combine=combine).predict_proba(X_test)

    predicting = in_turn(
        {
            "noise_aux": lambda: made["noise"].predict_proba(X_test),
            "imb_aux": lambda: made["imb"].predict_proba(X_test),
            "D-SINK": lambda: predict(True),
        },
        repeats,
    ) | in_turn(
        {
            "torch forward": lambda: forward(made["module"], X_test),
            "D-SINK, combine=False": lambda: predict(False),
        },
        20 * repeats,
    )
    scores = {
        name: float(np.mean(np.asarray(predicted) == y_test))
        for name, predicted in {
            "noise_aux": made["noise"].predict(X_test),
            "imb_aux": made["imb"].predict(X_test),
            "torch loop": forward(made["module"], X_test).argmax(axis=1),
            "D-SINK": made["dsink"].set_params(combine=True).predict(X_test),
        }.items()
    }
    ratios = {}
    for clock in ("wall", "cpu"):
        whole = sum(fitting[name][clock] for name in parts)
        three = sum(predicting[n][clock] for n in ("noise_aux", "imb_aux", "torch forward"))
        ratios[clock] = {
            "fit, refine=False": fitting["D-SINK, refine=False"][clock] / whole,
            "fit, refine=True": fitting["D-SINK, refine=True"][clock] / whole,
            **{
                f"fit, {refine}, its fits by hand": fitting[f"D-SINK, {refine}"][clock]
                / (fitting[f"its fits by hand, {refine}"][clock] + fitting["torch loop"][clock])
                for refine in ("refine=False", "refine=True")
            },
            "predict": predicting["D-SINK"][clock] / three,
            "predict, combine=False": predicting["D-SINK, combine=False"][clock]
            / predicting["torch forward"][clock],
            # What is not the auxiliaries: training, renewals, transport.
            "target": fitting["D-SINK, target"][clock] / fitting["torch loop"][clock],
        }
    return {
        "n_samples": n_samples,
        "n_features": n_features,
        "n_classes": n_classes,
        "epochs": net.max_epochs,
        "batch_size": net.batch_size,
        "fit": fitting,
        "predict": predicting,
        "ratios": ratios,
        "accuracy": scores,
    }


def tabulate(result):
    """Return the table of the documentation: seconds by part, and the ratios."""
    return [
        {
            "stage": stage,
            "part": part,
            "wall, s": f"{seconds['wall']:.3g}",
            "processor, s": f"{seconds['cpu']:.3g}",
        }
        for stage in ("fit", "predict")
        for part, seconds in result[stage].items()
    ] + [
        {
            "stage": "D-SINK / parts",
            "part": name,
            "wall, s": f"{result['ratios']['wall'][name]:.2f} times",
            "processor, s": f"{result['ratios']['cpu'][name]:.2f} times",
        }
        for name in result["ratios"]["wall"]
    ]


def draw(result):
    """Stack the parts beside the whole."""
    fig, axes = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    for ax, stage, title in zip(
        axes, ("fit", "predict"), ("Fit", "predict_proba, 20,000 rows"), strict=True
    ):
        times, left = result[stage], 0.0
        for name in ("noise_aux", "imb_aux", "torch loop", "torch forward"):
            if name in times:
                ax.barh("parts", times[name]["cpu"], left=left, label=name)
                left += times[name]["cpu"]
        for name in times:
            seconds = times[name]["cpu"]
            if name.startswith("its fits"):
                ax.barh(name.replace(", ", ",\n"), seconds, color="tab:olive")
            elif name.startswith("D-SINK") and "target" not in name:
                label = f"{seconds / left:.2f} times" if "combine" not in name else ""
                bars = ax.barh(name.replace(", ", ",\n"), seconds, color="tab:gray")
                ax.bar_label(bars, [label], padding=3, fontsize=8)
        ax.set(xlabel="processor seconds", title=title)
        ax.margins(x=0.25)
        ax.legend(fontsize=7)
    fig.text(0.005, -0.06, caption(), fontsize=7)
    FIGURES.mkdir(exist_ok=True)
    fig.savefig(FIGURES / "bench_fit.png", dpi=120, bbox_inches="tight")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=4_000)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu", help="of the nets, such as cuda")
    options = parser.parse_args()
    one_thread()
    print(json.dumps(machine()))
    result = compare(options.rows, 32, options.classes, options.repeats, options.device)
    print(json.dumps(result, indent=1))
    if options.device != "cpu":
        save(f"fit_{options.device}", result)
    if sys.argv[1:]:
        return  # what the documentation shows is made without options
    save("fit", result)
    save_table("bench_fit", tabulate(result))
    draw(result)


if __name__ == "__main__":
    main()
