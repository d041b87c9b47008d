"""Every member of every sample of a tar data set, copied into new webdataset shards.

A :class:`SampleIndex` has the members that helip reads; a copy must hold the others too (masks,
features, metadata). Its shards have passed the strict reader of the core, so that ``tarfile`` can
be trusted with them here. The same samples in the same order give the same bytes: names are key and
field, times, owners and permissions are fixed. Where each member goes is known before anything is
copied, so that members are read in the order in which they lie in their source.
"""

from __future__ import annotations

import itertools
import os
import re
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from helip.common.errors import CorruptError, MismatchError, UnsupportedError
from helip.common.files import storage_errors
from helip.common.progress import ProgressBar
from helip.data.dataset import Dataset, Subset
from helip.data.formats.tar import TarDataset
from helip.data.packed_strings import clean_key

_PIECE = 16 * 2**20

# The rules of the index (docs/formats.md).
_KEY_AND_FIELD = re.compile(r"((?:.*/)?[^./][^./]*)\.([^/]*)", re.DOTALL)
_META = re.compile(r"__[^/]*__($|/)")
_TEXT_FIELDS = ("txt", "caption", "text", "json", "cls")

Shard = dict[str, Any]  # of SampleIndex.shards
BLOCK = 512  # what contents are filled up to
END = 2 * BLOCK  # the marker that closes a tar file

_MEMBER = np.dtype(
    [
        ("row", np.int64),
        ("shard", np.int32),
        ("field", np.int32),  # into the names of fields
        ("offset", np.int64),  # of the first byte of the content
        ("size", np.int64),
    ]
)


@dataclass(frozen=True)
class Members:
    """The members of all samples. A member's name is the key of its row, a dot and a field."""

    shards: list[Shard]
    fields: list[str]
    table: np.ndarray  # [members] of `_MEMBER`, by row, then as they lie in their shard
    left_out: dict[str, int]  # by reason: link, sparse, device, unnamed, no_sample, not_chosen

    def __len__(self) -> int:
        return len(self.table)

    def of_rows(self, rows: np.ndarray) -> Members:
        """Those of ``rows`` [n] alone."""
        table = self.table[np.isin(self.table["row"], rows)]
        left_out = dict(self.left_out)
        if len(table) < len(self):
            left_out["not_chosen"] = len(self) - len(table)
        return Members(self.shards, self.fields, table, left_out)

    def least_bytes(self) -> int:
        """What they take in tar shards, at the least: long names take a little more."""
        return int((BLOCK + _whole_blocks(self.table["size"])).sum()) + END


def tars_of(data: Dataset) -> tuple[TarDataset, np.ndarray]:
    """The shards of a data set, and the rows of them that it has, int64 [n]."""
    whole = data, np.arange(len(data), dtype=np.int64)
    source, rows = data.source_rows() if isinstance(data, Subset) else whole
    if not isinstance(source, TarDataset):
        raise UnsupportedError(
            f"{data!r} is not made of tar shards, and only these are written anew; write it to "
            "shards first, for instance with webdataset.ShardWriter"
        )
    return source, rows


def members_of(data: TarDataset, *, progress: bool) -> Members:
    """Reads the headers of all shards.

    Raises:
        UnsupportedError: a sample with nothing but links, whose row a copy would not have; shards
            at URLs.
        MismatchError, CorruptError, StorageError: a shard changed, or cannot be read.
    """
    shards = data.index.shards
    if data.index.at_urls:
        raise UnsupportedError(
            f"{shards[0]['path']} is a URL; fetch the shards first, and take the files"
        )
    number_of: dict[str, int] = {}
    left_out: Counter[str] = Counter()
    tables = [np.empty(0, _MEMBER)]
    with ProgressBar(
        len(shards), label="scan", unit="shards", enabled=progress and len(shards) > 1
    ) as bar:
        for shard, entry in enumerate(shards):
            first, last = entry["first_row"], entry["first_row"] + entry["rows"]
            row_of = {key: first + i for i, key in enumerate(data.keys[first:last])}
            found = []
            for key, field, offset, size in _named(entry, left_out):
                if key in row_of:
                    number = number_of.setdefault(field, len(number_of))
                    found.append((row_of[key], shard, number, offset, size))
                else:
                    left_out["no_sample"] += 1
            tables.append(np.array(found, _MEMBER))
            bar.update()
    table = np.concatenate(tables)
    table = table[np.argsort(table["row"], kind="stable")]
    readable = {*data.index.image_extensions, *_TEXT_FIELDS}  # what makes a row of an index
    makes_row = np.array([name.lower() in readable for name in number_of], dtype=np.bool_)
    rows = table["row"][makes_row[table["field"]]]
    lost = np.flatnonzero(np.bincount(rows, minlength=len(data)) == 0)
    if lost.size:
        raise UnsupportedError(
            f"{lost.size:,} samples have nothing but links or devices, which are not copied; the "
            f"first is row {lost[0]}, key {data.keys[int(lost[0])]!r}. Write their files into the "
            "shards, or leave them out"
        )
    return Members(shards, list(number_of), table, dict(sorted(left_out.items())))


def write_shards(
    folder: Path,
    members: Members,
    keys: Sequence[str],
    rows: np.ndarray,
    *,
    shard_bytes: int,
    progress: bool,
) -> list[int]:
    """Writes the members of ``rows`` [n], in this order, as ``00000.tar`` and so on.

    Each shard is as full as ``shard_bytes`` allows, with one row at least. ``keys`` are those of
    all rows. Returns the size of each shard.

    Raises:
        StorageError: a shard cannot be written, or a source cannot be read. MismatchError,
            CorruptError: a source is not what it was.
    """
    sizes: list[int] = []
    # Two shards that follow each other hold more than one may.
    most = min(len(rows), 2 * members.least_bytes() // shard_bytes + 1)
    digits = max(5, len(str(most)))
    with ProgressBar(len(members), label="copy", unit="members", enabled=progress) as bar:
        for chosen, headers in _shard_plans(members, keys, rows, shard_bytes):
            path = folder / f"{len(sizes):0{digits}d}.tar"
            sizes.append(_write_shard(path, members.shards, chosen, headers, bar.update))
    return sizes


def _shard_plans(
    members: Members, keys: Sequence[str], rows: np.ndarray, shard_bytes: int
) -> Iterator[tuple[np.ndarray, list[bytes]]]:
    """Of each shard the members, [n] of `_MEMBER`, and their headers."""
    table = members.table
    spans = zip(
        rows.tolist(),
        np.searchsorted(table["row"], rows).tolist(),
        np.searchsorted(table["row"], rows, side="right").tolist(),
        strict=True,
    )
    chosen: list[int] = []
    headers: list[bytes] = []
    filled = END
    for row, first, last in spans:
        own = [
            header_of(f"{keys[row]}.{members.fields[member['field']]}", int(member["size"]))
            for member in table[first:last]
        ]
        taken = sum(map(len, own)) + int(_whole_blocks(table["size"][first:last]).sum())
        if chosen and filled + taken > shard_bytes:
            yield table[chosen], headers
            chosen, headers, filled = [], [], END
        chosen.extend(range(first, last))
        headers.extend(own)
        filled += taken
    if chosen:
        yield table[chosen], headers


def _write_shard(
    path: Path,
    shards: list[Shard],
    members: np.ndarray,
    headers: list[bytes],
    copied: Callable[[], None],
) -> int:
    """Writes a new file, and calls ``copied`` after each member; returns its size."""
    ends = np.cumsum([len(header) for header in headers] + _whole_blocks(members["size"]))
    places = np.concatenate([[0], ends[:-1]])
    size = int(ends[-1]) + END
    by_source = np.lexsort((members["offset"], members["shard"])).tolist()
    with storage_errors("write", path), path.open("xb") as file:
        file.truncate(size)  # what lies between members and at the end stays zero
        for shard, group in itertools.groupby(by_source, lambda at: int(members["shard"][at])):
            with opened_shard(shards[shard]) as source:
                for at in group:
                    file.seek(int(places[at]))
                    file.write(headers[at])
                    _, _, _, offset, length = members[at].tolist()
                    for piece in pieces(source, offset, length):
                        file.write(piece)
                    copied()
    return size


def pieces(source: BinaryIO, offset: int, size: int) -> Iterator[bytes]:
    """The content of a member, a few megabytes at a time."""
    with storage_errors("read", source.name):
        source.seek(offset)
        while size:
            piece = source.read(min(size, _PIECE))
            if not piece:
                raise CorruptError(
                    f"{source.name} ends at offset {source.tell():,} within a member; it was "
                    "truncated after it was opened. Copy it again, and begin again"
                )
            yield piece
            size -= len(piece)


def _named(shard: Shard, left_out: Counter[str]) -> Iterator[tuple[str, str, int, int]]:
    """Key, field, offset and size of the regular members of a shard; others are counted."""
    path = str(shard["path"])
    try:
        with (
            storage_errors("read", path),
            opened_shard(shard) as file,
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


def _refusal(info: tarfile.TarInfo) -> str | None:
    """Why a member has no bytes of its own to copy, None for a regular file."""
    if info.issparse():
        return "sparse"
    if info.issym() or info.islnk():
        return "link"
    return None if info.isreg() else "device"


def opened_shard(shard: Shard) -> BinaryIO:
    """The file of a shard, unless it is another one than was indexed."""
    with storage_errors("read", shard["path"]):
        file = open(shard["path"], "rb")  # noqa: SIM115, closed by who asks
        state = os.fstat(file.fileno())
    if (state.st_size, state.st_mtime_ns) != (shard["bytes"], shard["modified"]):
        file.close()
        raise MismatchError(
            f"{shard['path']} was changed after the data set was opened ({shard['bytes']:,} bytes "
            f"then, {state.st_size:,} now); open the data set again"
        )
    return file


def header_of(name: str, size: int) -> bytes:
    """What stands before the content of a member."""
    info = tarfile.TarInfo(name)
    info.size = size
    info.mode = 0o644
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "strict")


def _whole_blocks(size: np.ndarray) -> np.ndarray:
    """Bytes of the blocks that contents of these sizes fill."""
    return -(-size // BLOCK) * BLOCK
