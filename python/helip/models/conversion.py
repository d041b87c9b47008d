"""Weights and configurations of CLIP between open_clip and transformers, where architectures agree.

They agree for OpenAI's architecture: pre-norm transformers with biases, a class token, layer norms
of epsilon 1e-5, GELU or its sigmoid form, and linear projections without biases. What a
configuration asks for beyond that is named by the error.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from helip.common.errors import UnsupportedError

_ACTIVATIONS = {"gelu": False, "quick_gelu": True}  # transformers' name -> open_clip's quick_gelu
_EPS = 1e-5
_MODEL = ("embed_dim", "vision_cfg", "text_cfg", "quick_gelu", "custom_text", "init_logit_scale")
_SIZES: dict[str, dict[str, tuple[str, int]]] = {  # open_clip's name -> transformers', default
    "vision": {
        "image_size": ("image_size", 224),
        "layers": ("num_hidden_layers", 12),
        "width": ("hidden_size", 768),
        "patch_size": ("patch_size", 16),
    },
    "text": {
        "context_length": ("max_position_embeddings", 77),
        "vocab_size": ("vocab_size", 49408),
        "width": ("hidden_size", 512),
        "heads": ("num_attention_heads", 8),
        "layers": ("num_hidden_layers", 12),
    },
}
# Options of open_clip that transformers does not have: they must be off, or as said here.
_OFF = (
    *("ls_init_value", "patch_dropout", "attentional_pool", "no_ln_pre", "final_ln_after_pool"),
    *("output_tokens", "act_kwargs", "norm_kwargs", "block_type", "qk_norm", "scaled_cosine_attn"),
    *("scale_heads", "scale_attn_inner", "scale_attn", "scale_fc", "timm_model_name", "embed_cls"),
    *("no_causal_mask", "proj_bias", "hf_model_name", "hf_tokenizer_name"),
)
_USUAL: dict[str, tuple[str, ...]] = {
    "pos_embed_type": ("learnable",),
    "pool_type": ("tok", "argmax"),
    "proj_type": ("linear",),
}


def _names() -> dict[str, list[str]]:
    """open_clip's name of each weight -> transformers', with # for the number of a block.

    A block's three input projections are one weight of open_clip's.
    """
    modules = {
        "visual.ln_pre": "vision_model.pre_layrnorm",
        "visual.ln_post": "vision_model.post_layernorm",
        "ln_final": "text_model.final_layer_norm",
    }
    block = {
        "ln_1": "layer_norm1",
        "attn.out_proj": "self_attn.out_proj",
        "ln_2": "layer_norm2",
        "mlp.c_fc": "mlp.fc1",
        "mlp.c_proj": "mlp.fc2",
    }
    names = {
        "visual.class_embedding": ["vision_model.embeddings.class_embedding"],
        "visual.positional_embedding": ["vision_model.embeddings.position_embedding.weight"],
        "visual.conv1.weight": ["vision_model.embeddings.patch_embedding.weight"],
        "visual.proj": ["visual_projection.weight"],
        "token_embedding.weight": ["text_model.embeddings.token_embedding.weight"],
        "positional_embedding": ["text_model.embeddings.position_embedding.weight"],
        "text_projection": ["text_projection.weight"],
        "logit_scale": ["logit_scale"],
    }
    for ours, theirs in (("visual.transformer", "vision_model"), ("transformer", "text_model")):
        ours, theirs = f"{ours}.resblocks.#.", f"{theirs}.encoder.layers.#."
        modules |= {ours + name: theirs + other for name, other in block.items()}
        for kind in ("weight", "bias"):
            three = [f"{theirs}self_attn.{part}_proj.{kind}" for part in "qkv"]
            names[f"{ours}attn.in_proj_{kind}"] = three
    for ours, theirs in modules.items():
        names |= {f"{ours}.{kind}": [f"{theirs}.{kind}"] for kind in ("weight", "bias")}
    return names


_NAMES = _names()
_INVERSE = {theirs: ours for ours, names in _NAMES.items() for theirs in names}
_TRANSPOSED = ("visual.proj", "text_projection")


def to_transformers_config(model_cfg: Mapping[str, Any]) -> dict[str, Any]:
    """`CLIPConfig`'s arguments for open_clip's model_cfg; UnsupportedError names what differs."""
    vision = model_cfg["vision_cfg"]
    odd = [f"{k} = {v!r}" for k, v in model_cfg.items() if k not in _MODEL and v]
    odd += [
        f"{tower}.{name} = {model_cfg[tower][name]!r}"
        for tower in ("vision_cfg", "text_cfg")
        for name in (*_OFF, *_USUAL)
        if model_cfg[tower].get(name) not in (None, False, *_USUAL.get(name, ()))
    ]
    if isinstance(vision.get("layers"), (list, tuple)):
        odd.append(f"vision_cfg.layers = {vision['layers']!r} (a ResNet)")
    if odd:
        raise UnsupportedError(
            f"transformers' CLIPModel has no such model: {', '.join(odd)}; save it with "
            "format='open_clip'"
        )
    towers: dict[str, dict[str, Any]] = {}
    for tower, sizes in _SIZES.items():
        options = model_cfg[f"{tower}_cfg"]
        part = {theirs: options.get(ours, usual) for ours, (theirs, usual) in sizes.items()}
        towers[tower] = {
            **part,
            "intermediate_size": int(part["hidden_size"] * options.get("mlp_ratio", 4.0)),
            "projection_dim": model_cfg["embed_dim"],
            "hidden_act": "quick_gelu" if model_cfg.get("quick_gelu") else "gelu",
            "layer_norm_eps": _EPS,
        }
    images, captions = towers["vision"], towers["text"]
    images["num_attention_heads"] = images["hidden_size"] // vision.get("head_width", 64)
    images["image_size"] = _side(images["image_size"])
    # 2 tells transformers to pool at the largest token id, as open_clip does.
    begin, end = (49406, 49407) if captions["vocab_size"] == 49408 else (0, 2)
    captions |= {"bos_token_id": begin, "eos_token_id": end}
    return {
        "projection_dim": model_cfg["embed_dim"],
        "vision_config": images,
        "text_config": captions,
    }


def to_open_clip_config(config: Any) -> dict[str, Any]:
    """open_clip's model_cfg for a CLIPConfig; UnsupportedError names what differs."""
    towers = {"vision": config.vision_config, "text": config.text_config}
    odd = [
        f"{tower}_config.layer_norm_eps = {part.layer_norm_eps}"
        for tower, part in towers.items()
        if part.layer_norm_eps != _EPS
    ]
    activations = [part.hidden_act for part in towers.values()]
    if len(set(activations)) > 1 or activations[0] not in _ACTIVATIONS:
        odd.append(f"hidden_act = {activations[0]!r} and {activations[1]!r}")
    if odd:
        raise UnsupportedError(
            f"open_clip has no such model: {', '.join(odd)}; save it with format='transformers'"
        )
    ours = {
        f"{tower}_cfg": {
            **{name: getattr(part, theirs) for name, (theirs, _) in _SIZES[tower].items()},
            "mlp_ratio": part.intermediate_size / part.hidden_size,
        }
        for tower, part in towers.items()
    }
    vision = config.vision_config
    ours["vision_cfg"]["head_width"] = vision.hidden_size // vision.num_attention_heads
    quick = _ACTIVATIONS[activations[0]]
    return {"embed_dim": config.projection_dim, "quick_gelu": quick, **ours}


def to_transformers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """open_clip's state dict under the names of transformers; of CLIP and CustomTextCLIP alike."""
    out: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if name.endswith("attn_mask"):
            continue
        ours, block = _of_block(name.removeprefix("text."))
        if ours not in _NAMES:
            raise UnsupportedError(f"{name} is no weight that transformers' CLIPModel has")
        theirs = [name.replace("#", block) for name in _NAMES[ours]]
        tensor = tensor.T if ours in _TRANSPOSED else tensor
        tensors = [tensor] if len(theirs) == 1 else tensor.chunk(len(theirs))
        out |= zip(theirs, (part.contiguous() for part in tensors), strict=True)
    return out


def to_open_clip(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """transformers' state dict under the names of open_clip's CLIP; the inverse."""
    out: dict[str, Tensor] = {}
    for name in state:
        theirs, block = _of_block(name)
        if name.endswith("position_ids"):
            continue
        if theirs not in _INVERSE:
            raise UnsupportedError(f"{name} is no weight of a CLIPModel that open_clip has")
        ours = _INVERSE[theirs]
        if theirs == _NAMES[ours][0]:
            tensors = [state[other.replace("#", block)] for other in _NAMES[ours]]
            tensor = torch.cat(tensors) if len(tensors) > 1 else tensors[0]
            tensor = tensor.T.contiguous() if ours in _TRANSPOSED else tensor
            out[ours.replace("#", block)] = tensor
    return out


def _of_block(name: str) -> tuple[str, str]:
    """A name with # in place of the number of its block, and that number."""
    number = re.search(r"(?<=\.)\d+(?=\.)", name)
    if number is None:
        return name, ""
    return f"{name[: number.start()]}#{name[number.end() :]}", number[0]


def _side(size: Any) -> int:
    sides = set(size) if isinstance(size, (list, tuple)) else {size}
    if len(sides) > 1:
        raise UnsupportedError(f"image_size is {size}; transformers' CLIPModel takes squares alone")
    return int(sides.pop())
