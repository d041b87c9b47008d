"""Cosine similarities of hard pairs by the store that was mined."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from helip import _core
from helip.common.machine import core_threads
from helip.pairs.blocks import row_blocks
from helip.store.embedding_store import EmbeddingStore

Floats = NDArray[np.float32]


def pool_cosines(store: EmbeddingStore, target: int, ids: np.ndarray) -> tuple[Floats, Floats]:
    """Of one target with ``ids`` [n]: float32 [n] of the images and [n] of the captions.

    Reads these n + 1 rows alone; computed in float64. NaN where one of the two rows is zero or
    deleted, since no direction is known of it.
    """
    rows = np.concatenate([[target], ids]).astype(np.int64)
    unknown = np.isin(rows, store.deleted)
    image, text = (_cosines(matrix.numpy(), unknown) for matrix in store.rows(rows))
    return image, text


class TableCosines:
    """Cosines of blocks of a table, by all cores. Reads the store once when it is made, and keeps
    16 bytes a row; rows are read where they lie."""

    def __init__(self, store: EmbeddingStore) -> None:
        self._cosines = _core.PairCosines(*store.matrices, core_threads())

    def of(self, first: int, ids: np.ndarray) -> tuple[Floats, Floats]:
        """Of the targets from ``first`` on with ``ids`` [b, k]: float32 [b, k] of the images and of
        the captions; NaN where an id is -1, and as `pool_cosines` has it."""
        image, text = (np.empty(ids.shape, dtype=np.float32) for _ in range(2))
        for block in row_blocks(*ids.shape):
            rows = np.ascontiguousarray(ids[block], dtype=np.int64)
            image[block] = self._cosines.of("image_image", first + block.start, rows)
            text[block] = self._cosines.of("text_text", first + block.start, rows)
        return image, text


def _cosines(rows: np.ndarray, unknown: np.ndarray) -> Floats:
    """Of the first row [d] of ``rows`` with each of the others."""
    rows = rows.astype(np.float64)  # its squares neither overflow nor vanish
    norms = np.sqrt(np.square(rows).sum(axis=1))
    norms[unknown | (norms == 0)] = np.nan
    cosines = (rows[1:] @ rows[0]) / (norms[1:] * norms[0])
    return np.clip(cosines, -1.0, 1.0).astype(np.float32)
