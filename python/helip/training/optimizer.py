"""AdamW for CLIP, its learning-rate schedule, and its state as plain tensors."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from helip.common.errors import CorruptError, InvalidArgumentError
from helip.training.layer_decay import layer_scales
from helip.training.recipe import Recipe

MAX_LOGIT_SCALE = math.log(100.0)  # bound of the learned log temperature, as CLIP clips it


def make_adamw(model: nn.Module, recipe: Recipe) -> torch.optim.AdamW:
    """AdamW over the parameters that need a gradient; no decay for norms, biases, logit scale.

    Those are the parameters with fewer than two dimensions. With ``layer_decay`` there is a group
    for each depth (helip.training.layer_decay), whose ``lr_scale`` `set_lr` multiplies the rate by.
    """
    trainable = [p for p in model.parameters() if p.requires_grad]
    if not trainable:
        raise InvalidArgumentError(
            "the model has 0 parameters that need a gradient, must have at least 1; unfreeze some"
        )
    groups: list[dict[str, Any]] = [
        {"params": [p for p in trainable if p.dim() >= 2], "weight_decay": recipe.weight_decay},
        {"params": [p for p in trainable if p.dim() < 2], "weight_decay": 0.0},
    ]
    if recipe.layer_decay is not None:
        scales = layer_scales(model, recipe.layer_decay)
        of = {id(p): scales[name] for name, p in model.named_parameters()}
        groups = [
            {**group, "params": [p for p in group["params"] if of[id(p)] == scale],
             "lr_scale": scale}
            for group in groups
            for scale in sorted({of[id(p)] for p in group["params"]})
        ]  # fmt: skip
    return torch.optim.AdamW(
        groups, lr=recipe.lr, betas=recipe.betas, eps=recipe.eps, fused=_fusable(trainable)
    )


def _fusable(parameters: Sequence[nn.Parameter]) -> bool | None:
    """True where torch has one kernel for the whole update, which it does not choose by itself.

    Parts of parameters, as FSDP2 keeps them, are left to torch.
    """
    plain = all(type(p) is nn.Parameter and p.is_floating_point() for p in parameters)
    return True if plain and {p.device.type for p in parameters} <= {"cpu", "cuda"} else None


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """``lr`` for every group, times the group's ``lr_scale`` where it has one."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("lr_scale", 1.0)


def scheduled_lr(step: int, recipe: Recipe, total: int) -> float:
    """Linear warm-up to ``lr``, then a cosine down to ``min_lr``; ``step`` of ``total``, from 0.

    A ``warmup`` below 1 is a share of all steps, any other a number of steps.
    """
    share = recipe.warmup < 1
    warmup = min(round(recipe.warmup * total) if share else int(recipe.warmup), total)
    if step < warmup:
        return recipe.lr * (step + 1) / warmup
    done = (step - warmup) / max(total - warmup, 1)
    fall = 0.5 * (recipe.lr - recipe.min_lr) * (1.0 + math.cos(math.pi * min(done, 1.0)))
    return recipe.min_lr + fall


def clamp_logit_scale(model: nn.Module) -> None:
    """Keep the temperature's logarithm in [0, ln 100], in place."""
    scale = getattr(model, "logit_scale", None)
    if isinstance(scale, Tensor):
        with torch.no_grad():
            scale.clamp_(0.0, MAX_LOGIT_SCALE)


def optimizer_tensors(
    optimizer: torch.optim.Optimizer, named: Iterable[tuple[str, Tensor]]
) -> dict[str, Tensor]:
    """The optimizer's state as "parameter name|state name" -> tensor."""
    return {
        f"{name}|{key}": value if isinstance(value, Tensor) else torch.tensor(float(value))
        for name, parameter in named
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def load_optimizer_tensors(
    optimizer: torch.optim.Optimizer,
    named: Iterable[tuple[str, Tensor]],
    tensors: Mapping[str, Tensor],
) -> None:
    """The inverse of `optimizer_tensors`; CorruptError when the names or shapes do not fit."""
    names = {id(parameter): name for name, parameter in named}
    groups = optimizer.state_dict()["param_groups"]
    ordered = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    used = 0
    for index, parameter in enumerate(ordered):
        prefix = names[id(parameter)] + "|"
        entry = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        for key, value in entry.items():
            if value.dim() > 0 and value.shape != parameter.shape:
                raise CorruptError(
                    f"optimizer state {prefix}{key} has shape {tuple(value.shape)}, must be "
                    f"{tuple(parameter.shape)}"
                )
        if entry:
            state[index] = entry
            used += len(entry)
    if used != len(tensors):
        raise CorruptError(
            f"the optimizer state holds {len(tensors)} tensors, of which {used} fit this model"
        )
    optimizer.load_state_dict({"state": state, "param_groups": groups})
