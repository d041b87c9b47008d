"""Cosine similarities of rows of one store, by all cores."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from helip import _core
from helip.common.machine import core_threads
from helip.store.embedding_store import EmbeddingStore

Sides = Literal["image_image", "text_text", "image_text", "text_image"]


class PairCosines:
    """Cosines of targets with the rows of their pools, computed in float64.

    Reads the store once when it is made, and keeps 16 bytes a row; rows are read where they lie.
    Threads may share an object.
    """

    def __init__(self, store: EmbeddingStore) -> None:
        self._cosines = _core.PairCosines(*store.matrices, core_threads())

    def of(self, sides: Sides, first: int, ids: NDArray[np.int64]) -> NDArray[np.float64]:
        """Of the targets from ``first`` on with the rows ``ids`` [b, k]: float64 [b, k].

        ``sides`` is such as ``image_text``: the image of the target with the captions of ``ids``.
        NaN where an id is -1, or a row is zero or deleted, since no direction is known of it.
        """
        return self._cosines.of(sides, first, ids)
