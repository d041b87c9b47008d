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
