"""Validation in the middle of a run: what is measured, the best weights so far, when to stop.

What measures is given from outside: a run knows no tasks. It gets a copy of the model, so that
nothing it does, such as leaving another mode behind, reaches the one that trains.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from helip.common.errors import CorruptError, InvalidArgumentError, StorageError
from helip.common.files import (
    discard_directory,
    publish_directory,
    read_json,
    storage_errors,
    write_json,
)
from helip.common.processes import Processes
from helip.models.bundle import ModelBundle
from helip.models.source import CONFIG_FILE
from helip.models.weights import WEIGHTS_FILE, write_tensors
from helip.training.options import RunOptions
from helip.training.tuning import ModelCopy

_CHOSEN = "best.json"

#: Figures of a model by their names; more is better, unless ``watch_lowest``.
Validate = Callable[[ModelBundle], Mapping[str, float]]


class Validator:
    """Measures copies of a model; rank 0 does, and tells the others what came of it."""

    def __init__(
        self, validate: Validate, copy: ModelCopy, out: Path, run: RunOptions, processes: Processes
    ) -> None:
        self._validate, self._run, self._path = validate, run, out / "best"
        self._processes, self._copy = processes, copy

    @property
    def _fresh(self) -> Path:
        """Where new best weights lie until a checkpoint has the record of them."""
        return self._path.with_name("best-new")

    def measure(self, step: int, weights: Mapping[str, Tensor], record: dict[str, Any]) -> Any:
        """Measure weights and note it in ``record``, plain values; all processes call it together.

        Returns a line for the log. A failure of what measures is noted, and the run goes on.
        """
        outcome = self._processes.leader_does(lambda: self._outcome(weights))
        outcome = self._processes.exchange(outcome)[0]
        if "failure" in outcome:
            record.setdefault("failures", []).append({"step": step, "message": outcome["failure"]})
            return {"step": step, "event": "validation_failed", "message": outcome["failure"]}
        figures = outcome["figures"]
        name = self._run.watch or next(iter(figures))
        value = figures[name]
        if _better(value, record.get("value"), lowest=self._run.watch_lowest):
            record |= {"figure": name, "value": value, "step": step, "stale": 0}
            self._processes.leader_does(lambda: self._keep(step, name, figures))
        else:
            record["stale"] = record.get("stale", 0) + 1
        return {"step": step, "event": "validation", **figures}

    def begin(self, record: dict[str, Any]) -> None:
        """Make the best weights and the ``record`` of a checkpoint agree; all call it together.

        A kill may have come between the two. Weights that no checkpoint tells of go: the run
        measures them again.
        """
        found = self._processes.leader_does(lambda: self._agreed(record))
        record |= self._processes.exchange(found)[0]

    def publish(self) -> None:
        """Put new best weights into their place, now that a checkpoint tells of them; rank 0."""
        if self._fresh.exists():
            if self._path.exists():
                discard_directory(self._path)
            with storage_errors("rename", self._fresh):
                self._fresh.rename(self._path)

    def exhausted(self, record: Mapping[str, Any]) -> bool:
        """Whether so many measurements have brought nothing better that the run ends."""
        return self._run.patience is not None and record.get("stale", 0) >= self._run.patience

    def _agreed(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """What ``record`` is to say of the best weights, which are in their place."""
        if self._fresh.exists():
            try:
                of_record = _chosen(self._fresh)["step"] == record.get("step")
            except (CorruptError, StorageError):
                of_record = False
            if not of_record:
                discard_directory(self._fresh)
        self.publish()
        if "step" not in record or not self._path.exists():
            return {}
        try:
            # Of a later checkpoint, where the newest is damaged: they are the best that there are.
            return _chosen(self._path)
        except (CorruptError, StorageError) as error:
            warnings.warn(
                f"{error}; the run goes on with the checkpoint's word on it", stacklevel=2
            )
            return {}

    def _outcome(self, weights: Mapping[str, Tensor]) -> dict[str, Any]:
        try:
            with self._copy.measured(weights) as bundle:
                found = self._validate(bundle)
            figures = {str(name): float(value) for name, value in dict(found).items()}
            watched = self._run.watch or next(iter(figures), None)
            if watched not in figures:
                raise InvalidArgumentError(
                    f"watch is {watched!r}, must be a figure that is measured: {sorted(figures)}"
                )
            return {"figures": figures}
        except Exception as error:  # whatever it is, it is no fault of the run
            return {"failure": f"{type(error).__name__}: {error}"}

    def _keep(self, step: int, name: str, figures: Mapping[str, float]) -> None:
        if self._fresh.exists():  # of a run that was killed here
            discard_directory(self._fresh)
        with publish_directory(self._fresh) as directory:
            write_tensors(self._copy.bundle.model.state_dict(), directory / WEIGHTS_FILE)
            if self._copy.bundle.config:
                config = {"name": self._copy.bundle.name, **self._copy.bundle.config}
                write_json(directory / CONFIG_FILE, config)
            chosen = {"step": step, "figure": name, "value": figures[name]}
            plain = {k: v if math.isfinite(v) else None for k, v in figures.items()}
            write_json(directory / _CHOSEN, {**chosen, "figures": plain})


def _chosen(folder: Path) -> dict[str, Any]:
    """The figure, value and step of best weights."""
    chosen, names = read_json(folder / _CHOSEN), ("figure", "value", "step")
    if not chosen.keys() >= {*names}:
        raise CorruptError(f"{folder / _CHOSEN} lacks one of {', '.join(names)}")
    return {name: chosen[name] for name in names}


def _better(value: float, best: float | None, *, lowest: bool) -> bool:
    if not math.isfinite(value):
        return False
    return best is None or (value < best if lowest else value > best)
