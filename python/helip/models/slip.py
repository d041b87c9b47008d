"""SLIP (arXiv 2112.12750): a CLIP model with SimCLR's head on its visual tower.

`add_ssl_head` gives any supported CLIP model the head, in place: the model stays an open_clip
model, with all names of its state dict, and gains ``image_mlp`` and a third argument of its
forward.

"slip:ViT-B-16" and its like are the architectures of SLIP's published checkpoints, which are read
by their own names (``visual.blocks...``, ``image_projection``, ``image_mlp.layer1``...).
"""

from __future__ import annotations

import copy
import functools
import re
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from helip.common.errors import InvalidArgumentError, MismatchError, UnsupportedError
from helip.common.options import Positive, check

HEAD = "image_mlp"  # SLIP's name of it
_VIEWS = ("ssl_first", "ssl_second")


class SyncBatchNorm1d(nn.BatchNorm1d):
    """BatchNorm1d whose training statistics are those of all processes' rows together.

    torch's SyncBatchNorm needs an accelerator; this one runs wherever the process group does, and
    takes another number of rows on each process. The state dict is BatchNorm1d's. Alone it *is*
    BatchNorm1d.
    """

    def forward(self, input: Tensor) -> Tensor:  # [b, c]
        if not (self.training and _processes() > 1):
            return super().forward(input)
        with torch.autocast(device_type=input.device.type, enabled=False):
            x = input.to(torch.promote_types(input.dtype, torch.float32))
            count = _sum_over_processes(x.new_tensor(float(len(x))))
            mean = _sum_over_processes(x.sum(dim=0)) / count
            centred = x - mean
            variance = _sum_over_processes(centred.square().sum(dim=0)) / count
            self._keep(mean.detach(), variance.detach(), count)
            out = centred * torch.rsqrt(variance + self.eps)
            if self.affine:
                out = out * self.weight + self.bias
            return out.to(input.dtype)

    @torch.no_grad()
    def _keep(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        if self.running_mean is None or self.running_var is None:
            return
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        share = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        unbiased = variance * (count / (count - 1).clamp(min=1))
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
        self.running_var.lerp_(unbiased.to(self.running_var.dtype), share)


class SslHead(nn.Sequential):
    """SLIP's MLP on raw visual features [b, width] -> [b, features]."""

    def __init__(self, width: int, *, hidden: int = 4096, features: int = 256) -> None:
        for name, value in (("width", width), ("hidden", hidden), ("features", features)):
            check(f"{name} of the head", value, Positive)
        super().__init__(
            OrderedDict(
                layer1=nn.Linear(width, hidden),
                bn1=SyncBatchNorm1d(hidden),
                relu1=nn.ReLU(inplace=True),
                layer2=nn.Linear(hidden, hidden),
                bn2=SyncBatchNorm1d(hidden),
                relu2=nn.ReLU(inplace=True),
                layer3=nn.Linear(hidden, features),
            )
        )

    @property
    def config(self) -> dict[str, int]:
        layer1, layer3 = self.get_submodule("layer1"), self.get_submodule("layer3")
        return {"hidden": int(layer1.out_features), "features": int(layer3.out_features)}  # type: ignore[arg-type]


class _WithSslHead:
    """What a CLIP class gains with the head."""

    def forward(
        self,
        image: Tensor | None = None,  # [b, 3, H, W]
        text: Tensor | None = None,  # int64 [b, context]
        views: Tensor | None = None,  # [2, b, 3, H, W]
    ) -> Any:
        """The model's own output; with ``views`` always a dict, with the head's features [b, d] of
        both views as ``ssl_first`` and ``ssl_second``."""
        out = super().forward(image, text)  # type: ignore[misc]
        if views is None:
            return out
        if views.dim() != 5 or views.shape[0] != 2:
            raise InvalidArgumentError(
                f"views have shape {tuple(views.shape)}, must be [2, rows, 3, height, width]"
            )
        if not isinstance(out, dict):
            names = ("image_features", "text_features", "logit_scale", "logit_bias")
            out = dict(zip(names, out, strict=False))
        head = getattr(self, HEAD)
        # One after the other, as SLIP does: each view has batch statistics of its own.
        return {
            **out,
            **{name: head(raw_features(self, v)) for name, v in zip(_VIEWS, views, strict=True)},
        }


def add_ssl_head(model: nn.Module, *, hidden: int = 4096, features: int = 256) -> nn.Module:
    """Give ``model`` a random head, in place, drawn from torch's global generator; returns it."""
    if has_ssl_head(model):
        raise InvalidArgumentError("the model has a self-supervised head already")
    parameter = next(model.parameters())
    head = SslHead(raw_width(model), hidden=hidden, features=features)
    model.add_module(HEAD, head.to(parameter.device, parameter.dtype))
    model.__class__ = _class_with_head(type(model))  # type: ignore[arg-type]
    return model


def has_ssl_head(model: nn.Module) -> bool:
    return isinstance(model, _WithSslHead)


def ssl_head_of(model: nn.Module) -> dict[str, int] | None:
    """The options of the model's head, for a configuration; None without one."""
    return model.get_submodule(HEAD).config if has_ssl_head(model) else None  # type: ignore[return-value]


@functools.cache
def _class_with_head(base: type) -> type:
    return type(f"Slip{base.__name__}", (_WithSslHead, base), {"__module__": __name__})


# ------------------------------------------------------------------------ raw visual features
#
# What a visual tower gives before the projection to the joint space, which the head sits on.
# Supported are open_clip's VisionTransformer (with any pooling), ModifiedResNet and timm towers
# (with a linear, an MLP or no projection of open_clip's, or the network's own classifier as
# projection), and models that have ``raw_image_features``.

_SUPPORTED = (
    "VisionTransformer, ModifiedResNet and TimmModel without an attention pool of open_clip's"
)


def raw_width(model: nn.Module) -> int:
    """The width of `raw_features`; UnsupportedError where the tower is not known."""
    width = getattr(model, "raw_image_width", None)
    if width is not None:
        return int(width)
    visual: Any = model.visual
    kind = _tower_kind(visual)
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
    kind = _tower_kind(visual)
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


def _tower_kind(visual: Any) -> str:
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


# ------------------------------------------------------------------ the published architectures

_TOWERS = {  # names of timm
    "ViT-S-16": "vit_small_mocov3_patch16_224",
    "ViT-B-16": "vit_base_patch16_224",
    "ViT-L-16": "vit_large_patch16_224",
}
_SMALL = _TOWERS["ViT-S-16"]
_CONFIG: dict[str, Any] = {
    "model_cfg": {
        "embed_dim": 512,
        "quick_gelu": True,  # of the text tower; timm's keeps its GELU
        "vision_cfg": {
            "timm_model_name": "",
            "timm_model_pretrained": False,
            "timm_pool": "token",
            "timm_proj": "linear",
            "timm_proj_bias": False,
            "image_size": 224,
        },
        "text_cfg": {
            "context_length": 77,
            "vocab_size": 49408,
            "width": 512,
            "heads": 8,
            "layers": 12,
        },
    },
    "preprocess_cfg": {
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
        "interpolation": "bilinear",
        "resize_mode": "shortest",
    },
}


def published_config(name: str) -> dict[str, Any]:
    """The configuration of "slip:NAME": SLIP's published ViT-S-16, ViT-B-16 or ViT-L-16."""
    tower = _TOWERS.get(name.replace("/", "-"))
    if tower is None:
        raise InvalidArgumentError(
            f"slip:{name} is no published architecture of SLIP, must be one of "
            f"{', '.join(f'slip:{known}' for known in _TOWERS)}; for another tower pass its "
            "open_clip name and ssl_head=True"
        )
    config = copy.deepcopy(_CONFIG)
    config["model_cfg"]["vision_cfg"]["timm_model_name"] = tower
    return config


def register_small_tower(config: Mapping[str, Any]) -> None:
    """Make SLIP's small tower known to timm where ``config`` asks for it.

    It is timm's vit_small with 12 heads in place of 6. Weights of one fit the other and compute
    something else, so it keeps the name that SLIP gave it.
    """
    vision = config["model_cfg"]["vision_cfg"]
    if not isinstance(vision, dict) or vision.get("timm_model_name") != _SMALL:
        return
    import timm
    from timm.models.vision_transformer import vit_small_patch16_224

    if timm.is_model(_SMALL):
        return

    def vit_small_mocov3_patch16_224(pretrained: bool = False, **options: Any) -> nn.Module:
        return vit_small_patch16_224(pretrained=False, num_heads=12, **options)

    timm.models.register_model(vit_small_mocov3_patch16_224)


def from_published(model: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state dict of SLIP's own code under the names of helip; any other as it is.

    Its tower is timm's, so ``model`` must have one; MismatchError says so.
    """
    if "image_projection" not in state or not any(k.startswith("visual.blocks.") for k in state):
        return state
    visual = getattr(model, "visual", None)
    if not (hasattr(visual, "trunk") and hasattr(visual, "head")):
        raise MismatchError(
            "the checkpoint is one of SLIP's own code, whose tower is a timm ViT, and the model "
            f"has a {type(visual).__name__}; make it as 'slip:ViT-B-16' (or -S-, -L-)"
        )
    state = dict(state)
    projection = state.pop("image_projection").T.contiguous()
    renamed = {re.sub(r"^visual\.", "visual.trunk.", name): t for name, t in state.items()}
    return {**renamed, "visual.head.proj.weight": projection}


# ---------------------------------------------------------------------------- several processes


def _processes() -> int:
    distributed = torch.distributed
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_world_size()
    return 1


def _sum_over_processes(x: Tensor) -> Tensor:
    """The sum of x over all processes; its gradient is the sum of theirs."""
    summed: Tensor = _SumOverProcesses.apply(x)
    return summed


class _SumOverProcesses(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        x = x.clone()
        torch.distributed.all_reduce(x)
        return x

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        gradient = gradient.clone()
        torch.distributed.all_reduce(gradient)
        return gradient
