"""What a loader asks of a table of hard pairs; it never sees who made it."""

from __future__ import annotations

import hashlib
import os
from typing import Any, Protocol

import numpy as np

from helip.common.errors import UnsupportedError
from helip.pairs.growing_pairs import GrowingPairs
from helip.pairs.hard_pairs import HardPairs
from helip.store.data_identity import Identity, require_same_data
from helip.verdicts.exclusions import Exclusions


class PairSource(Protocol):
    """A HardPairs, a GrowingPairs, or a StreamingMiner, whose table grows while it is read."""

    def table_for(self, rows: int) -> HardPairs | GrowingPairs:
        """The table of a data set of ``rows`` rows."""


def table_of(
    data: Any, pairs: PairSource | str | os.PathLike[str] | None
) -> HardPairs | GrowingPairs:
    """The table that belongs to ``data``; MismatchError for that of another data set.

    Without ``pairs`` it is one in which no row has a hard pair; a path is opened.
    """
    if isinstance(pairs, (str, os.PathLike)):
        pairs = HardPairs.open(pairs)
    rows = len(data)
    if pairs is None:
        return HardPairs.from_arrays(
            np.full((rows, 1), -1, dtype=np.int32),
            np.zeros((rows, 1), dtype=np.float32),
            np.zeros(rows, dtype=np.int32),
        )
    table = pairs.table_for(rows)
    require_same_data(
        "the table of hard pairs", Identity(len(table), getattr(table, "data_fingerprint", "")),
        Identity.of(data), "open the data set it was mined from, or bring it up to date: helip "
        "embed DATA --out STORE says which rows changed, and embeds them again with --update; then "
        "helip update follows",
    )  # fmt: skip
    return table


def pools_digest(table: HardPairs | GrowingPairs) -> str | None:
    """Of the pools themselves: the table's fingerprint is that of its store. None where they
    grow."""
    if not isinstance(table, HardPairs):
        return None
    digest = hashlib.sha256(np.ascontiguousarray(table.ids).data)
    digest.update(np.ascontiguousarray(table.counts).data)
    return digest.hexdigest()


def table_without(
    table: HardPairs | GrowingPairs, exclusions: Exclusions
) -> tuple[HardPairs | GrowingPairs, dict[str, int]]:
    """The table without what people took out: itself where it has nothing of that, else a copy in
    memory. With it the counts that `HardPairLoader.stats` has of verdicts.

    UnsupportedError for one that grows.
    """
    if not isinstance(table, HardPairs):
        raise UnsupportedError(
            "verdicts are given, and pairs is a StreamingMiner, which would find what they take "
            "out; give a table, or no verdicts"
        )
    hard_pairs = targets = 0
    for first, pools in table.blocks():
        flagged = exclusions.flags(first, pools.ids)
        hard_pairs += int(flagged.sum())
        targets += int(flagged.any(axis=1).sum())
    counts = {
        "pairs": len(exclusions.pairs),
        "rows": len(exclusions.rows),
        "hard_pairs": hard_pairs,
        "targets": targets,
    }
    if hard_pairs:
        return table.filter(verdicts=exclusions, progress=False), counts
    return table, counts
