"""Tar shards whose pictures are decoded and resized once, for runs of many epochs."""

from __future__ import annotations

import io
import os
from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from helip.common.errors import InvalidArgumentError, SampleError
from helip.common.files import publish_directory, storage_errors
from helip.common.machine import usable_processors
from helip.common.options import ProgressOptions, ThreadOptions, keywords
from helip.common.progress import ProgressBar
from helip.common.quantities import parse_bytes
from helip.data.dataset import Dataset, read_ahead
from helip.data.decoding import upright_size
from helip.data.image_transform import ImageTransform
from helip.data.opening import open_dataset
from helip.data.options import PackOptions
from helip.data.paths import IMAGE_SUFFIXES
from helip.data.shards import (
    BLOCK,
    END,
    Members,
    header_of,
    members_of,
    opened_shard,
    pieces,
    tars_of,
)  # fmt: skip

_FIELD = "ppm"
_LONGEST = 16384  # side of a picture that the core makes
_AHEAD = 4  # rows a thread that are decoded before they are written


@dataclass(frozen=True, kw_only=True)
class PackCall(PackOptions, ThreadOptions, ProgressOptions):
    """What `pack` is asked."""

    data: Dataset | str | os.PathLike[str] | list[str] = field(kw_only=False)
    """Tar shards, or a data set opened from them; of a part of one only that part is written."""
    out: str | os.PathLike[str]
    """A directory that does not exist."""


@dataclass(frozen=True)
class Packed:
    """What :func:`pack` wrote."""

    path: str  # of the directory, a data set for open_dataset
    rows: int
    shards: int
    bytes: int  # of all shards
    resized: int  # pictures that were larger
    as_they_were: dict[str, int]  # pictures that stay encoded, unreadable ones, by reason
    left_out: dict[str, int]  # members that were not copied, by reason

    def to_dict(self) -> dict[str, Any]:
        """As JSON-able values."""
        return asdict(self)


@keywords(PackCall)
def pack(call: PackCall) -> Packed:
    """Copies tar shards into new ones whose pictures are pixels already, as binary PPM.

    A picture whose shorter side is above ``size`` is resized to it (bicubic, antialiased), upright
    and in RGB; others keep their size. All other members are copied byte for byte, rows keep their
    keys and order. Stores and tables of the old shards belong to the new ones as well, since a
    picture of a data set that was packed counts as the one that it was made of. A picture that
    cannot be read stays as it is, and is refused where it is read; so does one of which a side
    would be above 16,384 pixels. The directory appears when it is whole, or not at all.

    Raises:
        UnsupportedError: data that are not tar shards, or shards at URLs.
        InvalidArgumentError: an option out of its bound; ``out`` exists; shards that were opened
            with an ``image_column``.
        MismatchError, CorruptError: a shard changed after it was opened.
        StorageError: the disk is full or refuses; nothing is left in ``out``.
    """
    out, shard_bytes = Path(call.out), parse_bytes(call.shard_size, name="shard_size")
    if out.exists():
        raise InvalidArgumentError(f"{out} exists already; choose another out, or remove it")
    opened = open_dataset(call.data)
    tars, rows = tars_of(opened)
    usual = [suffix[1:] for suffix in IMAGE_SUFFIXES]
    if not set(tars.index.image_extensions) <= set(usual):
        raise InvalidArgumentError(
            f"the shards were opened with {tars.index.image_extensions} as pictures, and packing "
            "takes the usual ones; open them without image_column"
        )
    members = members_of(tars, progress=call.progress).of_rows(rows)
    counts: Counter[str] = Counter()
    resized = 0
    threads = call.threads or usable_processors()
    with (
        publish_directory(out) as folder,
        ProgressBar(len(rows), label="pack", unit="rows", enabled=call.progress) as bar,
        _Source(members, tars.keys, usual) as source,
    ):
        shards = _Shards(folder, shard_bytes)
        for row, packed in _packed(tars, rows, call.size, threads):
            if packed.reason is None:
                resized += packed.resized
            else:
                counts[packed.reason] += 1
            shards.add(source.sample(row, packed.content))
            bar.update()
        shards.close()
    return Packed(
        path=str(out), rows=len(rows), shards=len(shards.sizes), bytes=sum(shards.sizes),
        resized=resized,
        as_they_were=dict(sorted(counts.items())), left_out=dict(sorted(source.left_out.items())),
    )  # fmt: skip


@dataclass(frozen=True)
class _Picture:
    content: bytes | None  # None: there is none
    resized: bool = False
    reason: str | None = None  # why it stays as it was


def _packed(
    data: Dataset, rows: np.ndarray, size: int, threads: int
) -> Iterator[tuple[int, _Picture]]:
    """The picture of each row, in their order, decoded by threads."""

    @lru_cache(maxsize=4096)
    def resized_to(height: int, width: int) -> ImageTransform:
        return ImageTransform(
            size=(height, width), crop="squash", dtype="uint8", layout="nhwc", exact_decode=True,
            max_pixels=data.max_pixels, max_seconds=data.max_seconds,
        )  # fmt: skip

    def made(row: int) -> _Picture:
        content = None
        try:
            content = data._image_bytes(row)
            assert content is not None
            wide, high = upright_size(content)
            share = min(1.0, size / min(wide, high))
            height, width = max(1, round(high * share)), max(1, round(wide * share))
            if max(height, width) > _LONGEST:
                return _Picture(content, reason="extreme_aspect")
            pixels = resized_to(height, width).from_bytes(content).numpy()
        except SampleError as error:
            return _Picture(content, reason=error.reason)
        return _Picture(b"P6 %d %d 255\n" % (width, height) + pixels.tobytes(), share < 1.0)

    coming: deque[tuple[int, Future[_Picture]]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for row in read_ahead(data, rows.tolist()):
                coming.append((row, pool.submit(made, row)))
                if len(coming) > _AHEAD * threads:
                    first, future = coming.popleft()
                    yield first, future.result()
            for first, future in coming:
                yield first, future.result()
        finally:
            pool.shutdown(cancel_futures=True)


class _Source(ExitStack):
    """The members of samples, read one shard at a time."""

    def __init__(self, members: Members, keys: Any, picture_fields: list[str]) -> None:
        super().__init__()
        self._members, self._keys, self._pictures = members, keys, set(picture_fields)
        self._shard, self._file = -1, io.BytesIO()
        self.left_out = Counter(members.left_out)

    def sample(self, row: int, picture: bytes | None) -> list[tuple[str, bytes]]:
        """Name and content of each member of a row; of its picture as it is given."""
        table = self._members.table
        first, last = np.searchsorted(table["row"], [row, row + 1])
        found = []
        for member in table[first:last]:
            name = self._members.fields[member["field"]]
            if picture is not None and name.lower() in self._pictures:
                found.append((f"{self._keys[row]}.{_FIELD}", picture))
                picture = None  # the first one is the picture of the sample
            elif name.lower() == _FIELD and found:
                self.left_out["extra"] += 1  # that would have the name of the picture
            else:
                file = self._opened(int(member["shard"]))
                content = b"".join(pieces(file, int(member["offset"]), int(member["size"])))
                found.append((f"{self._keys[row]}.{name}", content))
        return found

    def _opened(self, shard: int) -> BinaryIO:
        if shard != self._shard:
            self._file.close()
            self._file = self.enter_context(opened_shard(self._members.shards[shard]))  # type: ignore[assignment]
            self._shard = shard
        return self._file


class _Shards:
    """Tar files ``00000.tar`` and so on, each as full as it may be, with one sample at least."""

    def __init__(self, folder: Path, most: int) -> None:
        self._folder, self._most = folder, most
        self._file: BinaryIO | None = None
        self.sizes: list[int] = []

    def add(self, sample: list[tuple[str, bytes]]) -> None:
        blocks = b"".join(
            header_of(name, len(content)) + content + bytes(-len(content) % BLOCK)
            for name, content in sample
        )
        if self._file is None or self.sizes[-1] + len(blocks) > self._most:
            self.close()
            path = self._folder / f"{len(self.sizes):05d}.tar"
            with storage_errors("write", path):
                self._file = path.open("xb")
            self.sizes.append(END)
        self._write(blocks)

    def close(self) -> None:
        if self._file is not None:
            self._write(bytes(END))
            self._file.close()
            self.sizes[-1] -= END

    def _write(self, blocks: bytes) -> None:
        assert self._file is not None
        with storage_errors("write", self._file.name):
            self._file.write(blocks)
        self.sizes[-1] += len(blocks)
