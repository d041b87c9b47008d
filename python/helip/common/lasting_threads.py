"""Threads that work for an object as long as it lives."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


class LastingThreads:
    """A ThreadPoolExecutor that Ctrl-C does no harm.

    An executor forgets a thread in whose start a signal raised (CPython, in `Thread.start`): the
    thread then waits for work for ever, and so does the end of the program for the thread. Whoever
    calls ``shutdown`` ends it all the same, but an object that lives as long as the program has
    nobody who would.
    """

    def __init__(self, count: int, name: str) -> None:
        self._count, self._name = count, name
        self._executor = self._new()

    def submit(self, function: Callable[..., T], *args: Any) -> Future[T]:
        """As that of an executor; what is asked for is done also where a signal raises here."""
        executor = self._executor
        try:
            return executor.submit(function, *args)
        except RuntimeError:  # the program ends, or no thread could be started
            raise
        except BaseException:
            self._executor = self._new()
            executor.shutdown(wait=False)  # its threads do what was asked for, and end
            raise

    def _new(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self._count, thread_name_prefix=self._name)
