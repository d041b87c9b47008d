"""A store with a row of zeros and a deleted one, the table mined from it, and plain cosines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import helip
from helip import EmbeddingStore, HardPairs

ROWS = 40
ZERO = 7
DELETED = 11
TABLE_ROWS = 50  # of a random table


def sides(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Images [ROWS, 8] and captions [ROWS, 6], float32."""
    random = np.random.default_rng(seed)
    rows = random.normal(size=(ROWS, 14)).astype(np.float32) + np.float32(0.4)
    rows[ZERO] = 0
    return rows[:, :8], rows[:, 8:]


def write_store(path: Path, *, dtype: str = "float32", seed: int = 0) -> EmbeddingStore:
    image, text = sides(seed)
    with EmbeddingStore.create(path, image_dim=8, text_dim=6, dtype=dtype) as writer:
        writer.append([f"k{row}" for row in range(ROWS)], image, text)
        writer.delete([DELETED])
    return EmbeddingStore.open(path)


def mined(store: EmbeddingStore, k: int = 25) -> HardPairs:
    """Pools of different lengths."""
    return helip.mine(store, k=k, progress=False)


def cosines(rows: np.ndarray, target: int, ids: np.ndarray) -> np.ndarray:
    """float64 [n], pair by pair."""
    rows = rows.astype(np.float64)
    length = np.sqrt((rows**2).sum(axis=1))
    return np.array([rows[target] @ rows[i] / (length[target] * length[i]) for i in ids])


def random_table(k: int, seed: int, **origin: Any) -> HardPairs:
    """Pools of 0 to k random rows; few different scores, also negative ones and zeros."""
    random = np.random.default_rng(seed)
    ids = np.full((TABLE_ROWS, k), -1, np.int32)
    scores = np.zeros((TABLE_ROWS, k), np.float32)
    for target in range(TABLE_ROWS):
        count = int(random.integers(0, k + 1)) if target % 7 else k * (target % 2)
        ids[target, :count] = random.choice(
            np.delete(np.arange(TABLE_ROWS), target), count, replace=False
        )
        scores[target, :count] = -np.sort(-random.integers(-3, 6, count) / 8)
    return HardPairs.from_arrays(ids, scores, **origin)


class _Core:
    """What HardPairs reads of the compiled table."""

    fingerprint = data_fingerprint = path = ""
    options_json = report_json = "{}"

    def __init__(self, ids: np.ndarray, scores: np.ndarray) -> None:
        self.ids, self.scores, self.k = ids, scores, ids.shape[1]
        self.counts = (ids >= 0).sum(axis=1).astype(np.int32)

    def __len__(self) -> int:
        return len(self.ids)


def core_of(ids: list[list[int]], dtype: type) -> Any:
    """A table whose row numbers have that dtype, however few they are; scores fall."""
    array = np.array(ids, dtype)
    scores = np.where(array >= 0, np.linspace(1, 0.5, array.shape[1]), 0).astype(np.float32)
    return _Core(array, scores)
