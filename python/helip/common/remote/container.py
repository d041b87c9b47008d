"""A container at a URL, such as an embedding store: its manifest, and ranges of its shards."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections import deque
from collections.abc import Collection, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from helip.common.errors import CorruptError, MismatchError, StorageError
from helip.common.files import storage_errors
from helip.common.progress import ProgressBar
from helip.common.remote.client import Remote, Stamp, refuse_larger
from helip.common.remote.errors import PastEnd, unless_absent
from helip.common.remote.manifest import (
    HEADER_BYTES,
    KINDS,
    MANIFEST,
    MOST_BYTES,
    Manifest,
    ShardDigests,
    Tensor,
    parse_manifest,
    tensors_of,
)
from helip.common.remote.urls import place_of

#: Seconds before a range that came short is asked for again.
WAITS = (0.1, 0.5, 2.0)
PIECE = 4 << 20
IN_FLIGHT = 16  # pieces; with the copies that obstore makes they take some 180 MiB
#: Beside a table that was mined in stages: exact pools of a sample, for its next update.
KEPT_SAMPLE = "kept-sample.safetensors"
#: Files beside a manifest that go with it: also what could not be read, and options of the shell.
COMPANIONS = ("quarantine.jsonl", "helip.yaml", KEPT_SAMPLE)


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
        file = self._small_file(MANIFEST)
        if file is None:
            raise StorageError(
                errno.ENOENT,
                f"there is nothing that helip wrote at {self.url}, or not to its end: it has no "
                f"{MANIFEST}",
            )
        self._stamp, text = file
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
        now = unless_absent(self.files.stamp, self.address(MANIFEST))
        if now is None or (now.bytes, now.tag) != (self._stamp.bytes, self._stamp.tag):
            raise self._changed("its manifest is another" if now else "its manifest is gone")

    def companions(self) -> dict[str, bytes]:
        """Name → contents of the COMPANIONS that are there."""
        found = {name: self._small_file(name) for name in COMPANIONS}
        return {name: file[1] for name, file in found.items() if file is not None}

    def pieces(
        self, shards: Iterable[int], size: int, in_flight: int
    ) -> Generator[tuple[int, Any, bool], None, None]:
        """(shard, its next bytes, whether they are its last) of shards, in order and compared.

        ``size`` bytes each, ``in_flight`` of them on their way. The last ones of a shard come once
        all of it is known to be right. Raises CorruptError, else as `read`.
        """
        records = self.manifest.shards
        places = (
            (number, begin, min(begin + size, records[number].bytes))
            for number in shards
            for begin in range(0, records[number].bytes, size)
        )
        pool = ThreadPoolExecutor(in_flight, thread_name_prefix="helip-pieces")
        coming: deque[tuple[tuple[int, int, int], Future[Any]]] = deque()
        try:
            while True:
                while len(coming) < in_flight and (place := next(places, None)) is not None:
                    coming.append((place, pool.submit(self.read, *place)))
                if not coming:
                    return
                (number, begin, end), future = coming.popleft()
                data, shard = future.result(), records[number]
                if begin == 0:
                    digests = ShardDigests(shard, self.address(shard.file))
                digests.update(data)
                if end == shard.bytes:
                    digests.finish()
                yield number, data, end == shard.bytes
        except CorruptError:
            self.check_same()  # changed meanwhile, rather than damaged
            raise
        finally:
            pool.shutdown(cancel_futures=True)

    def verify(self, *, progress: bool) -> None:
        """Read every byte and compare it with its digest; nothing is kept.

        Raises as `pieces`.
        """
        shards = range(len(self.manifest.shards))
        with ProgressBar(
            self.manifest.bytes, label="verify", unit="bytes", enabled=progress
        ) as bar:
            for _, data, _ in self.pieces(shards, PIECE, IN_FLIGHT):
                bar.update(len(data))

    def _small_file(self, name: str) -> tuple[Stamp, bytes] | None:
        """A file of at most MOST_BYTES; None where there is none."""
        return unless_absent(lambda: self.files.whole(self.address(name), most=MOST_BYTES))

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
