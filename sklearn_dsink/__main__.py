"""``python -m sklearn_dsink`` is the command ``dsink``."""

from __future__ import annotations

from .cli import main

if __name__ == "__main__":
    main()
