"""Files that are whole or not there: written beside their place, then moved into it."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path to write to, and move it to `path` if all went well.

    Parameters
    ----------
    path : path-like
        The file wanted. It is replaced in one step, or left as it was if the body raises.

    Yields
    ------
    temporary : Path
        In a new folder beside `path`, with the same name, so that suffixes keep their meaning.

    Raises
    ------
    FileNotFoundError
        If the folder of `path` does not exist.
    IsADirectoryError
        If `path` is a folder.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from sklearn_dsink._files import replacing
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "a.txt")
    ...     with replacing(path) as temporary:
    ...         _ = temporary.write_text("whole")
    ...     path.read_text()
    'whole'
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"The folder {str(path.parent)!r} does not exist: make it first.")
    # `remove_leftovers` knows the name.
    folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        temporary = folder / path.name
        yield temporary
        if path.is_dir():
            raise IsADirectoryError(f"{path} is a folder: give the name of a file in it.")
        os.replace(temporary, path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove_leftovers(folder: Path, name: str) -> None:
    """Remove what `replacing` had begun when its process was killed.

    Parameters
    ----------
    folder : Path
        Of the files.
    name : str
        Regular expression of their names.
    """
    for path in folder.iterdir():
        if re.fullmatch(rf"\.({name})\.[a-z0-9_]{{8}}", path.name) and path.is_dir():
            shutil.rmtree(path)
