"""A container from a directory or a URL to a URL: in pieces, checked, its manifest last."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Collection, Generator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from helip.common.errors import (
    CancelledError,
    InvalidArgumentError,
    MismatchError,
    UnsupportedError,
)
from helip.common.progress import ProgressBar
from helip.common.remote.client import Remote, Stamp
from helip.common.remote.container import COMPANIONS, RemoteContainer
from helip.common.remote.errors import TakenError, unless_absent
from helip.common.remote.manifest import MANIFEST, Manifest, Shard
from helip.common.remote.urls import BUCKETS, check_url, place_of

PIECE = 8 << 20
IN_FLIGHT = 8  # pieces
READ_IN_FLIGHT = 4  # pieces that come from a URL, besides those that are on their way to another
_MOST_PIECES = 9_000  # S3 takes 10,000
#: Names the container that is being uploaded, so that the same call goes on with its files.
MARKER = "upload-in-progress"

_log = logging.getLogger(__name__)


def require_bucket(url: str) -> None:
    """UnsupportedError for a URL that nothing can be written to."""
    scheme = check_url(url)[0]
    if scheme not in BUCKETS:
        known = ", ".join(f"{each}://" for each in BUCKETS)
        raise UnsupportedError(
            f"{url} is of {scheme}://, where helip writes nothing; give a URL of {known}, or a path"
        )


def has_container(url: str) -> bool:
    """Whether a container lies at ``url``. StorageError as `Remote`, UnsupportedError as above."""
    require_bucket(url)
    return MANIFEST in Remote(place_of([url])).listed(url)


def upload(source: Path | str, url: str, *, overwrite: bool = False, progress: bool = True) -> None:
    """Copy the container in a directory or at a URL to ``url``.

    Every byte is compared with its digest on its way.

    A reader sees the whole of it or nothing, since the manifest comes last. What a stopped upload
    has brought there is used by the next one of the same container, and else deleted. Where the
    same container lies there already, nothing is sent.

    Args:
        source: a Path of a directory, or a URL.
        overwrite: take the place of another container. Shards that it shares stay; where others
            bear their names its manifest goes first, and there is nothing to read meanwhile.

    Raises:
        InvalidArgumentError: another container is there. MismatchError: somebody else writes there.
        CorruptError: the source is damaged. StorageError: it cannot be read, or the service
            refuses. UnsupportedError: nothing can be written there.
    """
    require_bucket(url)
    _Upload(RemoteContainer(os.fspath(source)), url.rstrip("/")).run(overwrite, progress)


class _Upload:
    def __init__(self, container: RemoteContainer, url: str) -> None:
        self._container, self._manifest, self._url = container, container.manifest, url
        self._remote = Remote(place_of([url]))
        self._stopped = threading.Event()

    def run(self, overwrite: bool, progress: bool) -> None:
        there = self._remote.listed(self._url)
        before = self._before()
        if before is not None and before.checksum == self._manifest.checksum:
            _log.info("upload: %s holds it already", self._url)
            return
        if before is not None and not overwrite:
            raise InvalidArgumentError(taken(self._url))
        old = {shard.file: shard for shard in before.shards} if before is not None else {}
        shards = {shard.file: shard for shard in self._manifest.shards}
        whole = {name for name, shard in shards.items() if _has(there, shard)}
        kept = {name for name in whole if old.get(name) == shards[name]}
        if any(name in shards and name not in kept for name in old):
            self._delete([MANIFEST])  # whoever reads its shards notices
            before = None
        if self._mark() == self._manifest.checksum:
            kept |= whole - old.keys()
        else:
            self._begin(before, {*kept, *(old if before is not None else ())})
        beside = self._container.companions()
        self._send([n for n, each in enumerate(shards) if each not in kept], progress)
        for name, contents in beside.items():
            self._remote.put(self._at(name), contents)
        self._publish(before, {*shards, *beside})

    def _begin(self, before: Manifest | None, stay: set[str]) -> None:
        """Delete what others left, under a marker that nobody goes on from."""
        self._remote.put(self._at(MARKER), f"{self._manifest.checksum} begins".encode())
        there = self._remote.listed(self._url)
        if before is None and MANIFEST in there:  # it came while this one began
            self._delete([MARKER])
            raise InvalidArgumentError(taken(self._url))
        self._delete([name for name in there if _is_shard(name) and name not in stay])
        self._remote.put(self._at(MARKER), self._manifest.checksum.encode())

    def _send(self, numbers: list[int], progress: bool) -> None:
        size = self._manifest.bytes
        done = size - sum(self._manifest.shards[number].bytes for number in numbers)
        with (
            ProgressBar(size, label="upload", unit="bytes", enabled=progress) as bar,
            ThreadPoolExecutor(1, thread_name_prefix="helip-upload") as pool,
        ):
            if done:
                bar.restart(size, label="upload", done=done)
            for number in numbers:
                sending = pool.submit(self._send_one, number, bar)
                try:
                    wait([sending])
                except BaseException:  # Ctrl-C: what was sent of the shard is given up
                    self._stopped.set()
                    raise
                sending.result()

    def _send_one(self, number: int, bar: ProgressBar) -> None:
        shard = self._manifest.shards[number]
        piece = max(PIECE, -(-shard.bytes // _MOST_PIECES))
        with contextlib.closing(self._pieces(number, piece, bar)) as pieces:
            self._remote.put(
                self._at(shard.file), bytes(next(pieces)) if shard.bytes <= piece else pieces,
                piece=piece, in_flight=IN_FLIGHT,
            )  # fmt: skip

    def _pieces(self, number: int, size: int, bar: ProgressBar) -> Generator[Any, None, None]:
        with contextlib.closing(self._container.pieces([number], size, READ_IN_FLIGHT)) as pieces:
            for _, data, _ in pieces:
                if self._stopped.is_set():
                    raise CancelledError(f"the upload to {self._url} was stopped")
                bar.update(len(data))
                yield data

    def _publish(self, before: Manifest | None, names: Collection[str]) -> None:
        """Write the manifest, and delete all else that is not of ``names``."""
        wrong = self._wrong(self._remote.listed(self._url))
        if wrong or self._mark() != self._manifest.checksum:
            if self._is_there():
                return  # another process was first with the same
            raise self._disturbed(wrong)
        try:
            self._remote.put(self._at(MANIFEST), self._manifest.text, new=before is None)
        except TakenError as error:
            # It may be this one: a request that is tried again may have been done before.
            if not self._is_there():
                raise InvalidArgumentError(taken(self._url)) from error
        # Whoever began meanwhile has marked it before it deleted anything, and then looked for a
        # manifest. So one of both notices the other.
        there = self._remote.listed(self._url)
        mark, wrong = self._mark(), self._wrong(there)
        if wrong or mark not in (None, self._manifest.checksum):
            self._delete([MANIFEST])
            raise self._disturbed(wrong)
        if mark is None:
            return  # another process has published the same, and tidied up
        ours = [name for name in there if _is_shard(name) or name in COMPANIONS]
        self._delete([MARKER, *(name for name in ours if name not in names)])

    def _wrong(self, there: Mapping[str, Stamp]) -> str:
        """A shard that is not there, or of another size; empty for none."""
        return next((shard.file for shard in self._manifest.shards if not _has(there, shard)), "")

    def _disturbed(self, wrong: str) -> MismatchError:
        how = f" ({wrong} is another)" if wrong else ""
        return MismatchError(
            f"{self._url} was changed while it was uploaded{how}; look whether another job writes "
            "there, and do the same again"
        )

    def _before(self) -> Manifest | None:
        """The manifest that is there; None for none."""
        container = unless_absent(RemoteContainer, self._url)
        return None if container is None else container.manifest

    def _is_there(self) -> bool:
        now = self._before()
        return now is not None and now.checksum == self._manifest.checksum

    def _mark(self) -> str | None:
        """What the upload that was begun there is of; None for none."""
        file = unless_absent(lambda: self._remote.whole(self._at(MARKER), most=1 << 10))
        return None if file is None else file[1].decode("ascii", "replace")

    def _delete(self, names: list[str]) -> None:
        if names:
            self._remote.delete([self._at(name) for name in names])

    def _at(self, name: str) -> str:
        return f"{self._url}/{name}"


def _has(there: Mapping[str, Stamp], shard: Shard) -> bool:
    return shard.file in there and there[shard.file].bytes == shard.bytes


def _is_shard(name: str) -> bool:
    return name.startswith("shard-") and name.endswith(".safetensors")


def taken(url: str) -> str:
    """What is said of a URL where something else is."""
    return f"{url} exists already; choose another place, or pass overwrite=True"
