"""Blocks of bytes as files of a folder: bounded, checked when they are read, shared by processes.

A block is one file, its name a digest of what it is of, its first bytes a digest of name and
contents. It is written under a temporary name and renamed. Readers take no lock: a file that is
absent, cut short or damaged is a block that is not there. Whoever writes or removes holds the lock
of the folder. Nothing is synced: what a loss of power spoils does not fit its digest.
"""

from __future__ import annotations

import contextlib
import os
import re
import struct
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from helip.common.files import DirectoryLock, make_directory
from helip.common.remote.manifest import new_digest

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
