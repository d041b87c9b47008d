"""Tar shards at URLs: indexed, each fetched whole and once, then read member by member.

Every answer of a server is compared with the index: the size and the tag of its file, and of a
picture its size and the digest of its end. So bytes of a shard that was changed are never taken for
those of the one that was indexed.
"""

from __future__ import annotations

import functools
import os
import tempfile
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from helip import _core
from helip.common.errors import CorruptError, MismatchError, SampleError, StorageError
from helip.common.progress import ProgressBar
from helip.common.remote.client import PastEnd, Remote, Stamp
from helip.common.remote.disk_cache import DiskCache, Version
from helip.common.remote.range_cache import NEAR, Member, RangeCache
from helip.common.remote.urls import place_of

THREADS = 4  # shards at a time, each a temporary file
_PIECE = 8 << 20
_STAMPS = 32  # requests at a time
IN_FLIGHT = 64  # requests; at 30 ms each they bring some 2,000 pictures a second
HELD_BYTES = 256 << 20
#: Rows that the core tells of at a time: a whole batch as a rule.
ROWS_AHEAD = 4096
_TOGETHER = 64  # rows whose ranges are sorted and joined
_NEAR_CAPTIONS = 4 << 10  # less than a picture, as a rule
_LARGEST = 32 << 20  # a larger member is read when it is asked for


def index_urls(
    urls: Sequence[str],
    extensions: list[str],
    contents: bool,
    threads: int,
    previous: _core.SampleIndex | None,
    bar: ProgressBar,
) -> _core.SampleIndex:
    """Index the shards at ``urls``; those that ``previous`` has, unchanged, are taken from there.

    A shard is unchanged if its size and tag are. Raises as SampleIndex.build.
    """
    remote = Remote(place_of(urls))
    with ThreadPoolExecutor(min(_STAMPS, len(urls))) as pool:
        stamps = list(pool.map(remote.stamp, urls))
    kept = _unchanged(urls, stamps, extensions, contents, previous)
    work = [number for number in range(len(urls)) if number not in kept]
    bar.restart(sum(stamps[number].bytes for number in work), label="index")
    scanned: dict[int, _core.SampleIndex] = {}
    with tempfile.TemporaryDirectory(prefix="helip-") as folder:
        fetching = _Fetching(remote, Path(folder), bar)
        pool = ThreadPoolExecutor(min(threads or THREADS, max(1, len(work))))
        try:
            coming: dict[int, Future[_core.SampleIndex]] = {
                number: pool.submit(
                    fetching.scan, number, urls[number], stamps[number], extensions, contents
                )
                for number in work
            }
            for number, future in coming.items():
                scanned[number] = future.result()
        finally:
            fetching.stopped.set()
            pool.shutdown(cancel_futures=True)
    parts = [
        (scanned[number], 0) if number in scanned else kept[number] for number in range(len(urls))
    ]
    return _core.SampleIndex.join(parts)


def _unchanged(
    urls: Sequence[str],
    stamps: Sequence[Stamp],
    extensions: list[str],
    contents: bool,
    previous: _core.SampleIndex | None,
) -> dict[int, tuple[_core.SampleIndex, int]]:
    if previous is None or previous.image_extensions != extensions:
        return {}
    shards = previous.shards()
    known = {shard["path"]: number for number, shard in enumerate(shards)}
    kept = {}
    for number, (url, stamp) in enumerate(zip(urls, stamps, strict=True)):
        old = known.get(url)
        if old is None or (contents and not shards[old]["contents"]):
            continue
        if (shards[old]["bytes"], shards[old]["tag"]) == (stamp.bytes, stamp.tag):
            kept[number] = (previous, old)
    try:
        if kept:
            previous.verify()
    except CorruptError:
        return {}  # a damaged row must not live on under a new checksum
    return kept


class _Fetching:
    """Fetches shards to files of ``folder``, from several threads."""

    def __init__(self, remote: Remote, folder: Path, bar: ProgressBar) -> None:
        self._remote, self._folder, self._bar = remote, folder, bar
        self._lock = threading.Lock()
        self.stopped = threading.Event()

    def scan(
        self, number: int, url: str, stamp: Stamp, extensions: list[str], contents: bool
    ) -> _core.SampleIndex:
        path = self._folder / f"{number}.tar"
        try:
            self._fetch(url, stamp, path)
            return _core.SampleIndex.scan(
                path, path=url, modified=stamp.modified, tag=stamp.tag,
                image_extensions=extensions, contents=contents,
            )  # fmt: skip
        finally:
            path.unlink(missing_ok=True)

    def _fetch(self, url: str, stamp: Stamp, path: Path) -> None:
        with path.open("wb") as file:
            for first in range(0, stamp.bytes, _PIECE):
                if self.stopped.is_set():
                    return
                last = min(first + _PIECE, stamp.bytes)
                now, data = self._remote.read(url, first, last)
                if (now.bytes, now.tag) != (stamp.bytes, stamp.tag):
                    raise MismatchError(
                        f"{url} was changed while it was indexed; index it again when nobody "
                        "writes to it any more"
                    )
                try:
                    file.write(data)
                except OSError as error:
                    raise StorageError(
                        f"cannot keep a copy of {url} in {os.fspath(self._folder)} while it is "
                        f"indexed: {error.strerror}; let TMPDIR name a folder with room",
                    ) from error
                with self._lock:
                    self._bar.update(len(data))


class RemoteShards:
    """What a SampleIndex reads through where its shards are URLs. Thread-safe.

    It begins anew in a process that was forked; there the first read is refused if this one has
    read before (see `helip.common.remote.client`).
    """

    def __init__(self, core: _core.SampleIndex) -> None:
        self._core = core
        self._shards = core.shards()
        self._place = place_of(shard["path"] for shard in self._shards)
        self._tags: dict[int, str] = {}  # of shards whose tags the index does not know
        self._kept: tuple[Path, int] | None = None
        self._by_process: dict[int, _Reading] = {}

    def keep_in(self, folder: Path, size: int) -> None:
        """Keep what is read from now on in ``folder``, ``size`` bytes at most: see DiskCache."""
        self._kept = folder, size
        self._by_process = {}
        self._here()

    def check(self) -> None:
        """Look whether each shard is what was indexed.

        Raises:
            StorageError: one cannot be read. MismatchError: one was changed.
        """
        remote = self._here().remote
        with ThreadPoolExecutor(min(IN_FLIGHT, len(self._shards))) as pool:
            stamps = pool.map(lambda shard: remote.stamp(shard["path"]), self._shards)
            for number, stamp in enumerate(stamps):
                self._compare(number, stamp)

    def verify(self, contents: bool, threads: int, bar: ProgressBar) -> None:
        """Fetch all shards again, and compare their headers, digests of members, and contents.

        Raises as SampleIndex.verify.
        """
        urls = [shard["path"] for shard in self._shards]
        extensions = self._core.image_extensions
        fresh = index_urls(urls, extensions, contents, threads, None, bar)
        self._tags.clear()  # contents tell, where the index knows no tags
        for number, (then, now) in enumerate(zip(self._shards, fresh.shards(), strict=True)):
            self._compare(number, Stamp(now["bytes"], now["modified"], now["tag"]))
            rows = np.arange(then["first_row"], then["first_row"] + then["rows"])
            what = ""
            if now["headers"] != then["headers"]:
                what = "its headers"
            elif contents and now["contents"] != then["contents"]:
                what = "its contents"
            elif not np.array_equal(fresh.digests(rows), self._core.digests(rows)):
                what = "its members"
            if what:
                raise self._changed(number, f"{what} are others")

    def will_need(self, rows: np.ndarray, *, pictures: bool = True) -> None:
        """Begin to fetch pictures and captions of ``rows`` int64 [n], or captions alone."""
        cache = self._here().cache
        numbers = rows.tolist()
        for first in range(0, len(numbers), _TOGETHER):
            members: list[Member] = []
            for row in numbers[first : first + _TOGETHER]:
                if pictures:
                    self._add(members, row, "image")
                if not self._add(members, row, "text"):
                    self._add(members, row, "json")
            cache.want(members, NEAR if pictures else _NEAR_CAPTIONS)

    def view(self, row: int, field: str) -> memoryview:
        """Return the bytes of a member: what was fetched, else by a request of its own.

        Raises:
            SampleError: it is absent, too large, or cannot be read.
            MismatchError: the shard was changed since it was indexed.
        """
        shard, offset, size = self._core.readable(row, field)
        member = Member(shard, offset, size, field == "image")
        if member.size == 0:
            return memoryview(b"")
        reading = self._here()
        try:
            data = reading.cache.take(member)
            if data is None:
                data = memoryview(self._fetch(reading, shard, offset, offset + size))
            if field == "image" and not self._core.may_be_image(row, data):
                # A server may give two files of one size one tag, as where that is a time.
                data = self._fetched_anew(reading, shard, offset, offset + size)
                if data is None or not self._core.may_be_image(row, data):
                    raise self._changed(member.shard, f"the picture of row {row} is another")
        except StorageError as error:
            (key,) = self._core.keys(row, row + 1)
            message = f"sample {key!r} (row {row}): {error.strerror or error}"
            raise SampleError(message, key=key, reason="io") from error
        return data

    def pictures(self) -> Any:
        """The core's reader of the pictures: a ``_core.ImageSource``."""
        return _core.PythonImages(
            size=len(self._core),
            rows_ahead=ROWS_AHEAD,
            read=lambda row: self.view(row, "image"),
            will_need=self.will_need,
        )

    def counts(self) -> dict[str, int]:
        """Ranges that this process fetched ahead; of them those dropped before they were read."""
        cache = self._here().cache
        return {"fetched": cache.fetched, "dropped": cache.dropped}

    def cache_counts(self) -> dict[str, int]:
        """What this process has had of the cache on disk; empty without one."""
        disk = self._here().disk
        return {} if disk is None else disk.counts()

    def _here(self) -> _Reading:
        found = self._by_process.get(os.getpid())
        return found or self._by_process.setdefault(os.getpid(), _Reading(self))

    def _add(self, members: list[Member], row: int, field: str) -> bool:
        state, shard, offset, size = self._core.member(row, field)
        if state != "present":
            return False
        member = Member(shard, offset, size, field == "image")
        if 0 < member.size <= _LARGEST:
            members.append(member)
        return True

    def _fetch(self, reading: _Reading, shard: int, begin: int, end: int) -> Any:
        """The bytes [begin, end) of a shard, from the disk as far as they are kept there."""
        request = functools.partial(self._request, reading.remote, shard)
        if reading.disk is None:
            return request(begin, end)
        return reading.disk.read(self._version(reading.remote, shard), begin, end, request)

    def _fetched_anew(
        self, reading: _Reading, shard: int, begin: int, end: int
    ) -> memoryview | None:
        """The bytes of a shard as they are now, where others may have been kept; else None."""
        if reading.disk is None:
            return None
        reading.disk.forget(self._version(reading.remote, shard), begin, end)
        return memoryview(self._fetch(reading, shard, begin, end))

    def _version(self, remote: Remote, shard: int) -> Version:
        """What a shard is: as the index says, else as its server did first."""
        facts = self._shards[shard]
        if not (facts["tag"] or shard in self._tags):
            self._compare(shard, remote.stamp(facts["path"]))
        return Version(facts["path"], facts["bytes"], facts["tag"] or self._tags[shard])

    def _request(self, remote: Remote, shard: int, begin: int, end: int) -> Any:
        url = self._shards[shard]["path"]
        try:
            stamp, data = remote.read(url, begin, end)
        except PastEnd:
            self._compare(shard, remote.stamp(url))
            raise
        self._compare(shard, stamp)
        return data

    def _compare(self, number: int, now: Stamp) -> None:
        shard = self._shards[number]
        if now.bytes != shard["bytes"]:
            raise self._changed(number, f"{shard['bytes']} bytes then, {now.bytes} now")
        # An index of files that were uploaded later knows no tags: then it is the first one.
        tag = shard["tag"] or self._tags.setdefault(number, now.tag)
        if now.tag != tag:
            raise self._changed(number, f"its tag was {tag}, and is {now.tag} now")

    def _changed(self, number: int, what: str) -> MismatchError:
        path = self._core.path
        again = f'bring the index up to date with: helip index SHARDS --out "{path}"'
        return MismatchError(
            f"{self._shards[number]['path']} was changed after it was indexed ({what}); "
            + (again if path else "open the data set again")
        )


class _Reading:
    """What one process reads with."""

    def __init__(self, shards: RemoteShards) -> None:
        self.remote = Remote(shards._place)
        self.disk = None if shards._kept is None else DiskCache(*shards._kept)
        self.cache = RangeCache(
            lambda *place: shards._fetch(self, *place),
            in_flight=IN_FLIGHT,
            budget=HELD_BYTES,
        )
