"""ImageTransforms that do what open_clip's preprocessing does."""

from __future__ import annotations

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
