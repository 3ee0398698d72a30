"""README.md is executed: what it shows works as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"


def _code_blocks(language: str) -> list[str]:
    text = README.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)


def test_python_blocks_run(tmp_path, monkeypatch):
    """The blocks run in order, in one namespace, like a reader who pastes them one by one."""
    monkeypatch.chdir(tmp_path)
    blocks = _code_blocks("python")
    assert blocks, "README.md shows no Python"
    namespace: dict[str, object] = {"__name__": "readme"}
    for number, block in enumerate(blocks, start=1):
        exec(compile(block, f"README.md, Python block {number}", "exec"), namespace)


def test_make_targets_named_in_the_readme_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"`make ([a-z-]+)`", README.read_text(encoding="utf-8")))
    assert {"demo", "test", "docs"} <= targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), f"no target {target}"


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md", "SECURITY.md"])
def test_files_named_exist(document):
    """A file or folder in backticks, or linked to, is there."""
    text = (ROOT / document).read_text(encoding="utf-8")
    named = set(re.findall(r"`([\w.-]+/[\w./-]*|[\w-]+\.(?:txt|toml|md))`", text))
    named |= {link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link}
    made_later = {"docs/_build/html/index.html"}
    missing = [name for name in sorted(named - made_later) if not (ROOT / name).exists()]
    assert not missing, f"{document} names what is not there: {missing}"
