"""Rows that tests of streaming mine, the data set of them, and a loader over it."""

from __future__ import annotations

import numpy as np
from PIL import Image

from helip.data import Dataset
from helip.loader import HardPairLoader

ROWS = 60


def whole_rows(rows: int = ROWS, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rows of small whole numbers, in clusters: every dtype holds them, every sum is exact."""
    random = np.random.default_rng(seed)
    parts = []
    for dim in (19, 33):
        centres = random.integers(-60, 60, (6, dim))
        parts.append(centres[np.arange(rows) % 6] + random.integers(-30, 31, (rows, dim)))
    image, text = (part.astype(np.float32) for part in parts)
    if rows > 24:
        image[7] = 0  # an outlier
        image[24], text[24] = 2 * image[18], 3 * text[18]  # a near duplicate, but for its length
    return image, text


class Colours(Dataset):
    """Squares of noise, one for each row of whole_rows()."""

    def __init__(self, rows: int = ROWS) -> None:
        self._keys = [f"row-{row}" for row in range(rows)]

    @property
    def keys(self):
        return self._keys

    def _read_image(self, row: int) -> Image.Image:
        pixels = np.random.default_rng(row).integers(0, 256, (20, 20, 3), dtype=np.uint8)
        return Image.fromarray(pixels)

    def _read_caption(self, row: int) -> str:
        return f"colour number {row}"


def loader_of(miner, **options) -> HardPairLoader:
    return HardPairLoader(Colours(), miner, **{"batch_size": 10, "seed": 3, **options})
