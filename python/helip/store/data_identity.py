"""Whether two data sets are the same, and if not, in what they differ.

A data set's fingerprint is ``KEYS-CAPTIONS-SIZES-ENDS``: a digest over the keys in order, one
over the captions, one over the sizes of the pictures and one over digests of their last bytes; 0 in
place of what is not known, which differs from nothing. A store also keeps the digests of each row,
so that the rows can be named.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from helip import _core
from helip.common.errors import MismatchError
from helip.common.files import publish_file, reading_file

_PARTS = ("keys or their order", "captions", "pictures", "pictures")
_UNKNOWN = ("", "0")
BLOCK = 65_536
_KEPT = 1 << 20  # rows that `keep_rows` keeps hashes of
_SHOWN = 3
_SHOWN_DIGITS = 6  # of each part of a fingerprint


class Rows(Protocol):
    """A data set, as far as its identity goes."""

    @property
    def keys(self) -> Sequence[str]: ...
    def row_digests(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]: ...


def fingerprint_differences(theirs: str, own: str) -> list[str]:
    """In what two fingerprints differ, such as ``["captions"]``; only what both know counts."""
    found = [
        name
        for name, a, b in zip(_PARTS, theirs.split("-"), own.split("-"), strict=False)
        if a not in _UNKNOWN and b not in _UNKNOWN and a != b
    ]
    return list(dict.fromkeys(found))


def difference_words(differences: Sequence[str]) -> str:
    """``": the captions differ"`` for a message, or nothing."""
    return f": the {' and the '.join(differences)} differ" if differences else ""


def short(fingerprint: str) -> str:
    """As much of a fingerprint as messages show."""
    return fingerprint[:12] or "unknown"


class Identity(NamedTuple):
    """What tells one data set from another."""

    rows: int
    fingerprint: str = ""
    """ "" where it is not known, which differs from nothing."""

    @classmethod
    def of(cls, data: Any) -> Identity:
        """Of an open data set."""
        return cls(len(data), getattr(data, "fingerprint", None) or "")

    def __str__(self) -> str:
        parts = "-".join(part[:_SHOWN_DIGITS] for part in self.fingerprint.split("-"))
        return f"{self.rows:,} rows{f' with fingerprint {parts}' if parts else ''}"


def require_same_data(what: str, made_of: Identity, data: Identity, mend: str) -> None:
    """MismatchError where ``what``, such as "the table", was made of another data set than
    ``data``; ``mend`` says what to do then."""
    differ = ["numbers of rows"]
    if made_of.rows == data.rows:
        differ = fingerprint_differences(made_of.fingerprint, data.fingerprint)
    if differ:
        raise MismatchError(
            f"{what} belongs to other data than this{difference_words(differ)} ({made_of} there, "
            f"{data} here); {mend}"
        )


def refuse_another_store(fingerprint: str, store: Any) -> None:
    """MismatchError where a table with ``fingerprint``, "" if it has none, was made of another."""
    if fingerprint not in ("", store.fingerprint):
        raise MismatchError(
            f"the table was made of a store with fingerprint {short(fingerprint)}, this one has "
            f"{short(store.fingerprint)}; give the one that was mined. Where rows were embedded "
            "again, appended or deleted since, bring the table up to date with helip.update"
        )


def fingerprint_of(data: Rows) -> str:
    """The fingerprint of a data set; reads its keys and digests in blocks."""
    fingerprint = _core.DataFingerprint()
    for rows in blocks(0, len(data.keys)):
        keys = data.keys[rows[0] : rows[-1] + 1]
        fingerprint.add(list(keys), *data.row_digests(rows))
    return str(fingerprint.text())


def blocks(first: int, last: int) -> Iterator[np.ndarray]:
    """The rows ``first`` up to ``last`` in blocks of bounded size, int64."""
    for start in range(first, last, BLOCK):
        yield np.arange(start, min(start + BLOCK, last), dtype=np.int64)


def row_hashes(data: Rows, rows: np.ndarray) -> np.ndarray:
    """uint64 [3, n] of ``rows`` [n]: of the key, of the picture (by its size) and of the caption;
    0 where it is not known."""
    pictures, captions = data.row_digests(rows)
    keys = _core.caption_digests(
        [data.keys[row].encode("utf-8", "surrogatepass") for row in rows.tolist()]
    )
    return np.stack([keys, pictures & np.uint64(0xFFFFFFFF), captions])


def keep_rows(file: Path, data: Rows) -> None:
    """Write hashes into a file by which `count_kept_rows` knows rows of ``data`` again.

    Two of key, picture and caption tell a row. A caption of several rows does not count, nor a
    picture's size that more than a hundredth of them have. Of more than 2^20 rows as many are kept,
    evenly spaced.
    """
    rows = len(data.keys)
    kept = np.arange(0, rows, max(1, -(-rows // _KEPT)), dtype=np.int64)
    parts = np.concatenate(
        [np.zeros((3, 0), np.uint64)]
        + [row_hashes(data, kept[at : at + BLOCK]) for at in range(0, len(kept), BLOCK)],
        axis=1,
    )
    for part, most in ((parts[1], max(1, len(kept) // 100)), (parts[2], 1)):
        _, place, counts = np.unique(part, return_inverse=True, return_counts=True)
        part[counts[place] > most] = 0
    with publish_file(file, overwrite=True) as temporary, temporary.open("wb") as written:
        np.save(written, np.unique(_pairs_of(parts)), allow_pickle=False)


def count_kept_rows(file: Path, data: Rows) -> int:
    """How many rows of ``data`` are among those of a file that `keep_rows` wrote."""
    with reading_file(file):
        kept = np.load(file, allow_pickle=False)
    kept, count = kept[kept != 0], 0
    for rows in blocks(0, len(data.keys)):
        count += int(np.isin(_pairs_of(row_hashes(data, rows)), kept).any(axis=0).sum())
    return count


def _pairs_of(parts: np.ndarray) -> np.ndarray:
    """uint64 [3, n]: a hash of each two of the parts [3, n]; 0 where one of them is 0."""
    first, second = parts, np.roll(parts, -1, axis=0)
    mixed = (first * np.uint64(0x9E3779B97F4A7C15)) ^ (second * np.uint64(0xC2B2AE3D27D4EB4F))
    mixed ^= mixed >> np.uint64(29)
    return np.where((first != 0) & (second != 0), mixed, np.uint64(0))


@dataclass
class DataChange:
    """What became of the data that a store was made from."""

    rows_then: int
    rows_now: int
    captions: int = 0
    """Rows of both whose caption is another."""
    pictures: int = 0
    moved: int = 0
    """Rows of both that have another number."""
    added: int = 0
    removed: int = 0
    unreadable: int = 0
    """Rows of both that could not be read then."""
    first_keys: list[str] = field(default_factory=list)
    """The first three keys of rows that are not as they were."""
    reused: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    """int64 [rows_now]: the row of the store that holds this row of the data, -1 for none."""

    def __str__(self) -> str:
        counted = (
            (self.captions, "captions changed"),
            (self.pictures, "pictures changed"),
            (self.moved, "rows have another place (the order differs)"),
            (self.added, "rows are new"),
            (self.removed, "rows are gone"),
            (self.unreadable, "rows could not be read then"),
        )
        told = ", ".join(f"{count:,} {what}" for count, what in counted if count)
        shown = ", ".join(map(repr, self.first_keys))
        return f"{told} ({self.rows_then:,} rows then, {self.rows_now:,} now); the first: {shown}"

    def unread(self, rows: np.ndarray, keys: Sequence[str]) -> None:
        """Count ``rows`` of now, which could not be read then, among those that the store lacks."""
        self.reused[rows] = -1
        self.unreadable += len(rows)
        self.first_keys += [keys[row] for row in rows[: _SHOWN - len(self.first_keys)].tolist()]


def compare_rows(store: Any, data: Rows, *, rows_now: int) -> DataChange:
    """What differs between the rows of ``store`` and the first ``rows_now`` of ``data``.

    Keys are compared in blocks; only where some differ are the hashes of all held at once.
    """
    change = DataChange(len(store), rows_now, reused=np.full(rows_now, -1, dtype=np.int64))
    for first in range(0, min(len(store), rows_now), BLOCK):
        last = min(first + BLOCK, len(store), rows_now)
        if list(store.keys[first:last]) != list(data.keys[first:last]):
            places = _places_by_key(store.keys, data.keys, rows_now)
            break
    else:
        places = np.arange(rows_now, dtype=np.int64)
        places[len(store) :] = -1
    known = places >= 0
    change.added = int((~known).sum())
    change.removed = len(store) - int(known.sum())
    if change.removed:
        there = np.zeros(len(store), dtype=np.bool_)
        there[places[known]] = True
        change.first_keys = [store.keys[row] for row in np.flatnonzero(~there)[:_SHOWN].tolist()]
    for rows in blocks(0, rows_now):
        _compare_block(change, store, data, rows, places[rows])
    return change


def runs_of(source: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """int64 [n, 3]: runs (source, first, last) of rows that follow each other."""
    source = source.astype(np.int64)
    if not len(rows):
        return np.zeros((0, 3), dtype=np.int64)
    breaks = np.flatnonzero((np.diff(source) != 0) | (np.diff(rows) != 1)) + 1
    first, last = np.r_[0, breaks], np.r_[breaks, len(rows)] - 1
    return np.stack([source[first], rows[first], rows[last] + 1], axis=1).astype(np.int64)


def _compare_block(
    change: DataChange, store: Any, data: Rows, rows: np.ndarray, places: np.ndarray
) -> None:
    known = places >= 0
    same_image, same_caption = np.ones(len(rows), np.bool_), np.ones(len(rows), np.bool_)
    if store.digests is not None and known.any():
        images, captions = data.row_digests(rows[known])
        old_images, old_captions = (column[places[known]] for column in store.digests)
        same_image[known] = _core.may_be_same_images(images, old_images)
        same_caption[known] = (captions == old_captions) | (captions == 0) | (old_captions == 0)
    moved = known & (places != rows)
    same = known & same_image & same_caption
    change.captions += int((~same_caption).sum())
    change.pictures += int((~same_image).sum())
    change.moved += int(moved.sum())
    change.reused[rows[same]] = places[same]
    odd = np.flatnonzero(~same | moved)[: _SHOWN - len(change.first_keys)]
    change.first_keys += [data.keys[row] for row in rows[odd].tolist()]


def _places_by_key(old: Sequence[str], new: Sequence[str], rows_now: int) -> np.ndarray:
    """int64 [rows_now]: the old row of each new key, -1 where it is new."""
    hashes = np.fromiter(map(hash, old), dtype=np.int64, count=len(old))
    order = np.argsort(hashes, kind="stable")
    hashes = hashes[order]
    places = np.full(rows_now, -1, dtype=np.int64)
    for first in range(0, rows_now, BLOCK):
        keys = new[first : min(first + BLOCK, rows_now)]
        wanted = np.fromiter(map(hash, keys), dtype=np.int64, count=len(keys))
        start = np.searchsorted(hashes, wanted, side="left")
        for i, at in enumerate(start.tolist()):
            # Keys of one hash lie side by side; a hash alone could be a coincidence.
            while at < len(hashes) and hashes[at] == wanted[i]:
                if old[int(order[at])] == keys[i]:
                    places[first + i] = order[at]
                    break
                at += 1
    return places
