"""Many strings in two flat arrays: keys, captions and paths of a data set.

A list of ten million ``str`` costs about a gigabyte, and each forked worker that only reads
it copies it, since a look at a Python object writes to its reference count. One ``bytes``
object and one offset array have no per-row objects, so that workers share them untouched.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from itertools import pairwise
from typing import TypeVar

import numpy as np

from helip.common.errors import InvalidArgumentError
from helip.store.keys import LazyStrings, row_key

P = TypeVar("P", bound="PackedStrings")


def clean_key(name: str) -> str:
    """Return ``name`` as valid UTF-8; bytes that were not UTF-8 become ``\\udcXX`` in letters."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


class PackedStrings(LazyStrings):
    """An immutable sequence of strings in one blob.

    Args:
        blob: the strings in UTF-8, one after the other.
        offsets: int64 [n + 1]; string ``i`` is ``blob[offsets[i]:offsets[i + 1]]``.
    """

    # Lone surrogates stand for bytes of file names that are not UTF-8; they must survive.
    _encoding_errors = "surrogatepass"

    def __init__(self, blob: bytes, offsets: np.ndarray) -> None:
        self.blob = blob
        self.offsets = offsets

    @classmethod
    def from_strings(cls: type[P], strings: Iterable[str]) -> P:
        """Pack ``strings``, which may be a generator; one at a time is held."""
        packer = StringPacker(cls._encoding_errors)
        for text in strings:
            packer.append(text)
        return cls(*packer.arrays())

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def _block(self, first: int, last: int) -> list[str]:
        ends = self.offsets[first : last + 1].tolist()
        return [
            self.blob[start:end].decode("utf-8", self._encoding_errors)
            for start, end in pairwise(ends)
        ]

    def empty_rows(self) -> np.ndarray:
        """The rows [m] of the strings that have no characters, ascending."""
        return np.flatnonzero(np.diff(self.offsets) == 0)


class StringPacker:
    """Takes strings one by one; ``arrays`` gives the blob and the offsets of those so far."""

    def __init__(self, encoding_errors: str = "surrogatepass") -> None:
        self._encoding_errors = encoding_errors
        self._blob = bytearray()
        self._ends = array("q", [0])

    def __len__(self) -> int:
        return len(self._ends) - 1

    def append(self, text: str) -> None:
        self._blob += text.encode("utf-8", self._encoding_errors)
        self._ends.append(len(self._blob))

    def arrays(self) -> tuple[bytes, np.ndarray]:
        return bytes(self._blob), np.frombuffer(self._ends, dtype=np.int64)


class KeyList(PackedStrings):
    """The keys of a data set, in row order."""

    _encoding_errors = "strict"

    @classmethod
    def from_strings(cls: type[P], strings: Iterable[str]) -> P:
        """Pack ``strings``; an empty or non-text key is refused with its row."""
        return super().from_strings(clean_key(_checked(row, s)) for row, s in enumerate(strings))

    @classmethod
    def numbered(cls, count: int) -> KeyList:
        """Row numbers of nine digits or more, for rows that have no name of their own."""
        return cls.from_strings(map(row_key, range(count)))

    def first_duplicate(self) -> tuple[int, int] | None:
        """Return the first two rows (smallest second row) with one key, or None."""
        home, first = first_of_equal(self)
        again = np.flatnonzero(first[home] != np.arange(len(self)))
        return (int(first[home[again[0]]]), int(again[0])) if len(again) else None


def first_of_equal(strings: PackedStrings) -> tuple[np.ndarray, np.ndarray]:
    """Return ``home`` int64 [n] and ``first`` int64 [m]: string i equals string first[home[i]], the
    first of its kind; empty strings are each of a kind of their own.

    Sorts 64-bit hashes, a few of which may be equal by chance: the text decides. Only the strings
    whose hash is not unique are held.
    """
    hashes = np.fromiter(map(hash, strings), dtype=np.int64, count=len(strings))
    values, counts = np.unique(hashes, return_counts=True)
    like = np.arange(len(strings))
    firsts: dict[str, int] = {}
    for row in np.flatnonzero(np.isin(hashes, values[counts > 1])).tolist():
        if text := strings[row]:
            like[row] = firsts.setdefault(text, row)
    first = np.flatnonzero(like == np.arange(len(strings)))
    return np.searchsorted(first, like), first


def _checked(row: int, key: object) -> str:
    if not isinstance(key, str):
        raise InvalidArgumentError(
            f"row {row}: a key must be text, not {type(key).__name__} ({key!r}); use str(key)"
        )
    if not key:
        raise InvalidArgumentError(f"row {row}: the key is empty; give each row a unique key")
    return key
