"""Layer-wise decay of the learning rate: the deeper below the output, the less a layer moves.

In a tower of n blocks, embeddings have depth 0, block i (from 0) depth i + 1, and what comes behind
the blocks depth n + 1; a parameter's rate is multiplied by decay ** (n + 1 - depth). What belongs
to no tower (temperature, self-supervised head) keeps the whole rate. As in BEiT (arXiv 2106.08254).
"""

from __future__ import annotations

import re
from typing import Any

from torch import nn

# What begins the names of a tower; open_clip's usual text tower has no name of its own.
_TOWER = re.compile(
    r"(?P<image>visual\.|model\.vision_model\.)|text\.|model\.text_model\.|"
    r"(?=(?:token_embedding|positional_embedding|transformer|ln_final|text_projection)(?:\.|$))"
)
# ResNets count their stages from 1, everything else its blocks from 0.
_STAGE = re.compile(r"(?:^|\.)layer(\d+)\.")
_BLOCK = re.compile(r"(?:^|\.)(?:resblocks|layers|blocks|layer)\.(\d+)\.")
# Modules that come before the blocks; any other outside of them comes behind.
_BEFORE = re.compile(
    r"(?:conv\d|bn\d|class_embedding|positional_embedding|cls_emb|ln_pre|token_embedding|"
    r"embeddings|pre_layrnorm|transformer\.embeddings)(?:\.|$)"
)


def layer_scales(model: nn.Module, decay: float) -> dict[str, float]:
    """The factor of each parameter's learning rate, by its name.

    decay: in (0, 1]; 0.65 ... 0.9 are usual.
    """
    timm = _timm_depths(model)
    scales = {name: 1.0 for name, _ in model.named_parameters()}
    depths: dict[bool, dict[str, int]] = {False: {}, True: {}}  # of the text and the image tower
    for name in scales:
        if tower := _TOWER.match(name):
            depth = timm.get(name, _depth(name[tower.end() :]))
            if depth is not None:
                depths[tower["image"] is not None][name] = depth
    for of_tower in depths.values():
        top = max(of_tower.values(), default=0)
        scales |= {name: decay ** (top + 1 - depth) for name, depth in of_tower.items()}
    return scales


def _depth(name: str) -> int | None:
    """Of a parameter by its name in the tower; None behind all blocks."""
    if stage := _STAGE.search(name):
        return int(stage[1])
    if block := _BLOCK.search(name):
        return int(block[1]) + 1
    return 0 if _BEFORE.match(name) else None


def _timm_depths(model: Any) -> dict[str, int]:
    """Depths in a timm tower: its groups as timm has them for each of its families."""
    trunk = getattr(getattr(model, "visual", None), "trunk", None)
    if trunk is None or not hasattr(trunk, "group_matcher"):
        return {}
    from timm.models import group_parameters

    groups = group_parameters(trunk, trunk.group_matcher(coarse=False), reverse=True)
    return {f"visual.trunk.{name}": int(group) for name, group in groups.items()}
