"""What the tests of the encoder families share: pictures, captions, and no hub."""

from __future__ import annotations

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # before a library reads it at import

import numpy as np
import pytest
import torch
from PIL import Image

from helip.encoders.engines import TorchEngine
from helip.encoders.network_encoder import NetworkImageEncoder

__all__ = ["CAPTIONS", "close", "offline", "picture", "pictures", "torch_images"]

CAPTIONS = ["a red cat", "a dog", "a red cat on a red mat and a dog on a mat", "a dog"]


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)


def picture(seed: int = 0, width: int = 48, height: int = 40) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def pictures(encoder, count: int = 3) -> torch.Tensor:
    return torch.stack([encoder.preprocess(picture(seed)) for seed in range(count)])


def close(actual: torch.Tensor, expected: torch.Tensor, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


def torch_images(network, preprocess, *, spec: str, dtype="float32") -> NetworkImageEncoder:
    """An image encoder that torch computes on the CPU."""
    return NetworkImageEncoder(
        TorchEngine(network, torch.device("cpu"), dtype), preprocess, spec=spec
    )
