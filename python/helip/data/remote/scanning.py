"""An index of tar shards at URLs: each is fetched whole, once, scanned, and let go."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from helip import _core
from helip.common.errors import CorruptError, MismatchError, StorageError
from helip.common.progress import ProgressBar
from helip.common.remote.client import Remote, Stamp
from helip.common.remote.urls import place_of

THREADS = 4  # shards at a time, each a temporary file
_PIECE = 8 << 20
_STAMPS = 32  # requests at a time


def build(
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
