"""One optimizer step: gradients of a batch, in chunks if asked, and what was learned of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from helip.common.devices import autocast
from helip.common.processes import Processes
from helip.training.grad_cache import cached_backward
from helip.training.network import Network
from helip.training.optimizer import clamp_logit_scale, make_adamw, scheduled_lr, set_lr
from helip.training.recipe import Recipe

_FIRST = ("loss", "clip", "margin", "violated", "logit_scale")
_COMPARED = ("hard_similarity", "ordinary_similarity")  # of batches that hold hard pairs


@dataclass
class OptimizerStep:
    """Takes steps by AdamW on a network, under a recipe's precision, schedule and clipping."""

    recipe: Recipe
    network: Network
    processes: Processes
    device: torch.device
    total_steps: int
    accumulate: int  # chunks that a batch is encoded in (``grad_cache``)

    def __post_init__(self) -> None:
        recipe, network = self.recipe, self.network
        self.scaler = torch.amp.GradScaler("cuda") if recipe.precision == "float16" else None
        self.optimizer = make_adamw(network.model, recipe)
        network.separate(self.optimizer)

    def __call__(
        self,
        step: int,
        batch: Mapping[str, Tensor],
        *,
        compute: Callable[..., dict[str, Tensor]],
        encode: Callable[..., Mapping[str, Tensor]],
        losses: Callable[..., dict[str, Tensor]],
        refuse: Callable[[Mapping[str, float]], None],
    ) -> dict[str, float]:
        """The step that comes after ``step`` others; its numbers, of the batch of all processes.

        compute: the losses of a whole batch. ``encode`` and ``losses`` are its two halves, for a
            batch in chunks.
        refuse: called with the numbers, before the weights change, when they are not finite.
        """
        lr = scheduled_lr(step, self.recipe, self.total_steps)
        set_lr(self.optimizer, lr)
        self.optimizer.zero_grad(set_to_none=True)
        out = self._backward(batch, compute, encode, losses)
        scaler = self.scaler
        if scaler:
            scaler.unscale_(self.optimizer)
        norm = self.network.gradient_norm()
        if self.recipe.grad_clip is not None:
            self.network.clip_gradients(self.recipe.grad_clip, norm)
        row = self._numbers(out, norm)
        row |= {"temperature": 1 / max(row["logit_scale"], 1e-9), "lr": lr}
        # With loss scaling, an infinite gradient is the scaler's own way to find its factor.
        if not math.isfinite(row["loss"]) or not (scaler or math.isfinite(row["grad_norm"])):
            refuse(row)
        if scaler:
            scaler.step(self.optimizer)
            scaler.update()
            row["loss_factor"] = scaler.get_scale()
        else:
            self.optimizer.step()
        clamp_logit_scale(self.network.model)
        return row

    def _backward(
        self, batch: Mapping[str, Tensor], compute: Any, encode: Any, losses: Any
    ) -> dict[str, Tensor]:
        """Leaves gradients, averaged over processes; what the losses were."""
        scale = self.scaler.scale if self.scaler else lambda loss: loss
        out: dict[str, Tensor]
        if self.accumulate == 1:
            out = self._in_precision(compute)(batch)
            scale(out["loss"]).backward()
        else:
            out = cached_backward(
                batch,
                self.accumulate,
                encode=self._in_precision(encode),
                losses=self._in_precision(losses),
                scale=scale,
                hold=self.network.hold,
            )
        self.network.gradients_are_ready()
        return out

    def _in_precision(self, work: Callable[..., Any]) -> Callable[..., Any]:
        def under_autocast(*arguments: Any) -> Any:
            with autocast(self.device, self.recipe.precision):
                return work(*arguments)

        return under_autocast

    def _numbers(self, out: Mapping[str, Tensor], norm: Tensor) -> dict[str, float]:
        """By one copy from the device for all of them."""
        names = [*_FIRST, *sorted(set(out) - set(_FIRST))]
        parts = [out[name].detach().reshape(()).float() for name in names] + [norm.float()]
        numbers = self.processes.mean(torch.stack(parts)).tolist()
        row = dict(zip([*names, "grad_norm"], numbers, strict=True))
        if not any(row.get(name) for name in _COMPARED):
            for name in _COMPARED:
                row.pop(name, None)
        return row
