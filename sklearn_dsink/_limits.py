"""Work that is given up when its time is over, even where it does not listen.

A thread cannot be stopped, and neither can a library that computes in C.  A process can: so the
work is done in one, which is killed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any

from joblib.externals.loky.process_executor import ProcessPoolExecutor
from sklearn import config_context, get_config


class LimitedWorkers:
    """Processes, one for each thread that asks for one; leaving the block kills them all.

    Parameters
    ----------
    seconds : float
        What a piece of work may take.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._mine = threading.local()
        self._all: list[Any] = []

    def __enter__(self) -> LimitedWorkers:
        return self

    def __exit__(self, *exc_info: object) -> None:
        for executor in self._all:
            executor.shutdown(kill_workers=True)

    def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call a function in this thread's process.

        Parameters
        ----------
        function : callable
            Can be pickled, as can its arguments and its answer.
        *args : object
            Its arguments.

        Returns
        -------
        result : object
            Its answer.

        Raises
        ------
        TimeoutError
            If there is none within `seconds`.
        TerminatedWorkerError
            If the process dies.
        """
        if not hasattr(self._mine, "executor"):
            self._mine.executor = ProcessPoolExecutor(max_workers=1)
            self._all.append(self._mine.executor)
            # To start a process and import everything takes seconds, which are not the work's.
            self._mine.executor.submit(_call, {}, _get_ready, function).result()
        future = self._mine.executor.submit(_call, get_config(), function, *args)
        try:
            return future.result(timeout=self.seconds)
        except FutureTimeoutError as error:  # another class until Python 3.11
            raise TimeoutError(f"not done within {self.seconds} s") from error


def _call(config: dict[str, Any], function: Callable[..., Any], *args: Any) -> Any:
    with config_context(**config):
        return function(*args)


def _get_ready(function: Callable[..., Any]) -> None:
    """Import what the function needs, by being given it."""
