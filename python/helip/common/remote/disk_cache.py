"""Ranges of files at URLs, kept on the disk of this machine in blocks of one size.

A block is of a URL and of what its file was: its size, and its ETag, else its time. So bytes of a
file that was changed are never taken for those of the new one; they go once they are the oldest.

A block is one file, its name a digest of what it is of, its first bytes a digest of name and
contents. It is written under a temporary name and renamed. Readers take no lock: a file that is
absent, cut short or damaged is a block that is not there. Whoever writes or removes holds the lock
of the folder. Nothing is synced: what a loss of power spoils does not fit its digest.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

import numpy as np

from helip.common.errors import Error, StorageError
from helip.common.files import DirectoryLock, make_directory
from helip.common.remote.manifest import new_digest

FOLDER = "blocks"  # of the cache's folder, which may hold downloaded containers too
_PAUSE = 60.0  # seconds without writing after a disk has refused
_FULL = (errno.ENOSPC, errno.EDQUOT)
_DIGEST = 16
#: Bytes of a block; with its digest it fills whole pages of a disk.
BLOCK = (64 << 10) - _DIGEST
_FILE = BLOCK + _DIGEST
_SHARE_FREED = 16  # one block in so many goes at once, so that not every block looks anew
_NAME = re.compile(r"[0-9a-f]{32}")
_TEMPORARY = ".tmp-"
_LONGEST = (32 << 20) // BLOCK  # blocks of a request


class Version(NamedTuple):
    """A file at a URL as it is at a time."""

    url: str
    bytes: int
    tag: str  # its ETag, else its time


class DiskCache:
    """Reads ranges through blocks that are kept in a folder, at most ``bound`` bytes of files.

    Where more comes, the blocks that were used longest ago go first. A disk that is full or fails
    makes nothing fail: what cannot be kept is counted, a warning says so once, and after a minute
    it is tried again. Thread-safe; processes may share the folder. A block that one thread fetches
    is not fetched by another at the same time; two processes that need it at the same time both
    fetch it.

    Raises StorageError where the folder cannot be made, but for a full disk.
    """

    def __init__(self, folder: Path, bound: int) -> None:
        new_digest()  # its library is absent now, or never
        self._folder, self._bound = folder / FOLDER, bound
        try:
            make_directory(self._folder)
        except StorageError as error:
            if error.errno not in _FULL:
                raise
        self._lock, self._writing = threading.Lock(), threading.Lock()
        self._reading: WeakValueDictionary[str, Any] = WeakValueDictionary()  # name → its lock
        self._paused_until = 0.0
        self._warned = False
        self._counts = dict.fromkeys(
            (
                *("hits", "misses", "bytes_fetched", "bytes_from_cache"),
                *("evicted", "damaged", "not_kept"),
            ),
            0,
        )

    def counts(self) -> dict[str, int]:
        """Of this process: blocks that were there (``hits``), were fetched (``misses``), made room
        (``evicted``), were ``damaged`` and so fetched again, or could not be written
        (``not_kept``); ``bytes_fetched`` and ``bytes_from_cache``."""
        return dict(self._counts)

    def read(
        self, version: Version, begin: int, end: int, fetch: Callable[[int, int], Any]
    ) -> bytes:
        """Return the bytes [begin, end) of a file; ``fetch`` returns those that are not kept.

        Raises what ``fetch`` raises; it must raise where the file is another than ``version``.
        """
        names = _names(version, begin, end)
        with self._lock:
            locks = [self._reading.setdefault(name, threading.Lock()) for name in names.values()]
        with contextlib.ExitStack() as stack:
            for lock in locks:  # in the order of the file, so that nobody waits in a circle
                stack.enter_context(lock)
            found = self._read(version, names, fetch)
        first, last = min(names), max(names)
        parts = [memoryview(found[number]) for number in names]
        parts[-1] = parts[-1][: end - last * BLOCK]
        parts[0] = parts[0][begin - first * BLOCK :]
        return b"".join(parts)

    def forget(self, version: Version, begin: int, end: int) -> None:
        """Let go of the bytes [begin, end), so that they are fetched when they are read next."""
        with contextlib.suppress(OSError):
            for name in _names(version, begin, end).values():
                self._path(name).unlink(missing_ok=True)

    def _read(
        self, version: Version, names: dict[int, str], fetch: Callable[[int, int], Any]
    ) -> dict[int, Any]:
        """Number → bytes of the blocks of ``names``, whose numbers ascend."""
        found: dict[int, Any] = {}
        for number, name in names.items():
            size = min(BLOCK, version.bytes - number * BLOCK)
            if (data := self._kept(name, size)) is not None:
                found[number] = data
        self._count(hits=len(found), bytes_from_cache=sum(map(len, found.values())))
        missing = [number for number in names if number not in found]
        # Another request takes longer than a block between two that are missing.
        for first, last in _runs(missing, near=1, longest=_LONGEST):
            begin, end = first * BLOCK, min(last * BLOCK, version.bytes)
            data = memoryview(fetch(begin, end))
            new = {
                number: data[number * BLOCK - begin : (number + 1) * BLOCK - begin]
                for number in range(first, last)
                if number not in found
            }
            found |= new
            self._count(misses=len(new), bytes_fetched=len(data))
            self._keep({names[number]: each for number, each in new.items()})
        return found

    def _kept(self, name: str, size: int) -> memoryview | None:
        """The ``size`` bytes of a block; None where it is not there."""
        path = self._path(name)
        try:
            raw = path.read_bytes()
            data = memoryview(raw)[_DIGEST:]
            if len(data) != size or raw[:_DIGEST] != _digest(name, data):
                self._count(damaged=1)
                path.unlink(missing_ok=True)
                return None
        except FileNotFoundError:
            return None
        except OSError as error:
            self._warn("read", error)
            return None
        with contextlib.suppress(OSError):  # removed meanwhile, or nothing may be written here
            os.utime(path)
        return data

    def _keep(self, blocks: dict[str, Any]) -> None:
        """Write blocks, name and bytes each, as far as the bound and the disk allow."""
        if time.monotonic() >= self._paused_until:
            try:
                self._put(dict(list(blocks.items())[: self._bound // _FILE]))
                return
            except (OSError, Error) as error:
                self._paused_until = time.monotonic() + _PAUSE
                self._warn("written", error)
        self._count(not_kept=len(blocks))

    def _put(self, blocks: dict[str, Any]) -> None:
        if not blocks:
            return
        make_directory(self._folder)
        lock = DirectoryLock(self._folder, wait=True)
        with self._writing, lock:
            self._make_room(sum(len(data) + _DIGEST for data in blocks.values()))
            for name, data in blocks.items():
                self._write(self._path(name), name, data)

    def _path(self, name: str) -> Path:
        # Folders by the first two digits, so that none of them grows too large.
        return self._folder / name[:2] / name

    def _write(self, path: Path, name: str, data: Any) -> None:
        temporary = path.with_name(_TEMPORARY + name)
        try:
            path.parent.mkdir(exist_ok=True)
            with temporary.open("wb") as file:
                file.write(_digest(name, data))
                file.write(data)
            temporary.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise

    def _make_room(self, more: int) -> None:
        """Remove the oldest blocks where the bound would be passed; under the lock.

        The file ``size`` has the bytes that are there at most: what a killed process did not write
        is in it as well. Where it says too much, all blocks are counted.
        """
        path = self._folder / "size"
        with contextlib.suppress(OSError, ValueError):
            there = int(path.read_bytes())
            if 0 <= there <= self._bound - more:
                path.write_text(str(there + more))
                return
        while True:
            # Time of last use in nanoseconds, and bytes: int64 [n, 2]. Paths take more memory.
            counted = (number for each in self._blocks() for number in each[:2])
            blocks = np.fromiter(counted, np.int64).reshape(-1, 2)
            there = int(blocks[:, 1].sum())
            over = there + more - self._bound
            if over <= 0:
                break
            blocks = blocks[np.argsort(blocks[:, 0])]
            # Some more than must go, so that the next block need not look again.
            wanted = min(over + there // _SHARE_FREED // _FILE * _FILE, there)
            oldest = blocks[np.searchsorted(np.cumsum(blocks[:, 1]), wanted), 0]
            for used, _, name in self._blocks():  # some may have been used meanwhile
                if used <= oldest:
                    Path(name).unlink(missing_ok=True)
                    self._counts["evicted"] += 1
        path.write_text(str(there + more))

    def _blocks(self) -> Iterator[tuple[int, int, str]]:
        """Time of last use, size and path of each block; what was left half written goes."""
        for folder in self._folder.iterdir():
            if not folder.is_dir():
                continue
            for entry in os.scandir(folder):
                with contextlib.suppress(FileNotFoundError):  # a reader found it damaged
                    if _NAME.fullmatch(entry.name):
                        status = entry.stat()
                        yield status.st_mtime_ns, status.st_size, entry.path
                    elif entry.name.startswith(_TEMPORARY):  # under the lock nobody else writes
                        os.unlink(entry.path)

    def _count(self, **more: int) -> None:
        with self._lock:
            for name, value in more.items():
                self._counts[name] += value

    def _warn(self, what: str, error: Exception) -> None:
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


def _names(version: Version, begin: int, end: int) -> dict[int, str]:
    """Number → name of the file, 32 hexadecimal digits, of the blocks of a range."""
    numbers = range(begin // BLOCK, (end - 1) // BLOCK + 1)
    texts = {number: json.dumps([*version, BLOCK, number]) for number in numbers}
    return {
        number: hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
        for number, text in texts.items()
    }


def _digest(name: str, data: Any) -> bytes:
    digest = new_digest()
    digest.update(name.encode())
    digest.update(data)
    return bytes(digest.digest())


def _runs(numbers: Iterable[int], *, near: int, longest: int) -> list[tuple[int, int]]:
    """Ranges [begin, end) that hold all of ``numbers``, which ascend.

    Those with at most ``near`` others between them come in one range, of ``longest`` at most.
    """
    found: list[tuple[int, int]] = []
    for number in numbers:
        if found and number - found[-1][1] <= near and number - found[-1][0] < longest:
            found[-1] = (found[-1][0], number + 1)
        else:
            found.append((number, number + 1))
    return found
