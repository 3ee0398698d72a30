"""A fit in one HTML file that opens from disk: pictures, the labels to look at first, settings."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import platform
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from importlib import import_module, resources
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ._files import replacing
from .inspection import GROUPS, class_summary, expected_precision, fitted, noisy_pairs

_LIBRARIES = ("sklearn_dsink", "sklearn", "torch", "skorch", "ot", "numpy", "pandas")
#: The columns of a table of label issues, and what the report calls them.
ISSUE_TITLES = {
    "given_label": "given",
    "suggested_label": "suggested",
    "quality": "quality",
    "suggested_proba": "P(suggested)",
    "noise_label": "noise-robust says",
    "noise_proba": "its P(given)",
    "imb_label": "imbalance-robust says",
    "imb_proba": "its P(given)",
    "group": "group",
    "is_issue": "flag",
}


def write_report(
    estimator: Any,
    path: str | os.PathLike[str],
    *,
    issues: pd.DataFrame | None = None,
    title: str = "What the labels look like",
    scores: Mapping[str, Any] | None = None,
    displays: Iterable[tuple[str, str, Any]] = (),
    max_issues: int = 300,
) -> Path:
    """Write what a fit found to one HTML file that needs nothing else, and no network.

    Parameters
    ----------
    estimator : object
        A fitted :class:`~sklearn_dsink.DSinkClassifier`, or what has its fitted attributes.
    path : path-like
        The file; replaced in one step if it is there.
    issues : DataFrame, default=None
        Result of ``label_issues``, or some of its rows, with further columns or without; None
        asks the estimator for it.
    title : str, default="What the labels look like"
        Heading.
    scores : mapping of str to float, default=None
        Scores to show, such as those on a test set.
    displays : iterable of (title, caption, display), default=()
        Further displays to show, with a ``figure_``.
    max_issues : int, default=300
        Rows of the table of issues.

    Returns
    -------
    path : Path
        The file written.

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.
    ValueError
        If `issues` are some rows only, of an estimator that does not keep the given labels.
    FileNotFoundError
        If the folder of `path` does not exist.
    ImportError
        If jinja2 or matplotlib is not installed (the extra ``cli``).

    Examples
    --------
    >>> clf.report("report.html")  # doctest: +SKIP
    """
    page = render_report(
        estimator,
        issues=issues,
        title=title,
        scores=scores,
        displays=displays,
        max_issues=max_issues,
    )
    with replacing(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return Path(path)


def render_report(
    estimator: Any,
    *,
    issues: pd.DataFrame | None = None,
    title: str = "What the labels look like",
    scores: Mapping[str, Any] | None = None,
    displays: Iterable[tuple[str, str, Any]] = (),
    max_issues: int = 300,
) -> str:
    """Give the report of :func:`write_report` as a string of HTML.

    Parameters
    ----------
    estimator, issues, title, scores, displays, max_issues
        As in :func:`write_report`.

    Returns
    -------
    page : str
        The whole document. Every string of the user is escaped and cut to a bounded length, and
        its content security policy lets no other script run than the report's own.
    """
    import jinja2
    from markupsafe import Markup

    classes, surrogate = fitted(estimator, "classes_", "surrogate_labels_")
    if issues is None:
        issues = estimator.label_issues()
    given = _given_labels(estimator, issues, len(surrogate))
    # Whatever their order is: only the totals of given and surrogate are used.
    by_class = class_summary(given, surrogate, classes=classes, issues=issues)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("sklearn_dsink"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["short"] = _short
    templates = resources.files("sklearn_dsink") / "templates"
    script = (templates / "report.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    tables = [
        _class_table(by_class),
        *_pair_tables(estimator, classes),
        *_score_tables(scores),
        *_time_tables(estimator),
        _settings_table(estimator),
        _version_table(),
    ]
    parts = [("summary", "Summary"), ("pictures", "Pictures"), ("issues", "Labels")]
    shown = issues.head(max_issues)
    return environment.get_template("report.html.j2").render(
        title=title,
        made_by=f"sklearn-dsink {_version('sklearn_dsink')}",
        made_at=datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        style=Markup((templates / "report.css").read_text(encoding="utf-8")),
        script=Markup(script),
        script_hash=f"sha256-{digest}",
        parts=parts + [(table["anchor"], table["title"]) for table in tables],
        cards=_cards(estimator, issues, by_class, len(surrogate)),
        sentences=_sentences(issues, by_class),
        figures=_figures(estimator, given, issues, displays),
        issues_note=(
            (
                f"All {len(shown)} rows, lowest quality first. "
                if len(shown) == len(surrogate)
                else f"The first {len(shown)} of {len(surrogate)} rows, lowest quality first. "
            )
            + "Quality sets the given label against the likeliest other class: 0.5 is a draw."
        ),
        groups=[group for group in GROUPS if (shown["group"] == group).any()],
        issue_columns=_issue_columns(shown),
        issue_rows=[_issue_row(shown, i) for i in range(len(shown))],
        tables=tables,
    )


def _given_labels(estimator: Any, issues: pd.DataFrame, n_samples: int) -> Any:
    """Give the labels of all rows, in any order; the issues to show may be some of them."""
    if hasattr(estimator, "_given"):
        return estimator.classes_[estimator._given]
    if len(issues) != n_samples:
        raise ValueError(
            f"issues has {len(issues)} rows and surrogate_labels_ has {n_samples}: give all of "
            "them, as label_issues does; max_issues says how many are shown."
        )
    return issues["given_label"]


def _short(value: Any, length: int) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= length else text[: length - 1] + "…"


def _number(value: Any) -> str:
    return "–" if pd.isna(value) else f"{float(value):.3f}"


def _cards(
    estimator: Any, issues: pd.DataFrame, by_class: pd.DataFrame, n_samples: int
) -> list[tuple[str, Any]]:
    flagged = int(issues["is_issue"].sum())
    cards: list[tuple[str, Any]] = [("rows", f"{n_samples:,}")]
    if hasattr(estimator, "n_features_in_"):
        cards.append(("features", f"{estimator.n_features_in_:,}"))
    cards += [
        ("classes", len(by_class)),
        ("labels flagged", f"{flagged:,} ({flagged / n_samples:.1%})"),
        ("of the flags wrong, by its own estimate", _share(expected_precision(issues)["all"])),
        ("imbalance, given labels", _imbalance(by_class["given"])),
        ("imbalance, estimated", _imbalance(by_class["estimated"])),
    ]
    return cards


def _share(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.0%}"


def _imbalance(counts: pd.Series) -> str:
    smallest = float(counts.min())
    if smallest <= 0:
        return "a class is empty"
    ratio = float(counts.max()) / smallest
    return f"{ratio:,.0f} : 1" if ratio >= 100 else f"{ratio:.3g} : 1"


def _sentences(issues: pd.DataFrame, by_class: pd.DataFrame) -> list[str]:
    """Say what to read first; class names are escaped by the template."""
    sentences = []
    worst = by_class[by_class["issues"] > 0].sort_values("issue_rate", ascending=False).head(3)
    if len(worst):
        named = ", ".join(
            f"{_short(label, 40)} ({row.issues:.0f} of {row.given:.0f})"
            for label, row in worst.iterrows()
        )
        sentences.append(f"Given labels that are flagged most often: {named}.")
    expected = expected_precision(issues)
    by_group = [
        f"{group} {_share(expected[group])}" for group in GROUPS if not np.isnan(expected[group])
    ]
    if by_group:
        sentences.append(
            "Share of the flags expected to be wrong labels, by the size of the class: "
            + ", ".join(by_group)
            + ". It rests on the auxiliaries being right about most rows, and is too high "
            "where classes overlap: look at a few before you act on many."
        )
    return sentences


def _figures(
    estimator: Any,
    given: pd.Series,
    issues: pd.DataFrame,
    displays: Iterable[tuple[str, str, Any]],
) -> list[dict[str, Any]]:
    import matplotlib.pyplot as plt

    from . import plots

    entries: list[tuple[str, str, Any]] = []
    with plt.ioff():
        if hasattr(estimator, "imb_aux_proba_"):
            entries.append(
                (
                    "Class shares",
                    "How common each class is among the given labels, by the imbalance-robust "
                    "auxiliary, and among the surrogate labels.",
                    plots.ClassSharesDisplay.from_estimator(estimator, given),
                )
            )
        if hasattr(estimator, "noise_matrix_"):
            entries.append(
                (
                    "Noise matrix",
                    "How often a row of the true class was given the label of the column.",
                    plots.NoiseMatrixDisplay.from_estimator(estimator),
                )
            )
        entries.append(
            (
                "Label quality",
                "Spread of the quality of the given labels, by the size of the class.",
                plots.LabelQualityDisplay.from_issues(issues),
            )
        )
        if getattr(estimator, "history_", None):
            entries.append(
                (
                    "Training history",
                    "Loss of the target, error of the class totals, and labels that moved.",
                    plots.HistoryDisplay.from_estimator(estimator),
                )
            )
        entries += list(displays)
        figures = [_picture(title, caption, display) for title, caption, display in entries]
        for _, _, display in entries:
            plt.close(display.figure_)
    return figures


def _picture(title: str, caption: str, display: Any) -> dict[str, Any]:
    buffer = io.BytesIO()
    dpi = 130
    display.figure_.savefig(buffer, format="png", dpi=dpi)
    width, height = display.figure_.get_size_inches() * dpi
    return {
        "title": _short(title, 80),
        "caption": _short(caption, 300),
        "data": base64.b64encode(buffer.getvalue()).decode(),
        "width": round(width),
        "height": round(height),
    }


def _issue_title(column: Any) -> str:
    return _short(ISSUE_TITLES.get(column, column), 40)


def _issue_columns(issues: pd.DataFrame) -> list[dict[str, str]]:
    columns = [{"title": _short(issues.index.name or "row", 40), "kind": "text"}]
    for name in issues.columns:
        kind = "number" if issues[name].dtype.kind == "f" else "text"
        columns.append({"title": _issue_title(name), "kind": kind})
    return columns


def _issue_row(issues: pd.DataFrame, position: int) -> dict[str, Any]:
    row = issues.iloc[position]
    name = issues.index[position]
    head = _short(issues.index.name or "row", 40)
    plain = {"kind": "text", "flag": False, "whole": False}
    cells = [plain | {"title": head, "text": name}]
    for column in issues.columns:
        value = row[column]
        cell = plain | {"title": _issue_title(column), "whole": column == "group"}
        if column == "is_issue":
            cell |= {"text": "look" if value else "", "flag": bool(value)}
        elif issues[column].dtype.kind == "f" and str(column).endswith(("proba", "quality")):
            cell |= {"text": _number(value), "kind": "number", "value": float(value)}
        else:
            cell |= {"text": value}
        cells.append(cell)
    words = " ".join(
        _short(part, 60) for part in (name, row["given_label"], row["suggested_label"])
    )
    return {
        "cells": cells,
        "words": words.lower(),
        "group": row["group"],
        "flag": int(row["is_issue"]),
    }


def _table(anchor: str, title: str, columns: list[str], rows: list[list[Any]]) -> dict[str, Any]:
    return {"anchor": anchor, "title": title, "columns": columns, "rows": rows}


def _class_table(by_class: pd.DataFrame) -> dict[str, Any]:
    rows = [
        [label, int(row.given), f"{row.estimated:.1f}", row.group, int(row.issues),
         f"{row.issue_rate:.0%}"]
        for label, row in by_class.iterrows()
    ]  # fmt: skip
    columns = ["class", "rows given", "rows estimated", "group", "flagged", "share flagged"]
    return _table("classes", "Classes", columns, rows)


def _pair_tables(estimator: Any, classes: Any) -> list[dict[str, Any]]:
    if not hasattr(estimator, "noise_matrix_"):
        return []
    share = np.asarray(estimator.surrogate_labels_).mean(axis=0)
    pairs = noisy_pairs(estimator.noise_matrix_, share, classes=classes).head(20)
    rows = [
        [pair.true_label, pair.given_label, f"{pair.proba:.3f}", f"{pair.share:.2%}"]
        for pair in pairs.itertuples()
    ]
    columns = ["true class", "given label", "P(given | true)", "share of all rows"]
    return [_table("pairs", "Classes that bleed into others", columns, rows)]


def _score_tables(scores: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    if not scores:
        return []
    rows = [[name, _number(v) if isinstance(v, float) else v] for name, v in scores.items()]
    return [_table("scores", "Scores", ["score", "value"], rows)]


def _time_tables(estimator: Any) -> list[dict[str, Any]]:
    rows = [
        [name, f"{seconds:.2f} s"] for name, seconds in getattr(estimator, "timings_", {}).items()
    ]
    epochs = [epoch["dur"] for epoch in getattr(estimator, "history_", []) if "dur" in epoch]
    if epochs:
        rows.append([f"training of the target, {len(epochs)} epochs", f"{sum(epochs):.2f} s"])
    return [_table("timings", "Timings", ["stage", "time"], rows)] if rows else []


def _settings_table(estimator: Any) -> dict[str, Any]:
    parameters = estimator.get_params(deep=False) if hasattr(estimator, "get_params") else {}
    rows = [[name, _short(repr(value), 200)] for name, value in parameters.items()]
    return _table("settings", "Settings", ["parameter", "value"], rows)


def _version_table() -> dict[str, Any]:
    rows = [["Python", platform.python_version()], ["platform", platform.platform()]]
    rows += [[name, _version(name)] for name in _LIBRARIES]
    return _table("versions", "Versions", ["software", "version"], rows)


def _version(name: str) -> str:
    return str(getattr(import_module(name), "__version__", "unknown"))
