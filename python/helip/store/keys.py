"""Strings by row, such as keys, without an object for each: a store's, an index's, a data set's."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, overload

import numpy as np

_BLOCK = 4096

#: As a key column: the keys are the rows' numbers.
ROW_KEYS = "row"


def row_key(row: int) -> str:
    """The key of a row that has no other."""
    return f"{row:09d}"


class LazyStrings(Sequence[str]):
    """An immutable sequence of strings that are made when they are asked for."""

    @abstractmethod
    def _block(self, first: int, last: int) -> list[str]:
        """The strings of the rows ``first`` up to ``last``, which are valid."""

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            first, last, step = index.indices(len(self))
            if step == 1:
                return self._block(first, max(first, last))
            return [self[row] for row in range(first, last, step)]
        row = index + len(self) if index < 0 else index
        if not 0 <= row < len(self):
            raise IndexError(f"index {index} is outside 0..{len(self) - 1}")
        return self._block(row, row + 1)[0]

    def take(self, rows: Sequence[int]) -> list[str]:
        """The strings of these rows, in their order; IndexError."""
        return [self[row] for row in rows]

    def __iter__(self) -> Iterator[str]:
        for first in range(0, len(self), _BLOCK):
            yield from self._block(first, min(first + _BLOCK, len(self)))

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Sequence) and not isinstance(other, (str, bytes)):
            return len(self) == len(other) and all(
                mine == theirs for mine, theirs in zip(self, other, strict=True)
            )
        return NotImplemented

    def __repr__(self) -> str:
        shown = ", ".join(map(repr, self[:3]))
        return f"{type(self).__name__}({shown}{', …' if len(self) > 3 else ''}; {len(self):,})"


class CoreKeys(LazyStrings):
    """Keys in row order; ``core`` has a length, and ``keys(first, last)``."""

    def __init__(self, core: Any) -> None:
        self._core = core

    def __len__(self) -> int:
        return len(self._core)

    def _block(self, first: int, last: int) -> list[str]:
        return self._core.keys(first, last)


class KeyIndex:
    """Finds the row of a key. Takes 16 bytes a row, and reads all keys once when it is made."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._keys = keys
        hashes = np.fromiter(map(hash, keys), dtype=np.int64, count=len(keys))
        self._order = np.argsort(hashes, kind="stable")  # int64 [n]
        self._hashes = hashes[self._order]

    def row(self, key: str) -> int | None:
        """The row of ``key``; None where there is none."""
        wanted = hash(key)
        at = int(np.searchsorted(self._hashes, wanted))
        # Keys of one hash lie side by side; a hash alone could be a coincidence.
        while at < len(self._hashes) and self._hashes[at] == wanted:
            row = int(self._order[at])
            if self._keys[row] == key:
                return row
            at += 1
        return None
