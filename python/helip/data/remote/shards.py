"""Reads members of tar shards at URLs, by an index of them.

Every answer of a server is compared with the index: the size and the tag of its file, and of a
picture its size and the digest of its end. So bytes of a shard that was changed are never taken for
those of the one that was indexed.
"""

from __future__ import annotations

import contextlib
import functools
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from helip import _core
from helip.common.errors import MismatchError, SampleError, StorageError
from helip.common.progress import ProgressBar
from helip.common.remote.client import PastEnd, Remote, Stamp
from helip.common.remote.disk_cache import DiskCache, Version
from helip.common.remote.range_cache import NEAR, Member, RangeCache
from helip.common.remote.urls import place_of
from helip.data.remote import scanning

IN_FLIGHT = 64  # requests; at 30 ms each they bring some 2,000 pictures a second
HELD_BYTES = 256 << 20
#: Rows that the core tells of at a time: a whole batch as a rule.
ROWS_AHEAD = 4096
_TOGETHER = 64  # rows whose ranges are sorted and joined
_NEAR_CAPTIONS = 4 << 10  # less than a picture, as a rule
_LARGEST = 32 << 20  # a larger member is read when it is asked for
_VERSIONS = 3  # of a file that is replaced again and again while a range of it is read


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
                self._tags[number] = stamp.tag

    def verify(self, contents: bool, threads: int, bar: ProgressBar) -> None:
        """Fetch all shards again, and compare their headers, digests of members, and contents.

        Raises as SampleIndex.verify.
        """
        urls = [shard["path"] for shard in self._shards]
        extensions = self._core.image_extensions
        fresh = scanning.build(urls, extensions, contents, threads, None, bar)
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
        if reading.disk is not None:
            for _ in range(_VERSIONS):
                version = self._version(reading.remote, shard)
                request = functools.partial(self._request_of, reading.remote, shard, version)
                with contextlib.suppress(_Replaced):
                    return reading.disk.read(version, begin, end, request)
        return self._request(reading.remote, shard, begin, end)[1]

    def _fetched_anew(
        self, reading: _Reading, shard: int, begin: int, end: int
    ) -> memoryview | None:
        """The bytes of a shard as they are now, where others may have been kept; else None."""
        if reading.disk is None:
            return None
        reading.disk.forget(self._version(reading.remote, shard), begin, end)
        return memoryview(self._fetch(reading, shard, begin, end))

    def _version(self, remote: Remote, shard: int) -> Version:
        """What a shard is: as the index says, else as its server did last."""
        facts = self._shards[shard]
        tag = facts["tag"] or self._tags.get(shard)
        if not tag:
            stamp = remote.stamp(facts["path"])
            self._compare(shard, stamp)
            tag = self._tags[shard] = stamp.tag
        return Version(facts["path"], facts["bytes"], tag)

    def _request_of(
        self, remote: Remote, shard: int, version: Version, begin: int, end: int
    ) -> Any:
        stamp, data = self._request(remote, shard, begin, end)
        if stamp.tag != version.tag:
            self._tags[shard] = stamp.tag
            raise _Replaced
        return data

    def _request(self, remote: Remote, shard: int, begin: int, end: int) -> tuple[Stamp, Any]:
        url = self._shards[shard]["path"]
        try:
            stamp, data = remote.read(url, begin, end)
        except PastEnd:
            self._compare(shard, remote.stamp(url))
            raise
        self._compare(shard, stamp)
        return stamp, data

    def _compare(self, number: int, now: Stamp) -> None:
        shard = self._shards[number]
        if now.bytes != shard["bytes"]:
            raise self._changed(number, f"{shard['bytes']} bytes then, {now.bytes} now")
        # An index of files that were uploaded later knows no tags.
        if shard["tag"] and now.tag != shard["tag"]:
            raise self._changed(number, f"its tag was {shard['tag']}, and is {now.tag} now")

    def _changed(self, number: int, what: str) -> MismatchError:
        path = self._core.path
        again = f'bring the index up to date with: helip index SHARDS --out "{path}"'
        return MismatchError(
            f"{self._shards[number]['path']} was changed after it was indexed ({what}); "
            + (again if path else "open the data set again")
        )


class _Replaced(Exception):
    """A shard whose tag the index does not know is another now than what is kept of it."""


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
