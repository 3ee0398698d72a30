"""The API page names every public name, and nothing that is not there."""

from __future__ import annotations

import ast
import doctest
import importlib
import re
from pathlib import Path

import pytest

import sklearn_dsink

API = Path(__file__).parent.parent / "docs" / "api.rst"
METHOD = API.with_name("method.rst")
PUBLIC_MODULES = ("datasets", "imbalance", "inspection", "metrics", "noise", "plots")


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


@pytest.mark.parametrize("module_name", PUBLIC_MODULES)
def test_public_modules_are_listed_in_full(module_name):
    module = importlib.import_module(f"sklearn_dsink.{module_name}")
    missing = {f"{module_name}.{name}" for name in module.__all__} - _listed()
    assert not missing, f"docs/api.rst lacks {sorted(missing)}"


def test_top_level_names_are_listed():
    described = {name.rpartition(".")[2] for name in _listed()} | {"PAPER", "__version__"}
    missing = set(sklearn_dsink.__all__) - described
    assert not missing, f"docs/api.rst lacks {sorted(missing)}"


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
