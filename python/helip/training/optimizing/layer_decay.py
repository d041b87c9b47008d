"""Layer-wise decay of the learning rate: the deeper below the output, the less a layer moves.

In a tower of n blocks, embeddings have depth 0, block i (from 0) depth i + 1, and what comes behind
the blocks depth n + 1; a parameter's rate is multiplied by decay ** (n + 1 - depth). What belongs
to no tower (temperature, self-supervised head) keeps the whole rate. As in BEiT (arXiv 2106.08254).
"""

from __future__ import annotations

import re
from typing import Any

from torch import nn

from helip.common.errors import InvalidArgumentError

_BLOCK = re.compile(r"(?:^|\.)(?:resblocks|layers|blocks|layer)\.?(\d+)\.")
# Module names that come before the blocks; any other outside of them comes behind.
_BEFORE = re.compile(
    r"^(?:conv\d|bn\d|class_embedding|positional_embedding|cls_emb|ln_pre|token_embedding|"
    r"embeddings|pre_layrnorm|transformer\.embeddings)(?:\.|$)"
)
_TEXT = ("token_embedding", "positional_embedding", "transformer", "ln_final", "text_projection")


def layer_scales(model: nn.Module, decay: float) -> dict[str, float]:
    """The factor of each parameter's learning rate, by its name.

    decay: in (0, 1]; 0.65 ... 0.9 are usual.
    """
    if not 0.0 < decay <= 1.0:
        raise InvalidArgumentError(
            f"layer_decay is {decay}, must be in (0, 1]; None or 1 moves all layers alike"
        )
    depths: dict[str, tuple[str, int | None]] = {}  # name -> tower and depth; None: behind all
    tops: dict[str, int] = {}
    timm = _timm_depths(model)
    for name, _ in model.named_parameters():
        tower, rest = _place(name)
        if tower is None:
            continue
        depth = timm.get(name, _depth(rest)) if tower == "image" else _depth(rest)
        depths[name] = tower, depth
        if depth is not None:
            tops[tower] = max(tops.get(tower, 0), depth)
    scales = dict.fromkeys((name for name, _ in model.named_parameters()), 1.0)
    for name, (tower, depth) in depths.items():
        if depth is not None:
            scales[name] = decay ** (tops[tower] + 1 - depth)
    return scales


def _place(name: str) -> tuple[str | None, str]:
    """Which tower a parameter belongs to, and its name there."""
    for prefix, tower in (
        ("visual.", "image"),
        ("text.", "text"),
        ("model.vision_model.", "image"),
        ("model.text_model.", "text"),
    ):
        if name.startswith(prefix):
            return tower, name.removeprefix(prefix)
    if name.split(".")[0] in _TEXT:
        return "text", name
    return None, name


def _depth(rest: str) -> int | None:
    match = _BLOCK.search(rest)
    if match:
        # ResNets count their stages from 1, everything else its blocks from 0.
        return int(match[1]) + (0 if rest.startswith("layer") and "layers" not in rest else 1)
    return 0 if _BEFORE.match(rest) else None


def _timm_depths(model: Any) -> dict[str, int]:
    """Depths in a timm tower: its groups as timm has them for each of its families."""
    trunk = getattr(getattr(model, "visual", None), "trunk", None)
    if trunk is None or not hasattr(trunk, "group_matcher"):
        return {}
    from timm.models import group_parameters

    groups = group_parameters(trunk, trunk.group_matcher(coarse=False), reverse=True)
    return {f"visual.trunk.{name}": int(group) for name, group in groups.items()}
