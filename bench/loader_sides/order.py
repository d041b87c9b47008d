"""Orders in which rows are asked for: batches of row numbers, without an end."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
from pictures import hard_pairs


class Order:
    """Rows in a random order, and again in another."""

    has_hard_pairs = False

    def __init__(self, rows: int, batch: int) -> None:
        self.rows, self.batch = rows, batch

    def __iter__(self) -> Iterator[list[int]]:
        rows = self._shuffled()
        while True:
            yield list(itertools.islice(rows, self.batch))

    def first(self, rows: int) -> np.ndarray:
        """int64 [rows]: of those that come first, for what takes a list of all."""
        ordered = itertools.chain.from_iterable(self)
        return np.fromiter(itertools.islice(ordered, rows), np.int64, rows)

    def _shuffled(self) -> Iterator[int]:
        for epoch in itertools.count():
            yield from np.random.default_rng(epoch).permutation(self.rows).tolist()


class HardOrder(Order):
    """Targets in a random order, and as many rows of their pools: half of a batch each.

    A target whose pool is in the batch already leaves a place, which another target takes.
    """

    has_hard_pairs = True

    def __iter__(self) -> Iterator[list[int]]:
        ids, _ = hard_pairs(self.rows)
        rows, drawn = self._shuffled(), np.random.default_rng(0)
        while True:
            targets = list(itertools.islice(rows, self.batch // 2))
            taken, hard = set(targets), []
            for target in targets:
                pool = [row for row in drawn.permutation(ids[target]).tolist() if row not in taken]
                if pool:
                    hard.append(pool[0])
                    taken.add(pool[0])
            while len(targets) + len(hard) < self.batch:
                row = next(rows)
                if row not in taken:
                    targets.append(row)
                    taken.add(row)
            yield targets + hard
