"""A container at a URL, such as an embedding store: its manifest, and ranges of its shards."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

from helip.common.errors import MismatchError, StorageError
from helip.common.files import storage_errors
from helip.common.remote.client import Remote, Stamp, refuse_larger
from helip.common.remote.errors import PastEnd
from helip.common.remote.manifest import (
    HEADER_BYTES,
    KINDS,
    MANIFEST,
    MOST_BYTES,
    Manifest,
    Tensor,
    parse_manifest,
    tensors_of,
)
from helip.common.remote.urls import place_of

#: Seconds before a range that came short is asked for again.
WAITS = (0.1, 0.5, 2.0)


class LocalFiles:
    """The same of files on this machine: what `Remote` does to read."""

    def stamp(self, path: str) -> Stamp:
        with storage_errors("read", path):
            found = os.stat(path)
        return Stamp(found.st_size, found.st_mtime_ns, f"{found.st_ino}-{found.st_mtime_ns}")

    def whole(self, path: str, *, most: int) -> tuple[Stamp, bytes]:
        stamp = self.stamp(path)
        refuse_larger(path, stamp.bytes, most)
        return self.read(path, 0, stamp.bytes)

    def read(self, path: str, begin: int, end: int) -> tuple[Stamp, bytes]:
        with storage_errors("read", path), Path(path).open("rb") as file:
            file.seek(begin)
            data = file.read(end - begin)
        if len(data) != end - begin:
            raise PastEnd(errno.EINVAL, f"cannot read {path}: it is shorter than {end:,} bytes")
        return self.stamp(path), data


class RemoteContainer:
    """A container as its manifest was when it was opened; opening reads the manifest alone.

    What is read later is compared with it: a shard of another size, header or tag, or one that
    belongs to a later manifest, is a MismatchError. Thread-safe.
    """

    def __init__(self, url: str, formats: Collection[str] = KINDS) -> None:
        """``url`` may also be the path of a directory.

        Raises StorageError, CorruptError, MismatchError (of none of ``formats``), UnsupportedError.
        """
        self.url = url.rstrip("/")
        self.files: Any = LocalFiles() if "://" not in url else Remote(place_of([url]))
        try:
            self._stamp, text = self.files.whole(self.address(MANIFEST), most=MOST_BYTES)
        except StorageError as error:
            if error.errno != errno.ENOENT or "no such bucket" in str(error):
                raise
            raise StorageError(
                errno.ENOENT,
                f"there is nothing that helip wrote at {self.url}, or not to its end: it has no "
                f"{MANIFEST}",
            ) from error
        self.manifest: Manifest = parse_manifest(text, self.address(MANIFEST), formats)
        self._stamps: dict[int, Stamp] = {}  # of shards
        self._tensors: dict[int, dict[str, Tensor]] = {}
        self._opening: dict[int, threading.Lock] = {}
        self._lock = threading.Lock()

    def address(self, name: str) -> str:
        """Of a file in it."""
        return f"{self.url}/{name}"

    def tensors(self, shard: int) -> dict[str, Tensor]:
        """Where the tensors of a shard lie; the first call reads its header and looks whether the
        manifest is still the one that was opened."""
        with self._lock:
            opening = self._opening.setdefault(shard, threading.Lock())
        with opening:
            found = self._tensors.get(shard)
            if found is None:
                record = self.manifest.shards[shard]
                header = self.read(shard, 0, HEADER_BYTES)
                # Whoever replaces shards takes the manifest away before. So this one was whole.
                self.check_same()
                found = tensors_of(bytes(header), record, self.address(record.file))
                self._tensors[shard] = found
            return found

    def read(self, shard: int, begin: int, end: int) -> Any:
        """The bytes [begin, end) of a shard, as a buffer.

        Raises:
            StorageError: they cannot be read, also when it was tried again.
            MismatchError: the container was changed since it was opened.
        """
        record = self.manifest.shards[shard]
        url = self.address(record.file)
        for wait in (*WAITS, None):
            try:
                stamp, data = self.files.read(url, begin, end)
            except PastEnd as error:
                self._compare(shard, self.files.stamp(url))
                if wait is None:
                    raise StorageError(
                        errno.EIO,
                        f"cannot read {url}: its bytes {begin:,} to {end:,} were asked for "
                        f"{len(WAITS) + 1} times, and fewer came each time, though it has "
                        f"{record.bytes:,}; look at its server, or at a proxy before it",
                    ) from error
                time.sleep(wait)
            except StorageError as error:
                if error.errno == errno.ENOENT:
                    self.check_same()
                raise
            else:
                self._compare(shard, stamp)
                return data
        raise AssertionError

    def check_same(self) -> None:
        """MismatchError where the manifest is another than the one that was opened."""
        now = self._stamp_of_manifest()
        if now is None or (now.bytes, now.tag) != (self._stamp.bytes, self._stamp.tag):
            raise self._changed("its manifest is another" if now else "its manifest is gone")

    def small_file(self, name: str) -> bytes | None:
        """A file that lies beside the manifest, of 256 MiB at most; None where there is none."""
        try:
            return self.files.whole(self.address(name), most=MOST_BYTES)[1]
        except StorageError as error:
            if error.errno != errno.ENOENT:
                raise
            return None

    def _stamp_of_manifest(self) -> Stamp | None:
        try:
            return self.files.stamp(self.address(MANIFEST))
        except StorageError as error:
            if error.errno != errno.ENOENT:
                raise
            return None

    def _compare(self, shard: int, now: Stamp) -> None:
        record = self.manifest.shards[shard]
        with self._lock:
            then = self._stamps.setdefault(shard, now)
        if now.bytes != record.bytes:
            raise self._changed(
                f"{record.file} had {record.bytes:,} bytes, and has {now.bytes:,} now"
            )
        if now.tag != then.tag:
            raise self._changed(f"the tag of {record.file} was {then.tag}, and is {now.tag} now")

    def _changed(self, what: str) -> MismatchError:
        return MismatchError(
            f"{self.url} was changed after it was opened ({what}); open it again when nobody "
            "writes to it"
        )
