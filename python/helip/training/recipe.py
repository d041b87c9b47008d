"""The recipe of a fine-tuning run: every number that decides what the run computes.

Two runs with the same recipe, model, data and steps do the same work, so a run is resumed only
under the recipe that it began with.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, Lt

from helip.common.errors import MismatchError
from helip.common.options import Share, Whole, require
from helip.losses.options import DistillOptions, LossOptions, SslOptions, check_loss, loss_name
from helip.models.options import LockOptions, Lora


@dataclass(frozen=True, kw_only=True)
class Recipe(LossOptions, SslOptions, DistillOptions, LockOptions):
    """Hyper-parameters of a run. The defaults suit a large pre-trained model."""

    loss: str | Callable[..., Any] = "clip"
    """clip; siglip, for models with a learned bias; module:Class of one's own, or in Python an
    object (docs/training.md)."""
    optimizer: str = "adamw"
    """adamw is torch's, by one kernel; any other is timm's of that name, such as lion or muon."""
    lr: Annotated[float, Gt(0)] = 1e-5
    """Peak of the learning rate."""
    lr_schedule: Literal["cosine", "linear", "constant", "wsd"] = "cosine"
    """How the learning rate falls after the warm-up; wsd stays at its peak until the cooldown."""
    min_lr: Annotated[float, Ge(0)] = 0.0
    """End of the learning rate."""
    cooldown: Share = 0.2
    """wsd: share of the steps behind the warm-up, its last ones, in which the rate falls."""
    weight_decay: Annotated[float, Ge(0)] = 0.1
    """For weight matrices alone."""
    betas: tuple[float, float] = (0.9, 0.98)
    """Of AdamW; another optimizer keeps its own, unless others than these are named."""
    eps: Annotated[float, Gt(0)] = 1e-6
    """Likewise."""
    warmup: Annotated[float, Ge(0)] = 0.1
    """Below 1 a share of all steps, otherwise a number of steps."""
    grad_clip: Annotated[float, Gt(0)] | None = 1.0
    """Bound on the gradient's norm; None for no bound."""
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Of autocast; weights stay float32. auto: bfloat16 where the device multiplies it."""
    warm_statistics: Whole = 0
    """Batches before the first step that the optimizer takes its moments from, weights held."""
    lora: Lora | int | str | Mapping[str, Any] | None = None
    """A rank such as 8, or options of LoRA: rank=8,alpha=16,parts=attention."""
    layer_decay: Annotated[float, Gt(0), Le(1)] | None = None
    """Learning rate of a layer over that of the layer above; 0.65 to 0.9 are usual."""
    ema: Annotated[float, Gt(0), Lt(1)] | None = None
    """Decay of an average of the weights, which checkpoints keep beside them."""
    seed: Annotated[int, Ge(0), Lt(2**63)] = 0
    """Of the order, the draws, the augmentations and dropout."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_loss(self.loss)
        object.__setattr__(self, "lora", Lora.of(self.lora))
        object.__setattr__(self, "betas", tuple(self.betas))
        require(self.min_lr <= self.lr, "min_lr", self.min_lr, f"at most lr = {self.lr}")
        require(
            len(self.betas) == 2 and all(0 <= beta < 1 for beta in self.betas),
            "betas", self.betas, "two numbers in [0, 1)",
        )  # fmt: skip
        require(
            self.warmup < 1 or self.warmup == int(self.warmup),
            "warmup", self.warmup, "a share in [0, 1) or a whole number of steps",
        )  # fmt: skip

    def plain(self) -> dict[str, Any]:
        """As `Options.plain`; a loss that is an object goes by what it is called, and has options
        of its own in place of `LossOptions`."""
        found = {**super().plain(), "loss": loss_name(self.loss)}
        if not isinstance(self.loss, str):
            for field in fields(LossOptions):
                del found[field.name]
        return found


def refuse_changes(before: Mapping[str, Any], now: Mapping[str, Any], label: str) -> None:
    """Raise MismatchError that names every option of ``before`` that is another one ``now``."""
    before, now = (json.loads(json.dumps(dict(options))) for options in (before, now))
    changed = [
        f"{name} was {before.get(name)!r}, is {now.get(name)!r}"
        for name in sorted({*before, *now})
        if before.get(name) != now.get(name)
    ]
    if changed:
        old = "the old values"
        if any(before.get(name) != now.get(name) for name in ("start", "teacher")):
            old += " and the model as it was at the start, not as training has left it"
        raise MismatchError(
            f"cannot resume {label}: {'; '.join(changed)}. Resume with {old}, or begin anew in "
            "another out"
        )
