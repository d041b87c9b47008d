"""The recipe of a fine-tuning run: every number that decides what the run computes.

Two runs with the same recipe, model, data and steps do the same work, so a run is resumed only
under the recipe that it began with.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch

from helip.common.errors import InvalidArgumentError, MismatchError
from helip.losses.helip_loss import HelipLoss
from helip.losses.siglip import HelipSigmoidLoss
from helip.losses.ssl import SslLoss
from helip.models.lora import Lora

__all__ = ["Recipe", "refuse_changes"]

_LOSSES: dict[str, type[HelipLoss]] = {"clip": HelipLoss, "siglip": HelipSigmoidLoss}
_AUTOCAST = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Hyper-parameters, checked when made. The defaults suit a large pre-trained model.

    loss: "clip" is `HelipLoss`, "siglip" is `HelipSigmoidLoss`, for models with a learned bias.
    gamma, margin, direction, space: see `HelipLoss`.
    lr, min_lr: peak and end of the schedule. A small model from scratch wants 1e-4 ... 1e-3.
    weight_decay: of AdamW, for weight matrices alone.
    warmup: below 1 a share of all steps, otherwise a number of steps.
    precision: of autocast; "float32" is no autocast, "float16" needs a GPU. Weights stay float32.
    grad_clip: bound on the gradient's norm; None for no bound.
    ssl_scale, ssl_temperature: see `SslLoss`; of models with a self-supervised head alone.
    lock_image, lock_text, ...: see `lock_towers`.
    lora: a `Lora`, a rank, or a dict of its options; None trains the weights themselves.
    layer_decay: see `layer_scales`; None moves all layers alike.
    ema: decay of a `WeightAverage`, which checkpoints keep beside the weights; None keeps none.
    """

    loss: str = "clip"
    gamma: float = 1.0
    margin: float = 0.0
    direction: str = "preserve"
    space: str = "cross"
    lr: float = 1e-5
    min_lr: float = 0.0
    weight_decay: float = 0.1
    betas: tuple[float, float] = (0.9, 0.98)
    eps: float = 1e-6
    warmup: float = 0.1
    precision: str = "float32"
    grad_clip: float | None = 1.0
    seed: int = 0
    ssl_scale: float = 1.0
    ssl_temperature: float = 0.1
    lock_image: bool = False
    lock_image_unlocked_groups: int = 0
    lock_text: bool = False
    lock_text_unlocked_layers: int = 0
    lora: Lora | None = None
    layer_decay: float | None = None
    ema: float | None = None

    def __post_init__(self) -> None:
        _require(self.loss in _LOSSES, "loss", self.loss, f"one of {sorted(_LOSSES)}")
        self.make_loss()
        self.make_ssl_loss()
        object.__setattr__(self, "lora", Lora.of(self.lora))
        _require(
            self.layer_decay is None or 0 < self.layer_decay <= 1,
            "layer_decay",
            self.layer_decay,
            "in (0, 1]; None moves all layers alike",
        )
        _require(
            self.ema is None or 0 < self.ema < 1, "ema", self.ema, "in (0, 1); None keeps none"
        )
        for tower, rest in (("image", "unlocked_groups"), ("text", "unlocked_layers")):
            name = f"lock_{tower}_{rest}"
            _require(
                getattr(self, name) == 0 or getattr(self, f"lock_{tower}"),
                name,
                getattr(self, name),
                f"0 without lock_{tower}=True",
            )
        _require(self.lr > 0 and math.isfinite(self.lr), "lr", self.lr, "> 0; 1e-5 is usual")
        _require(0 <= self.min_lr <= self.lr, "min_lr", self.min_lr, f"in [0, lr = {self.lr}]")
        _require(
            self.weight_decay >= 0 and math.isfinite(self.weight_decay),
            "weight_decay",
            self.weight_decay,
            ">= 0; 0 switches it off",
        )
        _require(
            len(self.betas) == 2 and all(0 <= beta < 1 for beta in self.betas),
            "betas",
            self.betas,
            "two numbers in [0, 1)",
        )
        _require(self.eps > 0, "eps", self.eps, "> 0")
        _require(
            self.warmup >= 0 and (self.warmup < 1 or self.warmup == int(self.warmup)),
            "warmup",
            self.warmup,
            "a share in [0, 1) or a whole number of steps",
        )
        _require(
            self.precision in _AUTOCAST, "precision", self.precision, f"one of {sorted(_AUTOCAST)}"
        )
        _require(
            self.grad_clip is None or self.grad_clip > 0,
            "grad_clip",
            self.grad_clip,
            "> 0; None switches it off",
        )
        _require(0 <= self.seed < 2**63, "seed", self.seed, "in [0, 2**63)")

    @property
    def autocast_dtype(self) -> torch.dtype | None:
        return _AUTOCAST[self.precision]

    def make_loss(self, *, gather: bool = False) -> HelipLoss:
        """``gather``: negatives come from all processes."""
        return _LOSSES[self.loss](
            gamma=self.gamma,
            margin=self.margin,
            direction=self.direction,
            space=self.space,
            gather=gather,
        )

    def make_ssl_loss(self) -> SslLoss:
        return SslLoss(scale=self.ssl_scale, temperature=self.ssl_temperature)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def refuse_changes(before: Mapping[str, Any], now: Mapping[str, Any], label: str) -> None:
    """Raise MismatchError that names every option of ``before`` that is another one ``now``."""
    before, now = (json.loads(json.dumps(dict(options))) for options in (before, now))
    changed = [
        f"{name} was {before.get(name)!r}, is {now.get(name)!r}"
        for name in sorted({*before, *now})
        if before.get(name) != now.get(name)
    ]
    if changed:
        raise MismatchError(
            f"cannot resume {label}: {'; '.join(changed)}. Resume with the old values, or begin "
            "anew in another out"
        )


def _require(holds: bool, name: str, value: Any, bound: str) -> None:
    if not holds:
        raise InvalidArgumentError(f"{name} is {value!r}, must be {bound}")
