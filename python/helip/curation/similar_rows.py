"""Similarities that curation asks for: nearest rows by one modality, and near duplicates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from helip import _core
from helip.common.unit_rows import unit_rows
from helip.curation.options import CurateOptions
from helip.mining.miner import mine
from helip.mining.options import EXACT_ROWS
from helip.pairs.blocks import row_blocks
from helip.pairs.hard_pairs import HardPairs
from helip.store.embedding_store import EmbeddingStore

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
#: (side_side, first target, ids int64 [b, k]) -> float64 [b, k], NaN where a row is of zeros.
Cosines = Callable[[str, int, Ints], npt.NDArray[np.float64]]

DUPLICATES = 16  # near duplicates of a row that are asked for
_SAMPLE = 2048


class SimilarRows:
    """Rows that are like each row of a store, found by mining, and cosines of any rows.

    ``searches`` tells the method and the measured recall of each search. Up to 300,000 rows they
    are exact, above that by ``partition``. Keeps 4 bytes a neighbour; rows are read where they lie.
    """

    def __init__(self, store: EmbeddingStore, options: CurateOptions, *, progress: bool) -> None:
        self._store, self._options, self._progress = store, options, progress
        self._cosines = _core.PairCosines(*store.matrices, options.threads or 0)
        self.searches: dict[str, dict[str, Any]] = {}

    def __len__(self) -> int:
        return len(self._store)

    def cosines(self, sides: str, first: int, ids: Ints) -> npt.NDArray[np.float64]:
        """`Cosines` of the store: ``sides`` is image_image or text_text."""
        return self._cosines.of(sides, first, np.ascontiguousarray(ids, dtype=np.int64))

    def readable(self) -> npt.NDArray[np.bool_]:
        """bool [N]: neither embedding is of zeros, nor the row deleted."""
        found = np.ones(len(self), dtype=np.bool_)
        for block in row_blocks(len(self), 1):
            rows = np.arange(block.start, block.stop)[:, None]
            for side in ("image_image", "text_text"):
                found[block] &= ~np.isnan(self.cosines(side, block.start, rows)[:, 0])
        found[np.asarray(self._store.deleted, dtype=np.int64)] = False
        return found

    def nearest(self, side: str) -> npt.NDArray[np.integer[Any]]:
        """[N, neighbours] of ``image`` or ``text``: most alike first, -1 where no other row has a
        positive similarity."""
        found = self._mined(side, modality=side, k=self._options.neighbours)
        return np.asarray(found.ids)

    def near_duplicates(self) -> tuple[Ints, Ints, npt.NDArray[np.bool_]]:
        """Rows a [m] and b [m] of all pairs whose cosines both reach their bounds, as far as they
        are among the best 16 of either row by the product; and bool [N], which rows have 16."""
        image, text = self._options.duplicate_image, self._options.duplicate_text
        # Each such pair has a product of at least that of the bounds.
        least = max(image * text - 1e-6, 0.0)
        found = np.asarray(self._mined("near duplicates", k=DUPLICATES, min_score=least).ids)
        one, other = self.alike(found)
        return one, other, np.bincount(one, minlength=len(self)) == DUPLICATES

    def alike(self, ids: npt.NDArray[np.integer[Any]]) -> tuple[Ints, Ints]:
        """Rows a [m] and b [m], b one of ``ids`` [N, k] of row a, whose cosines both reach the
        bounds of near duplicates."""
        ends: list[tuple[Ints, Ints]] = []
        for block in row_blocks(*ids.shape):
            rows, first = np.asarray(ids[block], dtype=np.int64), block.start
            if not (rows >= 0).any():
                continue
            near = self.cosines("image_image", first, rows) >= self._options.duplicate_image - 1e-7
            near &= self.cosines("text_text", first, rows) >= self._options.duplicate_text - 1e-7
            place, rank = np.nonzero(near)  # NaN is not alike
            ends.append((place + first, rows[place, rank]))
        if not ends:
            return np.empty(0, np.int64), np.empty(0, np.int64)
        one, other = zip(*ends, strict=True)
        return np.concatenate(one), np.concatenate(other)

    def of_random_pairs(self, share: float) -> float:
        """The quantile of the image cosine over random pairs of different rows."""
        rows = np.random.default_rng([self._options.seed, 1]).choice(
            len(self), min(_SAMPLE, len(self)), replace=False
        )
        unit = unit_rows(self._store.rows(np.sort(rows))[0]).numpy()
        unit = unit[unit.any(axis=1)]
        pairs = (unit @ unit.T)[np.triu_indices(len(unit), 1)]
        return float(np.quantile(pairs, share)) if len(pairs) else 0.0

    def _mined(self, name: str, **rules: Any) -> HardPairs:
        exact = len(self) <= EXACT_ROWS
        found = mine(
            self._store, image_max=1.0, text_max=1.0, device="cpu",
            method="exact" if exact else "partition", threads=self._options.threads,
            progress=self._progress, **rules,
        )  # fmt: skip
        recall = found.report.get("recall") or {}
        self.searches[name] = {
            "method": found.options.get("method"), "recall": 1.0 if exact else recall.get("value"),
            "recall_low": 1.0 if exact else recall.get("low"),
        }  # fmt: skip
        return found


def components(rows: int, one: Ints, other: Ints) -> Ints:
    """int64 [rows]: of each row the smallest row that a chain of pairs (one, other) leads to."""
    labels = np.arange(rows, dtype=np.int64)
    while True:
        before = labels.copy()
        least = np.minimum(labels[one], labels[other])
        np.minimum.at(labels, one, least)
        np.minimum.at(labels, other, least)
        labels = labels[labels]
        if np.array_equal(labels, before):
            return labels
