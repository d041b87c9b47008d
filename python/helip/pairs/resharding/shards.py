"""Writes samples into webdataset shards: the same bytes for the same samples in the same order.

Names are key and field, times, owners and permissions are fixed. Where each member goes is known
before anything is copied, so that members are read in the order in which they lie in their source,
and a disk that is too small shows at once.
"""

from __future__ import annotations

import errno
import os
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from helip.common.errors import StorageError
from helip.common.files import storage_errors
from helip.pairs.resharding.members import MemberReader, Members

_BLOCK = 512
_END = 2 * _BLOCK  # the marker that closes a tar file
_NOT_RESERVABLE = (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS)


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
