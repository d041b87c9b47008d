"""Metrics of a run: JSON lines, one object a line, TensorBoard and Weights & Biases when asked; and
their clock."""

from __future__ import annotations

import contextlib
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from helip.common.errors import CorruptError, needed
from helip.common.files import replace_file, storage_errors, sync

Sink = Callable[[int, Mapping[str, float]], None]  # takes the numbers of a step


class RunLog:
    """Appends to ``metrics.jsonl`` in a folder; each line reaches the system at once. Not
    thread-safe.

    Of the lines that are there it keeps those up to the step ``keep_to`` (all that a resumed run
    will not write again), and drops a torn last line. Non-finite numbers are written as null.
    ``leads``: on a process that does not, nothing is written.
    """

    def __init__(self, out: Path, *, keep_to: int = 0, leads: bool = True) -> None:
        self.sinks: list[Sink] = []
        self.last: dict[str, Any] = {}  # the last kept row that is no event
        self._path, self._leads = out / "metrics.jsonl", leads
        if not leads:
            return
        with storage_errors("write", self._path):
            if self._path.exists():
                kept = [row for row in read_metrics(self._path) if row.get("step", 0) <= keep_to]
                self.last = next((row for row in reversed(kept) if "event" not in row), {})
                replace_file(self._path, "".join(_line(row) for row in kept))
            self._file = self._path.open("a", encoding="utf-8")
            sync(out)

    def write(self, **values: Any) -> None:
        """A row; its finite numbers go to the sinks too, unless it tells of an event."""
        if not self._leads:
            return
        with storage_errors("write", self._path):
            self._file.write(_line(values))
            self._file.flush()
        if values.get("event", "validation") != "validation":
            return
        numbers = {
            name: float(value)
            for name, value in values.items()
            if isinstance(value, (int, float)) and math.isfinite(value) and name != "step"
        }
        for sink in self.sinks:
            sink(values["step"], numbers)

    def sync(self) -> None:
        """Make what was written survive a power loss."""
        if self._leads:
            with storage_errors("sync", self._path):
                os.fsync(self._file.fileno())

    def close(self) -> None:
        if self._leads:
            self._file.close()


@contextlib.contextmanager
def tensorboard(out: Path, options: Mapping[str, Any]) -> Iterator[Sink]:
    """Event files in ``out/tensorboard``."""
    with needed("log_to names tensorboard", "tensorboard"):
        from torch.utils.tensorboard import SummaryWriter

    def write(step: int, numbers: Mapping[str, float]) -> None:
        for name, value in numbers.items():
            writer.add_scalar(f"train/{name}", value, step)

    with SummaryWriter(str(out / "tensorboard")) as writer:
        yield write


@contextlib.contextmanager
def weights_and_biases(out: Path, options: Mapping[str, Any]) -> Iterator[Sink]:
    """A run of wandb in ``out/wandb``, named after ``out``; set up as wandb's own variables say."""
    with needed("log_to names wandb", "wandb"):
        import wandb

    def write(step: int, numbers: Mapping[str, float]) -> None:
        run.log({f"train/{name}": value for name, value in numbers.items()}, step=step)

    run = wandb.init(dir=str(out), name=out.name, config=dict(options), reinit=True)
    try:
        yield write
    finally:
        run.finish()


_SINKS = {"tensorboard": tensorboard, "wandb": weights_and_biases}


@contextlib.contextmanager
def open_log(
    out: Path,
    *,
    keep_to: int,
    sinks: Sequence[str] = (),
    options: Mapping[str, Any] | None = None,
    leads: bool = True,
) -> Iterator[RunLog]:
    """The log of the run in ``out``, with the rows up to step ``keep_to`` that are there."""
    with contextlib.ExitStack() as stack:
        log = stack.enter_context(contextlib.closing(RunLog(out, keep_to=keep_to, leads=leads)))
        for name in sinks if leads else ():
            log.sinks.append(stack.enter_context(_SINKS[name](out, options or {})))
        yield log


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
