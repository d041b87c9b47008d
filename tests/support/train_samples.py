"""A data set to train on, and the smallest CLIP model."""

from __future__ import annotations

import functools

import numpy as np
from PIL import Image

from helip.data.dataset import Dataset
from helip.pairs.hard_pairs import HardPairs

CONFIG = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 16, "layers": 1, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 8, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


@functools.cache
def _noise(row: int) -> np.ndarray:
    return np.random.default_rng(row).integers(0, 256, (20, 20, 3), dtype=np.uint8)


class Colours(Dataset):
    """Squares of noise, all readable."""

    def __init__(self, rows: int = 24, *, prefix: str = "row") -> None:
        self._keys = [f"{prefix}-{row}" for row in range(rows)]

    @property
    def keys(self):
        return self._keys

    def _read_image(self, row: int) -> Image.Image:
        return Image.fromarray(_noise(row))

    def _read_caption(self, row: int) -> str:
        return f"colour number {row}"


ROWS = 24


def table(data: Dataset, shift: int = 1) -> HardPairs:
    """Three hard pairs for each row but the last four, which are outliers."""
    ids = (np.arange(ROWS)[:, None] + shift + np.arange(3)[None, :]).astype(np.int32) % ROWS
    scores = np.tile(np.array([0.9, 0.8, 0.7], dtype=np.float32), (ROWS, 1))
    ids[-4:], scores[-4:] = -1, 0
    return HardPairs.from_arrays(ids, scores, data_fingerprint=data.fingerprint)
