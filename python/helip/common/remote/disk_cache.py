"""Ranges of files at URLs, kept on the disk of this machine in blocks of one size.

A block is of a URL and of what its file was: its size, and its ETag, else its time. So bytes of a
file that was changed are never taken for those of the new one; they go once they are the oldest.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, NamedTuple

from helip.common.errors import Error, StorageError
from helip.common.files import make_directory
from helip.common.remote.block_files import BLOCK, BlockFiles
from helip.common.remote.runs import runs

FOLDER = "blocks"  # of the cache's folder, which may hold downloaded containers too
_PAUSE = 60.0  # seconds without writing after a disk has refused
_FULL = (errno.ENOSPC, errno.EDQUOT)
_LONGEST = (32 << 20) // BLOCK  # blocks of a request


class Version(NamedTuple):
    """A file at a URL as it is at a time."""

    url: str
    bytes: int
    tag: str  # its ETag, else its time


class DiskCache:
    """Reads ranges through blocks that are kept in a folder, at most ``size`` bytes of files.

    A disk that is full or fails makes nothing fail: what cannot be kept is counted, a warning says
    so once, and after a minute it is tried again. Thread-safe; processes may share the folder. A
    block that one thread fetches is not fetched by another at the same time; two processes that
    need it at the same time both fetch it.

    Raises StorageError where the folder cannot be made, but for a full disk.
    """

    def __init__(self, folder: Path, size: int) -> None:
        self._folder = folder / FOLDER
        try:
            make_directory(self._folder)
        except StorageError as error:
            if error.errno not in _FULL:
                raise
        self._files = BlockFiles(self._folder, size)
        self._lock = threading.Lock()
        self._coming: dict[str, Future[Any]] = {}
        self._warned = False
        self._paused_until = 0.0
        self._hits = self._misses = self._not_kept = 0
        self._bytes_fetched = self._bytes_from_cache = 0

    def counts(self) -> dict[str, int]:
        """Of this process: blocks that were there (``hits``), were fetched (``misses``), made room
        (``evicted``), were ``damaged`` and so fetched again, or could not be written
        (``not_kept``); ``bytes_fetched`` and ``bytes_from_cache``."""
        return {
            "hits": self._hits,
            "misses": self._misses,
            "bytes_fetched": self._bytes_fetched,
            "bytes_from_cache": self._bytes_from_cache,
            "evicted": self._files.evicted,
            "damaged": self._files.damaged,
            "not_kept": self._not_kept,
        }

    def read(
        self, version: Version, begin: int, end: int, fetch: Callable[[int, int], Any]
    ) -> bytes:
        """Return the bytes [begin, end) of a file; ``fetch`` returns those that are not kept.

        Raises what ``fetch`` raises; it must raise where the file is another than ``version``.
        """
        numbers = range(begin // BLOCK, (end - 1) // BLOCK + 1)
        names = {number: _name(version, number) for number in numbers}
        own: dict[int, Future[Any]] = {}
        others: dict[int, Future[Any]] = {}
        found: dict[int, Any] = {}
        try:
            with self._lock:
                for number, name in names.items():
                    if (coming := self._coming.get(name)) is not None:
                        others[number] = coming
                    else:
                        own[number] = self._coming[name] = Future()
            found = self._read(version, names, list(own), fetch)
        finally:
            with self._lock:
                for number, future in own.items():
                    self._coming.pop(names[number], None)
                    future.set_result(found.get(number))
        # Own blocks are all here by now, so nobody waits for one who waits.
        for number, future in others.items():
            data = future.result()
            if data is None:  # whoever fetched it has failed
                data = self._read(version, names, [number], fetch)[number]
            else:
                self._count_hits([data])
            found[number] = data
        parts = [memoryview(found[number]) for number in numbers]
        parts[-1] = parts[-1][: end - numbers[-1] * BLOCK]
        parts[0] = parts[0][begin - numbers[0] * BLOCK :]
        return b"".join(parts)

    def forget(self, version: Version, begin: int, end: int) -> None:
        """Let go of the bytes [begin, end), so that they are fetched when they are read next."""
        numbers = range(begin // BLOCK, (end - 1) // BLOCK + 1)
        with contextlib.suppress(OSError):
            self._files.forget([_name(version, number) for number in numbers])

    def _read(
        self,
        version: Version,
        names: dict[int, str],
        wanted: Sequence[int],
        fetch: Callable[[int, int], Any],
    ) -> dict[int, Any]:
        """The bytes of the blocks that are ``wanted``, ascending numbers."""
        found: dict[int, Any] = {}
        for number in wanted:
            size = min(BLOCK, version.bytes - number * BLOCK)
            if (data := self._kept(names[number], size)) is not None:
                found[number] = data
        self._count_hits(found.values())
        missing = [number for number in wanted if number not in found]
        # Another request takes longer than a block between two that are missing.
        for first, last in runs(missing, near=1, longest=_LONGEST):
            begin, end = first * BLOCK, min(last * BLOCK, version.bytes)
            data = memoryview(fetch(begin, end))
            new = {
                number: data[number * BLOCK - begin : (number + 1) * BLOCK - begin]
                for number in range(first, last)
                if number in missing
            }
            found |= new
            with self._lock:
                self._misses += len(new)
                self._bytes_fetched += len(data)
            self._keep([(names[number], each) for number, each in new.items()])
        return found

    def _count_hits(self, blocks: Any) -> None:
        with self._lock:
            self._hits += len(blocks)
            self._bytes_from_cache += sum(map(len, blocks))

    def _kept(self, name: str, size: int) -> memoryview | None:
        try:
            return self._files.get(name, size)
        except OSError as error:
            self._say("read", error)
            return None

    def _keep(self, blocks: Sequence[tuple[str, Any]]) -> None:
        if time.monotonic() >= self._paused_until:
            try:
                self._files.put(blocks)
                return
            except (OSError, Error) as error:
                self._paused_until = time.monotonic() + _PAUSE
                self._say("written", error)
        with self._lock:
            self._not_kept += len(blocks)

    def _say(self, what: str, error: Exception) -> None:
        with self._lock:
            first, self._warned = not self._warned, True
        if first:
            why = getattr(error, "strerror", None) or error
            warnings.warn(
                f"the cache in {os.fspath(self._folder)} cannot be {what} ({why}); what is not "
                "kept is fetched each time. Let cache name a folder with room, or lower cache_size",
                RuntimeWarning,
                stacklevel=2,
            )


def _name(version: Version, number: int) -> str:
    """What the file of a block is called: 32 hexadecimal digits."""
    text = json.dumps([*version, BLOCK, number])
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
