"""SQLite files that people write into: made whole, told apart by their head, errors in words.

A file is written in WAL mode: readers and a writer do not wait for each other, and a kill or a
power loss leaves all that was committed. It appears whole, as other files of helip do.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from helip.common.errors import (
    CorruptError,
    Error,
    InvalidArgumentError,
    StorageError,
    UnsupportedError,
)
from helip.common.files import publish_file, scratch_directory


@dataclass(frozen=True)
class SqliteFormat:
    """What a file of its kind is, and what messages call it."""

    application: int
    """In the head of the file: tells it from other SQLite files."""
    version: int
    schema: str
    """Beside the table ``about``, of names and values, that every file has."""
    file: str
    """Such as ``file of verdicts``."""
    contents: str
    """Such as ``verdicts``: what the file holds, in the plural."""


_ABOUT = "CREATE TABLE about (name TEXT PRIMARY KEY NOT NULL, value TEXT NOT NULL) WITHOUT ROWID;\n"


class TakenError(InvalidArgumentError):
    """Something stands where a new file was to appear."""


@contextlib.contextmanager
def created(path: Path, about: dict[str, str], kind: SqliteFormat) -> Iterator[sqlite3.Connection]:
    """A new file to fill, in a transaction; on a clean exit it stands at ``path``.

    TakenError where something is there. InvalidArgumentError where a file of that name was removed
    and its log was not: SQLite would take the old contents into the new file.
    """
    log = path.with_name(f"{path.name}-wal")
    if log.exists() and not path.exists():  # in this order, for another process may make it now
        raise InvalidArgumentError(
            f"{log} is left of a {kind.file} that was removed; put that file back beside it, "
            f"or remove {log.name} and {path.name}-shm too"
        )
    with scratch_directory(path) as folder:
        made = folder / "made"
        with database_errors(path, kind):
            connection = _connect(made, mode="rwc", wait=0.0)
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.executescript(_ABOUT + kind.schema)
                with transaction(connection):
                    connection.executemany("INSERT INTO about VALUES (?, ?)", about.items())
                    yield connection
                connection.execute(f"PRAGMA application_id = {kind.application}")
                connection.execute(f"PRAGMA user_version = {kind.version}")
            finally:
                connection.close()  # which moves the log of WAL into the file
        try:
            with publish_file(path) as temporary:
                shutil.copyfile(made, temporary)
        except InvalidArgumentError as error:
            raise TakenError(f"{path} exists already; choose another place") from error


def connect(path: Path, kind: SqliteFormat, *, wait: float) -> sqlite3.Connection:
    """Open the file at ``path``; ``wait``: seconds for others that write.

    Raises:
        StorageError: no file there, or it cannot be opened; locked. CorruptError: it is damaged, or
            something else. UnsupportedError: of a newer version.
    """
    if not path.is_file():
        reason = errno.EISDIR if path.is_dir() else errno.ENOENT
        raise StorageError(
            reason, f"there is no {kind.file} at {os.fspath(path)!r}: {os.strerror(reason)}"
        )
    with database_errors(path, kind):
        connection = _connect(path, mode="rw", wait=wait)
        try:
            _check(path, connection, kind)
        except BaseException:
            connection.close()
            raise
        return connection


def _connect(path: Path, *, mode: str, wait: float) -> sqlite3.Connection:
    # Transactions are begun by hand. Threads share the connection behind a lock of its owner.
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    connection = sqlite3.connect(
        uri, uri=True, timeout=wait, isolation_level=None, check_same_thread=False
    )
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def _check(path: Path, connection: sqlite3.Connection, kind: SqliteFormat) -> None:
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if application != kind.application:
        raise CorruptError(
            f"{path} is an SQLite file, but not one of {kind.contents}; name another file"
        )
    if version > kind.version:
        raise UnsupportedError(
            f"{path} holds {kind.contents} of version {version}, and this helip knows version "
            f"{kind.version}; update helip"
        )
    found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        raise CorruptError(
            f"{path} is damaged ({found}); restore a copy, or save what is left: sqlite3 {path} "
            ".recover"
        )


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All that is written inside, or nothing; other writers wait for its end."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


@contextlib.contextmanager
def database_errors(path: Path, kind: SqliteFormat) -> Iterator[None]:
    """Turn an error of SQLite inside into one of helip that names the file."""
    try:
        yield
    except Error:
        raise
    except sqlite3.OperationalError as error:
        words = str(error)
        if "locked" in words:
            raise StorageError(
                errno.EAGAIN,
                f"{path} is locked by another program ({words}); close that, or try again with a "
                "longer wait",
            ) from error
        if "no such" in words:
            raise CorruptError(f"{path} is no whole {kind.file}: {words}") from error
        raise StorageError(errno.EIO, f"cannot use {path}: {words}") from error
    except sqlite3.ProgrammingError as error:
        if "closed" not in str(error):
            raise
        raise InvalidArgumentError(
            f"the {kind.contents} of {path} were closed; open them again"
        ) from error
    except sqlite3.DatabaseError as error:
        raise CorruptError(
            f"{path} is damaged, or no {kind.file}: {error}; restore a copy, or name another file"
        ) from error
