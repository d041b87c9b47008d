"""Rows without an embedding: not read when the store was made, or deleted since. No outliers."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

_ROWS = 1 << 14  # read at a time


def unreadable_rows(pairs: Any) -> npt.NDArray[np.int64]:
    """The rows of a table, ascending, whose embedding is of zeros or deleted in a modality that was
    mined: they have no hard pair and are nobody's.

    None where the table does not know its store (`HardPairs.with_store`). Reads the rows of the
    store that have no hard pair.
    """
    store = pairs.store
    if store is None:
        return np.zeros(0, dtype=np.int64)
    modality, channels = (pairs.options.get(name) for name in ("modality", "channels"))
    mined = (modality,) if modality in ("image", "text") else ("image", "text")
    if channels:
        mined = tuple(name for name, _, _ in channels)
    empty = np.flatnonzero(np.asarray(pairs.counts) == 0)
    found = np.isin(empty, store.deleted)
    for first in range(0, len(empty), _ROWS):
        part = slice(first, first + _ROWS)
        rows = dict(zip(("image", "text"), store.rows(empty[part]), strict=True))
        for name in mined:
            matrix = rows[name] if name in rows else store.decoded(name, empty[part])
            found[part] |= ~matrix.numpy().any(axis=1)
    return empty[found]
