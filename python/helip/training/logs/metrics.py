"""Metrics as JSON lines, one object a line, appended while a job runs; and their clock."""

from __future__ import annotations

import json
import math
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from helip.common.errors import CorruptError
from helip.common.files import replace_file, storage_errors, sync


class MetricsLog:
    """Appends to one file; each line reaches the system at once. Not thread-safe.

    ``keep_to``: of the lines that are there, keep those up to this step (all that a resumed job
    will not write again), and drop a torn last line. Non-finite numbers are written as null.
    """

    def __init__(self, path: Path, *, keep_to: int = 0) -> None:
        self._path = path
        self.last: dict[str, Any] = {}  # the last kept row that is no event
        with storage_errors("write", path):
            if path.exists():
                kept = [row for row in read_metrics(path) if row.get("step", 0) <= keep_to]
                self.last = next((row for row in reversed(kept) if "event" not in row), {})
                replace_file(path, "".join(_line(row) for row in kept))
            self._file = path.open("a", encoding="utf-8")
            sync(path.parent)

    def write(self, **values: Any) -> None:
        with storage_errors("write", self._path):
            self._file.write(_line(values))
            self._file.flush()

    def sync(self) -> None:
        """Make what was written survive a power loss."""
        with storage_errors("sync", self._path):
            os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


@dataclass
class Meter:
    """Time and samples since the last line of metrics."""

    samples: int = 0
    wait: float = 0.0
    began: float = field(default_factory=time.perf_counter)
    _mark: float = 0.0

    def wait_begins(self) -> None:
        self._mark = time.perf_counter()

    def wait_ends(self) -> None:
        self.wait += time.perf_counter() - self._mark

    def step_ends(self, samples: int) -> float:
        """Seconds from the wait for the batch to here."""
        self.samples += samples
        return time.perf_counter() - self._mark

    def rates(self) -> dict[str, float]:
        elapsed = max(time.perf_counter() - self.began, 1e-9)
        return {"samples_per_second": self.samples / elapsed, "data_wait_seconds": self.wait}

    def restart(self) -> None:
        self.samples, self.wait, self.began = 0, 0.0, time.perf_counter()


def read_metrics(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The rows of a metrics file; a torn last line is left out, damage elsewhere is an error."""
    with storage_errors("read", path):
        lines = Path(path).read_bytes().split(b"\n")
    rows = []
    for number, line in enumerate(lines, start=1):
        if not line:
            continue
        try:
            row = json.loads(line.decode("utf-8"))
            if not isinstance(row, dict):
                raise ValueError(f"a {type(row).__name__}, not an object")
        except ValueError as error:
            if number == len(lines):  # no newline behind it: the writer was killed
                break
            raise CorruptError(f"line {number} of {os.fspath(path)} is damaged: {error}") from error
        rows.append(row)
    return rows


def _line(row: dict[str, Any]) -> str:
    return json.dumps(_finite(row), ensure_ascii=False, allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value
