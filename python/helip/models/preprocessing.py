"""ImageTransforms that do what open_clip's preprocessing does."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from helip.data.image_transform import ImageTransform

# What an augmentation may set here. The others are timm's.
_KNOWN = {"scale", "color_jitter", "color_jitter_prob", "gray_scale_prob", "use_timm"}


def train_transform(
    preprocess: Mapping[str, Any], augmentation: Mapping[str, Any]
) -> ImageTransform | None:
    """The training transform of open_clip for a model, or None where it has to make its own.

    Args:
        preprocess: fields of open_clip's PreprocessCfg: ``size``, ``mean``, ``std``, ...
        augmentation: fields of its AugmentationCfg.
    """
    given = {name: value for name, value in augmentation.items() if value is not None}
    plain = not given.get("use_timm") and given.keys() <= _KNOWN
    if not plain or preprocess.get("mode", "RGB") != "RGB":
        return None
    options: dict[str, Any] = {}
    if probability := given.get("color_jitter_prob"):
        strengths = given.get("color_jitter")
        if not isinstance(strengths, (list, tuple)) or len(strengths) != 4:
            return None  # open_clip has the message
        options |= zip(("brightness", "contrast", "saturation", "hue"), strengths, strict=True)
        options["jitter_probability"] = probability
    if probability := given.get("gray_scale_prob"):
        options["grayscale_probability"] = probability
    for name in ("mean", "std"):
        if preprocess.get(name) is not None:
            options[name] = preprocess[name]
    return ImageTransform.train(
        size=preprocess.get("size", 224), scale=given.get("scale", (0.9, 1.0)), **options
    )


def core_transform(transform: Any) -> ImageTransform | None:
    """The core's transform for open_clip's of evaluation; None where it is another.

    It is a torchvision Compose that resizes the shorter side to S, cuts S x S out of the centre and
    normalises. An ImageTransform stands for itself. JPEGs are decoded exactly, as by Pillow: at a
    half or a quarter of the size features would lie at a cosine of 0.98.
    """
    if isinstance(transform, ImageTransform):
        return dataclasses.replace(transform, exact_decode=True)
    from torchvision import transforms as tv

    if type(transform) is not tv.Compose or len(transform.transforms) != 5:
        return None
    resize, crop, convert, to_tensor, normalise = transform.transforms
    kinds = [type(resize), type(crop), type(normalise)]
    names = [getattr(each, "__name__", type(each).__name__) for each in (convert, to_tensor)]
    if (
        kinds != [tv.Resize, tv.CenterCrop, tv.Normalize]
        or names[0] not in ("MaybeConvertMode", "_convert_to_rgb")
        or names[1] not in ("MaybeToTensor", "ToTensor")
        or getattr(convert, "mode", "RGB") != "RGB"
    ):
        return None
    size = resize.size[0] if isinstance(resize.size, (list, tuple)) else resize.size
    edges = [size] if isinstance(resize.size, int) else list(resize.size)
    known = {
        tv.InterpolationMode.BICUBIC: "bicubic",
        tv.InterpolationMode.BILINEAR: "bilinear",
    }
    if (
        len(edges) != 1  # two would not keep the picture's shape
        or tuple(crop.size) != (size, size)
        or resize.max_size is not None
        or resize.interpolation not in known
        or len(normalise.mean) != 3
        or len(normalise.std) != 3
    ):
        return None
    return ImageTransform.eval(
        size=size,
        interpolation=known[resize.interpolation],
        mean=tuple(map(float, normalise.mean)),
        std=tuple(map(float, normalise.std)),
        exact_decode=True,
    )
