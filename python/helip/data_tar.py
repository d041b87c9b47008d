"""Tar shards of webdataset and img2dataset, read at random by offset; nothing is extracted.

The headers are scanned once. What stays in memory is 48 bytes a row in flat arrays, and the
keys. Reads use ``pread`` on descriptors that each process opens when it first needs them, so
that forks and threads share no file position.
"""

from __future__ import annotations

import json
import os
import re
import tarfile
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from helip.data_base import Dataset, OpenOptions
from helip.data_image import decode_image
from helip.data_keys import KeyList, clean_key
from helip.data_paths import IMAGE_SUFFIXES, MAX_IMAGE_BYTES, FileStamp
from helip.errors import CorruptError, InvalidArgumentError, StorageError, UnsupportedError

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["TarDataset"]

_BLOCK = 512
_MAX_TEXT_BYTES = 16 * 2**20
_MAX_OPEN_SHARDS = 128
# Sizes are kept in 32 bits; members above this are refused when read, whatever their size.
_SIZE_CAP = 2**32 - 1
_BAR_FROM_SHARDS = 16

# The four members that a sample can have; columns of the index.
_IMAGE, _TEXT, _JSON, _CLASS = range(4)
_ABSENT, _REFUSED = -1, -2
_TEXT_FIELDS = {"txt": _TEXT, "caption": _TEXT, "text": _TEXT, "json": _JSON, "cls": _CLASS}

# webdataset's rules: the key ends at the first dot of the last path component, and
# components such as __meta__ describe the shard, not a sample.
_KEY_AND_FIELD = re.compile(r"((?:.*/)?[^./][^./]*)\.([^/]*)", re.DOTALL)
_META = re.compile(r"__[^/]*__($|/)")

_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZ": "bzip2", b"\xfd7": "xz", b"\x28\xb5": "zstd"}


class TarDataset(Dataset):
    """The samples of one or more tar shards, in order of shards and of first members."""

    _duplicate_mend = "keys must be unique over all shards: rename one, or leave a shard out"

    def __init__(self, paths: Sequence[Path], options: OpenOptions) -> None:
        options.refuse(("key_column", "label_column", "keys", "root"), "tar shards")
        options.refuse(("follow_links",), "tar shards, where links are never followed")
        self.max_pixels = options.max_pixels
        self._caption_field = options.caption_column
        self._descriptors: dict[int, _Descriptor] = {}
        self._shards: list[FileStamp] = []
        self._ignored: Counter[str] = Counter()
        fields = dict(_TEXT_FIELDS)
        names = (
            [options.image_column.lower().lstrip(".")]
            if options.image_column
            else [suffix[1:] for suffix in IMAGE_SUFFIXES]
        )
        fields |= dict.fromkeys(names, _IMAGE)

        starts, offsets, sizes = [0], array("q"), array("q")
        self._keys = KeyList.from_strings(
            self._scan_all(paths, fields, starts, offsets, sizes, options.progress)
        )
        self._starts = np.array(starts, dtype=np.int64)  # [shards + 1]
        self._offsets = np.frombuffer(offsets, dtype=np.int64).reshape(-1, 4)  # [n, 4]
        self._sizes = np.frombuffer(sizes, dtype=np.int64).astype(np.uint32).reshape(-1, 4)
        self._check_keys()

    def _scan_all(
        self,
        paths: Sequence[Path],
        fields: dict[str, int],
        starts: list[int],
        offsets: array[int],
        sizes: array[int],
        progress: bool,
    ) -> Iterator[str]:
        """Yield the keys of all shards while the arrays are filled."""
        for path in _with_bar(paths, progress and len(paths) >= _BAR_FROM_SHARDS):
            shard = _Shard(path, fields, self._ignored)
            self._shards.append(shard.stamp)
            offsets.extend(shard.offsets)
            sizes.extend(shard.sizes)
            starts.append(len(offsets) // 4)
            yield from shard.rows

    @property
    def keys(self) -> KeyList:
        return self._keys

    def counts(self) -> dict[str, int]:
        """Rows, rows without a picture or caption member, and members left out by reason."""
        has_text = (self._offsets[:, [_TEXT, _JSON]] >= 0).any(axis=1)
        return {
            "rows": len(self),
            "shards": len(self._shards),
            "missing_image": int((self._offsets[:, _IMAGE] < 0).sum()),
            "missing_caption": int((~has_text).sum()),
            **{f"ignored_{reason}": count for reason, count in sorted(self._ignored.items())},
        }

    def __repr__(self) -> str:
        return f"TarDataset({len(self._keys):,} rows in {len(self._shards):,} shards)"

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_descriptors": {}}

    def _place(self, row: int) -> str:
        offset = max(int(o) for o in self._offsets[row])
        return f"{self._shards[self._shard_of(row)].path} at offset {offset}"

    def _shard_of(self, row: int) -> int:
        return int(np.searchsorted(self._starts, row, side="right")) - 1

    def _read_image(self, row: int) -> Image.Image:
        data = self._member(row, _IMAGE, MAX_IMAGE_BYTES)
        if data is None:
            link = self._offsets[row, _IMAGE] == _REFUSED
            raise self._sample_error(
                row,
                "missing_image",
                "its picture is a link, a sparse file or a device, which are not followed"
                if link
                else f"it has no picture in {self._shards[self._shard_of(row)].path}",
            )
        return decode_image(data, key=self.keys[row], max_pixels=self.max_pixels)

    def _read_caption(self, row: int) -> str | None:
        if self._caption_field is not None:
            return _text_of(self._json(row).get(self._caption_field))
        text = self._text(row, _TEXT)
        if text is not None and text.strip():
            return text
        described = self._json(row)
        return _text_of(described.get("caption")) or _text_of(described.get("text"))

    def _read_label(self, row: int) -> str | None:
        label: Any = self._text(row, _CLASS)
        if label is None:
            label = self._json(row).get("label")
        if isinstance(label, bool) or not isinstance(label, (str, int)):
            return None
        return str(label).strip() or None

    def _json(self, row: int) -> dict[str, Any]:
        text = self._text(row, _JSON)
        if text is None:
            return {}
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise self._sample_error(
                row, "unreadable_caption", f"its .json member cannot be read: {error}"
            ) from error
        return value if isinstance(value, dict) else {}

    def _text(self, row: int, field: int) -> str | None:
        data = self._member(row, field, _MAX_TEXT_BYTES)
        if data is None:
            return None
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise self._sample_error(
                row, "unreadable_caption", f"its text is not UTF-8: {error}"
            ) from error

    def _member(self, row: int, field: int, limit: int) -> bytes | None:
        """Return the bytes of a member, None where the sample has none."""
        offset, size = int(self._offsets[row, field]), int(self._sizes[row, field])
        if offset < 0:
            return None
        if size > limit:
            raise self._sample_error(
                row, "too_large", f"a member has {size:,} bytes, more than {limit:,}"
            )
        shard = self._shard_of(row)
        try:
            # Held by name while it is read: another thread may drop it from the cache.
            descriptor = self._descriptor(shard)
            data = _read_at(descriptor.number, offset, size)
        except OSError as error:
            raise self._sample_error(
                row, "io", f"cannot read {self._shards[shard].path}: {error}"
            ) from error
        if len(data) < size:
            raise self._sample_error(
                row,
                "io",
                f"{self._shards[shard].path} ends within its member at offset {offset}; "
                "the file was truncated after it was opened",
            )
        return data

    def _descriptor(self, shard: int) -> _Descriptor:
        # No lock, which a fork could leave taken: each step is one operation on the dictionary,
        # and a descriptor that another thread drops closes when its last user lets go of it.
        found = self._descriptors.get(shard)
        if found is None:
            found = _Descriptor(self._shards[shard].path)
            self._shards[shard].check(os.fstat(found.number))
            for oldest in list(self._descriptors)[: 1 - _MAX_OPEN_SHARDS]:
                self._descriptors.pop(oldest, None)
            self._descriptors[shard] = found
        return found


class _Descriptor:
    """An open file that closes with its last reference."""

    def __init__(self, path: str) -> None:
        self.number = -1
        self.number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    # The module may be half gone when the interpreter ends.
    def __del__(self, close: Any = os.close) -> None:
        if self.number >= 0:
            close(self.number)


class _HeaderReader:
    """What tarfile reads from: no read-ahead, and no read or allocation beyond the file."""

    def __init__(self, number: int, size: int) -> None:
        self._number, self._size, self._position = number, size, 0

    def read(self, count: int = -1) -> bytes:
        left = max(self._size - self._position, 0)
        data = _read_at(self._number, self._position, left if count < 0 else min(count, left))
        self._position += len(data)
        return data

    def seek(self, position: int) -> int:
        self._position = position
        return position

    def tell(self) -> int:
        return self._position


class _Shard:
    """The index of one tar file.

    ``rows`` maps keys to row numbers within the shard; ``offsets`` and ``sizes`` hold four
    numbers a row (picture, text, json, class). What is left out is counted in ``ignored``.
    """

    def __init__(self, path: Path, fields: dict[str, int], ignored: Counter[str]) -> None:
        self.path = path
        self.rows: dict[str, int] = {}
        self.offsets, self.sizes = array("q"), array("q")
        self._seen: dict[str, int] = {}
        self._fields, self._ignored = fields, ignored
        try:
            descriptor = _Descriptor(str(path))
            self.stamp = FileStamp(path, os.fstat(descriptor.number))
            for info in _members(path, descriptor.number, self.stamp.size):
                self._add(info)
        except OSError as error:
            raise StorageError(error.errno or 0, f"cannot read: {error}", str(path)) from error

    def _add(self, info: tarfile.TarInfo) -> None:
        if info.isdir():
            return
        name = info.name
        while name.startswith("./"):
            name = name[2:]
        matched = _KEY_AND_FIELD.fullmatch(name)
        refusal = _refusal(info)
        if matched is None or _META.match(name):
            self._ignored[refusal or "unnamed"] += 1
            return
        field = self._fields.get(matched[2].lower())
        if refusal or field is None:
            self._ignored[refusal or "other"] += 1
        if field is None:
            return
        if name in self._seen:
            raise InvalidArgumentError(
                f"{self.path} has two members {clean_key(name)!r}: at offset {self._seen[name]} "
                f"and at offset {info.offset}; write the shard again with unique names"
            )
        self._seen[name] = info.offset
        row = self.rows.setdefault(clean_key(matched[1]), len(self.rows))
        if 4 * row == len(self.offsets):
            self.offsets.extend([_ABSENT] * 4)
            self.sizes.extend([0] * 4)
        place = 4 * row + field
        if refusal:
            if self.offsets[place] == _ABSENT:
                self.offsets[place] = _REFUSED
        elif self.offsets[place] >= 0:
            # A sample may hold a.jpg and a.png; the first one is its picture.
            self._ignored["extra"] += 1
        else:
            self.offsets[place] = info.offset_data
            self.sizes[place] = min(info.size, _SIZE_CAP)


def _refusal(info: tarfile.TarInfo) -> str | None:
    """Return why a member has no bytes of its own to read, None for a regular file."""
    if info.issparse():
        return "sparse"
    if info.issym() or info.islnk():
        return "link"
    return None if info.isreg() else "device"


def _members(path: Path, number: int, size: int) -> Iterator[tarfile.TarInfo]:
    """Yield the headers of a tar file, and raise unless its end marker is reached.

    ``tarfile`` alone takes a damaged header for the end, which would drop all that follows.
    """
    magic = _read_at(number, 0, 4)
    for start, name in _COMPRESSED.items():
        if magic.startswith(start):
            raise UnsupportedError(
                f"{path} is compressed with {name}, so samples cannot be read at random; "
                "uncompress it to .tar (pictures hardly gain from it)"
            )
    reader: Any = _HeaderReader(number, size)
    at = 0
    try:
        archive: Any = tarfile.TarFile(fileobj=reader, encoding="utf-8", errors="surrogateescape")
        at = archive.offset
        while (info := archive.next()) is not None:
            # tarfile keeps every header that it read, which is of no use here.
            archive.members.clear()
            end = info.offset_data + info.size
            if info.size < 0 or (info.isreg() and not info.issparse() and end > size):
                raise CorruptError(
                    f"{path} is truncated or damaged: the member at offset {info.offset} needs "
                    f"{info.size:,} bytes, and the file ends at {size:,}; copy or write it again"
                )
            # A sparse member of negative length would otherwise go round for ever.
            if archive.offset <= info.offset:
                raise CorruptError(f"{path}: the header at offset {info.offset} leads backwards")
            at = archive.offset
            yield info
        at = archive.offset
    # Damaged numbers and chains of extension headers come out of tarfile as any of these.
    except (tarfile.TarError, ValueError, OverflowError, MemoryError, RecursionError) as error:
        if isinstance(error, (CorruptError, InvalidArgumentError)):
            raise
        raise CorruptError(
            f"{path} is truncated or damaged at offset {at} of {size:,}: {error}; "
            "copy or write it again"
        ) from error
    _check_end(path, number, at, size)


def _check_end(path: Path, number: int, at: int, size: int) -> None:
    block = _read_at(number, at, _BLOCK)
    if len(block) < _BLOCK:
        raise CorruptError(
            f"{path} is truncated: it ends at offset {size:,} without the marker that closes a "
            "tar file; copy or write it again, or append 1,024 zero bytes if it is known whole"
        )
    if any(block):
        raise CorruptError(
            f"{path} is damaged: no valid header at offset {at:,}; copy or write it again"
        )
    while chunk := _read_at(number, at, 1 << 20):
        if chunk.strip(b"\0"):
            raise CorruptError(
                f"{path} goes on behind its end marker at offset {at:,}, as joined tar files do; "
                "give the parts as separate shards"
            )
        at += len(chunk)


def _read_at(number: int, offset: int, size: int) -> bytes:
    """Read ``size`` bytes at ``offset``; fewer only at the end of the file."""
    data = os.pread(number, size, offset)
    if len(data) == size or not data:
        return data
    # Linux gives at most 2 GiB a call, and network file systems may give less than was asked.
    parts, got = [data], len(data)
    while got < size and (more := os.pread(number, size - got, offset + got)):
        parts.append(more)
        got += len(more)
    return b"".join(parts)


def _text_of(value: Any) -> str | None:
    return value if isinstance(value, str) and value.strip() else None


def _with_bar(paths: Sequence[Path], shown: bool) -> Iterator[Path]:
    if not shown:
        yield from paths
        return
    from helip.progress import ProgressBar

    with ProgressBar(len(paths), label="scan", unit="shards") as bar:
        for path in paths:
            yield path
            bar.update(1)
