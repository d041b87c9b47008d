"""A table together with the data set and the store that it was made of."""

from __future__ import annotations

import os
from typing import Any

from helip.common.errors import InvalidArgumentError
from helip.pairs.hard_pairs import HardPairs
from helip.pairs.matching import opened_data, refuse_other_data
from helip.store.embedding_store import EmbeddingStore


def open_together(pairs: Any, data: Any, store: Any) -> tuple[HardPairs, Any, Any]:
    """The table, the data set and the store (None: without), opened where paths are given.

    Rows mean the same thing in all of them, or nothing that is said of both would be true:
    MismatchError where fingerprints or numbers of rows differ. InvalidArgumentError for a table
    without targets, UnsupportedError for a part of a table.
    """
    dataset = opened_data(data)
    pairs, store = open_table(pairs, store, dataset)
    return pairs, dataset, store


def open_table(pairs: Any, store: Any, dataset: Any = None) -> tuple[HardPairs, Any]:
    """The table and its store (None: without), as `open_together`; ``dataset`` is open, or None."""
    if isinstance(pairs, (str, os.PathLike)):
        pairs = HardPairs.open(pairs)
    pairs = pairs._whole()  # a part numbers its targets from 0, and its hard pairs over all rows
    if isinstance(store, (str, os.PathLike)):
        store = EmbeddingStore.open(store)
    if dataset is not None:
        refuse_other_data(pairs, dataset, store)
    if len(pairs) == 0:
        raise InvalidArgumentError("the table has 0 targets; there is nothing to show")
    return pairs if store is None else pairs.with_store(store), store
