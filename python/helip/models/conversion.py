"""Weights and configurations of CLIP between open_clip and transformers, where architectures agree.

They agree for OpenAI's architecture: pre-norm transformers with biases, a class token, layer norms
of epsilon 1e-5, GELU or its sigmoid form, and linear projections without biases. What a
configuration asks for beyond that is named by the error.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from helip.common.errors import UnsupportedError

_ACTIVATIONS = {"gelu": False, "quick_gelu": True}  # transformers' name -> open_clip's quick_gelu
_EPS = 1e-5
_VISION = {  # open_clip's options that are representable, and the values that are
    "ls_init_value": None,
    "patch_dropout": 0.0,
    "attentional_pool": False,
    "no_ln_pre": False,
    "pos_embed_type": "learnable",
    "final_ln_after_pool": False,
    "pool_type": "tok",
    "output_tokens": False,
    "act_kwargs": None,
    "norm_kwargs": None,
    "block_type": None,
    "qk_norm": False,
    "scaled_cosine_attn": False,
    "scale_heads": False,
    "scale_attn_inner": False,
    "scale_attn": False,
    "scale_fc": False,
    "timm_model_name": None,
}
_TEXT = {
    "ls_init_value": None,
    "embed_cls": False,
    "no_causal_mask": False,
    "final_ln_after_pool": False,
    "pool_type": "argmax",
    "proj_bias": False,
    "proj_type": "linear",
    "output_tokens": False,
    "act_kwargs": None,
    "norm_kwargs": None,
    "block_type": None,
    "hf_model_name": None,
    "hf_tokenizer_name": None,
}
_MODEL = ("embed_dim", "vision_cfg", "text_cfg", "quick_gelu", "custom_text", "init_logit_scale")

_BLOCK = {  # open_clip's names in a block -> transformers'
    "ln_1": "layer_norm1",
    "attn.out_proj": "self_attn.out_proj",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
_SINGLE = {
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.ln_pre.weight": "vision_model.pre_layrnorm.weight",
    "visual.ln_pre.bias": "vision_model.pre_layrnorm.bias",
    "visual.ln_post.weight": "vision_model.post_layernorm.weight",
    "visual.ln_post.bias": "vision_model.post_layernorm.bias",
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "ln_final.weight": "text_model.final_layer_norm.weight",
    "ln_final.bias": "text_model.final_layer_norm.bias",
    "logit_scale": "logit_scale",
}
_PROJECTIONS = {  # transposed
    "visual.proj": "visual_projection.weight",
    "text_projection": "text_projection.weight",
}
_TOWERS = {"visual.transformer.resblocks.": "vision_model", "transformer.resblocks.": "text_model"}


def to_transformers_config(model_cfg: Mapping[str, Any]) -> dict[str, Any]:
    """`CLIPConfig`'s arguments for open_clip's model_cfg; UnsupportedError names what differs."""
    vision, text = dict(model_cfg["vision_cfg"]), dict(model_cfg["text_cfg"])
    odd = [f"{k} = {v!r}" for k, v in model_cfg.items() if k not in _MODEL and v]
    for label, options, plain in (("vision_cfg", vision, _VISION), ("text_cfg", text, _TEXT)):
        for name, value in plain.items():
            got = options.get(name, value)
            if got != value and got not in (None, False):
                odd.append(f"{label}.{name} = {got!r}")
    if isinstance(vision.get("layers"), (list, tuple)):
        odd.append(f"vision_cfg.layers = {vision['layers']!r} (a ResNet)")
    if odd:
        raise UnsupportedError(
            f"transformers' CLIPModel has no such model: {', '.join(odd)}; save it with "
            "format='open_clip'"
        )
    activation = "quick_gelu" if model_cfg.get("quick_gelu") else "gelu"
    shared = {"hidden_act": activation, "layer_norm_eps": _EPS}
    width, text_width = vision.get("width", 768), text.get("width", 512)
    context, vocabulary = text.get("context_length", 77), text.get("vocab_size", 49408)
    return {
        "projection_dim": model_cfg["embed_dim"],
        "vision_config": {
            "hidden_size": width,
            "intermediate_size": int(width * vision.get("mlp_ratio", 4.0)),
            "num_hidden_layers": vision.get("layers", 12),
            "num_attention_heads": width // vision.get("head_width", 64),
            "image_size": _side(vision.get("image_size", 224)),
            "patch_size": vision.get("patch_size", 16),
            "projection_dim": model_cfg["embed_dim"],
            **shared,
        },
        "text_config": {
            "hidden_size": text_width,
            "intermediate_size": int(text_width * text.get("mlp_ratio", 4.0)),
            "num_hidden_layers": text.get("layers", 12),
            "num_attention_heads": text.get("heads", 8),
            "max_position_embeddings": context,
            "vocab_size": vocabulary,
            "projection_dim": model_cfg["embed_dim"],
            # 2 tells transformers to pool at the largest token id, as open_clip does.
            "eos_token_id": vocabulary - 1 if vocabulary == 49408 else 2,
            "bos_token_id": vocabulary - 2 if vocabulary == 49408 else 0,
            **shared,
        },
    }


def to_open_clip_config(config: Any) -> dict[str, Any]:
    """open_clip's model_cfg for a CLIPConfig; UnsupportedError names what differs."""
    vision, text = config.vision_config, config.text_config
    odd = [
        f"{label}.layer_norm_eps = {part.layer_norm_eps}"
        for label, part in (("vision_config", vision), ("text_config", text))
        if part.layer_norm_eps != _EPS
    ]
    if vision.hidden_act != text.hidden_act or vision.hidden_act not in _ACTIVATIONS:
        odd.append(f"hidden_act = {vision.hidden_act!r} and {text.hidden_act!r}")
    if odd:
        raise UnsupportedError(
            f"open_clip has no such model: {', '.join(odd)}; save it with format='transformers'"
        )
    return {
        "embed_dim": config.projection_dim,
        "quick_gelu": _ACTIVATIONS[vision.hidden_act],
        "vision_cfg": {
            "image_size": vision.image_size,
            "layers": vision.num_hidden_layers,
            "width": vision.hidden_size,
            "head_width": vision.hidden_size // vision.num_attention_heads,
            "mlp_ratio": vision.intermediate_size / vision.hidden_size,
            "patch_size": vision.patch_size,
        },
        "text_cfg": {
            "context_length": text.max_position_embeddings,
            "vocab_size": text.vocab_size,
            "width": text.hidden_size,
            "heads": text.num_attention_heads,
            "layers": text.num_hidden_layers,
            "mlp_ratio": text.intermediate_size / text.hidden_size,
        },
    }


def to_transformers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """open_clip's state dict under the names of transformers; of CLIP and CustomTextCLIP alike."""
    out: dict[str, Tensor] = {}
    for name, tensor in state.items():
        name = name.removeprefix("text.")
        if name in _SINGLE:
            out[_SINGLE[name]] = tensor
        elif name in _PROJECTIONS:
            out[_PROJECTIONS[name]] = tensor.T.contiguous()
        elif not name.endswith("attn_mask"):
            out.update(_block_to_transformers(name, tensor))
    return out


def to_open_clip(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """transformers' state dict under the names of open_clip's CLIP; the inverse."""
    single = {theirs: ours for ours, theirs in _SINGLE.items()}
    projections = {theirs: ours for ours, theirs in _PROJECTIONS.items()}
    block = {theirs: ours for ours, theirs in _BLOCK.items()}
    towers = {f"{tower}.encoder.layers.": prefix for prefix, tower in _TOWERS.items()}
    out: dict[str, Tensor] = {}
    parts: dict[str, dict[str, Tensor]] = {}
    for name, tensor in state.items():
        if name in single:
            out[single[name]] = tensor
        elif name in projections:
            out[projections[name]] = tensor.T.contiguous()
        elif not name.endswith("position_ids"):
            prefix = next((p for p in towers if name.startswith(p)), None)
            if prefix is None:
                raise UnsupportedError(f"{name} is no weight of a CLIPModel that open_clip has")
            number, _, rest = name.removeprefix(prefix).partition(".")
            part, _, kind = rest.rpartition(".")
            ours = f"{towers[prefix]}{number}."
            if part in block:
                out[f"{ours}{block[part]}.{kind}"] = tensor
            else:  # self_attn.q_proj and its like
                which = part.removeprefix("self_attn.").removesuffix("_proj")
                parts.setdefault(f"{ours}attn.in_proj_{kind}", {})[which] = tensor
    for name, three in parts.items():
        out[name] = torch.cat([three["q"], three["k"], three["v"]])
    return out


def _block_to_transformers(name: str, tensor: Tensor) -> dict[str, Tensor]:
    prefix = next((p for p in _TOWERS if name.startswith(p)), None)
    if prefix is None:
        raise UnsupportedError(f"{name} is no weight that transformers' CLIPModel has")
    number, _, rest = name.removeprefix(prefix).partition(".")
    theirs = f"{_TOWERS[prefix]}.encoder.layers.{number}."
    if rest.startswith("attn.in_proj_"):
        kind = rest.removeprefix("attn.in_proj_")
        return {
            f"{theirs}self_attn.{which}_proj.{kind}": part.contiguous()
            for which, part in zip("qkv", tensor.chunk(3), strict=True)
        }
    part, _, kind = rest.rpartition(".")
    if part not in _BLOCK:
        raise UnsupportedError(f"{name} is no weight that transformers' CLIPModel has")
    return {f"{theirs}{_BLOCK[part]}.{kind}": tensor}


def _side(size: Any) -> int:
    sides = set(size) if isinstance(size, (list, tuple)) else {size}
    if len(sides) > 1:
        raise UnsupportedError(f"image_size is {size}; transformers' CLIPModel takes squares alone")
    return int(sides.pop())
