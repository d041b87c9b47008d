"""Pairs and rows that people took out: what mining, filters and loaders ask of verdicts."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Exclusions:
    """Pairs that are no hard pairs, in either order, and rows that are in no hard pair. Immutable.

    A mismatched row has a caption that is not its picture's, so what is near it by that caption is
    as wrong as where it is near: it is nobody's hard pair, and has none.
    """

    pairs: NDArray[np.int64]
    """[n, 2]: rows that were decided to be false negatives or near duplicates of each other, the
    smaller one first, ascending."""
    rows: NDArray[np.int64]
    """[m]: rows that were decided to be mismatched, ascending."""
    source: str = ""
    """The file of the verdicts."""

    @property
    def digest(self) -> str:
        """SHA-256 of pairs and rows, in hexadecimal."""
        digest = hashlib.sha256(np.int64(len(self.pairs)).tobytes())
        digest.update(self.pairs.tobytes())
        digest.update(self.rows.tobytes())
        return digest.hexdigest()

    def described(self) -> dict[str, Any]:
        """For the options of a table: how many there are, and their digest."""
        return {"pairs": len(self.pairs), "rows": len(self.rows), "digest": self.digest}

    @cached_property
    def most(self) -> int:
        """Most pairs that one row is in."""
        return int(np.unique(self._directed[:, 0], return_counts=True)[1].max(initial=0))

    def flags(self, first: int, ids: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which hard pairs ``ids`` [b, k] of the targets from ``first`` on are excluded: [b, k]."""
        flagged = np.isin(ids, self.rows)
        begin, end = np.searchsorted(self._directed[:, 0], [first, first + len(ids)])
        targets, others = self._directed[begin:end].T
        np.logical_or.at(flagged, targets - first, ids[targets - first] == others[:, None])
        flagged |= np.isin(np.arange(first, first + len(ids)), self.rows)[:, None]
        flagged &= ids >= 0
        return flagged

    @cached_property
    def columns(self) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
        """The pairs as groups in columns, so that two rows of a group in one column are a pair.

        Returns int64 [e, 3] (row, column, group), by row; int64 [rows + 1] where those of a row
        begin, up to the largest row; and the number of columns. In a column no row is in two pairs,
        so rows that are not a pair never have one group, however pairs are chained.
        """
        taken: dict[int, set[int]] = {}
        found = []
        for group, (low, high) in enumerate(self.pairs.tolist(), 1):
            used = taken.setdefault(low, set()) | taken.setdefault(high, set())
            column = next(c for c in range(len(used) + 1) if c not in used)
            taken[low].add(column)
            taken[high].add(column)
            found += [(low, column, group), (high, column, group)]
        entries = np.array(sorted(found), dtype=np.int64).reshape(-1, 3)
        rows = int(entries[-1, 0]) + 1 if len(entries) else 0
        begins = np.searchsorted(entries[:, 0], np.arange(rows + 1))
        return entries, begins, int(entries[:, 1].max(initial=-1)) + 1

    def groups(self, index: NDArray[np.int64]) -> NDArray[np.int64]:
        """int64 [b, columns]: groups of the rows ``index`` [b] in each column; 0 equals nothing."""
        entries, begins, columns = self.columns
        found = np.zeros((len(index), columns), dtype=np.int64)
        for place, row in enumerate(index.tolist()):
            if row < len(begins) - 1:
                own = entries[begins[row] : begins[row + 1]]
                found[place, own[:, 1]] = own[:, 2]
        return found

    @cached_property
    def _directed(self) -> NDArray[np.int64]:
        """[2n, 2]: each pair in both orders, ascending."""
        both = np.concatenate([self.pairs, self.pairs[:, ::-1]])
        return both[np.lexsort((both[:, 1], both[:, 0]))]
