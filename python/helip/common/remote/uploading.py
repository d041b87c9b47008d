"""A container from a directory or a URL to a URL: in pieces, checked, its manifest last."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from helip.common.errors import (
    CancelledError,
    CorruptError,
    InvalidArgumentError,
    MismatchError,
    StorageError,
    UnsupportedError,
)
from helip.common.files import storage_errors
from helip.common.progress import ProgressBar
from helip.common.remote.client import Remote, Stamp
from helip.common.remote.container import LocalFiles, RemoteContainer
from helip.common.remote.downloading import COMPANIONS, check_shards, companions_of
from helip.common.remote.errors import TakenError
from helip.common.remote.manifest import MANIFEST, Manifest, Shard, ShardDigests
from helip.common.remote.urls import BUCKETS, check_url, place_of

PIECE = 8 << 20
IN_FLIGHT = 8  # pieces
READ_IN_FLIGHT = 4  # pieces that come from a URL, besides those that are on their way to another
_MOST_PIECES = 9_000  # S3 takes 10,000
_MOST_COPIED = 2 << 30  # bytes of a shard that a service copies; more may take longer than 30 s
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
    remote = Remote(place_of([url]))
    # A list may lag; but it tells of a bucket that is not there.
    return MANIFEST in remote.listed(url) or remote.has(f"{url.rstrip('/')}/{MANIFEST}")


def upload(
    source: Path | str,
    url: str,
    *,
    overwrite: bool = False,
    check: bool = True,
    progress: bool = True,
) -> None:
    """Copy the container in a directory or at a URL to ``url``.

    Every byte is compared with its digest on its way. Within one bucket the service copies: then a
    shard is read and compared before, and nothing is sent.

    A reader sees the whole of it or nothing, since the manifest comes last. What a stopped upload
    has brought there is used by the next one of the same container, and else deleted. Where the
    same container lies there already, nothing is sent.

    Args:
        source: a Path of a directory, or a URL.
        check: False: of a shard that the service copies, compare size and header alone.
        overwrite: take the place of another container. Shards that it shares stay; where others
            bear their names its manifest goes first, and there is nothing to read meanwhile.

    Raises:
        InvalidArgumentError: another container is there. MismatchError: somebody else writes there.
        CorruptError: the source is damaged. StorageError: it cannot be read, or the service
            refuses. UnsupportedError: nothing can be written there.
    """
    require_bucket(url)
    container = RemoteContainer(os.fspath(source))
    _Upload(container, url.rstrip("/"), overwrite=overwrite, check=check).run(progress)


class _Upload:
    def __init__(
        self, container: RemoteContainer, url: str, *, overwrite: bool, check: bool
    ) -> None:
        self._container, self._manifest, self._url = container, container.manifest, url
        self._overwrite, self._check = overwrite, check
        self._remote = Remote(place_of([url]))
        source = container.url
        self._copies = "://" in source and place_of([source]) == place_of([url])
        self._beside: dict[str, bytes] = {}  # companions
        self._stopped = threading.Event()

    def run(self, progress: bool) -> None:
        there = self._remote.listed(self._url)
        before = self._before()
        if before is not None and before.checksum == self._manifest.checksum:
            _log.info("upload: %s holds it already", self._url)
            return
        if before is not None and not self._overwrite:
            raise InvalidArgumentError(taken(self._url))
        old = {shard.file: shard for shard in before.shards} if before is not None else {}
        kept = {
            shard.file
            for shard in self._manifest.shards
            if old.get(shard.file) == shard and _has(there, shard)
        }
        shards = {shard.file: shard for shard in self._manifest.shards}
        if before is not None and any(name in shards and name not in kept for name in old):
            self._delete([MANIFEST])  # whoever reads its shards notices
            before = None
        if self._mark() == self._manifest.checksum:
            kept |= {
                name for name, shard in shards.items() if _has(there, shard) and name not in old
            }
        else:
            self._begin(before, {*kept, *(old if before is not None else ())})
        self._beside = companions_of(self._container)
        shards_of = enumerate(self._manifest.shards)
        self._send([number for number, each in shards_of if each.file not in kept], progress)
        self._publish(before, kept)

    def _begin(self, before: Manifest | None, stay: set[str]) -> None:
        """Delete what others left, under a marker that nobody goes on from."""
        self._remote.put(self._at(MARKER), f"{self._manifest.checksum} begins".encode())
        there = self._remote.listed(self._url)
        if before is None and self._before() is not None:  # it came while this one began
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
        for name, contents in self._beside.items():
            self._remote.put(self._at(name), contents)

    def _send_one(self, number: int, bar: ProgressBar) -> None:
        shard = self._manifest.shards[number]

        def done(size: int) -> None:
            if self._stopped.is_set():
                raise CancelledError(f"the upload to {self._url} was stopped")
            bar.update(size)

        if self._copies and shard.bytes <= _MOST_COPIED:
            if self._copy_one(number, done):
                return
            self._copies = False
            done(-shard.bytes)  # what was compared comes again
        piece = max(PIECE, -(-shard.bytes // _MOST_PIECES))
        with contextlib.closing(self._checked_pieces(number, piece, done)) as pieces:
            whole = bytes(next(pieces)) if shard.bytes <= piece else None
            self._remote.put(
                self._at(shard.file), pieces if whole is None else whole,
                piece=piece, in_flight=IN_FLIGHT,
            )  # fmt: skip
        if whole is not None:
            done(shard.bytes)

    def _copy_one(self, number: int, done: Callable[[int], object]) -> bool:
        """Have the service copy a shard once it is known to be right; False where it does not."""
        shard = self._manifest.shards[number]
        self._container.tensors(number)  # compares its header
        if self._check:
            check_shards(self._container, [number], done)
        else:
            done(shard.bytes)
        if not self._remote.copy(self._container.address(shard.file), self._at(shard.file)):
            return False
        try:
            self._container.read(number, 0, 1)  # compares its size and tag
            self._container.check_same()
        except MismatchError:
            self._delete([shard.file])  # else the next call would take it for the right one
            raise
        return True

    def _checked_pieces(
        self, number: int, piece: int, done: Callable[[int], object]
    ) -> Generator[Any, None, None]:
        """The bytes of a shard. The last ones come once all are known to be right."""
        shard = self._manifest.shards[number]
        digests = ShardDigests(shard, self._container.address(shard.file))
        with contextlib.closing(_pieces_of(self._container, number, piece)) as pieces:
            data = next(pieces, None)
            while data is not None:
                after = self._compared(digests, data, pieces)
                yield data
                done(len(data))
                data = after

    def _compared(self, digests: ShardDigests, data: Any, pieces: Iterator[Any]) -> Any:
        """The piece after ``data``, which is compared; None where it was the last one."""
        try:
            digests.update(data)
            after = next(pieces, None)
            if after is None:
                digests.finish()
        except CorruptError:
            self._container.check_same()  # changed meanwhile, rather than damaged
            raise
        return after

    def _publish(self, before: Manifest | None, kept: Collection[str]) -> None:
        wrong = self._wrong(self._remote.listed(self._url), kept)
        if wrong or self._mark() != self._manifest.checksum:
            now = self._before()
            if now is not None and now.checksum == self._manifest.checksum:
                return  # another process was first with the same
            raise self._disturbed(wrong)
        try:
            self._remote.put(self._at(MANIFEST), self._manifest.text, new=before is None)
        except TakenError as error:
            # It may be this one: a request that is tried again may have been done before.
            now = self._before()
            if now is None or now.checksum != self._manifest.checksum:
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
        names = {shard.file for shard in self._manifest.shards}
        names |= set(self._beside)
        ours = [name for name in there if _is_shard(name) or name in COMPANIONS]
        self._delete([MARKER, *(name for name in ours if name not in names)])

    def _wrong(self, there: Mapping[str, Stamp], kept: Collection[str] = ()) -> str:
        """A shard that is not there, or of another size; empty for none.

        Lists may lag behind what was written and deleted. So those that are not listed are asked
        for by their names, and those that are ``kept``, which this process has not sent.
        """
        doubtful = [s for s in self._manifest.shards if s.file in kept or not _has(there, s)]
        if not doubtful:
            return ""
        with ThreadPoolExecutor(IN_FLIGHT, thread_name_prefix="helip-upload") as pool:
            sizes = pool.map(lambda shard: self._size_of(shard.file), doubtful)
            found = [s.file for s, size in zip(doubtful, sizes, strict=True) if size != s.bytes]
        return found[0] if found else ""

    def _size_of(self, name: str) -> int:
        """Bytes of a file that is there; -1 for none."""
        try:
            return self._remote.stamp(self._at(name)).bytes
        except StorageError as error:
            if error.errno != errno.ENOENT:
                raise
            return -1

    def _disturbed(self, wrong: str) -> MismatchError:
        how = f" ({wrong} is another)" if wrong else ""
        return MismatchError(
            f"{self._url} was changed while it was uploaded{how}; look whether another job writes "
            "there, and do the same again"
        )

    def _before(self) -> Manifest | None:
        """The manifest that is there; None for none."""
        try:
            return RemoteContainer(self._url).manifest
        except StorageError as error:
            if error.errno != errno.ENOENT or "no such bucket" in str(error):
                raise
            return None

    def _mark(self) -> str | None:
        """What the upload that was begun there is of; None for none."""
        try:
            _, text = self._remote.whole(self._at(MARKER), most=1 << 10)
        except StorageError as error:
            if error.errno != errno.ENOENT:
                raise
            return None
        return text.decode("ascii", "replace")

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


def _pieces_of(container: RemoteContainer, number: int, size: int) -> Generator[Any, None, None]:
    """Buffers of ``size`` bytes, the last one smaller, of the shard of that number.

    From a URL READ_IN_FLIGHT of them come at once. Raises as `RemoteContainer.read`.
    """
    if isinstance(container.files, LocalFiles):
        return _of_file(Path(container.address(container.manifest.shards[number].file)), size)
    return _of_url(container, number, size)


def _of_file(path: Path, size: int) -> Generator[Any, None, None]:
    with storage_errors("read", path), path.open("rb") as file:
        while data := file.read(size):
            yield data


def _of_url(container: RemoteContainer, number: int, size: int) -> Generator[Any, None, None]:
    end = container.manifest.shards[number].bytes
    begins = iter(range(0, end, size))
    coming: deque[Future[Any]] = deque()
    pool = ThreadPoolExecutor(READ_IN_FLIGHT, thread_name_prefix="helip-copy")
    try:
        while True:
            while len(coming) < READ_IN_FLIGHT and (begin := next(begins, None)) is not None:
                piece = (number, begin, min(begin + size, end))
                coming.append(pool.submit(container.read, *piece))
            if not coming:
                return
            yield coming.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
