"""Tables and pictures of accuracy.py's rows.

Four tables are written beside the CSV, and printed: `_versus` sets D-SINK against the best peer
of each cell, `_wins` against each other method over all cells, `_summary` has the means of all
columns, and `_beyond` what else than accuracy is compared cell by cell. The best peer of a cell is
known from its test part only, so nobody can pick it: it is an upper bound of what trying them all
on clean labels would give. Differences are in points of balanced accuracy, paired by seed; below
half a point they count as a tie. Cells of one set share rows: the lead is also given by sets.
"""

from __future__ import annotations

import math
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from cells import ALL_CELLS
from matplotlib.colors import LinearSegmentedColormap
from scipy.stats import studentized_range, ttest_1samp, wilcoxon

OURS = "D-SINK"
CLEANING = "CleanLearning(RF balanced)"
TIE = 0.5
FEWEST = 6
INK, QUIET, ACCENT = "#222222", "#8a8a8a", "#1f5fa8"


def finished(rows: pd.DataFrame) -> pd.DataFrame:
    """Drop the seeds of cells that a run was stopped in."""
    size = rows.groupby(["cell", "seed"])["method"].transform("size")
    whole = rows[size == size.groupby(rows["cell"]).transform("max")]
    return whole.merge(whole.loc[whole["method"] == OURS, ["cell", "seed"]])


def verdict(difference: float) -> str:
    return "tie" if abs(difference) <= TIE else "win" if difference > 0 else "loss"


def versus(points: pd.DataFrame, peers: list[str]) -> pd.DataFrame:
    """D-SINK against the best peer, and the better of its own auxiliaries, of each cell.

    `points` has a line a cell and seed, a column a method.
    """
    lines = []
    for cell, runs in points.groupby(level="cell", sort=False):
        means = runs[peers].mean().dropna()
        best, own = means.idxmax(), runs[["f_N alone", "f_L alone"]].mean().max()
        gap = runs[OURS] - runs[best]
        lines.append(
            {
                "cell": cell,
                "seeds": len(runs),
                OURS: runs[OURS].mean(),
                "best peer": best,
                "its score": means[best],
                "difference": gap.mean(),
                "error": gap.sem(),
                "p": ttest_1samp(gap, 0).pvalue if len(gap) > 1 else np.nan,
                "verdict": verdict(gap.mean()),
                "above own": runs[OURS].mean() - own,
            }
        )
    return pd.DataFrame(lines).set_index("cell")


def wins(cells: pd.DataFrame) -> pd.DataFrame:
    """D-SINK against every other method, cell means over the cells that the other ran on."""
    lines = {}
    for other in cells.columns.drop(OURS):
        gap = (cells[OURS] - cells[other]).dropna()
        verdicts = gap.map(verdict)
        lines[other] = {
            "cells": len(gap),
            "mean difference": gap.mean(),
            "standard error": gap.sem(),
            "wins": (verdicts == "win").sum(),
            "ties": (verdicts == "tie").sum(),
            "losses": (verdicts == "loss").sum(),
            # Of fewer cells it cannot tell anything.
            "Wilcoxon p": wilcoxon(gap).pvalue if len(gap) >= FEWEST and gap.any() else np.nan,
        }
    table = pd.DataFrame(lines).T.rename_axis("D-SINK less")
    counts = ["cells", "wins", "ties", "losses"]
    return table.sort_values("mean difference").astype(dict.fromkeys(counts, int))


def written(p: float) -> str:
    return "" if np.isnan(p) else f"{p:.3f}" if p >= 0.001 else "<.001"


def by_sets(differences: pd.Series) -> str:
    """Say what the lead over the best peer is where cells of one set count once."""
    sets = differences.groupby([ALL_CELLS[cell].data for cell in differences.index]).mean()
    text = f"by sets: {sets.mean():+.2f} ± {sets.sem():.2f} points over {len(sets)}"
    return text + (f", Wilcoxon p {written(wilcoxon(sets).pvalue)}" if len(sets) >= FEWEST else "")


def beyond(rows: pd.DataFrame, peers: list[str]) -> pd.DataFrame:
    """Calibration, wrong labels found, and time, of each cell.

    Peers are calibrated by a temperature that suits the test part, D-SINK is not. cleanlab's two
    scores are those of f_N's out-of-fold probabilities, or of CleanLearning's own, whichever is
    best; time is in fits of CleanLearning over a forest.
    """
    table = rows.drop(columns="seed").groupby(["cell", "method"], sort=False).mean().unstack()
    peers = [name for name in peers if name in table["log_loss"]]
    lines = {}
    for cell, line in table.iterrows():
        found = {
            "log-loss": line["log_loss"][OURS],
            "best calibrated peer's log-loss": line["best_log_loss"][peers].min(),
            "calibration error": line["ece"][OURS],
            "best calibrated peer's error": line["best_ece"][peers].min(),
        }
        for title, name in (("issue AUROC", "issue_auroc"), ("tail precision", "tail_ap")):
            others = [line[name].get(other) for other in ("f_N alone", CLEANING)]
            others.append(line[f"{name}_by_confidence"]["f_N alone"])
            found[title] = line[name][OURS]
            # No ranking has a score where no label is wrong.
            found[f"cleanlab's best {title}"] = pd.Series(others, dtype=float).max()
        found["fits of CleanLearning"] = line["fit_seconds"][OURS] / line["fit_seconds"].get(
            CLEANING, np.nan
        )
        lines[cell] = found
    return pd.DataFrame(lines).T.rename_axis("cell")


def ranking_wins(rows: pd.DataFrame) -> pd.DataFrame:
    """In how many cells D-SINK ranks labels better than the better of cleanlab's two scores does.

    Of each method's out-of-fold probabilities alone, and of the method that is best in the cell.
    """
    table = rows.drop(columns="seed").groupby(["cell", "method"], sort=False).mean().unstack()
    lines = {}
    for name in ("issue_auroc", "tail_ap"):
        theirs = table[name].drop(columns=OURS).dropna(axis=1, how="all")
        confident = table[f"{name}_by_confidence"].reindex(columns=theirs.columns)
        theirs = theirs.where(~(confident > theirs), confident)
        theirs["best of them"] = theirs.max(axis=1)
        above = (table[name][OURS].to_numpy()[:, None] > theirs).where(theirs.notna())
        known = theirs.notna().sum()
        lines[name] = above.sum().astype(int).astype(str) + " of " + known.astype(str)
    return pd.DataFrame(lines)


def means(rows: pd.DataFrame, cells: list[str], ranks: pd.Series) -> pd.DataFrame:
    """Every column's mean over the cells that all methods ran on, best first.

    Only D-SINK and the peers have ranks: it would be easy to leave one's own variants behind.
    """
    aside = [name for name in rows.columns if name.endswith("_by_confidence")]
    rows = rows[rows["cell"].isin(cells)].drop(columns=["seed", *aside])
    table = rows.groupby(["method", "cell"]).mean().groupby("method").mean()
    table[PERCENT] *= 100
    table.insert(0, "mean_rank", ranks)
    table = table.sort_values("balanced_accuracy", ascending=False)
    table.columns = table.columns.str.replace("_", " ")
    return table


PERCENT = ["balanced_accuracy", "many", "medium", "few", "macro_f1", "corrected"]


def draw_heat_map(cells: pd.DataFrame, best_peer: pd.Series, path: Path) -> None:
    """Balanced accuracy of each cell and method, shaded by the points below the cell's best."""
    behind = (cells.max(axis=1).to_numpy()[:, None] - cells.to_numpy()).clip(0, 20)
    colors = LinearSegmentedColormap.from_list("blues", [ACCENT, "#b9d2ec", "#ffffff"])
    height, width = 0.34 * len(cells) + 2.9, 0.52 * cells.shape[1] + 3.6
    figure, ax = plt.subplots(figsize=(width, height), layout="constrained")
    image = ax.imshow(behind, cmap=colors, vmin=0, vmax=20, aspect="auto")
    for (i, j), value in np.ndenumerate(cells.to_numpy()):
        peer = cells.columns[j] == best_peer.iloc[i]
        if np.isfinite(value):
            color = "white" if behind[i, j] < 4 else INK
            weight = "bold" if peer or cells.columns[j] == OURS else "normal"
            ax.text(
                j,
                i,
                f"{value:.1f}",
                ha="center",
                va="center",
                fontsize=8,
                color=color,
                weight=weight,
            )
        else:
            ax.text(j, i, "-", ha="center", va="center", fontsize=8, color=QUIET)
    ax.set_xticks(range(cells.shape[1]), cells.columns, rotation=40, ha="left", fontsize=8)
    ax.set_yticks(range(len(cells)), cells.index, fontsize=8)
    ax.xaxis.tick_top()
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.set_facecolor("#eeeeee")  # not run
    bar = figure.colorbar(image, ax=ax, shrink=0.8, pad=0.01)
    bar.set_label("points below the best of the row\n(20 and more: white)", fontsize=8)
    bar.ax.tick_params(labelsize=8)
    bar.outline.set_visible(False)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def critical_difference(n_methods: int, n_cells: int) -> float:
    """Nemenyi's: mean ranks closer than this cannot be told apart at the 5 % level."""
    q = studentized_range.ppf(0.95, n_methods, np.inf) / math.sqrt(2)
    return float(q * math.sqrt(n_methods * (n_methods + 1) / (6 * n_cells)))


def draw_ranks(ranks: pd.Series, n_cells: int, path: Path) -> None:
    """Mean ranks, best on top, and how far from the best one cannot tell them apart."""
    ranks = ranks.sort_values()
    distance = critical_difference(len(ranks), n_cells)
    figure, ax = plt.subplots(figsize=(7, 0.26 * len(ranks) + 1.2), layout="constrained")
    ax.axvspan(ranks.iloc[0], ranks.iloc[0] + distance, color="#e8eef6", lw=0)
    places = np.arange(len(ranks))
    colors = [ACCENT if name == OURS else QUIET for name in ranks.index]
    ax.hlines(places, 1, ranks, color=colors, lw=1)
    ax.scatter(ranks, places, color=colors, s=28, zorder=3)
    for place, value in enumerate(ranks):
        ax.text(value + 0.15, place, f"{value:.1f}", va="center", fontsize=8, color=INK)
    ax.set_yticks(places, ranks.index, fontsize=8)
    ax.invert_yaxis()
    ax.set_xlim(0.8, len(ranks) + 0.5)
    ax.set_xlabel(
        f"mean rank by balanced accuracy in {n_cells} cells (1 is best)\n"
        f"shaded: within the critical difference of {distance:.1f} (Nemenyi, 5 %)",
        fontsize=8,
    )
    ax.tick_params(length=0, labelsize=8)
    ax.spines[["top", "right", "left"]].set_visible(False)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def summarize(path: Path, peers: list[str], order: list[str]) -> None:
    """Print and write all tables, and draw both pictures."""
    rows = finished(pd.read_csv(path).drop(columns="revision"))
    points = 100 * rows.set_index(["cell", "seed", "method"])["balanced_accuracy"].unstack()
    cell_order = rows["cell"].unique()
    points = points[[name for name in order if name in points]].loc[cell_order]
    peers = [name for name in peers if name in points]
    cells = points.groupby(level="cell", sort=False).mean()
    common = cells.dropna()
    ranks = common[[OURS, *peers]].rank(axis=1, ascending=False).mean()

    tables = {
        "versus": versus(points, peers),
        "wins": wins(cells),
        "summary": means(rows, list(common.index), ranks),
        "beyond": beyond(rows, peers).loc[cells.index],
    }
    for name, table in tables.items():
        table = table.dropna(axis=1, how="all")  # one seed has no standard error
        coarse = {"fits of CleanLearning", "mean rank", "fit seconds", "predict seconds"}
        fine = name == "beyond" or name == "summary"
        percent = {column.replace("_", " ") for column in PERCENT}
        for column in table.columns.intersection(["p", "Wilcoxon p"]):
            table[column] = table[column].map(written)
        table = table.round({c: 3 if fine and c not in coarse | percent else 1 for c in table})
        print(f"\n{name}\n{table.to_string()}")
        table.reset_index().to_csv(
            path.with_name(f"{path.stem}_{name}.csv"), index=False, lineterminator="\n"
        )
    counts = tables["versus"]["verdict"].value_counts().to_dict()
    print(
        f"\nagainst the best peer of each of {len(cells)} cells: {counts}, "
        f"{tables['versus']['difference'].mean():+.2f} points on average"
    )
    print(by_sets(tables["versus"]["difference"]))
    extra = tables["beyond"].to_numpy()
    no_worse, times = extra[:, [0, 2]] <= extra[:, [1, 3]], extra[:, -1]
    found = extra[:, [4, 6]] > extra[:, [5, 7]]
    own = tables["versus"]["above own"] >= -TIE
    print(f"no more than half a point below its own best auxiliary: {own.sum()} cells")
    print(f"no worse than calibrated peers: {no_worse.sum(axis=0)} cells (log-loss, error)")
    print(f"above cleanlab's rankings: {found.sum(axis=0)} cells (AUROC, tail precision)")
    print(f"above cleanlab's scores of single methods\n{ranking_wins(rows).to_string()}")
    print(f"at most 3 fits of CleanLearning: {(times <= 3).sum()} of {np.isfinite(times).sum()}")
    print(f"ranks and means: {len(common)} cells that all methods ran on")
    draw_heat_map(cells, tables["versus"]["best peer"], path.with_name(f"{path.stem}_heat.png"))
    draw_ranks(ranks, len(common), path.with_name(f"{path.stem}_ranks.png"))
