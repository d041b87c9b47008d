"""Recall@k of a table, from the exact pools of a sample of targets, as the core measures it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from helip.common.proportions import Z, wilson_interval

TARGETS = 1000  # of the sample at least
MOST_TARGETS = 65_536  # whatever recall is asked for


@dataclass(frozen=True)
class Recall:
    """A mean over targets, with its 95 % interval: Wilson's, with one trial a target."""

    targets: int  # with an exact pool that is not empty
    value: float
    low: float
    high: float

    def as_report(self) -> dict[str, float]:
        """As the reports of tables have it."""
        return {
            "value": self.value, "low": self.low, "high": self.high, "targets": self.targets,
            "confidence": 0.95,
        }  # fmt: skip


def recall_of(hits: np.ndarray, wanted: np.ndarray) -> Recall:
    """Of [n] targets: pairs of the exact pool that were found, and its size; 0: not counted."""
    counted = wanted > 0
    n = int(counted.sum())
    if n == 0:
        return Recall(0, 1.0, 0.0, 1.0)
    p = math.fsum((hits[counted] / wanted[counted]).tolist()) / n
    return Recall(n, p, *wilson_interval(p, n))


def is_reached(targets: int, low: float, wanted: float) -> bool:
    """Whether enough was found; where no target of the sample has a pool, there is nothing to."""
    return targets == 0 or low >= wanted


def sample_size(rows: int, recall: float = 0.0) -> int:
    """Targets of the sample of a data set of so many rows.

    As many as show ``recall`` where half of what may be missed is missed.
    """
    if recall == 1:
        return min(rows, MOST_TARGETS)
    shown = math.ceil(4 * Z**2 * recall / (1 - recall))  # Wilson's interval begins at recall
    return min(rows, MOST_TARGETS, max(TARGETS, shown))


def draw_targets(draw: np.random.Generator, rows: int, size: int) -> np.ndarray:
    """int64 [size], random rows, ascending; where rows are added, most of them stay the same.

    By a reservoir, into which each row comes with the same probability (Li's algorithm L).
    """
    targets = np.arange(size)
    row, passed = size - 1, 0.0
    while True:
        passed += draw.exponential() / size
        row += 1 + int(draw.exponential() / -math.log(-math.expm1(-passed)))
        if row >= rows:
            return np.sort(targets)
        targets[draw.integers(size)] = row


def most_shown(rows: int) -> float:
    """The lower limit where the largest sample of so many rows misses nothing; 1: it is all."""
    return 1.0 if rows <= MOST_TARGETS else wilson_interval(1.0, MOST_TARGETS)[0]


def mean_needed(targets: int, recall: float) -> float:
    """The least mean of so many targets whose lower limit is ``recall``; 1 where none is."""
    return min(1.0, recall + Z * math.sqrt(recall * (1 - recall) / max(targets, 1)))


def hits_of(
    exact: tuple[np.ndarray, np.ndarray], found: tuple[np.ndarray, np.ndarray], skip: int
) -> tuple[np.ndarray, np.ndarray]:
    """(hits, wanted) [n]; ``exact`` and ``found`` are scores [n, k + skip], falling, and counts.

    A pair that was found counts when it scores no less than the last one of the exact pool, so that
    ties do not matter.
    """
    width = exact[0].shape[1]
    ranks = np.arange(width)
    wanted = np.maximum(exact[1].astype(np.int64) - skip, 0)
    place = np.maximum(exact[1].astype(np.int64) - 1, 0)[:, None]
    last = np.take_along_axis(exact[0], place, axis=1)
    there = (ranks >= skip) & (ranks < found[1][:, None])
    hits = ((found[0] >= last) & there).sum(axis=1)
    return np.minimum(hits, wanted), wanted
