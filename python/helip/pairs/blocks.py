"""Tables of hard pairs in blocks of targets, and the pools that a block holds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from helip.common.files import sha256_of

_PLACES = 1 << 20  # of a block: some arrays of 8 bytes each


class Pools(NamedTuple):
    """The hard pairs of a few targets, best first; row i is that of the i-th target."""

    ids: np.ndarray  # int64 [b, k], -1 beyond counts
    scores: np.ndarray  # float32 [b, k], 0 beyond counts
    counts: np.ndarray  # int32 [b]

    @classmethod
    def empty(cls, targets: int, k: int, ids: Any = np.int64) -> Pools:
        """Of so many targets, with room for ``k`` pairs and none in it; ``ids`` is their dtype."""
        shape = (targets, k)
        return cls(
            np.full(shape, -1, ids), np.zeros(shape, np.float32), np.zeros(targets, np.int32)
        )

    def put(self, begin: int, pools: Pools) -> None:
        """Writes the pools of some targets, from the ``begin``-th on."""
        for values, found in zip(self, pools, strict=True):
            values[begin : begin + len(found)] = found

    def without(self, gone: np.ndarray) -> Pools:
        """What is left without the pairs at ``gone``, bool [b, k], in the same order."""
        ids = np.where(gone, -1, self.ids)
        scores = np.where(gone, np.float32(0), self.scores)
        order = np.argsort(ids < 0, axis=1, kind="stable")  # those that stay come first
        return Pools(
            np.take_along_axis(ids, order, axis=1), np.take_along_axis(scores, order, axis=1),
            (ids >= 0).sum(axis=1, dtype=np.int32),
        )  # fmt: skip

    def best(self, k: int, *, skip: int = 0) -> Pools:
        """The best ``k`` of each pool behind its first ``skip``, in ``k`` places."""
        ids, scores, wanted = self.ids, self.scores, slice(skip, skip + k)
        if (lacking := k + skip - ids.shape[1]) > 0:
            pad = ((0, 0), (0, lacking))
            ids, scores = np.pad(ids, pad, constant_values=-1), np.pad(scores, pad)
        counts = np.clip(self.counts - skip, 0, k).astype(np.int32)
        return Pools(ids[:, wanted], scores[:, wanted], counts)


def row_blocks(rows: int, places: int) -> Iterator[slice]:
    """Slices of ``rows`` rows in order, each of bounded memory where a row has ``places``."""
    yield from _slices(rows, max(1, _PLACES // max(places, 1)))


def pool_blocks(table: Any, rows: int | None = None) -> Iterator[tuple[int, Pools]]:
    """`HardPairs.blocks` of a table, or of one of the core."""
    blocks = row_blocks(len(table), table.k) if rows is None else _slices(len(table), rows)
    for block in blocks:
        yield block.start, pools_of(table, block)


def pools_of(table: Any, block: slice) -> Pools:
    """The pools of a range of targets; scores and counts are views."""
    return Pools(table.ids[block].astype(np.int64), table.scores[block], table.counts[block])


def origin_of(table: Any) -> dict[str, str] | None:
    """Which table a report speaks of: its directory, and a digest of its manifest, which has its
    checksums; None for one in memory."""
    if not table.path:
        return None
    return {"path": table.path, "sha256": sha256_of(Path(table.path) / "manifest.json")}


def _slices(rows: int, step: int) -> Iterator[slice]:
    for first in range(0, rows, step):
        yield slice(first, min(first + step, rows))
