"""Every member of every sample of a tar data set, copied into new webdataset shards.

A :class:`SampleIndex` has the members that helip reads; a copy must hold the others too (masks,
features, metadata). Its shards have passed the strict reader of the core, so that ``tarfile`` can
be trusted with them here. The same samples in the same order give the same bytes: names are key and
field, times, owners and permissions are fixed. Where each member goes is known before anything is
copied, so that members are read in the order in which they lie in their source, and a disk that is
too small shows at once.
"""

from __future__ import annotations

import errno
import os
import re
import tarfile
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from helip.common.errors import CorruptError, MismatchError, StorageError, UnsupportedError
from helip.common.files import storage_errors
from helip.common.progress import ProgressBar
from helip.data.formats.tar import TarDataset
from helip.data.packed_strings import clean_key

_PIECE = 16 * 2**20
_MAX_OPEN_SHARDS = 128

# The rules of the index (docs/formats.md).
_KEY_AND_FIELD = re.compile(r"((?:.*/)?[^./][^./]*)\.([^/]*)", re.DOTALL)
_META = re.compile(r"__[^/]*__($|/)")
_TEXT_FIELDS = ("txt", "caption", "text", "json", "cls")

Shard = dict[str, Any]  # of SampleIndex.shards
_BLOCK = 512
_END = 2 * _BLOCK  # the marker that closes a tar file
_NOT_RESERVABLE = (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS)


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
    left_out: dict[str, int]  # by reason: link, sparse, device, unnamed, no_sample, not_chosen

    def __len__(self) -> int:
        return len(self.offset)

    def of_rows(self, rows: np.ndarray | None) -> Members:
        """Those of ``rows`` [n], which are numbered anew from 0; None for all."""
        if rows is None:
            return self
        sizes = np.diff(self.starts)[rows]
        starts = np.zeros(len(rows) + 1, dtype=np.int64)
        np.cumsum(sizes, out=starts[1:])
        taken = np.arange(starts[-1]) + np.repeat(self.starts[rows] - starts[:-1], sizes)
        left_out = dict(self.left_out)
        if len(taken) < len(self):
            left_out["not_chosen"] = len(self) - len(taken)
        columns = ("shard", "offset", "size", "field")
        return replace(
            self, starts=starts, left_out=left_out,
            **{name: getattr(self, name)[taken] for name in columns},
        )  # fmt: skip


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
    known = data.index.shards
    if data.index.at_urls:
        raise UnsupportedError(
            f"{known[0]['path']} is a URL; fetch the shards first, and reshard the files"
        )
    with ProgressBar(
        len(known), label="scan", unit="shards", enabled=progress and len(known) > 1
    ) as bar:
        for shard, entry in enumerate(known):
            first, last = entry["first_row"], entry["first_row"] + entry["rows"]
            row_of = {key: first + i for i, key in enumerate(data.keys[first:last])}
            for key, field, offset, size in _named(entry, left_out):
                if key not in row_of:
                    left_out["no_sample"] += 1
                    continue
                rows.append(row_of[key])
                shards.append(shard)
                fields.append(number_of.setdefault(field, len(number_of)))
                offsets.append(offset)
                sizes.append(size)
            bar.update()
    row = np.frombuffer(rows, dtype=np.int64)
    order = np.argsort(row, kind="stable")
    field_of = np.frombuffer(fields, dtype=np.int32)
    readable = {*data.index.image_extensions, *_TEXT_FIELDS}  # what makes a row of an index
    makes_row = np.array([name.lower() in readable for name in number_of], dtype=np.bool_)
    lost = np.flatnonzero(np.bincount(row[makes_row[field_of]], minlength=len(data)) == 0)
    if lost.size:
        raise UnsupportedError(
            f"{lost.size:,} samples have nothing but links or devices, which are not copied; the "
            f"first is row {lost[0]}, key {data.keys[int(lost[0])]!r}. Write their files into the "
            "shards, or leave them out"
        )
    starts = np.zeros(len(data) + 1, dtype=np.int64)
    np.cumsum(np.bincount(row, minlength=len(data)), out=starts[1:])
    return Members(
        shards=[str(entry["path"]) for entry in known],
        starts=starts,
        shard=np.frombuffer(shards, dtype=np.int32)[order],
        offset=np.frombuffer(offsets, dtype=np.int64)[order],
        size=np.frombuffer(sizes, dtype=np.int64)[order],
        field=field_of[order],
        fields=list(number_of),
        left_out=dict(sorted(left_out.items())),
    )


def _named(shard: Shard, left_out: Counter[str]) -> Iterator[tuple[str, str, int, int]]:
    """Key, field, offset and size of the regular members of a shard; others are counted."""
    path = str(shard["path"])
    try:
        with (
            _open_shard(shard) as file,
            tarfile.open(
                fileobj=file, mode="r:", encoding="utf-8", errors="surrogateescape"
            ) as opened,
        ):
            archive: Any = opened
            while (info := archive.next()) is not None:
                archive.members.clear()  # tarfile keeps every header that it read
                if info.isdir():
                    continue
                matched = _KEY_AND_FIELD.fullmatch(re.sub(r"^(\./)+", "", info.name))
                if refusal := _refusal(info):
                    left_out[refusal] += 1
                elif matched is None or _META.match(matched[0]):
                    left_out["unnamed"] += 1
                else:
                    yield clean_key(matched[1]), clean_key(matched[2]), info.offset_data, info.size
    except tarfile.TarError as error:
        raise CorruptError(f"{path} is damaged: {error}; copy or write it again") from error
    except OSError as error:
        raise StorageError(error.errno or 0, f"cannot read: {error}", path) from error


def _refusal(info: tarfile.TarInfo) -> str | None:
    """Why a member has no bytes of its own to copy, None for a regular file."""
    if info.issparse():
        return "sparse"
    if info.issym() or info.islnk():
        return "link"
    return None if info.isreg() else "device"


def _open_shard(shard: Shard) -> BinaryIO:
    """The file of a shard, unless it is another one than was indexed."""
    file = open(shard["path"], "rb")  # noqa: SIM115, closed by who asks
    state = os.fstat(file.fileno())
    if (state.st_size, state.st_mtime_ns) != (shard["bytes"], shard["modified"]):
        file.close()
        raise MismatchError(
            f"{shard['path']} was changed after the data set was opened ({shard['bytes']:,} bytes "
            f"then, {state.st_size:,} now); open the data set again"
        )
    return file


class MemberReader:
    """Reads members by offset; a shard that changed since it was indexed is refused."""

    def __init__(self, data: TarDataset) -> None:
        self._shards = data.index.shards
        self._open: dict[int, BinaryIO] = {}

    def pieces(self, shard: int, offset: int, size: int) -> Iterator[bytes]:
        """The content of a member, a few megabytes at a time."""
        path = str(self._shards[shard]["path"])
        end = offset + size
        try:
            number = self._file(shard).fileno()
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

    def close(self) -> None:
        while self._open:
            self._open.popitem()[1].close()

    def _file(self, shard: int) -> BinaryIO:
        found = self._open.get(shard)
        if found is None:
            found = _open_shard(self._shards[shard])
            if len(self._open) >= _MAX_OPEN_SHARDS:
                self._open.pop(next(iter(self._open))).close()
            self._open[shard] = found
        return found


@dataclass(frozen=True)
class ShardPlan:
    """One shard: what it holds and where."""

    rows: int
    members: np.ndarray  # int64 [n], into Members
    headers: list[bytes]  # [n]
    places: np.ndarray  # int64 [n], of each header in the shard
    size: int


def least_bytes(members: Members) -> int:
    """Bytes that the members take in tar shards, at the least: long names take a little more."""
    return int((_BLOCK + _whole_blocks(members.size)).sum()) + _END


def plan_shards(
    members: Members,
    keys: Sequence[str],
    order: np.ndarray,
    *,
    shard_bytes: int | None,
    shard_rows: int | None,
) -> Iterator[ShardPlan]:
    """Shards of the rows in that order, each as full as its bound allows, with one row at least."""
    rows, chosen, headers, lengths, size = 0, [], [], [], _END  # type: ignore[var-annotated]
    for row in order.tolist():
        span = range(int(members.starts[row]), int(members.starts[row + 1]))
        own = [_header(members, keys[row], member) for member in span]
        own_lengths = [
            len(header) + int(_whole_blocks(members.size[member]))
            for header, member in zip(own, span, strict=True)
        ]
        is_full = (shard_rows is not None and rows >= shard_rows) or (
            shard_bytes is not None and size + sum(own_lengths) > shard_bytes
        )
        if rows and is_full:
            yield _plan(rows, chosen, headers, lengths)
            rows, chosen, headers, lengths, size = 0, [], [], [], _END
        rows += 1
        chosen.extend(span)
        headers.extend(own)
        lengths.extend(own_lengths)
        size += sum(own_lengths)
    if rows:
        yield _plan(rows, chosen, headers, lengths)


def write_shard(
    path: Path,
    plan: ShardPlan,
    members: Members,
    reader: MemberReader,
    copied: Callable[[], None],
) -> None:
    """Writes a new file; ``copied`` is called after each member.

    Raises:
        StorageError: it cannot be written, or a source cannot be read.
    """
    shard, offset = members.shard[plan.members], members.offset[plan.members]
    with storage_errors("write", path):
        number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            _reserve(number, plan.size)
            for at in np.lexsort((offset, shard)).tolist():
                place = int(plan.places[at])
                head = plan.headers[at]
                size = int(members.size[plan.members[at]])
                for piece in reader.pieces(int(shard[at]), int(offset[at]), size):
                    _write_at(number, head + piece, place)
                    place += len(head) + len(piece)
                    head = b""
                if head:  # of an empty member
                    _write_at(number, head, place)
                copied()
        finally:
            os.close(number)


def _plan(rows: int, chosen: list[int], headers: list[bytes], lengths: list[int]) -> ShardPlan:
    ends = np.cumsum(np.array(lengths, dtype=np.int64))
    return ShardPlan(
        rows=rows,
        members=np.array(chosen, dtype=np.int64),
        headers=headers,
        places=ends - lengths,
        size=int(ends[-1]) + _END,
    )


def _header(members: Members, key: str, member: int) -> bytes:
    info = tarfile.TarInfo(f"{key}.{members.fields[members.field[member]]}")
    info.size = int(members.size[member])
    info.mode = 0o644
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "strict")


def _whole_blocks(size: np.ndarray) -> np.ndarray:
    return -(-size // _BLOCK) * _BLOCK


def _reserve(number: int, size: int) -> None:
    """Gives the file its size, in zeros: what lies between members and at the end stays so."""
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(number, 0, size)
            return
        except OSError as error:
            if error.errno not in _NOT_RESERVABLE:
                raise
    os.ftruncate(number, size)


def _write_at(number: int, data: bytes, place: int) -> None:
    rest = memoryview(data)
    while rest:
        written = os.pwrite(number, rest, place)
        if written == 0:
            raise StorageError(errno.EIO, "the system writes no more")
        place += written
        rest = rest[written:]
