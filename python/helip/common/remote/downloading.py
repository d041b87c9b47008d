"""A container from a URL to a directory: in order, checked, in bounded memory, all or nothing."""

from __future__ import annotations

import errno
import logging
import os
import re
import shutil
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from helip.common.errors import CorruptError, InvalidArgumentError, StorageError
from helip.common.files import (
    DirectoryLock,
    discard_directory,
    make_directory,
    own_cache,
    storage_errors,
    sync,
)
from helip.common.progress import ProgressBar
from helip.common.remote.container import RemoteContainer
from helip.common.remote.manifest import MANIFEST, ShardDigests
from helip.common.remote.urls import local_path, url_of

PIECE = 4 << 20
IN_FLIGHT = 16  # pieces; with the copies that obstore makes they take some 180 MiB
#: Files beside a manifest that go with it: also what could not be read, and options of the shell.
COMPANIONS = ("quarantine.jsonl", "helip.yaml")
_OURS = re.compile(
    rf"{MANIFEST}|shard-\d+\.safetensors|\.lock|{'|'.join(map(re.escape, COMPANIONS))}"
)
_ROOM = 16 << 20  # bytes that stay free

_log = logging.getLogger(__name__)


def cached(
    container: RemoteContainer, cache: str | os.PathLike[str] | None, *, progress: bool
) -> Path:
    """The directory in which a container lies on this machine; downloads it where none does.

    Its name has the checksum of the manifest, so that the same bytes are found again and others
    never taken for them. Where another process downloads it already, this one waits.

    Args:
        cache: the folder of such directories; None: ``remote`` in that of ``HELIP_CACHE``.

    Raises as `download`.
    """
    folder = cache_folder(cache)
    name = container.url.rpartition("/")[2]
    target = folder / f"{name}-{container.manifest.checksum}"
    if (target / MANIFEST).is_file():
        _log.info("remote: %s is in %s already", container.url, target)
    else:
        download(container, target, progress=progress, more="; name another cache")
    return target


def cache_folder(cache: str | os.PathLike[str] | None) -> Path:
    """Where downloaded containers lie."""
    return own_cache() / "remote" if cache is None else Path(cache)


def local_copy(
    path: str | os.PathLike[str],
    formats: Collection[str],
    *,
    cache: str | os.PathLike[str] | None = None,
    progress: bool = False,
) -> str | os.PathLike[str]:
    """The directory that ``path`` names, of a URL the one in the cache: see `cached`.

    Raises also MismatchError where a URL is of none of ``formats``.
    """
    url = url_of(path)
    if url is None:
        return local_path(path)
    return cached(RemoteContainer(url, formats), cache, progress=progress)


def download(
    container: RemoteContainer,
    target: Path,
    *,
    overwrite: bool = False,
    progress: bool = True,
    more: str = "",
) -> None:
    """Copy a container to the new directory ``target``, every byte compared with its digest.

    What comes lies in ``.partial-NAME`` beside it until it is whole, and shards that are whole
    there are not fetched again.

    Args:
        overwrite: take the place of what a directory of that name holds, once all is there.
        more: what else may be done where the disk is too small.

    Raises:
        InvalidArgumentError: ``overwrite``, and the directory holds something else.
        StorageError: the disk has too little room, with both numbers; what cannot be read or
            written. CorruptError: bytes that differ from the manifest. MismatchError: the container
            was changed meanwhile.
    """
    if overwrite:
        _require_container(target)
    partial = target.parent / f".partial-{target.name}"
    make_directory(target.parent)
    while True:
        make_directory(partial)
        try:
            with DirectoryLock(partial, name=".lock", wait=True) as lock:
                if _is(target, container):  # another process was first
                    if lock.is_there():
                        shutil.rmtree(partial, ignore_errors=True)
                    return
                if not lock.is_there():
                    continue
                _fill(container, partial, progress=progress, more=more)
                with storage_errors("write", target):
                    if overwrite and target.exists():
                        discard_directory(target)
                    partial.rename(target)
                    sync(target.parent)
                return
        except StorageError as error:
            # The directory went away between its making and its lock, as another process was first.
            if error.errno != errno.ENOENT or partial.exists() or not _is(target, container):
                raise
            return


def _is(target: Path, container: RemoteContainer) -> bool:
    try:
        return (target / MANIFEST).read_bytes() == container.manifest.text
    except OSError:
        return False


def _fill(container: RemoteContainer, partial: Path, *, progress: bool, more: str) -> None:
    manifest = container.manifest
    source = partial / ".source"
    with storage_errors("write", partial):
        if not source.is_file() or source.read_bytes() != manifest.text:
            for entry in partial.iterdir():  # of another container, or of nobody knows which
                if entry.name != ".lock":
                    entry.unlink()
            source.write_bytes(manifest.text)
            sync(source)
    there = {
        number
        for number, shard in enumerate(manifest.shards)
        if _size_of(partial / shard.file) == shard.bytes
    }
    missing = [number for number in range(len(manifest.shards)) if number not in there]
    wanted = sum(manifest.shards[number].bytes for number in missing)
    _require_room(container, partial, wanted, more)
    done = manifest.bytes - wanted
    with ProgressBar(manifest.bytes, label="download", unit="bytes", enabled=progress) as bar:
        if done:
            bar.restart(manifest.bytes, label="download", done=done)
        _fetch(
            container, missing, lambda number: _ShardFile(container, number, partial), bar.update
        )
    for name, contents in companions_of(container).items():
        _write(partial / name, contents)
    _write(partial / MANIFEST, manifest.text)
    with storage_errors("write", partial):
        source.unlink()
        sync(partial)


def companions_of(container: RemoteContainer) -> dict[str, bytes]:
    """The COMPANIONS that are there."""
    found = {name: container.small_file(name) for name in COMPANIONS}
    return {name: contents for name, contents in found.items() if contents is not None}


def verify(container: RemoteContainer, *, progress: bool) -> None:
    """Read every byte of a container and compare it with its digest; nothing is kept.

    Raises CorruptError at the first damage, else as `download`.
    """
    shards = range(len(container.manifest.shards))
    size = container.manifest.bytes
    with ProgressBar(size, label="verify", unit="bytes", enabled=progress) as bar:
        check_shards(container, shards, bar.update)


def check_shards(
    container: RemoteContainer, shards: Iterable[int], done: Callable[[int], object]
) -> None:
    """The same of some shards; ``done`` is called with the bytes of each piece."""
    _fetch(container, shards, lambda number: _CheckedShard(container, number), done)


def _fetch(
    container: RemoteContainer,
    shards: Iterable[int],
    taker: Callable[[int], _CheckedShard],
    done: Callable[[int], object],
) -> None:
    """Fetch shards in order, IN_FLIGHT pieces at a time; ``taker`` makes what takes one."""
    pool = ThreadPoolExecutor(IN_FLIGHT, thread_name_prefix="helip-download")
    coming: deque[tuple[int, Future[Any]]] = deque()
    wanted = iter(_pieces(container, shards))
    taking: _CheckedShard | None = None
    try:
        while True:
            while len(coming) < IN_FLIGHT and (piece := next(wanted, None)) is not None:
                coming.append((piece[0], pool.submit(container.read, *piece)))
            if not coming:
                return
            number, future = coming.popleft()
            data = future.result()
            if taking is None:
                taking = taker(number)
            taking.take(data)
            done(len(data))
            if taking.is_full:
                taking.finish()
                taking = None
    except CorruptError:
        container.check_same()  # changed meanwhile, rather than damaged
        raise
    finally:
        pool.shutdown(cancel_futures=True)
        if taking is not None:
            taking.close()


def _pieces(container: RemoteContainer, shards: Iterable[int]) -> Iterator[tuple[int, int, int]]:
    for number in shards:
        size = container.manifest.shards[number].bytes
        for begin in range(0, size, PIECE):
            yield number, begin, min(begin + PIECE, size)


class _CheckedShard:
    """A shard whose bytes are compared as they come."""

    def __init__(self, container: RemoteContainer, number: int) -> None:
        self._shard = container.manifest.shards[number]
        self._digests = ShardDigests(self._shard, container.address(self._shard.file))
        self._taken = 0

    @property
    def is_full(self) -> bool:
        return self._taken == self._shard.bytes

    def take(self, data: Any) -> None:
        self._digests.update(data)
        self._taken += len(data)

    def finish(self) -> None:
        self._digests.finish()

    def close(self) -> None:
        """Let go what is not whole."""


class _ShardFile(_CheckedShard):
    """The same, written under a temporary name until it is whole."""

    def __init__(self, container: RemoteContainer, number: int, folder: Path) -> None:
        super().__init__(container, number)
        self._path = folder / self._shard.file
        self._temporary = folder / f".{self._shard.file}"
        with storage_errors("write", self._temporary):
            self._file = self._temporary.open("wb")

    def take(self, data: Any) -> None:
        super().take(data)
        with storage_errors("write", self._temporary):
            self._file.write(data)

    def finish(self) -> None:
        super().finish()
        with storage_errors("write", self._path):
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._temporary.rename(self._path)
            sync(self._path.parent)

    def close(self) -> None:
        self._file.close()
        self._temporary.unlink(missing_ok=True)


def _write(path: Path, contents: bytes) -> None:
    with storage_errors("write", path):
        path.write_bytes(contents)
        sync(path)


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _require_room(container: RemoteContainer, folder: Path, wanted: int, more: str) -> None:
    with storage_errors("look at", folder):
        free = shutil.disk_usage(folder).free
    if wanted + _ROOM > free:
        raise StorageError(
            errno.ENOSPC,
            f"{container.url} takes {wanted:,} bytes more in {folder.parent}, where {free:,} are "
            f"free; make room{more}",
        )


def _require_container(target: Path) -> None:
    """InvalidArgumentError where a directory holds what helip did not write, which would go."""
    if not os.path.lexists(target):
        return
    foreign = "it is no directory"
    if target.is_dir() and not target.is_symlink():
        with storage_errors("look at", target):
            names = sorted(entry.name for entry in target.iterdir())
        others = [name for name in names if not _OURS.fullmatch(name)]
        if not others and (not names or MANIFEST in names):
            return
        foreign = f"it holds {others[0]}" if others else f"it has no {MANIFEST}"
    raise InvalidArgumentError(
        f"{target} is not what helip copied, as {foreign}, and overwrite would delete it; choose "
        "another place, or remove it"
    )


def refuse_existing(target: Path) -> None:
    """InvalidArgumentError where something is there already."""
    if os.path.lexists(target):
        raise InvalidArgumentError(
            f"{target} exists already; choose another place, or pass overwrite=True"
        )
