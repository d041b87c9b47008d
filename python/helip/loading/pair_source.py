"""What a loader asks of a table of hard pairs; it never sees who made it."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from helip.common.errors import MismatchError
from helip.pairs.growing_pairs import GrowingPairs
from helip.pairs.hard_pairs import HardPairs
from helip.store.data_identity import difference_words, fingerprint_differences


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
    theirs = getattr(table, "data_fingerprint", "")
    differ = fingerprint_differences(theirs, data.fingerprint or "") if theirs else []
    if len(table) != rows or differ:
        raise MismatchError(
            f"the table of hard pairs ({len(table)} rows) belongs to another data set than this "
            f"one ({rows} rows){difference_words(differ)}; open the data set it was mined from, or "
            "bring it up to date: helip embed DATA --out STORE says which rows changed, and embeds "
            "them again with --update; then helip update follows"
        )
    return table
