"""A step that the device may still be working on: its numbers, which nobody waits for until they
are read, and what is said of it when it has failed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from helip.common.processes import Processes
from helip.training.checkpoints import list_checkpoints
from helip.training.logs.metrics import RunLog
from helip.training.result import NonFiniteLossError

_COMPARED = ("hard_similarity", "ordinary_similarity")  # of batches that hold hard pairs


class StepNumbers:
    """What a step came to: names and their values [n], and its learning rate.

    They are copied to the host as soon as the device has them. Making one waits for nothing.
    """

    def __init__(self, names: Sequence[str], values: Tensor, lr: float) -> None:
        self._names, self._lr = tuple(names), lr
        self._host, self._copied = values, None
        if values.is_cuda:
            self._host = torch.empty_like(values, device="cpu", pin_memory=True)
            self._host.copy_(values, non_blocking=True)
            self._copied = torch.cuda.Event()
            self._copied.record()

    def read(self) -> tuple[dict[str, float], bool]:
        """The numbers by their names, and whether the step failed.

        Waits for the work that was queued before this was made.
        """
        if self._copied is not None:
            self._copied.synchronize()
        row = dict(zip(self._names, map(float, self._host.numpy()), strict=True))
        failed = bool(row.pop("failed"))
        row |= {"temperature": 1 / max(row["logit_scale"], 1e-9), "lr": self._lr}
        if not any(row.get(name) for name in _COMPARED):
            for name in _COMPARED:
                row.pop(name, None)
        return row, failed


@dataclass(frozen=True)
class QueuedStep:
    """What the host knows of it."""

    step: int
    epoch: int
    numbers: StepNumbers
    known: dict[str, Any]  # other entries of its line of metrics
    index: Tensor  # data rows of this process's batch
    due: bool  # whether metrics.jsonl gets a line of it

    def refuse(
        self, row: Mapping[str, float], log: RunLog, processes: Processes, checkpoints: Path
    ) -> None:
        """Raise NonFiniteLossError; all processes call it together."""
        own = [int(index) for index in self.index]
        rows = [index for part in processes.exchange(own) for index in part]
        log.write(**{**row, "step": self.step, "event": "non_finite", "rows": rows})
        log.sync()
        existing = list_checkpoints(checkpoints)
        last = existing[0][1] if existing else None
        shown = ", ".join(map(str, rows[:8])) + (", ..." if len(rows) > 8 else "")
        factor = f" at a loss factor of {row['loss_factor']}" if "loss_factor" in row else ""
        raise NonFiniteLossError(
            f"step {self.step}: loss {row['loss']}, gradient norm {row['grad_norm']}{factor}, must "
            f"be finite; data rows of the batch: {shown} ({len(rows)} in all, listed in "
            f"metrics.jsonl); last good checkpoint: {last or 'none yet'}. Lower lr, or use "
            "precision='float32'",
            step=self.step,
            rows=rows,
            checkpoint=last,
        )
