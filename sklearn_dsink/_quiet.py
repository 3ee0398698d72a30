"""What libraries say of themselves, left out by one thread at a time."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

# Filters are one list per process: of two threads that change them, one would undo the other's.
_FILTERS = threading.RLock()


@contextmanager
def without_warnings(message: str = "", category: type[Warning] = Warning) -> Iterator[None]:
    """Ignore warnings inside the block; other threads that come here wait for its end.

    Parameters
    ----------
    message : str, default=""
        Pattern that the start of their text matches.
    category : type, default=Warning
        Their class.
    """
    with _FILTERS, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message, category)
        yield
