"""Every member of every sample of a tar data set, and its bytes: what resharding copies.

A :class:`TarDataset` indexes the members that helip reads; a copy must hold the others too (masks,
features, metadata). This is the only module that looks into how it keeps its shards.
"""

from __future__ import annotations

import os
from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from helip.data_keys import clean_key
from helip.data_paths import FileStamp
from helip.data_tar import _KEY_AND_FIELD, _META, TarDataset, _Descriptor, _members, _refusal
from helip.errors import CorruptError, StorageError, UnsupportedError
from helip.progress import ProgressBar

__all__ = ["MemberReader", "Members", "members_of"]

_PIECE = 16 * 2**20
_MAX_OPEN_SHARDS = 128


@dataclass(frozen=True)
class Members:
    """The members of all samples in flat arrays, ordered by row, then as they lie in their shard.

    Row i has the members ``starts[i]:starts[i + 1]``. A name is the row's key, a dot and a field.
    """

    shards: list[str]  # paths
    starts: np.ndarray  # int64 [rows + 1]
    shard: np.ndarray  # int32 [members]
    offset: np.ndarray  # int64 [members], of the first byte of the content
    size: np.ndarray  # int64 [members]
    field: np.ndarray  # int32 [members], into `fields`
    fields: list[str]
    left_out: dict[str, int]  # by reason: link, sparse, device, unnamed, no_sample

    def __len__(self) -> int:
        return len(self.offset)


def members_of(data: TarDataset, *, progress: bool) -> Members:
    """Reads the headers of all shards.

    Raises:
        UnsupportedError: a sample with nothing but links, whose row a copy would not have.
        MismatchError, CorruptError, StorageError: a shard changed, or cannot be read.
    """
    rows, shards, fields = array("q"), array("i"), array("i")
    offsets, sizes = array("q"), array("q")
    number_of: dict[str, int] = {}
    left_out: Counter[str] = Counter()
    with ProgressBar(
        len(data._shards), label="scan", unit="shards", enabled=progress and len(data._shards) > 1
    ) as bar:
        for shard, stamp in enumerate(data._shards):
            first, last = int(data._starts[shard]), int(data._starts[shard + 1])
            row_of = {data.keys[row]: row for row in range(first, last)}
            for key, field, offset, size in _named(stamp, left_out):
                if key not in row_of:
                    left_out["no_sample"] += 1
                    continue
                rows.append(row_of[key])
                shards.append(shard)
                fields.append(number_of.setdefault(field, len(number_of)))
                offsets.append(offset)
                sizes.append(size)
            bar.update()
    _refuse_lost(data)
    row = np.frombuffer(rows, dtype=np.int64)
    order = np.argsort(row, kind="stable")
    starts = np.zeros(len(data) + 1, dtype=np.int64)
    np.cumsum(np.bincount(row, minlength=len(data)), out=starts[1:])
    return Members(
        shards=[stamp.path for stamp in data._shards],
        starts=starts,
        shard=np.frombuffer(shards, dtype=np.int32)[order],
        offset=np.frombuffer(offsets, dtype=np.int64)[order],
        size=np.frombuffer(sizes, dtype=np.int64)[order],
        field=np.frombuffer(fields, dtype=np.int32)[order],
        fields=list(number_of),
        left_out=dict(sorted(left_out.items())),
    )


def _named(stamp: FileStamp, left_out: Counter[str]) -> Iterator[tuple[str, str, int, int]]:
    """Key, field, offset and size of the regular members of a shard; others are counted."""
    try:
        descriptor = _Descriptor(stamp.path)
        stamp.check(os.fstat(descriptor.number))
        for info in _members(Path(stamp.path), descriptor.number, stamp.size):
            if info.isdir():
                continue
            matched = _KEY_AND_FIELD.fullmatch(_without_dots(info.name))
            if refusal := _refusal(info):
                left_out[refusal] += 1
            elif matched is None or _META.match(matched[0]):
                left_out["unnamed"] += 1
            else:
                yield clean_key(matched[1]), clean_key(matched[2]), info.offset_data, info.size
    except OSError as error:
        raise StorageError(error.errno or 0, f"cannot read: {error}", stamp.path) from error


def _without_dots(name: str) -> str:
    while name.startswith("./"):
        name = name[2:]
    return name


def _refuse_lost(data: TarDataset) -> None:
    lost = np.flatnonzero((data._offsets < 0).all(axis=1))
    if lost.size:
        raise UnsupportedError(
            f"{lost.size:,} samples have nothing but links or devices, which are not copied; the "
            f"first is row {lost[0]}, key {data.keys[int(lost[0])]!r}. Write their files into the "
            "shards, or leave them out"
        )


class MemberReader:
    """Reads members by offset; a shard that changed since it was indexed is refused."""

    def __init__(self, data: TarDataset) -> None:
        self._shards = data._shards
        self._open: dict[int, _Descriptor] = {}

    def pieces(self, shard: int, offset: int, size: int) -> Iterator[bytes]:
        """The content of a member, a few megabytes at a time."""
        path = self._shards[shard].path
        end = offset + size
        try:
            number = self._descriptor(shard).number
            while offset < end:
                piece = os.pread(number, min(end - offset, _PIECE), offset)
                if not piece:
                    raise CorruptError(
                        f"{path} ends at offset {offset:,} within a member; it was truncated "
                        "after it was opened. Copy it again, and begin again"
                    )
                yield piece
                offset += len(piece)
        except OSError as error:
            raise StorageError(error.errno or 0, f"cannot read: {error}", path) from error

    def _descriptor(self, shard: int) -> _Descriptor:
        found = self._open.get(shard)
        if found is None:
            found = _Descriptor(self._shards[shard].path)
            self._shards[shard].check(os.fstat(found.number))
            if len(self._open) >= _MAX_OPEN_SHARDS:
                self._open.pop(next(iter(self._open)))
            self._open[shard] = found
        return found
