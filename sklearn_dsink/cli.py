"""The command ``dsink``: fit a table, look at its labels, predict.

Exit codes: 0 all went well, 1 an unexpected error, 2 something is wrong with the command or the
data (said in one line), 130 interrupted. What a command writes is complete or not there.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
from sklearn.datasets import load_digits
from sklearn.metrics import accuracy_score, recall_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline, make_pipeline

try:
    import typer
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table
except ImportError as error:  # pragma: no cover
    raise SystemExit(
        f'The command dsink needs {error.name}: pip install ".[cli]" in a clone.'
    ) from error

from . import __version__
from ._files import replacing
from ._tables import TableReader, is_labelled, labels_as, labels_of, names_of, read_table
from .classifier import DSinkClassifier
from .datasets import flip_labels, make_long_tailed
from .persistence import load_model, save_model
from .report import ISSUE_TITLES, write_report

app = typer.Typer(
    name="dsink",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Learn from a table whose labels are partly wrong and whose classes differ in size, and "
    "see which labels to look at first.",
    epilog="Start with: dsink demo",
)

# Characters of a message; names of columns and classes may have any length.
_LONGEST = 500


def main() -> None:
    """Run the command line; a request to end is answered as Ctrl-C is, with nothing left over."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    os.environ.setdefault("MPLBACKEND", "Agg")
    app()


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"dsink {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            help="Print the version and leave.",
            is_eager=True,
            callback=_print_version,
        ),
    ] = False,
) -> None:
    """Hold the options that belong to no command; the help text is the app's."""


@app.command()
def fit(
    data: Annotated[Path, typer.Argument(help="A CSV, TSV or Parquet file.", show_default=False)],
    label: Annotated[str, typer.Option(help="Column of the given labels.", show_default=False)],
    id: Annotated[
        str | None, typer.Option(help="Column that names the rows; not learnt from.")
    ] = None,
    drop: Annotated[
        list[str] | None, typer.Option(help="Column to leave out; may be given again.")
    ] = None,
    skip_unlabelled: Annotated[
        bool, typer.Option("--skip-unlabelled", help="Leave out rows without a label.")
    ] = False,
    out: Annotated[Path, typer.Option(help="Folder to write.")] = Path("dsink-out"),
    test: Annotated[
        Path | None, typer.Option(help="A table with trusted labels to score the model on.")
    ] = None,
    folds: Annotated[int, typer.Option(min=2, help="Folds of the auxiliaries.")] = 5,
    seed: Annotated[int, typer.Option(min=0, help="Seed of all that is random.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Replace the folder.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False,
) -> None:
    """Fit a table, and write issues.csv, report.html, model.dsink and metrics.json.

    Numbers, dates and categories are told apart by the columns' contents. Example:

        dsink fit data.csv --label species --id sample --out result
    """
    with _one_line_errors():
        metrics = _fit(
            data, label, id, drop or [], out, test, skip_unlabelled=skip_unlabelled, folds=folds,
            seed=seed, force=force, quiet=quiet,
        )  # fmt: skip
        if not quiet:
            _print_result(metrics, out)


@app.command()
def predict(
    model: Annotated[Path, typer.Argument(help="A model.dsink file.", show_default=False)],
    data: Annotated[Path, typer.Argument(help="A CSV, TSV or Parquet file.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", "-o", help="CSV or Parquet file to write.")] = Path(
        "predictions.csv"
    ),
    id: Annotated[str | None, typer.Option(help="Column that names the rows.")] = None,
    proba: Annotated[
        bool, typer.Option("--proba", help="Write the probability of every class.")
    ] = False,
) -> None:
    """Predict the labels of a table with a model that `dsink fit` wrote.

    Writes for each row its name, the prediction and its probability. Example:

        dsink predict result/model.dsink new.csv -o predictions.csv
    """
    with _one_line_errors():
        n_rows = _predict(model, data, out, id, proba)
        print(f"{n_rows} predictions in {out}")


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder to write.")] = Path("dsink-demo"),
    seed: Annotated[int, typer.Option(min=0, help="Seed of all that is random.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Replace the folder.")] = False,
) -> None:
    """Mislabel a long-tailed set of digits, find the wrong labels, and say how many were found."""
    with _one_line_errors():
        _demo(out, seed, force)


@contextmanager
def _one_line_errors() -> Iterator[None]:
    """Turn what a user can mend into one line and exit code 2; Ctrl-C is exit code 130."""
    try:
        yield
    except (ValueError, FileNotFoundError, FileExistsError, PermissionError) as error:
        _fail(str(error), 2)
    except KeyboardInterrupt:
        _fail("interrupted; nothing was written", 130)


@contextmanager
def _own_mistakes_apart() -> Iterator[None]:
    """Raise RuntimeError for a mistake of ours: in a fit, any error becomes a ValueError."""
    try:
        yield
    except ValueError as error:
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        if not isinstance(cause, ValueError):
            raise RuntimeError(str(error)) from error
        raise


def _fail(message: str, code: int) -> None:
    Console(stderr=True, soft_wrap=True, highlight=False).print(
        f"[bold red]error:[/] {_one_line(message)}"
    )
    raise typer.Exit(code)


def _one_line(message: str) -> str:
    """Make a message, which may quote the user's data, fit for a terminal."""
    text = " ".join(message.split())
    text = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
    return escape(text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…")


@contextmanager
def _new_folder(out: Path, force: bool) -> Iterator[Path]:
    """Give a temporary folder that takes the place of `out` when all went well."""
    if out.exists() and not force:
        raise FileExistsError(f"{out} is there already; --force replaces it.")
    if out.exists() and (not out.is_dir() or not _looks_like_ours(out)):
        raise FileExistsError(f"{out} is no folder that dsink wrote; choose another --out.")
    out.parent.mkdir(parents=True, exist_ok=True)
    with replacing(out) as temporary:
        temporary.mkdir()
        yield temporary
        # Outside of what is cleaned up, so as not to be lost if the new one cannot be moved.
        old = temporary.parent.with_name(f"{temporary.parent.name}.old")
        if out.exists():
            os.replace(out, old)
    shutil.rmtree(old, ignore_errors=True)


def _check_keeps(out: Path, *sources: Path) -> None:
    """Raise unless writing `out`, a file or a folder, leaves what the command reads as it is."""
    for source in sources:
        if out.exists() and source.exists():
            if any(out.samefile(path) for path in (source, *source.resolve().parents)):
                raise FileExistsError(
                    f"{out} would replace {source}, which is read; write elsewhere."
                )


def _looks_like_ours(folder: Path) -> bool:
    return (folder / "metrics.json").is_file() or not any(folder.iterdir())


def _fit(
    data: Path,
    label: str,
    id_column: str | None,
    drop: list[str],
    out: Path,
    test: Path | None,
    *,
    skip_unlabelled: bool = False,
    folds: int,
    seed: int,
    force: bool,
    quiet: bool,
) -> dict[str, Any]:
    if out.exists() and not force:  # before the work, not after it
        raise FileExistsError(f"{out} is there already; --force replaces it.")
    _check_keeps(out, data, *([test] if test else []))
    _check_names_rows(id_column, ISSUE_TITLES, data.name)
    not_learnt = [label, *([id_column] if id_column else []), *drop]
    table = read_table(data, not_learnt)
    n_rows = len(table)
    if skip_unlabelled:
        table = table[is_labelled(table[label])]
    labels = labels_of(table, label)
    features = table.drop(columns=set(not_learnt))
    reader = TableReader().fit(features)
    features = reader.read(features, data.name)
    tested = None
    if test is not None:
        test_table = read_table(test, [label])
        tested = (
            reader.read(test_table, test.name),
            labels_as(test_table, label, labels, test.name),
        )
    if not quiet:
        if len(table) < n_rows:
            print(f"note: {n_rows - len(table)} rows without a label left out", file=sys.stderr)
        for note in reader.notes_:
            print(f"note: {note}", file=sys.stderr)
    index = pd.Series(table.index + 1, table.index, name="row")
    if id_column is not None:
        index = names_of(table, id_column)
    classifier = DSinkClassifier(cv=folds, random_state=seed, verbose=0 if quiet else 1)
    with _new_folder(out, force) as folder:
        return _fit_into(folder, classifier, features, labels, reader, index, tested, data.name)


def _fit_into(
    folder: Path,
    classifier: DSinkClassifier,
    features: pd.DataFrame,
    labels: pd.Series[Any],
    reader: TableReader,
    index: pd.Series[Any],
    tested: tuple[pd.DataFrame, pd.Series[Any]] | None,
    title: str,
) -> dict[str, Any]:
    """Fit, and write all files into a folder."""
    start = time.perf_counter()
    with warnings.catch_warnings(record=True) as caught, _own_mistakes_apart():
        warnings.simplefilter("default")
        classifier.fit(features, labels.to_numpy())
    seconds = time.perf_counter() - start
    issues = classifier.label_issues()
    issues.index = pd.Index(index[issues.index])
    scores = {} if tested is None else _scores(classifier, *tested)
    metrics = {
        "rows": len(labels),
        "features": features.shape[1],
        "classes": len(classifier.classes_),
        "labels_flagged": int(issues["is_issue"].sum()),
        "expected_precision": _without_nan(issues.attrs["expected_precision"]),
        "scores": scores,
        "transport_error": float(classifier.transport_error_),
        "fit_seconds": round(seconds, 3),
        "seed": classifier.random_state,
        "warnings": sorted({f"{w.category.__name__}: {w.message}" for w in caught}),
    }
    issues.to_csv(folder / "issues.csv")
    write_report(
        classifier,
        folder / "report.html",
        issues=issues,
        title=f"Labels of {title}",
        scores=scores or None,
    )
    save_model(make_pipeline(reader, classifier), folder / "model.dsink")
    text = json.dumps(metrics, indent=2, ensure_ascii=False)
    (folder / "metrics.json").write_text(text + "\n", encoding="utf-8")
    return metrics


def _scores(model: Any, features: Any, labels: Any) -> dict[str, float]:
    """Score the model on a trusted table: overall, and class by class."""
    predicted = model.predict(features)
    truth = labels.to_numpy()
    recalls = recall_score(
        truth, predicted, labels=np.unique(truth), average=None, zero_division=0.0
    )
    return {
        "accuracy": float(accuracy_score(truth, predicted)),
        "balanced accuracy": float(np.mean(recalls)),
    }


def _without_nan(values: dict[str, float]) -> dict[str, float | None]:
    return {name: None if value != value else round(value, 4) for name, value in values.items()}


def _print_result(metrics: dict[str, Any], out: Path) -> None:
    table = Table(title=escape(str(out)), show_header=False)
    expected = metrics["expected_precision"]["all"]
    rows = {
        "rows, classes": f"{metrics['rows']}, {metrics['classes']}",
        "labels flagged": str(metrics["labels_flagged"]),
        "of them wrong, by its own estimate": "–" if expected is None else f"{expected:.0%}",
        **{name: f"{value:.3f}" for name, value in metrics["scores"].items()},
        "time": f"{metrics['fit_seconds']:.1f} s",
        "look at": escape(str(out / "report.html")),
    }
    for name, value in rows.items():
        table.add_row(name, value)
    console = Console()
    console.print(table)
    for message in metrics["warnings"]:
        console.print(f"[yellow]warning:[/] {_one_line(message)}")


def _predict(model: Path, data: Path, out: Path, id_column: str | None, proba: bool) -> int:
    if not out.name.lower().endswith((".csv", ".parquet", ".pq")):
        raise ValueError(f"{out.name}: the output's name must end in .csv or .parquet.")
    if model.is_dir():
        raise ValueError(f"{model} is a folder; give its model file, {model / 'model.dsink'}.")
    _check_keeps(out, model, data)
    if not model.exists():
        raise FileNotFoundError(f"{model}: there is no such file.")
    pipeline = load_model(model)
    if not (isinstance(pipeline, Pipeline) and isinstance(pipeline[0], TableReader)):
        raise ValueError(f"{model.name} was not written by dsink fit: use it from Python.")
    table = read_table(data, [id_column] if id_column else None)
    reader, classifier = pipeline
    chances = classifier.predict_proba(reader.read(table, data.name))
    classes = classifier.classes_
    best = chances.argmax(axis=1)
    columns = {"prediction": classes[best], "probability": chances.max(axis=1)}
    if proba:
        columns |= {f"P({label})": chances[:, i] for i, label in enumerate(classes)}
    _check_names_rows(id_column, columns, data.name)
    names = {id_column: table[id_column]} if id_column else {"row": range(1, len(table) + 1)}
    # Whole numbers with gaps are floats in a Parquet file, and are to be written as they were.
    names = {name: pd.Series(rows).convert_dtypes() for name, rows in names.items()}
    result = pd.DataFrame(names | columns)
    with replacing(out) as temporary:
        if out.suffix.lower() == ".csv":
            result.to_csv(temporary, index=False)
        else:
            result.to_parquet(temporary, index=False)
    return len(result)


def _check_names_rows(id_column: str | None, columns: Collection[str], where: str) -> None:
    """Raise ValueError if the output has a column of the name of the one that names the rows."""
    if id_column in columns:
        raise ValueError(
            f"column {id_column!r} cannot name the rows, for the output has a column of that name "
            f"already; rename it in {where}."
        )


def _demo(out: Path, seed: int, force: bool) -> None:
    X, y = load_digits(return_X_y=True, as_frame=True)
    X, X_test, y, y_test = train_test_split(X, y, test_size=0.4, stratify=y, random_state=seed)
    X, y = make_long_tailed(X, y, 20, random_state=seed)
    given, _ = flip_labels(y, 0.3, kind="joint", random_state=seed)
    rows = pd.Index([f"scan-{i}" for i in range(len(y))], name="scan")
    with tempfile.TemporaryDirectory() as folder:
        train, test = Path(folder, "digits.csv"), Path(folder, "test.csv")
        pd.DataFrame(X).assign(digit=given.to_numpy()).set_index(rows).to_csv(train)
        X_test.assign(digit=y_test).to_csv(test, index=False)
        metrics = _fit(
            train, "digit", "scan", [], out, test, folds=5, seed=seed, force=force, quiet=False
        )
    _print_result(metrics, out)
    issues = pd.read_csv(out / "issues.csv", index_col="scan")
    is_wrong = pd.Series((given != y).to_numpy(), index=rows)[issues.index]
    found = int((is_wrong & issues["is_issue"]).sum())
    print(
        f"{int(is_wrong.sum())} of {len(is_wrong)} labels were made wrong; "
        f"{found} of them are among the {int(issues['is_issue'].sum())} flagged."
    )
