"""A container from a URL to a directory: in order, checked, in bounded memory, all or nothing."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import shutil
import threading
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

from helip.common.errors import Error, InvalidArgumentError, StorageError
from helip.common.files import (
    DirectoryLock,
    discard_directory,
    make_directory,
    own_cache,
    publish_file,
    remove_leftovers,
    storage_errors,
    sync,
)
from helip.common.progress import ProgressBar
from helip.common.quantities import parse_bytes
from helip.common.remote.container import COMPANIONS, IN_FLIGHT, PIECE, RemoteContainer
from helip.common.remote.manifest import MANIFEST, parse_manifest
from helip.common.remote.urls import local_path, url_of

_OURS = re.compile(
    rf"{MANIFEST}|shard-\d+\.safetensors|codes|\.lock|\.in-use|"
    rf"{'|'.join(map(re.escape, COMPANIONS))}"
)
_ROOM = 16 << 20  # bytes that stay free
_IN_USE = ".in-use"  # of a container in the cache: locked by whoever has opened it
_KEPT = re.compile(r"(?P<partial>\.partial-)?.+-(?P<checksum>[0-9a-f]{32})")  # in the cache
_holding = threading.Lock()
_held: dict[Path, int] = {}  # containers and their locks' descriptors

_log = logging.getLogger(__name__)


def cached(
    container: RemoteContainer, cache: str | os.PathLike[str] | None, *, progress: bool
) -> Path:
    """The directory in which a container lies on this machine; downloads it where none does.

    Its name has the checksum of the manifest, so that the same bytes are found again and others
    never taken for them. Where another process downloads it already, this one waits. With
    ``HELIP_CACHE_SIZE`` containers that were opened longest ago make room for it, but for those
    that a process has opened and that still runs.

    Args:
        cache: the folder of such directories; None: ``remote`` in that of ``HELIP_CACHE``.

    Raises as `download`, and StorageError where it does not fit ``HELIP_CACHE_SIZE``.
    """
    folder = cache_folder(cache)
    name = container.url.rpartition("/")[2]
    target = folder / f"{name}-{container.manifest.checksum}"
    while True:
        if (target / MANIFEST).is_file():
            _log.info("remote: %s is in %s already", container.url, target)
        else:
            _download(container, target, progress=progress, is_cached=True)
        if hold(target):
            return target


def hold(target: Path) -> bool:
    """Keeps a container in its cache until this process ends; False: it has gone meanwhile."""
    try:
        import fcntl
    except ImportError:  # Windows
        return True
    lock = target / _IN_USE
    try:
        if target in _held and os.path.samestat(os.fstat(_held[target]), lock.stat()):
            return True
    except OSError:  # it was removed, by whatever
        pass
    try:
        descriptor = _opened_lock(lock)
    except FileNotFoundError:
        return False
    except OSError:  # a cache that this process may not write to, without a lock yet
        return (target / MANIFEST).is_file()
    with contextlib.suppress(OSError):  # file systems without locks
        fcntl.flock(descriptor, fcntl.LOCK_SH)
    if not (target / MANIFEST).is_file():
        os.close(descriptor)
        return False
    with contextlib.suppress(OSError):
        os.utime(descriptor)  # when it was used last
    with _holding:
        if (earlier := _held.pop(target, None)) is not None:
            os.close(earlier)
        _held[target] = descriptor
    return True


def _opened_lock(lock: Path) -> int:
    try:
        return os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except PermissionError:  # of another user, who let it be read
        return os.open(lock, os.O_RDONLY | os.O_CLOEXEC)


@contextlib.contextmanager
def _room(container: RemoteContainer, partial: Path) -> Iterator[None]:
    """Removes what was used longest ago until a container fits the bound of its cache.

    The body writes ``.source``, whereby other processes count all that is to come.
    """
    bound = parse_bytes(os.environ.get("HELIP_CACHE_SIZE"), name="HELIP_CACHE_SIZE")
    if bound == 0 or os.name == "nt":
        yield
        return
    folder = partial.parent
    with DirectoryLock(folder, name=".room", wait=True):
        with storage_errors("look at", folder):
            others = [each for each in folder.iterdir() if _is_kept(each) and each != partial]
        for path in others:  # of processes that were killed while they made room
            remove_leftovers(folder, path.name)
        sizes = {path: _bytes_of(path) for path in others}
        for path in sorted(others, key=_last_use):
            if sum(sizes.values()) + container.manifest.bytes <= bound:
                break
            if _remove_unused(path):
                _log.info("remote: %s made room in %s", path.name, folder)
                del sizes[path]
        if (used := sum(sizes.values())) + container.manifest.bytes > bound:
            if not (partial / ".source").exists():
                shutil.rmtree(partial, ignore_errors=True)
            raise StorageError(
                errno.ENOSPC,
                f"{container.url} takes {container.manifest.bytes:,} bytes, and HELIP_CACHE_SIZE "
                f"is {bound:,}, of which {used:,} are in use in {folder}; raise it, or name "
                "another cache",
            )
        yield


def _is_kept(path: Path) -> bool:
    """Whether it was downloaded to the cache, in whole or in part: nothing else is ever removed."""
    found = _KEPT.fullmatch(path.name)
    if found is None or not path.is_dir() or path.is_symlink():
        return False
    try:
        manifest = path / (".source" if found["partial"] else MANIFEST)
        return found["checksum"].encode() in manifest.read_bytes()
    except OSError:
        return False


def _remove_unused(path: Path) -> bool:
    """Removes a container that no process holds."""
    import fcntl

    lock = ".lock" if path.name.startswith(".partial-") else _IN_USE
    try:
        with storage_errors("remove", path):
            descriptor = _opened_lock(path / lock)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                discard_directory(path)
            except BlockingIOError:
                return False
            finally:
                os.close(descriptor)
    except StorageError as error:
        if error.errno != errno.ENOENT:  # its download has ended meanwhile, or it was removed
            raise
        return not path.exists()
    return True


def _last_use(path: Path) -> float:
    for each in (path / _IN_USE, path / MANIFEST, path):
        with contextlib.suppress(OSError):
            return each.stat().st_mtime
    return 0.0


def _bytes_of(path: Path) -> int:
    """What it takes, or will take once all of it is there."""
    total = 0
    for each in path.rglob("*"):
        with contextlib.suppress(OSError):  # it went meanwhile
            total += each.stat().st_size if each.is_file() else 0
    with contextlib.suppress(OSError, Error):  # whole, or of nobody knows what
        total = max(total, parse_manifest((path / ".source").read_bytes(), str(path)).bytes)
    return total


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
) -> None:
    """Copy a container to the new directory ``target``, every byte compared with its digest.

    What comes lies in ``.partial-NAME`` beside it until it is whole, and shards that are whole
    there are not fetched again.

    Args:
        overwrite: take the place of what a directory of that name holds, once all is there.

    Raises:
        InvalidArgumentError: ``overwrite``, and the directory holds something else.
        StorageError: the disk has too little room, with both numbers; what cannot be read or
            written. CorruptError: bytes that differ from the manifest. MismatchError: the container
            was changed meanwhile.
    """
    if overwrite:
        _require_container(target)
    _download(container, target, overwrite=overwrite, progress=progress)


def _download(
    container: RemoteContainer,
    target: Path,
    *,
    overwrite: bool = False,
    progress: bool,
    is_cached: bool = False,
) -> None:
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
                _fill(container, partial, progress=progress, is_cached=is_cached)
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


def _fill(container: RemoteContainer, partial: Path, *, progress: bool, is_cached: bool) -> None:
    manifest = container.manifest
    source = partial / ".source"
    room = _room(container, partial) if is_cached else contextlib.nullcontext()
    with room, storage_errors("write", partial):
        if not source.is_file() or source.read_bytes() != manifest.text:
            for entry in partial.iterdir():  # of another container, or of nobody knows which
                if entry.name != ".lock":
                    entry.unlink()
            _write(source, [manifest.text])
    missing = [
        number
        for number, shard in enumerate(manifest.shards)
        if _size_of(partial / shard.file) != shard.bytes
    ]
    wanted = sum(manifest.shards[number].bytes for number in missing)
    _require_room(container, partial, wanted, "; name another cache" if is_cached else "")
    with (
        ProgressBar(manifest.bytes, label="download", unit="bytes", enabled=progress) as bar,
        contextlib.closing(container.pieces(missing, PIECE, IN_FLIGHT)) as pieces,
    ):
        if manifest.bytes != wanted:
            bar.restart(manifest.bytes, label="download", done=manifest.bytes - wanted)
        for number in missing:
            _write(partial / manifest.shards[number].file, _shard_of(pieces, bar))
    for name, contents in container.companions().items():
        _write(partial / name, [contents])
    _write(partial / MANIFEST, [manifest.text])
    with storage_errors("write", partial):
        source.unlink()
        sync(partial)


def _shard_of(pieces: Iterable[tuple[int, Any, bool]], bar: ProgressBar) -> Iterator[Any]:
    """The pieces up to the end of a shard."""
    for _, data, is_last in pieces:
        yield data
        bar.update(len(data))
        if is_last:
            return


def _write(path: Path, contents: Iterable[Any]) -> None:
    with publish_file(path, overwrite=True) as temporary, temporary.open("wb") as file:
        for data in contents:
            file.write(data)


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
