"""Where the metrics of a run go: JSON lines always, TensorBoard and Weights & Biases when asked."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from helip.common.errors import needed
from helip.training.logs.metrics import MetricsLog

Sink = Callable[[int, Mapping[str, float]], None]  # takes the numbers of a step


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
        if values.get("event", "validation") != "validation":
            return
        numbers = {
            name: float(value)
            for name, value in values.items()
            if isinstance(value, (int, float)) and math.isfinite(value) and name != "step"
        }
        for sink in self._sinks:
            sink(values["step"], numbers)

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
        opened = [stack.enter_context(_SINKS[name](out, options or {})) for name in sinks]
        yield RunLog(lines, opened)
