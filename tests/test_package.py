"""The package as it is shipped: names, version, and what it says that it depends on."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import sklearn_dsink

PACKAGE = Path(sklearn_dsink.__file__).parent


def _requirements() -> list[Requirement]:
    return [Requirement(line) for line in metadata.requires("sklearn-dsink") or []]


def _distribution_of() -> dict[str, str]:
    """Import name -> distribution name, for what is installed."""
    return {
        module: canonicalize_name(names[0])
        for module, names in metadata.packages_distributions().items()
    }


def _imports(tree: ast.AST, *, top_level_only: bool) -> set[str]:
    """Top-level names of the absolute imports in a file, type-checking blocks left out."""
    found: set[str] = set()
    nodes = list(ast.iter_child_nodes(tree))
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.partition(".")[0])
        elif not (top_level_only and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)):
            nodes.extend(ast.iter_child_nodes(node))
    return found - set(sys.stdlib_module_names) - {"sklearn_dsink"}


def test_version_is_the_installed_one():
    assert sklearn_dsink.__version__ == metadata.version("sklearn-dsink")


def test_public_names_exist_and_are_documented():
    assert sorted(sklearn_dsink.__all__) == sorted(set(sklearn_dsink.__all__))
    for name in sklearn_dsink.__all__:
        value = getattr(sklearn_dsink, name)
        if callable(value):
            assert value.__doc__, f"{name} has no docstring"


def test_every_import_is_a_declared_dependency():
    """A plain `pip install .` brings all that is imported at the top of a module."""
    requirements = _requirements()
    core = {canonicalize_name(r.name) for r in requirements if r.marker is None}
    extras = {canonicalize_name(r.name) for r in requirements if r.marker is not None}
    distribution_of = _distribution_of()
    for path in sorted(PACKAGE.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        everywhere = {distribution_of[name] for name in _imports(tree, top_level_only=False)}
        assert everywhere <= core | extras, f"{path}: {everywhere - core - extras} undeclared"


def test_import_works_without_the_optional_dependencies():
    """Whoever runs a plain `pip install .` can import the package."""
    requirements = _requirements()
    core = {canonicalize_name(r.name) for r in requirements if r.marker is None}
    optional = {canonicalize_name(r.name) for r in requirements if r.marker is not None} - core
    absent = {module for module, name in _distribution_of().items() if name in optional}
    assert "matplotlib" in absent
    code = (
        "import sys\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.partition('.')[0] in {absent!r}:\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        "import sklearn_dsink\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_import_leaves_the_global_state_alone():
    code = (
        "import warnings, numpy as np, torch, sklearn\n"
        "np.random.seed(3); torch.manual_seed(3)\n"
        "before = (np.random.get_state()[1].tolist(), torch.get_rng_state().tolist(),\n"
        "          torch.get_num_threads(), torch.get_default_dtype(), warnings.filters[:],\n"
        "          sklearn.get_config())\n"
        "import sklearn_dsink\n"
        "after = (np.random.get_state()[1].tolist(), torch.get_rng_state().tolist(),\n"
        "         torch.get_num_threads(), torch.get_default_dtype(), warnings.filters[:],\n"
        "         sklearn.get_config())\n"
        "for was, now in zip(before, after):\n"
        "    assert was == now, (was, now)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
