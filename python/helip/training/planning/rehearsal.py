"""A trainer that takes steps of no run, to see what they need: memory from few rows, and time."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from helip.common.devices import autocast
from helip.models.locking import train_mode
from helip.training.optimizing.optimizer import step_unless
from helip.training.optimizing.weight_average import WeightAverage
from helip.training.planning.memory import LiveBytes, bytes_of, extrapolated
from helip.training.precision import precision_of
from helip.training.trainer import Trainer

_FEW = 4  # rows of the larger of the two steps
_LOSS_ROWS = 2048  # of which the loss is taken as it is; more are its square
_WEIGHED = ("image", "text", "views")  # what no loss looks at


@dataclass(frozen=True)
class StepMemory:
    """Bytes that a step needs on its device; ``peak`` is the most at one time, not their sum."""

    weights: int  # and buffers
    gradients: int
    optimizer: int  # what it remembers
    activations: int  # alive when the loss is known, of the rows that are encoded at a time
    loss: int  # its own tensors, over all rows of the batch
    copies: int  # averages, a teacher
    batch: int  # one, as it comes from the loader
    peak: int

    def to_dict(self) -> dict[str, int]:
        return asdict(self)


class Rehearsal(Trainer):
    """Its steps change its own model alone."""

    def step_memory(self, batch: Mapping[str, Any], rows: int) -> StepMemory:
        """Of a step on ``rows`` rows, from steps on the first two and four of ``batch``."""
        train_mode(self.model)
        more = min(_FEW, len(batch["index"]))
        counts = (max(1, more // 2), more)
        parts = self.options.accumulate
        self._curve(batch, counts[0], part=False)  # what is made once, at the first use
        curves = [self._curve(batch, count, part=parts > 1) for count in counts]
        chunk = math.ceil(rows / parts)
        low, high = (forward for _, forward in curves)
        slope = (high - low) / max(counts[1] - counts[0], 1)
        parameters = list(self.model.parameters())
        gradients = bytes_of(p.grad for p in parameters)
        with LiveBytes(self._known()) as stepping:
            step_unless(torch.zeros((), dtype=torch.bool), self.optimizer, exactly=False)
        states = bytes_of(v for state in self.optimizer.state.values() for v in state.values())
        weights = bytes_of((*parameters, *self.model.buffers()))
        loss = self._loss_bytes(batch, more, rows)
        one = bytes_of(v for v in batch.values()) / len(batch["index"])
        held = {
            "weights": weights,
            "optimizer": states,
            "copies": self._copies(),
            "batch": int(one * rows),
        }
        computing = loss + extrapolated(curves[0][0], curves[1][0], counts, chunk)
        if parts > 1:  # of the parts before
            computing += gradients
        updating = gradients + max(max(stepping.curve) - states, 0)
        return StepMemory(
            gradients=gradients,
            activations=int(high + slope * (chunk - counts[1])),
            loss=loss,
            peak=sum(held.values()) + max(computing, updating),
            **held,
        )

    def step_seconds(self, batch: Mapping[str, Any]) -> float:
        """Of a step on this batch, after one that made what all others use."""
        train_mode(self.model)
        for _ in range(2):
            began = time.perf_counter()
            self._rank_rows = [len(batch["index"])]
            self._optimizer_step(0, self._ready(batch), **self._computing).read()
        return time.perf_counter() - began

    def _curve(self, batch: Mapping[str, Any], count: int, *, part: bool) -> tuple[LiveBytes, int]:
        """Forward and backward of the first rows; and what was alive between the two.

        part: they are added to gradients that are there, and not counted, from parts before.
        """
        if not part:
            self.optimizer.zero_grad(set_to_none=True)
        ready = self._first(batch, count)
        with self._optimizer_step.kernels(), LiveBytes(self._known(ready.values())) as seen:
            with autocast(self.device, precision_of(self.recipe)):
                out = self.compute_loss(ready)
            between = seen.live
            out["loss"].backward()
            del out
        return seen, between

    def _first(self, batch: Mapping[str, Any], count: int) -> dict[str, Tensor]:
        """The first rows on the device, in pairs of a target and its hard row."""
        rows = {
            name: value[:, :count] if name == "views" else value[:count]
            for name, value in batch.items()
            if name != "hard_rows"  # which may be among the others
        }
        self._rank_rows = [count]
        return self._ready({**rows, "target": _in_pairs(count)})

    def _loss_bytes(self, batch: Mapping[str, Any], count: int, rows: int) -> int:
        """The most that the losses need for themselves, forward and backward; of a batch in parts
        with the features of all rows and their gradients."""
        ready = self._first(batch, count)
        with torch.no_grad(), autocast(self.device, precision_of(self.recipe)):
            encoded = self.encode(ready)
        taken = min(rows, _LOSS_ROWS)
        which = torch.arange(taken, device=self.device) % count
        features = {
            name: (value[which] if value.dim() >= 2 else value).detach().requires_grad_()
            for name, value in encoded.items()
        }
        full = {name: value[which] for name, value in ready.items() if name not in _WEIGHED}
        full["target"] = _in_pairs(taken).to(self.device)
        self._rank_rows = [taken]
        with LiveBytes((*features.values(), *full.values())) as seen:
            with autocast(self.device, precision_of(self.recipe)):
                out = self.losses(features, full)
            out["loss"].backward()
            del out
        kept = bytes_of(features.values()) * rows / taken if self.options.accumulate > 1 else 0
        return int(max(seen.curve) * (rows / taken) ** 2 + kept)

    def _known(self, more: Iterable[Tensor] = ()) -> list[Tensor]:
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        return [*self.model.parameters(), *self.model.buffers(), *gradients, *more]

    def _copies(self) -> int:
        average = self.hooks.get("ema")
        kept = average.nbytes if isinstance(average, WeightAverage) else 0
        return kept + (self._distillation.nbytes if self._distillation else 0)


def _in_pairs(count: int) -> Tensor:
    """``target`` of rows of which each second one is the hard row of the one before."""
    return torch.arange(count) // 2 * 2
