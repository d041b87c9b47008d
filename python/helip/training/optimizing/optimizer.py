"""The optimizer of a recipe and its rate, steps that a device may leave out, and its state as plain
tensors."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from helip.common.errors import CorruptError, InvalidArgumentError, UnsupportedError
from helip.training.optimizing.layer_decay import layer_scales
from helip.training.recipe import Recipe

MAX_LOGIT_SCALE = math.log(100.0)  # of the learned log temperature
# Embeddings and the projections on top: matrices that are no hidden layers.
_OUTSIDE = re.compile(r"embed|conv1\.|(?:^|\.)(?:text_)?proj(?:ection)?(?:\.weight)?$")
_LIKE_ITS_WEIGHT = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq", "momentum_buffer")
_UNFIT = ["adahessian", "kron*", "fused*"]  # need second gradients, keep no plain state, need apex
_SHAPES: dict[str, Callable[[float, float], float]] = {  # of done and cooldown, from 1 down
    "cosine": lambda done, cooldown: 0.5 * (1.0 + math.cos(math.pi * done)),
    "linear": lambda done, cooldown: 1.0 - done,
    "constant": lambda done, cooldown: 1.0,
    "wsd": lambda done, cooldown: min(1.0, (1.0 - done) / cooldown) if cooldown else 1.0,
}


def make_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimizer over the parameters that need a gradient.

    No decay for norms, biases and the logit scale: parameters with fewer than two dimensions. With
    ``layer_decay`` there is a group for each depth (`layer_scales`), whose ``lr_scale`` `set_lr`
    multiplies the rate by.
    """
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if not trained:
        raise InvalidArgumentError(
            "the model has 0 parameters that need a gradient, must have at least 1; unfreeze some"
        )
    scales = layer_scales(model, recipe.layer_decay) if recipe.layer_decay is not None else {}
    orthogonal = recipe.optimizer.endswith("muon")
    groups: dict[tuple[Any, ...], dict[str, Any]] = {}
    for name, parameter in trained.items():
        matrix = parameter.dim() >= 2
        options: dict[str, Any] = {"weight_decay": recipe.weight_decay if matrix else 0.0}
        if scales:
            options["lr_scale"] = scales[name]
        if orthogonal:  # Muon is for hidden layers; the rest gets its AdamW
            options["use_fallback"] = not matrix or bool(_OUTSIDE.search(name))
        key = (not matrix, *options.values())
        groups.setdefault(key, {"params": [], **options})["params"].append(parameter)
    ordered = [groups[key] for key in sorted(groups)]
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(
            ordered,
            lr=recipe.lr,
            betas=recipe.betas,
            eps=recipe.eps,
            fused=_fusable(list(trained.values())),
        )
    return _of_timm(ordered, recipe)


def _of_timm(groups: list[dict[str, Any]], recipe: Recipe) -> torch.optim.Optimizer:
    from timm.optim import create_optimizer_v2, get_optimizer_info, list_optimizers

    listed = map(str, list_optimizers(exclude_filters=_UNFIT))
    known = [name for name in listed if "bnb" not in name]
    if recipe.optimizer not in known:
        close = difflib.get_close_matches(recipe.optimizer, known, n=3)
        raise InvalidArgumentError(
            f"optimizer is {recipe.optimizer!r}, must be adamw or one of timm's"
            f"{', such as ' + ', '.join(close) if close else ''}: {', '.join(known)}"
        )
    named = {field.name: field.default for field in dataclasses.fields(recipe)}
    own = {
        name: getattr(recipe, name)
        for name in ("betas", "eps")
        if getattr(recipe, name) != named[name]
    }
    if "betas" in own and get_optimizer_info(recipe.optimizer).num_betas != 2:
        raise InvalidArgumentError(
            f"betas is {recipe.betas}, and {recipe.optimizer} has not two of them; leave them out"
        )
    try:
        return create_optimizer_v2(groups, recipe.optimizer, lr=recipe.lr, **own)
    except (ImportError, AssertionError, RuntimeError, TypeError, ValueError) as error:
        raise UnsupportedError(
            f"optimizer={recipe.optimizer!r} cannot be made here ({error}); take adamw"
        ) from error


def step_unless(skip: Tensor, optimizer: torch.optim.Optimizer, *, exactly: bool) -> None:
    """A step of the optimizer, or nothing where ``skip`` holds, which only the device knows.

    An optimizer without a kernel that looks at it keeps the weights by a copy of them for the time
    of its step, and what it remembers takes the step. ``exactly``: it does not, and where there is
    no such kernel the device is waited for.
    """
    if getattr(optimizer, "_step_supports_amp_scaling", False):
        fused: Any = optimizer
        fused.grad_scale, fused.found_inf = None, skip.float()
        optimizer.step()
    elif exactly:
        if not skip.item():
            optimizer.step()
    else:
        weights = _own_weights(optimizer)
        before = [weight.clone() for weight in weights]
        optimizer.step()
        for weight, old in zip(weights, before, strict=True):
            weight.copy_(torch.where(skip, old, weight))


@contextlib.contextmanager
def weights_kept(optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """What the optimizer does to the weights inside is undone, bit for bit, whatever ends it.

    A copy is exact for every optimizer, where a rate of 0 is not: it turns −0 into +0, and some
    keep the rate in their momentum.
    """
    weights = _own_weights(optimizer)
    before = [weight.clone() for weight in weights]
    try:
        yield
    finally:
        for weight, old in zip(weights, before, strict=True):
            weight.copy_(old)


def _own_weights(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [own_part(p) for group in optimizer.param_groups for p in group["params"]]


def own_part(tensor: Tensor) -> Tensor:
    """What this process holds of a tensor that may be sharded, without its gradient."""
    part: Tensor = tensor.detach()
    return part.to_local() if hasattr(part, "to_local") else part


def _fusable(parameters: Sequence[nn.Parameter]) -> bool | None:
    """True where torch has one kernel for the whole update, which it does not choose by itself.

    Parts of parameters, as FSDP2 keeps them, are left to torch.
    """
    plain = all(type(p) is nn.Parameter and p.is_floating_point() for p in parameters)
    return True if plain and {p.device.type for p in parameters} <= {"cpu", "cuda"} else None


def scheduled_lr(step: int, recipe: Recipe, total: int) -> float:
    """The rate of ``step`` of ``total``, from 0.

    A rate is a function of the step alone, so that a resumed run needs no state of it:

        lr(step) = min_lr + (lr - min_lr) * shape(done)

    after a linear warm-up to ``lr``, where ``done`` in [0, 1] is the share of the steps behind it
    that are over. A ``warmup`` below 1 is a share of all steps, any other a number of steps.
    ``wsd`` (warm-up, stable, decay; arXiv 2404.06395) is constant but for its last steps.
    """
    share = recipe.warmup < 1
    warmup = min(round(recipe.warmup * total) if share else int(recipe.warmup), total)
    if step < warmup:
        return recipe.lr * (step + 1) / warmup
    done = min((step - warmup) / max(total - warmup, 1), 1.0)
    height = _SHAPES[recipe.lr_schedule](done, recipe.cooldown)
    return recipe.min_lr + (recipe.lr - recipe.min_lr) * height


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """``lr`` for every group, times the group's ``lr_scale`` where it has one."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("lr_scale", 1.0)


def logit_scale_bound(model: nn.Module) -> float:
    """What the temperature's logarithm may reach in a run that begins with this model: ln 100, as
    CLIP clips it, or where it begins if that is more, as that of published SigLIP models is."""
    scale = getattr(model, "logit_scale", None)
    start = float(scale.detach()) if isinstance(scale, Tensor) else MAX_LOGIT_SCALE
    return max(MAX_LOGIT_SCALE, start)


def clamp_logit_scale(model: nn.Module, bound: float) -> None:
    """Keep the temperature's logarithm in [0, bound], in place; a frozen one is left alone."""
    scale = getattr(model, "logit_scale", None)
    if isinstance(scale, Tensor) and scale.requires_grad:
        with torch.no_grad():
            scale.clamp_(0.0, bound)


def optimizer_tensors(
    optimizer: torch.optim.Optimizer, named: Iterable[tuple[str, Tensor]]
) -> dict[str, Tensor]:
    """The optimizer's state as "parameter name|state name" -> tensor.

    A number that is no tensor has "|int" or "|float" behind its name. A count of steps that groups
    of parameters keep, all the same one, has no parameter's name.
    """
    counts = [{"step": group["step"]} for group in optimizer.param_groups if "step" in group]
    states = [(name, optimizer.state.get(parameter, {})) for name, parameter in named]
    found = {}
    for name, state in [*states, ("", counts[0] if counts else {})]:
        for key, value in state.items():
            plain = not isinstance(value, Tensor)
            kind = f"|{type(value).__name__}" if plain else ""
            whole = torch.int64 if isinstance(value, int) else torch.float64
            found[f"{name}|{key}{kind}"] = torch.tensor(value, dtype=whole) if plain else value
    return found


def load_optimizer_tensors(
    optimizer: torch.optim.Optimizer,
    named: Iterable[tuple[str, Tensor]],
    tensors: Mapping[str, Tensor],
) -> None:
    """The inverse of `optimizer_tensors`; CorruptError when the names or shapes do not fit."""
    names = {id(parameter): name for name, parameter in named}
    groups = optimizer.state_dict()["param_groups"]
    ordered = [p for group in optimizer.param_groups for p in group["params"]]
    of: dict[str, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        name, _, rest = key.partition("|")
        of.setdefault(name, {})[rest] = value
    for group in groups:
        group.update(_state_of(of.get("", {})))
    state = {}
    for index, parameter in enumerate(ordered):
        name = names[id(parameter)]
        for key, value in of.get(name, {}).items():
            if key in _LIKE_ITS_WEIGHT and value.dim() and value.shape != parameter.shape:
                raise CorruptError(
                    f"optimizer state {name}|{key} has shape {tuple(value.shape)}, must be "
                    f"{tuple(parameter.shape)}"
                )
        if name in of:
            state[index] = _state_of(of[name])
    used = sum(map(len, state.values())) + len(of.get("", {}))
    if used != len(tensors):
        raise CorruptError(
            f"the optimizer state holds {len(tensors)} tensors, of which {used} fit this model"
        )
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def _state_of(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    state: dict[str, Any] = {}
    for key, value in tensors.items():
        name, _, kind = key.partition("|")
        state[name] = value.item() if kind else value.clone()  # no two groups share it
    return state
