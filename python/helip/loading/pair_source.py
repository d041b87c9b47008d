"""What a loader asks of a table of hard pairs; it never sees who made it."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from helip.common.errors import MismatchError
from helip.pairs.growing_pairs import GrowingPairs
from helip.pairs.hard_pairs import HardPairs


class PairSource(Protocol):
    """A HardPairs, a GrowingPairs, or a StreamingMiner, whose table grows while it is read."""

    def table_for(self, rows: int) -> HardPairs | GrowingPairs:
        """The table of a data set of ``rows`` rows."""


def table_of(data: Any, pairs: PairSource | None) -> HardPairs | GrowingPairs:
    """The table that belongs to ``data``; MismatchError for that of another data set.

    Without ``pairs`` it is one in which no row has a hard pair.
    """
    rows = len(data)
    if pairs is None:
        return HardPairs.from_arrays(
            np.full((rows, 1), -1, dtype=np.int32),
            np.zeros((rows, 1), dtype=np.float32),
            np.zeros(rows, dtype=np.int32),
        )
    table = pairs.table_for(rows)
    theirs, own = getattr(table, "keys_fingerprint", ""), data.fingerprint or ""
    if len(table) != rows or (theirs and own and theirs != own):
        raise MismatchError(
            f"the table of hard pairs ({len(table)} rows, keys fingerprint {theirs or 'none'}) "
            f"belongs to another data set than this one ({rows} rows, fingerprint "
            f"{own or 'none'}); open the data set it was mined from, or mine this one"
        )
    return table
