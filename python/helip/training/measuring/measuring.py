"""What is measured of a run's model in mid-run and at the end: its validation and its guard."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from helip.common.processes import Processes
from helip.models.bundle import ModelBundle
from helip.training.measuring.start_comparison import StartComparison
from helip.training.measuring.validator import Validator
from helip.training.result import Progress
from helip.training.trainer_call import LoopOptions
from helip.training.tuning import ModelCopy


class Measuring:
    """Both of them, of one copy of the model. All processes call its methods together.

    Made before the model is adapted; `follow` is called before it is parallel.
    """

    def __init__(
        self, call: LoopOptions, bundle: ModelBundle, out: Path, processes: Processes
    ) -> None:
        self._call, self._bundle, self._out, self._processes = call, bundle, out, processes
        self._comparison = (
            StartComparison(call.guard, bundle, out, processes) if call.guard is not None else None
        )
        self._validator: Validator | None = None
        self._copy: ModelCopy | None = None

    def follow(self, device: torch.device) -> None:
        """Copy the model as it is adapted now."""
        if self._call.validate is None and self._comparison is None:
            return
        self._copy = ModelCopy(self._bundle, device, keep=self._processes.leads)
        if self._call.validate is not None:
            self._validator = Validator(
                self._call.validate, self._copy, self._out, self._call, self._processes
            )

    def publish(self) -> None:
        """A checkpoint has what was measured; rank 0 does it."""
        if self._validator:
            self._validator.publish()

    def begin(self, at: Progress, *, resumed: bool) -> list[dict[str, Any]]:
        """Mend what a kill left half done, and know the figures of the start; lines for the log."""
        if self._validator:
            self._validator.begin(at.validation)
        if self._comparison is None or self._copy is None:
            return []
        line = self._comparison.begin(self._copy, at.guard, at.step, resumed=resumed)
        return [line] if line else []

    def due(self, step: int, total: int) -> bool:
        """Whether there is something to measure after this step."""
        every = self._call.eval_every
        return bool(self._copy) and (step == total or (every is not None and step % every == 0))

    def measure(
        self, at: Progress, weights: Callable[[], Mapping[str, Tensor]]
    ) -> list[dict[str, Any]]:
        """Measure the weights, noted in ``at``; lines for the log."""
        lines, found = [], weights()
        if self._validator:
            lines.append(self._validator.measure(at.step, found, at.validation))
        if self._comparison and self._copy:
            lines.append(self._comparison.look(self._copy, at.step, found, at.guard))
        return [line for line in lines if line]

    def exhausted(self, at: Progress) -> bool:
        """Whether validation ends the run."""
        return self._validator is not None and self._validator.exhausted(at.validation)
