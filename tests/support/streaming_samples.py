"""Rows that tests of streaming mine, and a loader over a data set of as many."""

from __future__ import annotations

import numpy as np

from helip.loading.loader import HardPairLoader
from support.train_samples import Colours

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


def loader_of(miner, **options) -> HardPairLoader:
    return HardPairLoader(Colours(ROWS), miner, **{"batch_size": 10, "seed": 3, **options})
