"""Pictures to decode, and what the core makes of them."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from helip.common.errors import SampleError
from helip.data.image_transform import ImageTransform

PIXELS = {"dtype": "uint8", "layout": "nhwc"}


def photograph(width: int, height: int, seed: int = 0) -> Image.Image:
    """Something with the spectrum of a photograph: smooth, with edges, all colours."""
    random = np.random.default_rng(seed)
    pixels = np.zeros((height, width, 3))
    for octave in (4, 16, 64, 256):
        small = random.normal(size=(max(octave * height // width, 2), octave, 3)) / octave**0.5
        layer = [
            Image.fromarray(small[..., c].astype(np.float32)).resize((width, height), 3)
            for c in range(3)
        ]
        pixels += np.stack([np.asarray(part) for part in layer], axis=-1)
    pixels[height // 3 : height // 2, width // 4 : width // 2] += (1.0, -0.5, 0.3)
    pixels = (pixels - pixels.min()) / np.ptp(pixels) * 255
    return Image.fromarray(pixels.astype(np.uint8))


def off(found, expected) -> int:
    """The largest difference in levels."""
    found, expected = np.asarray(found).astype(int), np.asarray(expected).astype(int)
    assert found.shape == expected.shape
    return int(np.abs(found - expected).max())


def whole(data: bytes) -> np.ndarray:
    """Every pixel that the core decodes."""
    width, height = Image.open(io.BytesIO(data)).size
    if Image.open(io.BytesIO(data)).getexif().get(0x0112, 1) >= 5:
        width, height = height, width
    exact = ImageTransform(size=(height, width), crop="squash", exact_decode=True, **PIXELS)
    return exact._core.apply(data, seed=0, epoch=0, row=0, view=0)


def reason_of(data: bytes, **options) -> str:
    transform = ImageTransform(size=32, **options)
    with pytest.raises(SampleError) as caught:
        transform._core.apply(data, seed=0, epoch=0, row=0, view=0)
    return caught.value.reason
