"""Where the time of a job goes, by the names of its stages."""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


class Spent:
    """Seconds of each stage of a job that one thread drives."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._began = time.monotonic()

    @contextlib.contextmanager
    def on(self, stage: str) -> Iterator[None]:
        """Counts the block for ``stage``."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.seconds[stage] += time.monotonic() - began

    def around(self, stage: str, values: Iterable[T]) -> Iterator[T]:
        """Counts the waiting for each of ``values``."""
        source = iter(values)
        while True:
            with self.on(stage):
                try:
                    value = next(source)
                except StopIteration:
                    return
            yield value

    def slowest(self) -> tuple[str, float]:
        """The stage that took the most so far, and its share of all the time."""
        if not self.seconds:
            return "", 0.0
        stage, seconds = max(self.seconds.items(), key=lambda item: item[1])
        return stage, seconds / max(time.monotonic() - self._began, 1e-9)
