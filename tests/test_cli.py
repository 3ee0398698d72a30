"""The command line writes whole results, or one line that says what to mend."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import zipfile
from functools import partial

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_iris
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from typer.testing import CliRunner

from sklearn_dsink import DSinkClassifier, cli
from sklearn_dsink.inputs import TabularEncoder
from sklearn_dsink.persistence import load_model

runner = CliRunner()
FILES = {"issues.csv", "report.html", "model.dsink", "metrics.json"}


# Small auxiliaries: the command's own work is tested.
QUICK = partial(
    DSinkClassifier,
    make_pipeline(TabularEncoder(), ExtraTreesClassifier(40)),
    make_pipeline(TabularEncoder(), LogisticRegression(max_iter=2000)),
    tol=1e-2,
)


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(cli, "DSinkClassifier", QUICK)


def flowers() -> pd.DataFrame:
    """Iris with a category, dates, a key, gaps, an empty column, and a few wrong labels."""
    table = load_iris(as_frame=True).frame.rename(columns={"target": "species"})
    table["species"] = np.array(["setosa", "versi,color", "virginica"])[table["species"]]
    table.loc[[3, 60, 110], "species"] = ["virginica", "setosa", "setosa"]
    table["soil"] = np.where(table.index % 2, "clay", "sand")
    table.loc[5, "soil"] = None
    table.loc[7, "sepal width (cm)"] = np.nan
    table["plant"] = [f"p{i:03d}" for i in range(len(table))]
    table["empty"] = np.nan
    table["seen"] = pd.date_range("2024-05-01", periods=150)[::-1].strftime("%Y-%m-%d")
    return table


@pytest.fixture(scope="module")
def table_path(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "flowers.csv"
    flowers().to_csv(path, index=False)
    return path


def run(*arguments):
    return runner.invoke(cli.app, [str(argument) for argument in arguments])


def test_fit_then_predict(table_path, tmp_path):
    out = tmp_path / "result"
    result = run(
        "fit", table_path, "--label", "species", "--id", "plant", "--out", out,
        "--folds", 2, "--test", table_path,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert {p.name for p in out.iterdir()} == FILES
    assert [p.name for p in tmp_path.iterdir()] == ["result"]
    assert "column 'empty' is left out" in result.stderr

    issues = pd.read_csv(out / "issues.csv", index_col="plant")
    assert sorted(issues.index) == sorted(flowers()["plant"])
    assert issues["quality"].is_monotonic_increasing
    assert issues.loc[["p003", "p060", "p110"], "is_issue"].sum() >= 2
    metrics = json.loads((out / "metrics.json").read_text())
    assert (metrics["rows"], metrics["classes"], metrics["features"]) == (150, 3, 6)
    assert metrics["labels_flagged"] == issues["is_issue"].sum()
    assert metrics["scores"]["accuracy"] > 0.85
    assert "<html" in (out / "report.html").read_text()

    found = tmp_path / "found.csv"
    result = run(
        "predict", out / "model.dsink", table_path, "-o", found, "--id", "plant", "--proba"
    )
    assert result.exit_code == 0, result.output
    predictions = pd.read_csv(found, index_col="plant")
    assert list(predictions.columns) == [
        "prediction", "probability", "P(setosa)", "P(versi,color)", "P(virginica)",
    ]  # fmt: skip
    assert np.allclose(predictions.filter(like="P(").sum(axis=1), 1)
    assert (predictions["prediction"] == flowers()["species"].to_numpy()).mean() > 0.85

    # From Python, the model reads tables in the same way.
    model = load_model(out / "model.dsink")
    assert (model.predict(flowers()) == predictions["prediction"]).all()

    # Parquet in and out, columns in another order, a category never seen: the same predictions.
    shuffled = flowers()[["soil", *[c for c in flowers() if c != "soil"]]].drop(columns="species")
    shuffled.loc[0, "soil"] = "peat"
    shuffled["seen"] = pd.to_datetime(shuffled["seen"])
    shuffled.to_parquet(tmp_path / "new.parquet")
    result = run(
        "predict", out / "model.dsink", tmp_path / "new.parquet", "-o", tmp_path / "p.parquet"
    )
    assert result.exit_code == 0, result.output
    again = pd.read_parquet(tmp_path / "p.parquet")
    assert (again["prediction"].to_numpy()[1:] == predictions["prediction"].to_numpy()[1:]).all()

    for arguments in (("gone.dsink", "gone.csv"), (out / "model.dsink", tmp_path / "gone.csv")):
        result = run("predict", *arguments)
        assert result.exit_code == 2
        assert one_line(result).endswith(": there is no such file.")
    bad = flowers().astype({"petal width (cm)": object})
    bad.loc[8, "petal width (cm)"] = "wide"
    bad.to_csv(tmp_path / "bad.csv")
    result = run("predict", out / "model.dsink", tmp_path / "bad.csv", "-o", tmp_path / "x.csv")
    assert (result.exit_code, one_line(result)) == (
        2, "error: bad.csv: column 'petal width (cm)', row 9: 'wide' is not a number.",
    )  # fmt: skip
    assert not (tmp_path / "x.csv").exists()


def one_line(result) -> str:
    (line,) = result.stderr.strip().splitlines()
    return line


@pytest.mark.parametrize(
    "change, arguments, message",
    [
        (lambda t: t, ["--label", "specie"], "no column 'specie'; did you mean 'species'"),
        (lambda t: t.assign(species="x"), ["--label", "species"], "two are needed"),
        (lambda t: t, ["--label", "plant"], "column 'plant': 150 different labels in 150 rows"),
        (lambda t: t, ["--label", "petal width (cm)"], "row 1 (and 136 more): 0.2 is a fraction"),
        (lambda t: t.assign(species=t["species"].where(t.index != 41)), ["--label", "species"],
         "column 'species', row 42: the label is missing"),
        (lambda t: t.assign(species=t["species"].where(t.index % 50 > 1)), ["--label", "species"],
         "column 'species', row 1 (and 5 more): the label is missing"),
        (lambda t: t.assign(far=np.where(t.index == 10, np.inf, 1.0)), ["--label", "species"],
         "column 'far', row 11: the number is infinite"),
        (lambda t: t.assign(far=[*map(str, np.arange(149) / 7), "?"]), ["--label", "species"],
         "column 'far', row 150: '?' is not a number"),
        (lambda t: t[["species"]], ["--label", "species"], "no column left to learn from"),
        (lambda t: t.iloc[:0], ["--label", "species"], "no rows below the header"),
    ],
)  # fmt: skip
def test_bad_data_is_one_line_that_names_the_place(tmp_path, change, arguments, message):
    path = tmp_path / "table.csv"
    change(flowers()).to_csv(path, index=False)
    result = run("fit", path, *arguments, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert message in one_line(result)
    assert [p.name for p in tmp_path.iterdir()] == ["table.csv"]


def test_rows_without_a_label_are_left_out_where_that_is_wished(tmp_path):
    table = flowers()
    table["species"] = table["species"].astype(object)
    table.loc[[0, 60, 149], "species"] = ["", "NA", None]
    table.to_csv(tmp_path / "table.csv", index=False)
    out = tmp_path / "out"
    arguments = ("fit", tmp_path / "table.csv", "--label", "species", "--drop", "plant")
    result = run(*arguments, "--folds", 2, "--skip-unlabelled", "--out", out)
    assert result.exit_code == 0, result.output
    assert "note: 3 rows without a label left out" in result.stderr
    rows = pd.read_csv(out / "issues.csv", index_col="row").index
    assert sorted(rows) == [row for row in range(1, 151) if row not in (1, 61, 150)]
    # Rows are counted as in the file still.
    table.loc[70, "sepal width (cm)"] = np.inf
    table.to_csv(tmp_path / "table.csv", index=False)
    line = one_line(run(*arguments, "--skip-unlabelled", "--out", tmp_path / "other"))
    assert "column 'sepal width (cm)', row 71: the number is infinite" in line


def test_strange_names_are_escaped_and_cut(tmp_path):
    name = "\x1b[31m[red]" + "x" * 5000
    pd.DataFrame({name: ["a", None, "b"], "size": [1, 2, 3]}).to_csv(tmp_path / "t.csv")
    line = one_line(run("fit", tmp_path / "t.csv", "--label", name, "--out", tmp_path / "out"))
    assert line.startswith("error: column '\\x1b[31m[red]xxx")
    assert len(line) < 600
    path = tmp_path / "\x1b[2J[bold].csv"
    assert "\N{REPLACEMENT CHARACTER}[2J[bold].csv" in one_line(run("fit", path, "--label", "y"))


def test_bad_files_are_one_line(tmp_path):
    (tmp_path / "a.txt").write_text("x")
    assert "must end in .csv" in one_line(run("fit", tmp_path / "a.txt", "--label", "y"))
    assert "no such file" in one_line(run("fit", tmp_path / "b.csv", "--label", "y"))
    (tmp_path / "c.csv").write_text("")
    assert "is empty" in one_line(run("fit", tmp_path / "c.csv", "--label", "y"))
    (tmp_path / "d.parquet").write_text("no parquet")
    assert "cannot be read" in one_line(run("fit", tmp_path / "d.parquet", "--label", "y"))
    (tmp_path / "e.csv").write_text('a,y\n1,2\n1,2,3,"4\n')
    assert "cannot be read" in one_line(run("fit", tmp_path / "e.csv", "--label", "y"))
    assert "is a folder; give a file" in one_line(run("fit", tmp_path, "--label", "y"))
    (tmp_path / "f.csv").write_bytes("größe,y\n1,2\n".encode("latin-1"))
    assert "Save it as UTF-8" in one_line(run("fit", tmp_path / "f.csv", "--label", "y"))
    (tmp_path / "g.csv").write_text("a;y\n1;2\n")
    assert "separated by commas" in one_line(run("fit", tmp_path / "g.csv", "--label", "y"))
    assert "no model file" in one_line(run("predict", tmp_path / "a.txt", tmp_path / "c.csv"))
    with zipfile.ZipFile(tmp_path / "h.dsink", "w") as archive:
        for name in ("format.json", "model.skops", "tensors.safetensors"):
            archive.writestr(name, "null")
    assert "h.dsink says None" in one_line(
        run("predict", tmp_path / "h.dsink", tmp_path / "c.csv")
    )
    assert run("predict", tmp_path / "a.txt").exit_code == 2


def test_a_folder_is_replaced_only_when_asked_and_only_when_ours(table_path, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("precious")
    arguments = ["fit", table_path, "--label", "species", "--out", out, "--folds", 2, "-q"]
    assert "--force replaces it" in one_line(run(*arguments))
    assert "no folder that dsink wrote" in one_line(run(*arguments, "--force"))
    assert (out / "thesis.txt").read_text() == "precious"
    (out / "thesis.txt").rename(out / "metrics.json")
    assert run(*arguments, "--force").exit_code == 0
    assert {p.name for p in out.iterdir()} == FILES
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_an_interrupted_run_leaves_nothing(table_path, tmp_path, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "save_model", interrupt)
    result = run("fit", table_path, "--label", "species", "--out", tmp_path / "out", "--folds", 2)
    assert result.exit_code == 130
    assert "interrupted; nothing was written" in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error, code", [(ValueError, 2), (AttributeError, 1)])
def test_a_mistake_of_ours_in_a_fit_is_not_the_users(
    table_path, tmp_path, monkeypatch, error, code
):
    def fail(*_, **__):
        raise error("in a fold")

    monkeypatch.setattr(LogisticRegression, "fit", fail)
    result = run("fit", table_path, "--label", "species", "--out", tmp_path / "out", "--folds", 2)
    assert result.exit_code == code
    assert "in a fold" in (result.stderr if code == 2 else str(result.exception))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_killed_process_leaves_nothing(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-m", "sklearn_dsink", "demo", "--out", str(tmp_path / "out")],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    ) as process:
        for line in process.stderr:
            if line.startswith("auxiliary fits"):
                break
        assert any(tmp_path.iterdir())
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    assert process.returncode == 130
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_demo_finds_most_wrong_labels(tmp_path, monkeypatch):
    monkeypatch.undo()
    result = run("demo", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    numbers = [int(word) for word in result.stdout.split() if word.isdigit()]
    n_wrong, _, n_found, n_flagged = numbers[-4:]
    assert n_found > 0.6 * n_wrong
    assert n_found > 0.8 * n_flagged


def test_help_names_the_commands_and_the_module_runs():
    result = run("--help")
    assert result.exit_code == 0
    for command in ("fit", "predict", "demo"):
        assert command in result.stdout
        assert run(command, "--help").exit_code == 0
    out = subprocess.run(
        [sys.executable, "-m", "sklearn_dsink", "--version"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert out.stdout.startswith("dsink 0.")


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    """Give what fit writes of a table whose texts a reader could take for other things."""
    path = tmp_path_factory.mktemp("model") / "train.csv"
    puzzles().to_csv(path, index=False)
    out = path.parent / "result"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cli, "DSinkClassifier", QUICK)
        result = run("fit", path, "--label", "y", "--id", "sample", "--out", out, "--folds", 2)
    assert result.exit_code == 0, result.output
    return out


def puzzles() -> pd.DataFrame:
    """Make labels 1, 2 and x that follow from the column `code` of true, false and unknown."""
    code = np.array(["true", "false", "unknown"] * 20)
    size = np.round(np.random.default_rng(0).normal(size=60), 3)
    return pd.DataFrame(
        {
            "sample": [f"{i:04d}" for i in range(60)],
            "code": code,
            "size": size,
            "y": np.where(code == "true", "1", np.where(code == "false", "2", "x")),
        }
    )


def test_a_file_of_few_values_is_read_as_the_training_table_was(model_folder, tmp_path):
    whole = puzzles()
    part = whole[whole["code"] == "true"]
    predictions = []
    for name, table in [("whole.csv", whole), ("part.csv", part), ("part.tsv", part)]:
        table.to_csv(tmp_path / name, index=False, sep="\t" if name.endswith("tsv") else ",")
        run(
            "predict", model_folder / "model.dsink", tmp_path / name, "--id", "sample",
            "-o", tmp_path / "p.csv",
        )  # fmt: skip
        types = {"sample": str, "prediction": str}
        predictions.append(pd.read_csv(tmp_path / "p.csv", dtype=types).set_index("sample"))
    assert predictions[0].index.tolist() == whole["sample"].tolist()
    for found in predictions[1:]:  # but for the rounding, which goes by how many rows there are
        pd.testing.assert_frame_equal(found, predictions[0].loc[part["sample"]], rtol=1e-9)


def test_names_of_rows_are_written_as_they_stand(model_folder, tmp_path):
    issues = pd.read_csv(model_folder / "issues.csv", dtype=str)
    assert sorted(issues["sample"]) == puzzles()["sample"].tolist()
    assert "0059" in (model_folder / "report.html").read_text()

    named = puzzles().assign(sample=lambda t: t["sample"].where(t.index != 3, None))
    named.to_csv(tmp_path / "named.csv", index=False)
    named.set_index("sample").to_parquet(tmp_path / "named.parquet")
    for name in ("named.csv", "named.parquet"):
        result = run(
            "predict", model_folder / "model.dsink", tmp_path / name, "--id", "sample",
            "-o", tmp_path / "p.csv",
        )  # fmt: skip
        assert result.exit_code == 0, result.output
        lines = (tmp_path / "p.csv").read_text().splitlines()
        assert [line.split(",")[0] for line in lines[1:5]] == ["0000", "0001", "0002", ""]


@pytest.mark.parametrize(
    "label, message",
    [
        (None, "row 8: the label is missing."),
        ("0", "row 8: the training table lacks the label '0'"),
    ],
)
def test_labels_of_the_test_table_are_checked_before_the_fit(
    tmp_path, monkeypatch, label, message
):
    monkeypatch.setattr(cli, "_fit_into", None)
    puzzles().to_csv(tmp_path / "train.csv", index=False)
    puzzles().assign(y=lambda t: t["y"].where(t.index != 7, label)).to_csv(
        tmp_path / "trusted.csv", index=False
    )
    result = run(
        "fit", tmp_path / "train.csv", "--label", "y", "--test", tmp_path / "trusted.csv",
        "--out", tmp_path / "out",
    )  # fmt: skip
    assert result.exit_code == 2
    assert f"trusted.csv: column 'y', {message}" in one_line(result)


def test_a_test_table_may_lack_classes(tmp_path):
    puzzles().to_csv(tmp_path / "train.csv", index=False)
    puzzles().query("y != 'x'").to_csv(tmp_path / "trusted.csv", index=False)
    result = run(
        "fit", tmp_path / "train.csv", "--label", "y", "--id", "sample", "--folds", 2,
        "--test", tmp_path / "trusted.csv", "--out", tmp_path / "out",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    scores = json.loads((tmp_path / "out" / "metrics.json").read_text())["scores"]
    assert scores["balanced accuracy"] > 0.9


def test_a_folder_for_a_model_is_one_line_that_names_the_file(model_folder, tmp_path):
    result = run("predict", model_folder, tmp_path / "new.csv")
    assert result.exit_code == 2
    assert str(model_folder / "model.dsink") in one_line(result)


def test_what_is_read_is_not_written_over(model_folder, tmp_path):
    new, elsewhere = tmp_path / "new.csv", tmp_path / "link.csv"
    puzzles().to_csv(new, index=False)
    elsewhere.symlink_to(new)
    (tmp_path / "folder").mkdir()
    before = new.read_bytes()
    for out in (new, tmp_path / "folder" / ".." / "new.csv", elsewhere):
        result = run("predict", model_folder / "model.dsink", new, "-o", out)
        assert result.exit_code == 2
        assert "which is read" in one_line(result)
        assert new.read_bytes() == before

    (tmp_path / "metrics.json").write_text("{}")  # as if dsink wrote the folder
    result = run("fit", new, "--label", "y", "--out", tmp_path, "--force")
    assert result.exit_code == 2
    assert "which is read" in one_line(result)
    assert new.read_bytes() == before


@pytest.mark.parametrize("name", ["prediction", "probability", "P(x)"])
def test_names_of_rows_do_not_give_way_to_predictions(model_folder, tmp_path, name):
    puzzles().rename(columns={"sample": name}).to_csv(tmp_path / "new.csv", index=False)
    result = run(
        "predict", model_folder / "model.dsink", tmp_path / "new.csv", "--id", name, "--proba",
        "-o", tmp_path / "p.csv",
    )  # fmt: skip
    assert result.exit_code == 2
    assert f"column {name!r} cannot name the rows" in one_line(result)
    assert not (tmp_path / "p.csv").exists()


@pytest.mark.parametrize("name", ["quality", "imb_proba"])
def test_names_of_rows_do_not_give_way_to_label_issues(tmp_path, monkeypatch, name):
    monkeypatch.setattr(cli, "_fit_into", None)  # it is said before the fit
    puzzles().rename(columns={"sample": name}).to_csv(tmp_path / "train.csv", index=False)
    result = run(
        "fit", tmp_path / "train.csv", "--label", "y", "--id", name, "--out", tmp_path / "out"
    )
    assert result.exit_code == 2
    assert f"column {name!r} cannot name the rows" in one_line(result)


def test_numbers_that_name_rows_stay_whole_where_some_are_missing(model_folder, tmp_path):
    new = puzzles().assign(number=lambda t: t.index.to_series().where(t.index != 1))
    new.to_parquet(tmp_path / "new.parquet")
    result = run(
        "predict", model_folder / "model.dsink", tmp_path / "new.parquet", "--id", "number",
        "-o", tmp_path / "p.csv",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    lines = (tmp_path / "p.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines[1:4]] == ["0", "", "2"]


def test_a_column_of_lists_is_left_out(tmp_path):
    table = puzzles().assign(path=[[1, i] for i in range(60)])
    table.to_parquet(tmp_path / "train.parquet")
    result = run(
        "fit", tmp_path / "train.parquet", "--label", "y", "--id", "sample", "--folds", 2,
        "--out", tmp_path / "out",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "column 'path' is left out: it holds lists" in result.stderr
