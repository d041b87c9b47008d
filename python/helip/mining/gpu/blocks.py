"""Which blocks of rows meet which, and in what order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class BlockPair:
    """Two blocks that are scored against each other."""

    rows: int
    columns: int
    symmetric: bool  # each pair serves its row and its column; else its row alone


@dataclass(frozen=True)
class Blocks:
    """Rows 0 .. rows - 1 in runs of ``size``, the last one shorter."""

    rows: int
    size: int

    def __len__(self) -> int:
        return -(-self.rows // self.size)

    def span(self, number: int) -> tuple[int, int]:
        """First row, and one beyond the last."""
        return number * self.size, min(self.rows, (number + 1) * self.size)

    def ids(self, number: int) -> np.ndarray:
        return np.arange(*self.span(number), dtype=np.int64)

    def pairs(self, pair: BlockPair) -> int:
        """How many pairs of rows that is."""
        (a, b), (c, d) = self.span(pair.rows), self.span(pair.columns)
        if pair.rows == pair.columns:
            return (b - a) * (b - a - 1) // 2
        return (b - a) * (d - c)


def units_of_band(band: range, count: int, group: int) -> Iterator[list[BlockPair]]:
    """Work for the pools of the blocks in ``band`` out of ``count``: every unordered pair once.

    Within the band a pair serves both rows; what lies outside serves the band alone. A unit touches
    at most ``2 * group`` blocks, half of which the next unit often shares; units do not depend on
    each other, so devices can share them out.
    """
    own = _groups(band, group)
    others = _groups(range(band.start), group) + _groups(range(band.stop, count), group)
    for number, rows in enumerate(own):
        yield _triangle(rows)
        for columns in own[number + 1 :]:
            yield _rectangle(rows, columns, symmetric=True)
        for columns in others:
            yield _rectangle(rows, columns, symmetric=False)


def _groups(blocks: range, size: int) -> list[range]:
    return [blocks[a : a + size] for a in range(0, len(blocks), size)]


def _triangle(blocks: range) -> list[BlockPair]:
    # By distance, so that the thresholds of all rows rise together.
    return [
        BlockPair(blocks[a], blocks[a + distance], True)
        for distance in range(len(blocks))
        for a in range(len(blocks) - distance)
    ]


def _rectangle(rows: range, columns: range, *, symmetric: bool) -> list[BlockPair]:
    return [
        BlockPair(row, columns[(a + shift) % len(columns)], symmetric)
        for shift in range(len(columns))
        for a, row in enumerate(rows)
    ]
