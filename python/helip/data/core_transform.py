"""Which transforms of torchvision the core can do itself, and who reads pictures."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch

from helip.common.errors import InvalidArgumentError
from helip.data.image_transform import ImageTransform
from helip.data.options import Reader
from helip.data.picture_reader import can_read

# open_clip's names of steps that make an RGB image or a tensor of 0 … 1 out of a Pillow image.
_TO_RGB = ("MaybeConvertMode", "_convert_to_rgb")
_TO_UNIT = ("MaybeToTensor", "ToTensor")


def core_transform(transform: Any) -> ImageTransform | None:
    """The core's transform in place of ``transform``; None where it does something else.

    What is known: torchvision's Compose, of either version, and its presets of classification, that
    resize the shorter side, cut a square out of the centre and normalise, as open_clip, timm and
    torchvision evaluate; pictures are RGB. An ImageTransform stands for itself. JPEGs are decoded
    exactly, as by Pillow: at a half or a quarter of the size features would lie at a cosine of
    0.98.
    """
    if isinstance(transform, ImageTransform):
        return dataclasses.replace(transform, exact_decode=True)
    from torchvision.transforms import Compose, v2
    from torchvision.transforms._presets import ImageClassification

    if type(transform) is ImageClassification:
        t = transform
        return _made(t.resize_size, t.crop_size, t.interpolation, t.mean, t.std)
    if type(transform) not in (Compose, v2.Compose):
        return None
    return _of_steps(transform.transforms)


def _of_steps(steps: Sequence[Any]) -> ImageTransform | None:
    from torchvision import transforms as v1
    from torchvision.transforms import v2

    if len(steps) < 4:
        return None
    resize, crop, *between, normalise = steps
    if not (
        # The very classes: one that is derived may do something else.
        type(resize) in (v1.Resize, v2.Resize)
        and type(crop) in (v1.CenterCrop, v2.CenterCrop)
        and type(normalise) in (v1.Normalize, v2.Normalize)
        and resize.max_size is None
    ):
        return None
    names = [getattr(each, "__name__", type(each).__name__) for each in between]
    if names and names[0] in _TO_RGB and getattr(between[0], "mode", "RGB") == "RGB":
        names, between = names[1:], between[1:]
    if len(names) == 1 and names[0] in _TO_UNIT:
        largest = 1.0
    elif names == ["PILToTensor", "ToDtype"] and _is_float32(between[1]):
        largest = 1.0 if between[1].scale else 255.0
    else:
        return None
    mean, std = ([float(x) / largest for x in values] for values in (normalise.mean, normalise.std))
    return _made(resize.size, crop.size, resize.interpolation, mean, std)


def _is_float32(step: Any) -> bool:
    return bool(step.dtype == torch.float32)


def _made(
    resize: Any, crop: Any, interpolation: Any, mean: Sequence[float], std: Sequence[float]
) -> ImageTransform | None:
    from torchvision.transforms import InterpolationMode

    known = {InterpolationMode.BICUBIC: "bicubic", InterpolationMode.BILINEAR: "bilinear"}
    edges = [resize] if isinstance(resize, int) else list(resize)
    sides = [crop] if isinstance(crop, int) else list(crop)
    if (
        len(edges) != 1  # two would not keep the picture's shape
        or len(set(sides)) != 1
        or interpolation not in known
        or len(mean) != 3
        or len(std) != 3
    ):
        return None
    size = sides[0]
    return ImageTransform.eval(
        size=size,
        resize=0 if edges[0] == size else edges[0],
        interpolation=known[interpolation],
        mean=tuple(map(float, mean)),
        std=tuple(map(float, std)),
        exact_decode=True,
    )


def chosen_core(reader: Reader, data: Any, transform: Any) -> ImageTransform | None:
    """The core's transform where ``reader`` and what is read allow it; None where Pillow reads.

    Raises InvalidArgumentError where the core is asked for and cannot.
    """
    found = None if reader == "pillow" else core_transform(transform)
    if found is not None and not (can_read(data) and _is_usual(found)):
        found = None
    if reader == "core" and found is None:
        why = (
            f"the pictures of {type(data).__name__} are not files or members of tar shards"
            if not can_read(data)
            else "the transform is neither one of torchvision that resizes the shorter side, cuts "
            "a square out of the centre and normalises, nor an ImageTransform to float32 [3, "
            "height, width]"
        )
        raise InvalidArgumentError(f"reader is 'core', and {why}; give reader='auto' or 'pillow'")
    return found


def _is_usual(transform: ImageTransform) -> bool:
    return transform.layout == "nchw" and transform.dtype != "uint8"
