"""One picture by libraries that decode and no more: bytes to a normalised tensor.

- ``torchvision``: its decoders of JPEG, PNG and WebP.
- ``simplejpeg``: libjpeg-turbo, the whole picture.
- ``simplejpeg_scaled``: the same, decoded to an eighth, a quarter or a half where that is not
  smaller than the result; it begins at half of helip's bound, so it decodes less.

Crop and resize: torchvision's v2 transforms on uint8 tensors, bicubic with antialias.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from loader_sides.side import DEVIATION, MEAN, SCALE, SIZE


def torchvision(data: bytes) -> Any:
    import numpy as np
    import torch
    from torchvision.io import ImageReadMode, decode_image

    encoded = torch.from_numpy(np.frombuffer(data, np.uint8).copy())
    return decode_image(encoded, mode=ImageReadMode.RGB)


def simplejpeg(data: bytes) -> Any:
    return _by_simplejpeg(data)


def simplejpeg_scaled(data: bytes) -> Any:
    return _by_simplejpeg(data, min_height=SIZE, min_width=SIZE, min_factor=2)


def _by_simplejpeg(data: bytes, **options: int) -> Any:
    import simplejpeg
    import torch

    pixels = simplejpeg.decode_jpeg(data, fastdct=False, fastupsample=False, **options)
    return torch.from_numpy(pixels).permute(2, 0, 1)


def fastest(format: str) -> Callable[[bytes], Any]:
    """For loaders that have no decoder of their own."""
    return simplejpeg_scaled if format == "jpeg" else torchvision


@functools.cache
def transform() -> Callable[[Any], Any]:
    """uint8 [3, h, w] to float32 [3, 224, 224]."""
    import torch
    from torchvision.transforms import InterpolationMode, v2

    return v2.Compose([
        v2.RandomResizedCrop(
            SIZE, scale=SCALE, interpolation=InterpolationMode.BICUBIC, antialias=True
        ),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize(MEAN, DEVIATION),
    ])  # fmt: skip
