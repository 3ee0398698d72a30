"""The API page names every public name, and nothing that is not there."""

from __future__ import annotations

import ast
import doctest
import importlib
import inspect
import re
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from _quick import make_blobs, tiny_net
from sklearn.base import BaseEstimator
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from torch.utils.data import TensorDataset

import sklearn_dsink
from sklearn_dsink import DSinkClassifier
from sklearn_dsink.blocks import store_blocks
from sklearn_dsink.inspection import find_label_issues

API = Path(__file__).parent.parent / "docs" / "api.rst"
METHOD = API.with_name("method.rst")
PUBLIC_MODULES = ("datasets", "imbalance", "inspection", "losses", "metrics", "noise", "plots")


def _listed() -> set[str]:
    """Names in the page's autosummary lists: indented, alone on their line."""
    return set(re.findall(r"^   ([A-Za-z_][\w.]*)$", API.read_text(encoding="utf-8"), re.M))


def test_all_that_the_page_lists_exists():
    for name in _listed():
        module, _, attribute = f"sklearn_dsink.{name}".rpartition(".")
        assert hasattr(importlib.import_module(module), attribute), name


@pytest.mark.parametrize("page", ["training.rst"])
def test_what_a_page_shows_runs(page):
    path, flags = str(API.with_name(page)), doctest.ELLIPSIS
    result = doctest.testfile(path, module_relative=False, optionflags=flags)
    assert result.attempted > 0
    assert result.failed == 0


def _around_the_code() -> dict[str, Any]:
    """What a page takes for granted before its first line of code, in the working folder too."""
    X, y, _ = make_blobs()
    X = X.astype(np.float32)
    np.save("X.npy", X)
    pd.DataFrame(X).assign(label=y).to_csv("rows.csv", index=False)
    names: dict[str, Any] = {
        "X": X, "y": y, "np": np, "pd": pd, "DSinkClassifier": DSinkClassifier, "net": tiny_net(),
        "noise_aux": GaussianNB(), "imb_aux": LogisticRegression(), "target": tiny_net(),
        "FrozenEstimator": FrozenEstimator, "store_blocks": store_blocks,
        "dataset": TensorDataset(torch.tensor(X), torch.tensor(y)),
        "find_label_issues": find_label_issues, "surrogate_labels": np.eye(3)[y],
        "out_of_fold": np.eye(3)[y],
    }  # fmt: skip
    return names


@pytest.mark.parametrize("page", ["auxiliaries.rst", "inspection.rst", "transport.rst"])
def test_code_of_a_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = API.with_name(page).read_text(encoding="utf-8")
    blocks = re.findall(r"code-block:: python\n\n((?: {3}.*\n|\n)+)", text)
    assert blocks, f"docs/{page} shows no Python"
    namespace = _around_the_code()
    for number, block in enumerate(blocks, start=1):
        fewer = block.replace("50_000", "60").replace("10_000", "40")
        exec(compile(textwrap.dedent(fewer), f"docs/{page}, block {number}", "exec"), namespace)


@pytest.mark.parametrize("module_name", PUBLIC_MODULES)
def test_public_modules_are_listed_in_full(module_name):
    module = importlib.import_module(f"sklearn_dsink.{module_name}")
    missing = {f"{module_name}.{name}" for name in module.__all__} - _listed()
    missing -= {"losses.LOSSES"}  # a dictionary, which the page's text describes
    assert not missing, f"docs/api.rst lacks {sorted(missing)}"


def test_top_level_names_are_listed():
    described = {name.rpartition(".")[2] for name in _listed()} | {"PAPER", "__version__"}
    missing = set(sklearn_dsink.__all__) - described
    assert not missing, f"docs/api.rst lacks {sorted(missing)}"


def _estimators() -> set[type[BaseEstimator]]:
    modules = [importlib.import_module(f"sklearn_dsink.{name}") for name in PUBLIC_MODULES]
    return {
        value
        for module in [sklearn_dsink, *modules]
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, BaseEstimator)
    }


@pytest.mark.parametrize("estimator", sorted(_estimators(), key=str))
def test_an_estimator_describes_each_of_its_parameters_once(estimator):
    text = inspect.getdoc(estimator)
    section = re.search(r"Parameters\n-+\n(.*?)\n\n\w+\n-+\n", text, re.S)
    lines = re.findall(r"^\w.*", section[1], re.M)
    described = [name for line in lines for name in line.partition(" :")[0].split(", ")]
    assert sorted(described) == sorted(estimator().get_params(deep=False))


def test_settings_table_is_the_truth():
    """The method page's table gives PAPER and the defaults as they are in the code."""
    rows = re.findall(
        r"^   \* - ``(\w+)``\n     - ``(.+?)``\n     - ``(.+?)``\n",
        METHOD.read_text(encoding="utf-8"),
        re.M,
    )
    published = {name: ast.literal_eval(value) for name, value, _ in rows}
    ours = {name: ast.literal_eval(value) for name, _, value in rows}
    defaults = sklearn_dsink.DSinkClassifier().get_params(deep=False)
    assert published == dict(sklearn_dsink.PAPER)
    assert ours == {name: defaults[name] for name in ours}
