"""Low-rank adaptation (LoRA, arXiv 2106.09685) of CLIP models, by peft.

The towers' weights stay as they are, and a product of two thin matrices is learned beside each
weight that is adapted. The temperature and a self-supervised head are trained as without LoRA. At
the end the products are merged into the weights, so that what is saved is a plain model.
"""

from __future__ import annotations

import re
from typing import Any

from torch import nn

from helip.common.errors import InvalidArgumentError, needed
from helip.models.options import Lora
from helip.models.slip import HEAD

PARTS = ("attention", "mlp")
_ATTENTION = ("q_proj", "k_proj", "v_proj", "out_proj", "qkv", "proj", "query", "key", "value")
_MLP = ("c_fc", "c_proj", "fc1", "fc2")
_STILL_TRAINED = ("logit_scale", "logit_bias")
# Of open_clip's own Attention: queries, keys and values in one parameter, under the name that it
# has in nn.MultiheadAttention. Transformers of open_clip's main branch have no other.
_PROJECTION = "in_proj_weight"
# Their forward reads the weights of its linear layers itself, past any adapter around these.
_READ_PAST = ("AttentionPool2d",)


def add_lora(model: nn.Module, lora: Lora) -> None:
    """Adapt ``model`` in place: what is adapted is frozen, the thin matrices need gradients.

    One of each two begins at zero, the other is drawn from torch's global generator. A locked tower
    is left alone. Raises UnsupportedError where peft is absent.
    """
    peft = _peft()
    if has_lora(model):
        raise InvalidArgumentError("the model is adapted by LoRA already; merge it first")
    targets = lora_targets(model, lora.parts)
    if not targets:
        raise InvalidArgumentError(
            f"lora finds no {' or '.join(lora.parts)} layer in the unlocked towers of a "
            f"{type(model).__name__}; it fits transformers, and what is locked is not adapted"
        )
    trained = [
        parameter
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and _is_trained_beside(name)
    ]
    projections = [name for name in targets if _holds_projection(model.get_submodule(name))]
    modules = [name for name in targets if name not in projections]
    model.requires_grad_(False)
    if modules:
        # A pattern over whole names: of a list, peft also takes names that end in one of it.
        pattern = "|".join(re.escape(name) for name in modules)
        peft.LoraModel(model, _config(lora, target_modules=pattern), "default")
    for name in projections:
        # From the block around it, since parameters are named in a list.
        parent, _, attention = name.rpartition(".")
        block = model.get_submodule(parent)
        targeted = [f"{attention}.{_PROJECTION}"]
        config = _config(lora, target_modules=[], target_parameters=targeted)
        peft.LoraModel(block, config, "default")
    for parameter in trained:
        parameter.requires_grad_(True)
    from peft.tuners.lora.layer import MultiheadAttention

    for module in model.modules():
        if isinstance(module, MultiheadAttention):
            _keep_base_weights(module)
    if lora.dropout:
        inner = tuple(f"{name}." for name in projections)
        for name in modules:
            if not name.startswith(inner):
                layer: Any = model.get_submodule(name)
                layer.lora_dropout["default"] = nn.Dropout(lora.dropout)


def _config(lora: Lora, **targets: Any) -> Any:
    # Without dropout, which peft refuses beside a parameter.
    return _peft().LoraConfig(
        r=lora.rank, lora_alpha=lora.alpha, lora_dropout=0.0, bias="none", **targets
    )


def merge_lora(model: nn.Module) -> None:
    """Add the products to the weights and take the adapters out, in place; all weights train again.

    Does nothing to a model without them.
    """
    if not has_lora(model):
        return
    layer = _peft().tuners.lora.LoraLayer
    # Outer layers first: peft's attention brings its own output projection with it.
    while True:
        found = next(((n, m) for n, m in model.named_modules() if isinstance(m, layer)), None)
        if found is None:
            break
        name, module = found
        parent, _, attribute = name.rpartition(".")
        if hasattr(module, "unload_and_optionally_merge_module"):
            plain = module.unload_and_optionally_merge_module(
                merge=True, safe_merge=False, adapter_names=None
            )
        else:
            module.merge()
            plain = module.get_base_layer()
        setattr(model.get_submodule(parent), attribute, plain)
    model.requires_grad_(True)


def train_adapters_alone(model: nn.Module) -> None:
    """Lock what `add_lora` locks, where the model is adapted already."""
    for name, parameter in model.named_parameters():
        adapts = ".lora_" in name or _is_trained_beside(name)
        parameter.requires_grad_(parameter.requires_grad and adapts)


def has_lora(model: nn.Module) -> bool:
    # By name, so that peft is imported only where it is used.
    return any(type(m).__module__.startswith("peft.tuners.lora") for m in model.modules())


def lora_targets(model: nn.Module, parts: tuple[str, ...] = PARTS) -> list[str]:
    """Names of the layers to adapt: attention and MLPs of the towers, where they are not locked."""
    found: list[str] = []
    passed: list[str] = []  # nothing below these
    for name, module in model.named_modules():
        if name.split(".")[0] == HEAD or any(name.startswith(f"{p}.") for p in passed):
            continue
        trains = any(p.requires_grad for p in module.parameters(recurse=False))
        if isinstance(module, nn.MultiheadAttention):
            passed.append(name)
            if "attention" in parts and trains and module.in_proj_weight is not None:
                found.append(name)
        elif type(module).__name__ in _READ_PAST or _of_several_widths(module):
            passed.append(name)
        elif _holds_projection(module):
            if "attention" in parts and trains:
                found.append(name)
        elif isinstance(module, nn.Linear) and trains:
            parent, _, last = name.rpartition(".")
            attends = "attn" in parent.lower() or "attention" in parent.lower()
            if ("attention" in parts and attends and last in _ATTENTION) or (
                "mlp" in parts and not attends and last in _MLP
            ):
                found.append(name)
    return found


def _keep_base_weights(attention: Any) -> None:
    """Give each forward of peft's attention copies of its weights, and put the weights back after.

    peft adds the product to a weight before the forward and subtracts it afterwards, which loses a
    rounding a step; from 0.22 on it adds in place. Weights that should be frozen would drift.
    """
    kept: dict[str, Any] = {}

    def owners() -> list[tuple[nn.Module, str]]:
        base = attention.get_base_layer()
        return [(base, "in_proj_weight"), (base.out_proj.get_base_layer(), "weight")]

    def replace(weights: list[nn.Parameter]) -> None:
        for (owner, name), weight in zip(owners(), weights, strict=True):
            delattr(owner, name)
            owner.register_parameter(name, weight)

    def keep(*_: Any) -> None:
        kept["weights"] = [getattr(owner, name) for owner, name in owners()]
        replace([nn.Parameter(each.detach().clone(), False) for each in kept["weights"]])

    def put_back(*_: Any) -> None:
        replace(kept.pop("weights"))

    attention.register_forward_pre_hook(keep)
    attention.register_forward_hook(put_back, always_call=True)


def _holds_projection(module: nn.Module) -> bool:
    own = dict(module.named_parameters(recurse=False))
    return _PROJECTION in own and not isinstance(module, nn.MultiheadAttention)


def _of_several_widths(module: nn.Module) -> bool:
    """An attention of open_clip's that pools: peft adapts none whose keys have another width."""
    return "q_proj_weight" in dict(module.named_parameters(recurse=False))


def _is_trained_beside(name: str) -> bool:
    return name.split(".")[0] == HEAD or name.rpartition(".")[2] in _STILL_TRAINED


def _peft() -> Any:
    with needed("lora needs peft", "helip[lora]"):
        import peft
    return peft
