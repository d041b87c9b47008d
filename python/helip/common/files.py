"""Publishing files so that a reader sees a whole one or none, also after a crash or power loss.

A directory is written under a temporary name beside its final place, every file and the directory
itself are synced, and one rename puts it there; then the parent is synced. Nothing that has been
published is ever overwritten.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import secrets
import shutil
import socket
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from helip.common.errors import (
    CorruptError,
    Error,
    InvalidArgumentError,
    MismatchError,
    StorageError,
    UnsupportedError,
)
from helip.common.remote.urls import local_path, url_of

_TEMPORARY = ".tmp-"
_TRASH = ".trash-"

T = TypeVar("T")


@contextlib.contextmanager
def storage_errors(action: str, path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn an OSError inside the block into a StorageError that says what was being done."""
    try:
        yield
    except Error:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise StorageError(error.errno, f"cannot {action} {os.fspath(path)}: {reason}") from error
    except ValueError as error:
        if "\0" not in os.fsdecode(path):
            raise
        raise InvalidArgumentError(
            f"cannot {action} {os.fsdecode(path)!r}: it holds a NUL, which no file has in its name"
        ) from error


def require_regular(path: str | os.PathLike[str]) -> None:
    """Refuse what is no regular file, by its kind: opening a pipe would wait for its writer.

    Raises InvalidArgumentError, and OSError where nothing lies there.
    """
    mode = os.stat(path).st_mode
    if stat.S_ISREG(mode):
        return
    kinds = {stat.S_IFDIR: "directory", stat.S_IFIFO: "pipe", stat.S_IFSOCK: "socket"}
    raise InvalidArgumentError(
        f"{os.fspath(path)} is a {kinds.get(stat.S_IFMT(mode), 'device')}, not a regular file; "
        "copy what it holds to a file"
    )


@contextlib.contextmanager
def reading_file(path: str | os.PathLike[str]) -> Iterator[None]:
    """`storage_errors` for a file that a caller names, once it is known to be a regular one."""
    with storage_errors("read", path):
        require_regular(path)
        yield


def open_there(opened: Callable[[str], T], path: str | os.PathLike[str], what: str) -> T:
    """What ``opened`` makes of a path, and where nothing lies there, StorageError of ENOENT that
    says so, in place of one of its manifest."""
    try:
        return opened(os.fspath(path))
    except StorageError:
        if os.path.lexists(path):
            raise
    except CorruptError:
        # Of a folder of arrays; its manifest has no checksum of its own.
        manifest = Path(path) / "manifest.json"
        found = read_json(manifest) if manifest.is_file() else {}
        if not str(found.get("format")).startswith("helip.") or "digest" not in found:
            raise
        raise MismatchError(
            f"{os.fspath(path)!r} is a {found['format']}, not a {what}; give the path of one"
        ) from None
    raise StorageError(
        errno.ENOENT, f"there is no {what} at {os.fspath(path)!r}: no such file or directory"
    )


def output_path(
    out: str | os.PathLike[str] | None,
    name: str = "out",
    without: str = "leave it out to keep the result in memory",
) -> str:
    """``out`` as text, "" where there is none; an empty one is refused, as of an unset variable.
    ``name`` is that of the option, ``without`` the way to do without it.
    """
    if out is None:
        return ""
    if not (path := os.fspath(out)):
        raise InvalidArgumentError(f"{name} is an empty path; name a place, or {without}")
    return os.fspath(local_path(path))


def read_text(path: str | os.PathLike[str], words: str = "") -> str:
    """The text of a UTF-8 file, with or without a byte-order mark; ``words`` name it in errors.

    Raises StorageError where it cannot be read, InvalidArgumentError where it is not UTF-8 or no
    regular file.
    """
    with reading_file(path):
        raw = Path(path).read_bytes()
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidArgumentError(
            f"{words or os.fspath(path)} is not UTF-8 ({error}); write it again as UTF-8"
        ) from error


def text_lines(path: str | os.PathLike[str], words: str = "") -> list[str]:
    """The lines of `read_text`. Not by splitlines: a key or a caption may hold what Unicode counts
    as the end of a line.
    """
    return read_text(path, words).replace("\r\n", "\n").removesuffix("\n").split("\n")


def named_file(path: str | os.PathLike[str]) -> str:
    """``path`` as text, of a file that is to be written; None and an empty one are refused."""
    text = os.fspath(path) if isinstance(path, (str, os.PathLike)) else None
    if not isinstance(text, str) or text in ("", os.curdir):
        raise InvalidArgumentError(f"path is {path!r}, must name the file that is to be written")
    return text


def own_cache() -> Path:
    """Where helip keeps what it can make or download again: $HELIP_CACHE; it need not exist."""
    if own := os.environ.get("HELIP_CACHE"):
        return Path(own).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "helip"


def sync(path: str | os.PathLike[str]) -> None:
    """fsync a file or a directory."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directory(path: Path) -> None:
    """Create ``path`` and its parents; each new directory entry is synced.

    UnsupportedError for a URL, which else would become a folder of that name.
    """
    if (url := url_of(path)) is not None:
        raise UnsupportedError(f"this is not written to {url}; write it to a directory")
    with storage_errors("create the directory", path):
        missing = []
        current = path
        while not current.exists():
            missing.append(current)
            current = current.parent
        for directory in reversed(missing):
            with contextlib.suppress(FileExistsError):
                directory.mkdir()
            sync(directory.parent)
        if not path.is_dir():
            raise InvalidArgumentError(f"{path} is a file, must be a directory or absent")


@contextlib.contextmanager
def publish_directory(path: Path) -> Iterator[Path]:
    """Yield an empty temporary directory; on a clean exit it becomes ``path``, all or nothing."""
    if path.exists():
        raise InvalidArgumentError(f"{path} exists already; choose another place or remove it")
    make_directory(path.parent)
    with storage_errors("write", path), _owned(path, make=_new_directory) as (temporary, _):
        try:
            yield temporary
            for directory, _, names in os.walk(temporary, topdown=False):
                for name in names:
                    sync(Path(directory) / name)
                sync(directory)
            temporary.rename(path)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        sync(path.parent)


@contextlib.contextmanager
def scratch_directory(path: Path) -> Iterator[Path]:
    """Yield an empty directory beside ``path``, gone at the end.

    What killed processes left there of that name goes first.
    """
    make_directory(path.parent)
    with storage_errors("write", path), _owned(path, make=_new_directory) as (temporary, _):
        try:
            yield temporary
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def require_writable(path: Path) -> None:
    """StorageError where nothing can be written at ``path``; for before a long job, that makes
    nothing."""
    with storage_errors("write", path):
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        folder = next(each for each in path.absolute().parents if os.path.lexists(each))
        with tempfile.TemporaryFile(dir=folder):
            return


def replace_file(path: Path, text: str) -> None:
    """Write a file in one step: a reader sees the old one or the new one, never a part."""
    with publish_file(path, overwrite=True) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


@contextlib.contextmanager
def publish_file(path: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Yield an empty temporary file to write to; on a clean exit it becomes ``path``, in one step.

    Raises:
        InvalidArgumentError: something is there, and ``overwrite`` is False; also where it came
            while the file was written. StorageError: the disk refuses.
    """
    taken = f"{path} exists already; choose another place, or pass overwrite=True"
    with storage_errors("write", path):
        if not overwrite and path.exists():
            remove_leftovers(path.parent, path.name)  # of a process killed once it was there
            raise InvalidArgumentError(taken)
    make_directory(path.parent)
    with storage_errors("write", path), _owned(path, make=_new_file) as (temporary, _):
        try:
            yield temporary
            sync(temporary)
            try:
                _put(temporary, path, overwrite=overwrite)
            except FileExistsError as error:
                raise InvalidArgumentError(taken) from error
        finally:
            temporary.unlink(missing_ok=True)
        sync(path.parent)


def _put(temporary: Path, path: Path, *, overwrite: bool) -> None:
    if not overwrite:
        try:
            os.link(temporary, path)  # unlike a rename it takes nobody's place
            return
        except FileExistsError:
            raise
        except OSError:  # a file system without hard links
            if path.exists():
                raise FileExistsError(path) from None
    temporary.replace(path)


def replace_by(path: Path, write: Callable[[str], object]) -> None:
    """Have ``write`` make a file in a folder of its own, which takes the place of ``path`` then.

    For writers of the core, whose temporary file nobody could tell from that of a live process;
    the folder of a killed one goes with all that is in it.
    """
    with storage_errors("write", path), contextlib.suppress(FileNotFoundError):
        path.stat()  # a loop of links is an error, and is not replaced
    with scratch_directory(path) as folder:
        write(os.fspath(folder / path.name))
        (folder / path.name).replace(path)
        sync(path.parent)


def publish_once(path: Path, value: Any) -> Any:
    """Write ``value`` as JSON unless another process was first; return what is there."""
    if not path.exists():
        with contextlib.suppress(InvalidArgumentError), publish_file(path) as temporary:
            temporary.write_text(json.dumps(value, indent=1), encoding="utf-8")
    return read_json(path)


def _new_directory(temporary: Path) -> int:
    temporary.mkdir()
    return os.open(temporary, os.O_RDONLY | os.O_CLOEXEC)


def _new_file(temporary: Path) -> int:
    return os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)


@contextlib.contextmanager
def _owned(path: Path, *, make: Callable[[Path], int]) -> Iterator[tuple[Path, int]]:
    """A new temporary of ``path`` and its descriptor, which holds a lock on it until the end.

    So it can be told from one that a killed process left; those go first.
    """
    remove_leftovers(path.parent, path.name)
    while True:
        temporary = path.parent / f"{_TEMPORARY}{path.name}-{secrets.token_hex(8)}"
        descriptor = make(temporary)
        try:
            # Another process may have taken it for abandoned before it was locked.
            if _lock(descriptor) and temporary.exists():
                yield temporary, descriptor
                return
        finally:
            os.close(descriptor)


def remove_leftovers(parent: Path, name: str = "") -> None:
    """Delete what killed processes left in ``parent`` where they wrote ``name…``.

    A process that is alive holds a lock on what it writes.
    """
    begins = (_TEMPORARY + name, _TRASH + name)
    try:
        left = [entry for entry in os.listdir(parent) if entry.startswith(begins)]
    except OSError:  # may be written to and not be listed
        return
    for entry in (parent / each for each in left):
        with contextlib.suppress(OSError):
            descriptor = os.open(entry, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                if not _lock(descriptor, unknown=False):
                    continue
                if entry.is_dir():
                    shutil.rmtree(entry, ignore_errors=True)
                else:
                    entry.unlink(missing_ok=True)
            finally:
                os.close(descriptor)


def _lock(descriptor: int, *, unknown: bool = True) -> bool:
    """Whether this process owns the file from now on; ``unknown`` where there are no locks."""
    try:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (ImportError, OSError):  # Windows, and some file systems of networks
        return unknown
    return True


def discard_directory(path: Path) -> None:
    """Delete a published directory; a kill half-way leaves it whole or leaves only trash."""
    with storage_errors("remove", path):
        trash = path.parent / f"{_TRASH}{path.name}-{secrets.token_hex(4)}"
        path.rename(trash)
        shutil.rmtree(trash, ignore_errors=True)


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as UTF-8 JSON with sorted keys. Not atomic: for use while publishing."""
    with storage_errors("write", path):
        text = json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
        path.write_text(text + "\n", encoding="utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in ``path``; CorruptError when it is not one."""
    with reading_file(path):
        raw = path.read_bytes()
    try:
        value = json.loads(raw.decode("utf-8"))
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise CorruptError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise CorruptError(f"{path} holds a {type(value).__name__}, must hold a JSON object")
    return value


def sha256_of(path: Path) -> str:
    """Hex SHA-256 of a file, read in pieces."""
    digest = hashlib.sha256()
    with storage_errors("read", path), path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


class DirectoryLock:
    """One owner of an output directory: flock on ``<directory>/lock``, a file never deleted.

    The system frees it when its owner dies. The file names the owner, for the message of whoever
    else wants it. On systems without flock it does nothing.
    """

    def __init__(self, directory: Path, *, name: str = "lock", wait: bool = False) -> None:
        """``wait``: for the owner that there is, in place of a StorageError."""
        self._path = directory / name
        self._wait = wait
        self._descriptor: int | None = None

    def __enter__(self) -> DirectoryLock:
        try:
            import fcntl
        except ImportError:  # Windows
            return self
        with storage_errors("open", self._path):
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if self._wait else fcntl.LOCK_NB))
        except OSError as error:
            owner = os.pread(descriptor, 300, 0).decode(errors="replace").strip()
            os.close(descriptor)
            raise StorageError(
                error.errno,
                f"{self._path.parent} is in use by another job{f' ({owner})' if owner else ''}; "
                "wait for it, or choose another out",
            ) from error
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"pid {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
        self._descriptor = descriptor
        return self

    def is_there(self) -> bool:
        """Whether the directory is still the one that was locked, under its name."""
        if self._descriptor is None:
            return True
        try:
            return os.path.samestat(os.stat(self._path), os.fstat(self._descriptor))
        except FileNotFoundError:
            return False

    def __exit__(self, *_: object) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
