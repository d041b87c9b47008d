"""The SQLite file of verdicts: its schema, how it is opened, and what its errors mean.

The file is written in WAL mode: readers and a writer do not wait for each other, and a kill or a
power loss leaves all that was committed. It appears whole, as other files of helip do.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from helip.common.errors import (
    CorruptError,
    Error,
    InvalidArgumentError,
    StorageError,
    UnsupportedError,
)
from helip.common.files import publish_file, scratch_directory

#: "helv", in the head of the file: tells it from other SQLite files.
APPLICATION = 0x68656C76
VERSION = 1

# The log is only ever appended to. An entry without a verdict takes back the one that it undoes.
_SCHEMA = """
CREATE TABLE about (name TEXT PRIMARY KEY NOT NULL, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE log (
  number INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  time INTEGER NOT NULL CHECK (  -- microseconds since 1970, UTC, to the end of the year 9999
    typeof(time) = 'integer' AND time BETWEEN 0 AND 253402300799999999),
  person TEXT NOT NULL CHECK (person != ''),
  verdict TEXT CHECK (
    verdict IN ('keep', 'false negative', 'near duplicate', 'mismatch', 'unsure')),
  target INTEGER CHECK (typeof(target) IN ('integer', 'null') AND target >= 0),
  hard INTEGER CHECK (typeof(hard) IN ('integer', 'null') AND hard >= 0 AND hard != target),
  target_key TEXT,
  hard_key TEXT,
  undoes TEXT,
  CHECK ((verdict IS NULL) = (undoes IS NOT NULL) AND (verdict IS NULL) = (target IS NULL))
);
CREATE INDEX log_target ON log (target);
CREATE INDEX log_hard ON log (hard);
CREATE INDEX log_person ON log (person, time, id);
CREATE INDEX log_undoes ON log (undoes);
-- Verdicts that nobody took back.
CREATE VIEW kept AS
  SELECT * FROM log
  WHERE verdict IS NOT NULL
    AND NOT EXISTS (SELECT 1 FROM log AS later WHERE later.undoes = log.id);
-- Of those the newest of each person on each pair, and on each row alone.
CREATE VIEW standing AS
  SELECT number, id, time, person, verdict, target, hard, target_key, hard_key FROM (
    SELECT *, row_number() OVER (
      PARTITION BY person, min(target, ifnull(hard, target)), max(target, hard)
      ORDER BY time DESC, id DESC) AS place
    FROM kept)
  WHERE place = 1;
"""


class TakenError(InvalidArgumentError):
    """Something stands where a new file was to appear."""


def create(path: Path, about: dict[str, str]) -> None:
    """Put an empty file of verdicts at ``path``; one that another process put there stays."""
    with contextlib.suppress(TakenError), created(path, about):
        pass


@contextlib.contextmanager
def created(path: Path, about: dict[str, str]) -> Iterator[sqlite3.Connection]:
    """A new file to fill, in a transaction; on a clean exit it stands at ``path``.

    TakenError where something is there. InvalidArgumentError where a file of that name was removed
    and its log was not: SQLite would take the old verdicts into the new file.
    """
    log = path.with_name(f"{path.name}-wal")
    if log.exists() and not path.exists():  # in this order, for another process may make it now
        raise InvalidArgumentError(
            f"{log} is left of a file of verdicts that was removed; put that file back beside it, "
            f"or remove {log.name} and {path.name}-shm too"
        )
    with scratch_directory(path) as folder:
        made = folder / "verdicts"
        with database_errors(path):
            connection = _connect(made, mode="rwc", wait=0.0)
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.executescript(_SCHEMA)
                with transaction(connection):
                    connection.executemany("INSERT INTO about VALUES (?, ?)", about.items())
                    yield connection
                connection.execute(f"PRAGMA application_id = {APPLICATION}")
                connection.execute(f"PRAGMA user_version = {VERSION}")
            finally:
                connection.close()  # which moves the log of WAL into the file
        try:
            with publish_file(path) as temporary:
                shutil.copyfile(made, temporary)
        except InvalidArgumentError as error:
            raise TakenError(f"{path} exists already; choose another place") from error


def connect(path: Path, *, wait: float) -> sqlite3.Connection:
    """Open the file of verdicts at ``path``; ``wait``: seconds for others that write.

    Raises:
        StorageError: no file there, or it cannot be opened; locked. CorruptError: it is damaged, or
            something else. UnsupportedError: of a newer version.
    """
    if not path.is_file():
        reason = errno.EISDIR if path.is_dir() else errno.ENOENT
        raise StorageError(
            reason, f"there is no file of verdicts at {os.fspath(path)!r}: {os.strerror(reason)}"
        )
    with database_errors(path):
        connection = _connect(path, mode="rw", wait=wait)
        try:
            _check(path, connection)
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


def _check(path: Path, connection: sqlite3.Connection) -> None:
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if application != APPLICATION:
        raise CorruptError(f"{path} is an SQLite file, but not one of verdicts; name another file")
    if version > VERSION:
        raise UnsupportedError(
            f"{path} holds verdicts of version {version}, and this helip knows version {VERSION}; "
            "update helip"
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
def database_errors(path: Path) -> Iterator[None]:
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
            raise CorruptError(f"{path} is no whole file of verdicts: {words}") from error
        raise StorageError(errno.EIO, f"cannot use {path}: {words}") from error
    except sqlite3.ProgrammingError as error:
        if "closed" not in str(error):
            raise
        raise InvalidArgumentError(
            f"the verdicts of {path} were closed; open them again"
        ) from error
    except sqlite3.DatabaseError as error:
        raise CorruptError(
            f"{path} is damaged, or no file of verdicts: {error}; restore a copy, or name another "
            "file"
        ) from error
