"""Wrong labels found, against cleanlab on the same out-of-fold probabilities.

    python benchmarks/label_issues.py --data FOLDER --out label_issues.json

    python benchmarks/label_issues.py --data FOLDER --out fitted.json --fit

Both see the given labels and the same out-of-fold probabilities: those of an ExtraTrees forest,
with the posterior of a label model over them for surrogate labels, so that no fitted target and
no second auxiliary helps; with ``--fit``, those of a DSinkClassifier's noise_aux, with its
surrogate labels. The tail is the third of the classes that is smallest by clean counts, and its
rows are those that were *given* a tail class.
Printed by cell: how well wrong labels are ranked, what the flags find and falsely accuse, the
precision that was expected beside the one that came true, and how far the noise matrix and the
class shares are from the truth. cleanlab is used as it comes, except that its ranking is shown in
both its scores. The threshold of the flags was chosen on other draws of the same cells:

    python benchmarks/label_issues.py --data FOLDER --fit --first-seed 30 --seeds 18 --cells ...
"""

from __future__ import annotations

import argparse
import json
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
from _machine import one_thread
from _rows import add_cell_options, chosen_cells, how_many
from cells import make_cell
from cleanlab.count import compute_confident_joint
from cleanlab.filter import find_label_issues as cleanlab_issues
from cleanlab.rank import get_label_quality_scores
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.metrics import average_precision_score, roc_auc_score

from sklearn_dsink import DSinkClassifier
from sklearn_dsink.folds import deal_folds
from sklearn_dsink.inspection import GROUPS, class_groups, find_label_issues
from sklearn_dsink.label_model import fit_label_model

#: Thresholds of the flags that are compared, and the one of the tables: the function's default.
THRESHOLDS = (0.2, 0.25, 0.3, 0.35, 0.4, 0.5)
DEFAULT = str(signature(find_label_issues).parameters["threshold"].default)

#: The noise of these cells is human or by rules: what counts as wrong is itself a judgement.
REAL = ("trec6_weak", "agnews_weak", "hatespeech_crowd", "cifar10n")


def out_of_fold(X: np.ndarray, y: np.ndarray, n_classes: int, seed: int) -> np.ndarray:
    """Five-fold probabilities of a forest; a class that a fold lacks gets zero there."""
    proba = np.zeros((len(y), n_classes))
    for train, test in deal_folds(y, 5, np.random.RandomState(seed)):
        trees = ExtraTreesClassifier(200, min_samples_leaf=2, random_state=seed)
        trees.fit(X[train], y[train])
        proba[np.ix_(test, trees.classes_)] = trees.predict_proba(X[test])
    return proba


def ranking(wrong: np.ndarray, tail: np.ndarray, badness: np.ndarray) -> dict[str, float]:
    """AUROC and average precision of a ranking, over all rows and over those given the tail."""
    scores: dict[str, float] = {}
    if not wrong.any():  # nothing to rank, but flags may be in vain
        return scores
    scores["auroc"] = roc_auc_score(wrong, badness)
    scores["ap"] = average_precision_score(wrong, badness)
    if 0 < wrong[tail].sum() < tail.sum():
        scores["tail_auroc"] = roc_auc_score(wrong[tail], badness[tail])
        scores["tail_ap"] = average_precision_score(wrong[tail], badness[tail])
    return {name: float(value) for name, value in scores.items()}


def flags(wrong: np.ndarray, tail: np.ndarray, flagged: np.ndarray) -> dict[str, float]:
    """Recall on wrong labels and false flags on clean ones, over all rows and in the tail."""

    def rate(rows: np.ndarray) -> float:
        return float(flagged[rows].mean()) if rows.any() else float("nan")

    return {
        "recall": rate(wrong),
        "false_flags": rate(~wrong),
        "tail_recall": rate(wrong & tail),
        "tail_false_flags": rate(~wrong & tail),
    }


def promised(issues: Any, wrong: np.ndarray) -> dict[str, list[float]]:
    """By group: the expected precision, the one that came true, and the rows flagged."""
    found = {}
    for group in ("all", *GROUPS):
        rows = issues["is_issue"] & ((issues["group"] == group) | (group == "all"))
        if rows.any():
            true = wrong[issues.index[rows]]
            expected = issues.attrs["expected_precision"][group]
            found[group] = [float(expected), float(true.mean()), len(true)]
    return found


def estimates(
    cell: Any, y: np.ndarray, n_classes: int, seed: int, fit: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Out-of-fold probabilities, surrogate labels and noise matrix of one cell."""
    if fit:
        model = DSinkClassifier(random_state=seed).fit(cell.X_train, y)
        if len(model.classes_) == n_classes:  # no class lost all of its labels to the noise
            return model.noise_aux_proba_, model.surrogate_labels_, model.noise_matrix_
    proba = out_of_fold(cell.X_train, y, n_classes, seed)
    model = fit_label_model([proba], y)
    return proba, model.posterior, model.noise_matrix


def run(name: str, seed: int, data: Path | None, fit: bool) -> dict[str, Any]:
    """Measure one cell."""
    cell = make_cell(name, seed, data)
    classes = np.unique(np.concatenate([cell.y_true, cell.y_observed]))
    y, true = np.searchsorted(classes, cell.y_observed), np.searchsorted(classes, cell.y_true)
    n_classes, wrong = len(classes), y != true
    counts = np.bincount(true, minlength=n_classes)
    tail = np.isin(y, np.argsort(counts, kind="stable")[: max(1, round(n_classes / 3))])

    proba, posterior, noise_matrix = estimates(cell, y, n_classes, seed, fit)
    shares = posterior.mean(axis=0)
    find = partial(
        find_label_issues,
        y,
        posterior,
        noise_proba=proba,
        classes=np.arange(n_classes),
        class_counts=counts,
    )
    issues = find().sort_index()

    joint = compute_confident_joint(y, proba).T.astype(float)
    joint /= joint.sum()
    truth = np.zeros((n_classes, n_classes))
    np.add.at(truth, (true, y), 1.0)
    sizes = np.maximum(truth.sum(axis=1, keepdims=True), 1.0)

    def matrix_error(matrix: np.ndarray) -> float:
        return float(np.abs(matrix - truth / sizes)[counts > 0].sum(axis=1).mean())

    joint_matrix = joint / np.maximum(joint.sum(axis=1, keepdims=True), 1e-12)
    return {
        "rows": len(y),
        "wrong": float(wrong.mean()),
        "tail_wrong": int(wrong[tail].sum()),
        "tail_clean": int((~wrong)[tail].sum()),
        "groups": np.unique(class_groups(counts)).tolist(),
        "rank": {
            "ours": ranking(wrong, tail, 1 - issues["quality"].to_numpy()),
            "self_confidence": ranking(wrong, tail, 1 - get_label_quality_scores(y, proba)),
            "normalized_margin": ranking(
                wrong, tail, 1 - get_label_quality_scores(y, proba, method="normalized_margin")
            ),
        },
        "flags": {"cleanlab": flags(wrong, tail, cleanlab_issues(y, proba, n_jobs=1))},
        "at_threshold": {
            str(t): {
                "flags": flags(wrong, tail, found["is_issue"].to_numpy()),
                "precision": promised(found, wrong),
            }
            for t in THRESHOLDS
            for found in [find(threshold=t).sort_index()]
        },
        "noise_matrix_l1": {
            "ours": matrix_error(noise_matrix),
            "confident_joint": matrix_error(joint_matrix),
        },
        "class_share_l1": {
            "ours": float(np.abs(shares - counts / len(y)).sum()),
            "confident_joint": float(np.abs(joint.sum(axis=1) - counts / len(y)).sum()),
            "given": float(np.abs(np.bincount(y, minlength=n_classes) - counts).sum() / len(y)),
        },
    }


def rounded(found: dict[str, Any]) -> dict[str, Any]:
    """Keep four decimals of every figure."""
    kept: dict[str, Any] = json.loads(
        json.dumps(found), parse_float=lambda text: round(float(text), 4)
    )
    return kept


def mean(runs: list[dict[str, Any]], *path: str) -> float:
    """Mean over the seeds of one figure."""
    values = []
    for found in runs:
        value: Any = found
        for key in path:
            value = value.get(key, float("nan"))
        values.append(value)
    return float(np.nanmean(values)) if not np.isnan(values).all() else float("nan")


def flag_paths(kind: str, threshold: str = DEFAULT) -> list[tuple[str, ...]]:
    """Where a figure of the flags stands, ours and cleanlab's."""
    return [("at_threshold", threshold, "flags", kind), ("flags", "cleanlab", kind)]


def report(results: dict[str, list[dict[str, Any]]]) -> None:
    """Print the tables, and how many of the cells with injected noise ours wins."""
    columns: dict[str, list[tuple[str, ...]]] = {
        "AP, tail": [("rank", s, "tail_ap") for s in ("ours", "normalized_margin")],
        "AUROC": [("rank", s, "auroc") for s in ("ours", "normalized_margin")],
        "AP": [("rank", s, "ap") for s in ("ours", "normalized_margin")],
        "AP, tail, self-confidence": [("rank", s, "tail_ap") for s in ("ours", "self_confidence")],
        "recall, tail": flag_paths("tail_recall"),
        "false flags, tail": flag_paths("tail_false_flags"),
        "recall": flag_paths("recall"),
        "false flags": flag_paths("false_flags"),
        "noise matrix L1": [("noise_matrix_l1", s) for s in ("ours", "confident_joint")],
        "class shares L1": [("class_share_l1", s) for s in ("ours", "confident_joint")],
    }
    injected = [name for name in results if not name.startswith(REAL)]

    def pairs(cells: list[str], paths: list[tuple[str, ...]]) -> np.ndarray:
        return np.array([[mean(results[cell], *path) for path in paths] for cell in cells])

    print("| cell | " + " | ".join(columns) + " |")
    print("|---" * (len(columns) + 1) + "|")
    for name in results:
        cells = [pairs([name], paths)[0] for paths in columns.values()]
        print(f"| {name} | " + " | ".join(f"{a:.3f} / {b:.3f}" for a, b in cells) + " |")
    print(f"\nours / cleanlab, means; cells with injected noise won, of {len(injected)}:")
    for title, paths in columns.items():
        found = pairs(injected, paths)
        gain = found[:, 0] - found[:, 1]
        gain *= -1 if "false" in title or "L1" in title else 1
        a, b = found.mean(axis=0)
        equal = (np.abs(gain) <= 1e-9).sum()
        print(f"  {title}: {a:.3f} / {b:.3f}; better {(gain > 1e-9).sum()}, equal {equal}")

    print("\nflags in the tail, by threshold, beside cleanlab's; precision of all flags:")
    for t in map(str, THRESHOLDS):
        recall = pairs(injected, flag_paths("tail_recall", t))
        false = pairs(injected, flag_paths("tail_false_flags", t))
        found = recall[:, 0] - recall[:, 1]
        spared = false[:, 1] - false[:, 0]
        precision = np.mean(
            [r["at_threshold"][t]["precision"]["all"][:2] for c in injected for r in results[c]], 0
        )
        print(
            f"  {t}: recall {recall[:, 0].mean():.3f} (better in {(found > 1e-9).sum()}, no worse "
            f"in {(found > -1e-9).sum()}), false flags {false[:, 0].mean():.3f} (fewer in "
            f"{(spared > 1e-9).sum()}, no more in {(spared > -1e-9).sum()}), both better in "
            f"{((found > 1e-9) & (spared > 1e-9)).sum()}, their difference better in "
            f"{(found + spared > 1e-9).sum()}; expected {precision[0]:.3f}, true "
            f"{precision[1]:.3f}"
        )
    print(f"\nexpected / true precision of the flags at {DEFAULT}, pooled over the rows flagged:")
    for kind, names in (
        ("injected", injected),
        ("real", [cell for cell in results if cell not in injected]),
    ):
        for group in ("all", *GROUPS):
            by_run = [r["at_threshold"][DEFAULT]["precision"] for c in names for r in results[c]]
            rows = np.array([found[group] for found in by_run if group in found])
            if len(rows):
                expected, true = np.average(rows[:, :2], axis=0, weights=rows[:, 2])
                print(
                    f"  {kind} {group}: {expected:.3f} / {true:.3f} ({rows[:, 2].sum():.0f} rows)"
                )


def main() -> None:
    """Run the cells that are not in the file yet, then print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_cell_options(parser)
    parser.add_argument("--out", type=Path, help="JSON of the results, read and added to")
    parser.add_argument("--fit", action="store_true", help="fit a DSinkClassifier in each cell")
    parser.add_argument("--seeds", type=how_many, default=1, help="how many")
    parser.add_argument("--first-seed", type=int, default=0)
    args = parser.parse_args()
    one_thread()
    names = chosen_cells(parser, args, None)
    done = json.loads(args.out.read_text()) if args.out and args.out.exists() else {}
    seeds = range(args.first_seed, args.first_seed + args.seeds)
    for name in names:
        for seed in seeds:
            key = f"{name}/{seed}"
            if key not in done:
                done[key] = rounded(run(name, seed, args.data, args.fit))
                if args.out:
                    args.out.write_text(json.dumps(done) + "\n")
    report({name: [done[f"{name}/{s}"] for s in seeds] for name in names})


if __name__ == "__main__":
    main()
