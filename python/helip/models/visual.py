"""The raw features of a visual tower: what it gives before the projection to the joint space.

A self-supervised head sits on these. Supported are open_clip's VisionTransformer (with any
pooling), ModifiedResNet and timm towers (with a linear, an MLP or no projection of open_clip's, or
the network's own classifier as projection), and models that have ``raw_image_features``.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from helip.common.errors import UnsupportedError

_SUPPORTED = (
    "VisionTransformer, ModifiedResNet and TimmModel without an attention pool of open_clip's"
)


def raw_width(model: nn.Module) -> int:
    """The width of `raw_features`; UnsupportedError where the tower is not known."""
    width = getattr(model, "raw_image_width", None)
    if width is not None:
        return int(width)
    visual: Any = model.visual
    kind = _kind(visual)
    if kind == "resnet":
        return int(visual.attnpool.c_proj.in_features)
    if kind == "timm":
        return int(getattr(visual.trunk, "head_hidden_size", None) or visual.trunk.num_features)
    return int(visual.ln_post.normalized_shape[0])


def raw_features(model: Any, images: Tensor) -> Tensor:
    """Features [n, width] of images [n, 3, H, W], before the projection; with a graph."""
    own = getattr(model, "raw_image_features", None)
    if own is not None:
        return own(images)
    visual = model.visual
    kind = _kind(visual)
    if kind == "resnet":
        x = visual.stem(images)
        for layer in (visual.layer1, visual.layer2, visual.layer3, visual.layer4):
            x = layer(x)
        return _attention_pooled(visual.attnpool, x)
    if kind == "timm":
        trunk = visual.trunk
        return trunk.forward_head(trunk.forward_features(images), pre_logits=True)
    pooled, _ = visual._pool(visual.transformer(visual._embeds(images)))
    return pooled


def _kind(visual: Any) -> str:
    """Told by what a tower has, so that open_clip need not be imported to ask."""
    name = type(visual).__name__
    if name == "ModifiedResNet" and visual.attnpool is not None:
        return "resnet"
    if name == "TimmModel" and not hasattr(visual.head, "pool"):
        return "timm"
    if name == "VisionTransformer" and all(
        hasattr(visual, part) for part in ("_embeds", "transformer", "_pool", "ln_post")
    ):
        return "transformer"
    raise UnsupportedError(
        f"the raw features of a {name} tower are not known, so no self-supervised head fits on "
        f"it; supported are {_SUPPORTED}"
    )


def _attention_pooled(pool: Any, x: Tensor) -> Tensor:
    """open_clip's AttentionPool2d up to its output projection; the mean token's query alone.

    x: [n, c, h, w] -> [n, c].
    """
    tokens = x.flatten(2).permute(0, 2, 1)  # [n, h w, c]
    tokens = torch.cat([tokens.mean(dim=1, keepdim=True), tokens], dim=1)
    tokens = tokens + pool.positional_embedding.to(tokens.dtype)
    n, _, width = tokens.shape

    def heads(values: Tensor) -> Tensor:  # [n, heads, tokens, width / heads]
        return values.view(n, -1, pool.num_heads, width // pool.num_heads).transpose(1, 2)

    pooled = F.scaled_dot_product_attention(
        heads(pool.q_proj(tokens[:, :1])), heads(pool.k_proj(tokens)), heads(pool.v_proj(tokens))
    )
    return pooled.transpose(1, 2).reshape(n, width)
