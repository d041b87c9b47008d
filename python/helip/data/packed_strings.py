"""Many strings in two flat arrays: keys, captions and paths of a data set.

A list of ten million ``str`` costs about a gigabyte, and each forked worker that only reads
it copies it, since a look at a Python object writes to its reference count. One ``bytes``
object and one offset array have no per-row objects, so that workers share them untouched.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, overload

import numpy as np

from helip.common.errors import InvalidArgumentError

_ROW_DIGITS = 9


def clean_key(name: str) -> str:
    """Return ``name`` as valid UTF-8; bytes that were not UTF-8 become ``\\udcXX`` in letters."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


class PackedStrings(Sequence[str]):
    """An immutable sequence of strings in one blob.

    Args:
        blob: the strings in UTF-8, one after the other.
        offsets: int64 [n + 1]; string ``i`` is ``blob[offsets[i]:offsets[i + 1]]``.
    """

    # Lone surrogates stand for bytes of file names that are not UTF-8; they must survive.
    _encoding_errors = "surrogatepass"

    def __init__(self, blob: bytes, offsets: np.ndarray) -> None:
        self._blob = blob
        self._offsets = offsets

    @classmethod
    def from_strings(cls, strings: Iterable[str]) -> PackedStrings:
        """Pack ``strings``, which may be a generator; one at a time is held."""
        blob = bytearray()
        ends = array("q", [0])
        for text in strings:
            blob += text.encode("utf-8", cls._encoding_errors)
            ends.append(len(blob))
        return cls(bytes(blob), np.frombuffer(ends, dtype=np.int64))

    def __len__(self) -> int:
        return len(self._offsets) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> PackedStrings: ...

    def __getitem__(self, index: int | slice) -> str | PackedStrings:
        if isinstance(index, slice):
            return self.take(range(*index.indices(len(self))))
        if index < 0:
            index += len(self)
        if not 0 <= index < len(self):
            raise IndexError(f"index {index} is outside 0..{len(self) - 1}")
        start, end = self._offsets[index], self._offsets[index + 1]
        return self._blob[start:end].decode("utf-8", self._encoding_errors)

    def __iter__(self) -> Iterator[str]:
        blob, errors = self._blob, self._encoding_errors
        start = 0
        for first in range(1, len(self._offsets), 65536):
            for end in self._offsets[first : first + 65536].tolist():
                yield blob[start:end].decode("utf-8", errors)
                start = end

    def __eq__(self, other: object) -> bool:
        if isinstance(other, PackedStrings):
            return self._blob == other._blob and np.array_equal(self._offsets, other._offsets)
        if isinstance(other, (list, tuple)):
            return len(self) == len(other) and all(
                mine == theirs for mine, theirs in zip(self, other, strict=True)
            )
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        shown = ", ".join(repr(self[i]) for i in range(min(3, len(self))))
        return f"{type(self).__name__}({shown}{', …' if len(self) > 3 else ''}; {len(self):,})"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._blob, self._offsets)

    def is_empty(self, index: int) -> bool:
        """Whether string ``index`` has no characters, without decoding it."""
        return bool(self._offsets[index] == self._offsets[index + 1])

    def count_empty(self) -> int:
        """How many strings have no characters."""
        return int((np.diff(self._offsets) == 0).sum())

    def packed(self) -> tuple[bytes, np.ndarray]:
        """Return the blob and int64 [n + 1] offsets into it, shared, not copied."""
        return self._blob, np.ascontiguousarray(self._offsets, dtype=np.int64)

    def take(self, rows: Iterable[int]) -> PackedStrings:
        """Return the strings at ``rows``, in that order."""
        return self.from_strings(self[int(row)] for row in rows)


class KeyList(PackedStrings):
    """The keys of a data set, in row order."""

    _encoding_errors = "strict"

    @classmethod
    def from_strings(cls, strings: Iterable[str]) -> KeyList:
        """Pack ``strings``; an empty or non-text key is refused with its row."""
        packed = super().from_strings(clean_key(_checked(row, s)) for row, s in enumerate(strings))
        return cls(packed._blob, packed._offsets)

    @classmethod
    def numbered(cls, count: int) -> KeyList:
        """Row numbers of nine digits or more, for rows that have no name of their own."""
        return cls.from_strings(f"{row:0{_ROW_DIGITS}d}" for row in range(count))

    def first_duplicate(self) -> tuple[int, int] | None:
        """Return the first two rows (smallest second row) with one key, or None.

        Sorts 64-bit hashes, so that it needs 16 bytes a row; equal hashes are compared as text.
        """
        hashes = np.fromiter((hash(key) for key in self), dtype=np.int64, count=len(self))
        order = np.argsort(hashes, kind="stable")
        same = hashes[order[1:]] == hashes[order[:-1]]
        best: tuple[int, int] | None = None
        seen: dict[str, int] = {}
        for position in np.flatnonzero(same).tolist():
            for row in (int(order[position]), int(order[position + 1])):
                first = seen.setdefault(self[row], row)
                if first != row and (best is None or row < best[1]):
                    best = (first, row)
        return best


def _checked(row: int, key: object) -> str:
    if not isinstance(key, str):
        raise InvalidArgumentError(
            f"row {row}: a key must be text, not {type(key).__name__} ({key!r}); use str(key)"
        )
    if not key:
        raise InvalidArgumentError(f"row {row}: the key is empty; give each row a unique key")
    return key
