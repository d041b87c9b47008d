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
import struct
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, NamedTuple

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
_FOLDERS = 256  # by the first two digits of a name, so that none of them grows too large
_SIZES = struct.Struct(f"<{_FOLDERS + 2}q")  # of each folder, who is next to shrink, being written
_LOOKED_AT = 20_000  # files among which the oldest are found, at the least; or all that there are
_SHARE_FREED = 16  # of these one in so many goes at once, so that not every block looks anew
_NAME = re.compile(r"[0-9a-f]{32}")
_TEMPORARY = ".tmp-"
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
        names = {number: _block_name(version, number) for number in numbers}
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
            self._files.forget([_block_name(version, number) for number in numbers])

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
        for first, last in _runs(missing, near=1, longest=_LONGEST):
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


class BlockFiles:
    """A folder of blocks, at most ``bound`` bytes of files. Thread-safe, also among processes.

    Where more comes, the blocks that were used longest ago go first: exactly those of up to 20,000
    blocks, else those among at least as many in some of the folders, in turn.
    """

    def __init__(self, folder: Path, bound: int) -> None:
        new_digest()  # its library is absent now, or never
        self._folder, self._bound = folder, bound
        self._lock = threading.Lock()
        self.evicted = self.damaged = 0  # blocks, by this process

    def get(self, name: str, size: int) -> memoryview | None:
        """Return the ``size`` bytes of a block, None where it is not there. Raises OSError."""
        path = self._path(name)
        try:
            raw = path.read_bytes()
        except FileNotFoundError:
            return None
        data = memoryview(raw)[_DIGEST:]
        if len(data) != size or raw[:_DIGEST] != _digest(name, data):
            with self._lock:
                self.damaged += 1
            path.unlink(missing_ok=True)
            return None
        with contextlib.suppress(OSError):  # removed meanwhile, or nothing may be written here
            os.utime(path)
        return data

    def put(self, blocks: Sequence[tuple[str, Any]]) -> None:
        """Keep blocks, name and bytes each, as far as the bound allows. Raises OSError."""
        fitting = blocks[: self._bound // _FILE]
        if not fitting:
            return
        make_directory(self._folder)
        lock = DirectoryLock(self._folder, wait=True)
        with self._lock, lock, self._sizes() as sizes:
            self._make_room(sizes, sum(len(data) + _DIGEST for _, data in fitting))
            for name, data in fitting:
                path = self._path(name)
                if not path.exists():  # another process was first
                    sizes[_number(name)] += self._write(path, name, data)

    def forget(self, names: Sequence[str]) -> None:
        """Remove blocks. Raises OSError."""
        for name in names:
            self._path(name).unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        return self._folder / name[:2] / name

    def _write(self, path: Path, name: str, data: Any) -> int:
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
        return len(data) + _DIGEST

    @contextlib.contextmanager
    def _sizes(self) -> Iterator[list[int]]:
        """Bytes of each folder and the number of the next to shrink, as they are at the end kept.

        Where a process was killed inside, the next one counts what there is and removes what was
        left half written.
        """
        path = self._folder / "sizes"
        with path.open("r+b" if path.exists() else "w+b") as file:
            sizes = _unpacked(file.read())
            if sizes is None:
                sizes = [sum(size for _, size, _ in self._files(n)) for n in range(_FOLDERS)] + [0]
            _overwrite(file, [*sizes, 1])
            try:
                yield sizes
            finally:
                _overwrite(file, [*sizes, 0])

    def _make_room(self, sizes: list[int], more: int) -> None:
        while (over := sum(sizes[:_FOLDERS]) + more - self._bound) > 0:
            there = sum(sizes[:_FOLDERS])
            files: list[tuple[int, int, str]] = []
            for _ in range(_FOLDERS):
                number = sizes[_FOLDERS] % _FOLDERS
                found = list(self._files(number))
                sizes[number] = sum(size for _, size, _ in found)
                sizes[_FOLDERS] = (number + 1) % _FOLDERS
                files += found
                if len(files) >= _LOOKED_AT:
                    break
            looked_at = sum(size for _, size, _ in files)
            # Of a part of the folders their part of what has to go, and some whole blocks more.
            wanted = max(looked_at * over // max(there, 1), 1)
            wanted += looked_at // _SHARE_FREED // _FILE * _FILE
            for _, size, path in sorted(files):
                if wanted <= 0:
                    break
                Path(path).unlink(missing_ok=True)
                sizes[_number(os.path.basename(path))] -= size
                wanted -= size
                self.evicted += 1

    def _files(self, number: int) -> Iterator[tuple[int, int, str]]:
        """Time of last use, size and path of each block of a folder; temporary files go."""
        try:
            entries = list(os.scandir(self._folder / f"{number:02x}"))
        except FileNotFoundError:
            return
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):  # a reader found it damaged
                if _NAME.fullmatch(entry.name):
                    status = entry.stat()
                    yield status.st_mtime_ns, status.st_size, entry.path
                elif entry.name.startswith(_TEMPORARY):  # under the lock nobody else writes
                    os.unlink(entry.path)


def _block_name(version: Version, number: int) -> str:
    """What the file of a block is called: 32 hexadecimal digits."""
    text = json.dumps([*version, BLOCK, number])
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _number(name: str) -> int:
    return int(name[:2], 16)


def _digest(name: str, data: Any) -> bytes:
    digest = new_digest()
    digest.update(name.encode())
    digest.update(data)
    return bytes(digest.digest())


def _unpacked(raw: bytes) -> list[int] | None:
    """What was kept; None where that is nothing, damaged, or of a process that did not end well."""
    if len(raw) != _DIGEST + _SIZES.size or raw[:_DIGEST] != _digest("sizes", raw[_DIGEST:]):
        return None
    *sizes, writing = _SIZES.unpack(raw[_DIGEST:])
    return None if writing else sizes


def _overwrite(file: Any, values: Sequence[int]) -> None:
    packed = _SIZES.pack(*values)
    file.seek(0)
    file.write(_digest("sizes", packed) + packed)
    file.flush()


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
