"""What is known of the rows of a batch beforehand, beside their pictures and captions."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from helip.data.dataset import Dataset
from helip.pairs.growing_pairs import GrowingPairs
from helip.pairs.hard_pairs import HardPairs
from helip.store.data_identity import Identity, require_same_data
from helip.store.embedding_store import EmbeddingStore
from helip.verdicts.exclusions import Exclusions


class RowFacts:
    """The groups of pictures of a data set, the embeddings of its rows in a store, and which rows
    of a batch are hard pairs of each other, or were taken out by people."""

    def __init__(
        self,
        data: Any,
        store: EmbeddingStore | None,
        table: HardPairs | GrowingPairs | None,
        exclusions: Exclusions | None = None,
    ) -> None:
        """table: of batches whose rows are all targets, and hard pairs of each other.

        exclusions: pairs that people took out.
        """
        if store is not None:
            require_rows_of(data, store)
        self._store = store
        self._exclusions = exclusions if exclusions is not None and len(exclusions.pairs) else None
        self._table = table if isinstance(table, HardPairs) else None
        self._pictures = data.image_groups() if isinstance(data, Dataset) else None

    def of(self, index: Tensor, window: tuple[int, int], drawn: int) -> dict[str, Tensor]:
        """Entries of a batch with these rows, int64 [b].

        window: ranks of the pools that count, end left out.
        drawn: rows whose caption is one of several; the store's text may be of another one.
        """
        rows: np.ndarray = index.numpy()
        found = {}
        if self._table is not None:
            found["hard_rows"] = torch.from_numpy(hard_rows(rows, self._table, *window))
        if self._pictures is not None:
            found["image_group"] = torch.from_numpy(self._pictures[rows])
        if self._exclusions is not None:
            found["verdict_group"] = torch.from_numpy(self._exclusions.groups(rows))
        if self._store is not None:
            found["image_embedding"], text = self._store.rows(rows)
            if not drawn:
                found["caption_embedding"] = text
        return found


def hard_rows(index: np.ndarray, table: HardPairs, first: int, last: int) -> np.ndarray:
    """For each row of a batch the batch rows that are in its window of ranks first .. last - 1.

    ``index`` int64 [b] has the data rows of the batch, all different. Returns int64 [b, m] with
    batch rows from left to right by rank, -1 where a row has fewer than m; m is at least 1.
    """
    order = np.argsort(index)
    ordered = index[order]
    window = np.asarray(table.ids[index, first:last])  # [b, ranks]; -1 beyond a pool
    at = np.minimum(np.searchsorted(ordered, window), len(index) - 1)
    inside = ordered[at] == window
    places = np.where(inside, order[at], -1)
    most = max(int(inside.sum(axis=1).max(initial=0)), 1)
    kept = np.argsort(~inside, axis=1, kind="stable")[:, :most]
    found: np.ndarray = np.take_along_axis(places, kept, axis=1)
    return found


def require_rows_of(data: Any, store: EmbeddingStore) -> None:
    """Raise MismatchError unless the rows of ``store`` are those of a data set."""
    require_same_data(
        "the store",
        Identity(len(store), store.data_fingerprint or store.keys_fingerprint),
        Identity.of(data),
        "open the data set that it was embedded from, or embed this one",
    )
