"""What is known of the rows of a batch beforehand, beside their pictures and captions."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from helip.common.errors import InvalidArgumentError
from helip.data.dataset import Dataset
from helip.pairs.growing_pairs import GrowingPairs
from helip.pairs.hard_pairs import HardPairs
from helip.pairs.soft_labels import SoftLabels
from helip.store.data_identity import Identity, require_same_data
from helip.store.embedding_store import EmbeddingStore
from helip.verdicts.exclusions import Exclusions


class RowFacts:
    """The groups of pictures of a data set, the embeddings of its rows in a store, their soft
    labels, and which rows of a batch are hard pairs of each other, or were taken out by people."""

    def __init__(
        self,
        data: Any,
        store: EmbeddingStore | None,
        table: HardPairs | GrowingPairs | None,
        exclusions: Exclusions | None = None,
        soft_labels: SoftLabels | None = None,
    ) -> None:
        """table: of batches whose rows are all targets, and hard pairs of each other.

        exclusions: pairs that people took out.
        """
        if soft_labels is not None:
            soft_labels.require_data(data)
        self._soft_labels = soft_labels
        if store is not None:
            require_rows_of(data, store)
        self._store = store
        self._exclusions = exclusions if exclusions is not None and len(exclusions.pairs) else None
        self._hard_rows = HardRows(table) if isinstance(table, HardPairs) else None
        self._pictures = data.image_groups() if isinstance(data, Dataset) else None

    def of(self, index: Tensor, window: tuple[int, int], drawn: int) -> dict[str, Tensor]:
        """Entries of a batch with these rows, int64 [b].

        window: ranks of the pools that count, end left out.
        drawn: rows whose caption is one of several; the store's text may be of another one.
        """
        rows: np.ndarray = index.numpy()
        found = {}
        if self._hard_rows is not None:
            found["hard_rows"] = torch.from_numpy(self._hard_rows.padded(rows, *window))
        if self._pictures is not None:
            found["image_group"] = torch.from_numpy(self._pictures[rows])
        if self._exclusions is not None:
            found["verdict_group"] = torch.from_numpy(self._exclusions.groups(rows))
        if self._soft_labels is not None:
            found["soft_labels"] = self._soft_labels.of(rows)
        if self._store is not None:
            found["image_embedding"], text = self._store.rows(rows)
            if not drawn:
                found["caption_embedding"] = text
        return found


class HardRows:
    """Which rows of a batch are in the pools of which, by a table. Not thread-safe."""

    def __init__(self, table: HardPairs) -> None:
        self._ids = table.ids
        self._place = np.full(len(table) + 1, -1, dtype=np.int32)  # of each row; the last for -1

    def __call__(self, index: np.ndarray, first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
        """Of data rows int64 [b], all different, and the ranks first .. last - 1 of their pools:
        how many batch rows each has there, int64 [b], and all of these, row after row, int32."""
        least, most = (int(index.min()), int(index.max())) if len(index) else (0, 0)
        if least < 0 or most >= len(self._ids):
            raise InvalidArgumentError(
                f"row {least if least < 0 else most} of a batch is none of the {len(self._ids):,} "
                "of the table; give rows of the data set that was mined"
            )
        self._place[index] = np.arange(len(index), dtype=np.int32)
        places = self._place[np.asarray(self._ids[index, first:last])]
        self._place[index] = -1
        inside = places >= 0
        return inside.sum(axis=1), places[inside]

    def padded(self, index: np.ndarray, first: int, last: int) -> np.ndarray:
        """The same as int64 [b, m], -1 where a row has fewer than m; m is at least 1."""
        return padded(*self(index, first, last))


def padded(counts: np.ndarray, values: np.ndarray, filling: int = -1) -> np.ndarray:
    """Rows of ``counts`` values each, [rows, largest count or 1], ``filling`` beyond a row's own;
    of whole numbers int64."""
    dtype = np.int64 if values.dtype.kind in "iu" else values.dtype
    padded = np.full((len(counts), max(int(counts.max(initial=0)), 1)), filling, dtype=dtype)
    padded[np.arange(padded.shape[1]) < counts[:, None]] = values
    return padded


def require_rows_of(data: Any, store: EmbeddingStore) -> None:
    """Raise MismatchError unless the rows of ``store`` are those of a data set."""
    require_same_data(
        "the store",
        Identity(len(store), store.data_fingerprint or store.keys_fingerprint),
        Identity.of(data),
        "open the data set that it was embedded from, or embed this one",
    )
