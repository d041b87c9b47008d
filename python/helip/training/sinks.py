"""Where the metrics of a run go: JSON lines always, TensorBoard and Weights & Biases when asked."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from helip.common.errors import UnsupportedError
from helip.training.metrics import MetricsLog


class Sink(Protocol):
    """Takes the numbers of a step."""

    def write(self, step: int, numbers: Mapping[str, float]) -> None: ...
    def close(self) -> None: ...


class TensorBoard:
    """Event files in ``out/tensorboard``."""

    def __init__(self, out: Path, options: Mapping[str, Any]) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise UnsupportedError(
                f"log_to names tensorboard, which is absent ({error}); pip install tensorboard"
            ) from error
        self._writer = SummaryWriter(str(out / "tensorboard"))

    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        for name, value in numbers.items():
            self._writer.add_scalar(f"train/{name}", value, step)

    def close(self) -> None:
        self._writer.close()


class WeightsAndBiases:
    """A run of wandb in ``out/wandb``, named after ``out``; set up as wandb's own variables say."""

    def __init__(self, out: Path, options: Mapping[str, Any]) -> None:
        try:
            import wandb
        except ImportError as error:
            raise UnsupportedError(
                f"log_to names wandb, which is absent ({error}); pip install wandb"
            ) from error
        self._run = wandb.init(dir=str(out), name=out.name, config=dict(options), reinit=True)

    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        self._run.log({f"train/{name}": value for name, value in numbers.items()}, step=step)

    def close(self) -> None:
        self._run.finish()


_SINKS: dict[str, Callable[[Path, Mapping[str, Any]], Sink]] = {
    "tensorboard": TensorBoard,
    "wandb": WeightsAndBiases,
}


class RunLog:
    """Metrics of a run; on a process that does not lead, a log without a file."""

    def __init__(self, lines: MetricsLog | None, sinks: Sequence[Sink] = ()) -> None:
        self._lines = lines
        self._sinks = sinks
        self.last: dict[str, Any] = {} if lines is None else lines.last

    def write(self, **values: Any) -> None:
        """A row; its finite numbers go to the sinks too, unless it tells of an event."""
        if self._lines is None:
            return
        self._lines.write(**values)
        if "event" in values:
            return
        numbers = {
            name: float(value)
            for name, value in values.items()
            if isinstance(value, (int, float)) and math.isfinite(value) and name != "step"
        }
        for sink in self._sinks:
            sink.write(values["step"], numbers)

    def sync(self) -> None:
        if self._lines is not None:
            self._lines.sync()


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
    if not leads:
        yield RunLog(None)
        return
    with contextlib.ExitStack() as stack:
        lines = MetricsLog(out / "metrics.jsonl", keep_to=keep_to)
        stack.callback(lines.close)
        opened: list[Sink] = []
        for name in sinks:
            sink = _SINKS[name](out, options or {})
            stack.callback(sink.close)
            opened.append(sink)
        yield RunLog(lines, opened)
