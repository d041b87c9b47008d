"""Drops: pairs that a rule kept out of the pools, of which a table's report counts the rules.

A cluster lists those that would be among the best of its own pools. United with those of other
clusters, a pair counts once, and as long as it would be among the best of the pool as it is then.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from helip.mining.stages.unit_files import UnitFile
from helip.pairs.blocks import Pools

#: As the core numbers them, from 1 on, and names them in reports.
RULES = ("image_duplicate", "text_duplicate", "margin", "collapsed")
_BLOCK = 4096  # that are compared with their pools at a time


class Drops(NamedTuple):
    """Ordered pairs with their score and the first rule that applied, [n] each."""

    targets: np.ndarray  # int64, ascending
    ids: np.ndarray  # int64
    scores: np.ndarray  # float64
    rules: np.ndarray  # uint8, from 1 on

    @classmethod
    def none(cls) -> Drops:
        """No pair."""
        empty = np.zeros(0, dtype=np.int64)
        return cls(empty, empty, np.zeros(0), np.zeros(0, dtype=np.uint8))

    @classmethod
    def of(cls, file: UnitFile, first: int, last: int) -> Drops:
        """Those of a file whose target is one of the rows [first, last)."""
        begin, end = np.searchsorted(file["drop_targets"], (first, last))
        return cls(*(np.array(file[f"drop_{name}"][begin:end]) for name in cls._fields))

    @classmethod
    def of_rows(cls, listed: Any, rows: np.ndarray) -> Drops:
        """What the core lists of a matrix whose rows are those of the store, by target."""
        targets, ids, scores, rules = listed
        targets, ids = rows[targets], rows[ids]
        order = np.argsort(targets, kind="stable")
        return cls(targets[order], ids[order], scores[order], rules[order])

    def arrays(self) -> dict[str, np.ndarray]:
        """As the file of a unit has them."""
        return {f"drop_{name}": values for name, values in self._asdict().items()}


def joined_drops(parts: Sequence[Drops], first: int, pools: Pools) -> Drops:
    """Each pair of the parts once, where it would be in the pool of its target but for its rule.

    ``pools`` are of the targets from ``first`` on. Scores of pools are float32: where two are
    equal, the lower row number counts as the better.
    """
    targets, ids, scores, rules = (np.concatenate(each) for each in zip(*parts, strict=True))
    order = np.lexsort((ids, targets))
    same = np.zeros(len(order), dtype=bool)
    ordered = targets[order], ids[order]
    same[1:] = (ordered[0][1:] == ordered[0][:-1]) & (ordered[1][1:] == ordered[1][:-1])
    order = order[~same]
    order = order[np.lexsort((ids[order], -scores[order], targets[order]))]
    targets, ids, scores, rules = targets[order], ids[order], scores[order], rules[order]
    begins = np.searchsorted(targets, targets)  # of each target's
    rank = np.arange(len(targets)) - begins  # among what was dropped
    kept = pools.ids.shape[1]
    for begin in range(0, len(targets), _BLOCK):
        block = slice(begin, begin + _BLOCK)
        of = targets[block] - first
        theirs, own = pools.scores[of], scores[block].astype(np.float32)[:, None]
        there = np.arange(kept) < pools.counts[of][:, None]
        better = (theirs > own) | ((theirs == own) & (pools.ids[of] < ids[block][:, None]))
        rank[block] += (better & there).sum(axis=1)
    counted = rank < kept
    return Drops(targets[counted], ids[counted], scores[counted], rules[counted])


def count_rules(rules: np.ndarray) -> dict[str, int]:
    """How many pairs each rule kept out."""
    counts = np.bincount(rules, minlength=len(RULES) + 1)
    return {name: int(count) for name, count in zip(RULES, counts[1:], strict=True)}
