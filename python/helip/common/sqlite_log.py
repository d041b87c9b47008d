"""A log of what people say, in an SQLite file: it is only ever appended to.

An entry says something about one subject, or takes back the entry that it undoes. Each transaction
is synced before it ends: a kill or a power loss leaves all that was committed. A file is made in
one transaction, so that it is whole or empty.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import threading
import time
import unicodedata
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TypeVar

from helip.common.errors import (
    CorruptError,
    Error,
    InvalidArgumentError,
    StorageError,
    UnsupportedError,
)
from helip.common.options import require

_PERSON_LENGTH = 100
_ABOUT = "CREATE TABLE about (name TEXT PRIMARY KEY NOT NULL, value TEXT NOT NULL) WITHOUT ROWID"

Self = TypeVar("Self", bound="SqliteLog")


@dataclass(frozen=True)
class LogFormat:
    """What a file of its kind is, and what messages call it."""

    application: int
    """In the head of the file: tells it from other SQLite files."""
    version: int
    schema: Sequence[str]
    """Statements, beside the table ``about``, of names and values, that every file has."""
    file: str
    """Such as ``file of verdicts``."""
    contents: str
    """Such as ``verdicts``: what the file holds, in the plural."""


def log_schema(*, columns: Sequence[str], said: str, about: str, subject: str) -> tuple[str, ...]:
    """The table ``log``, and the views ``kept``, entries that nobody took back, and ``standing``,
    of those the newest of each person on each subject.

    Args:
        columns: definitions of what an entry says, each of which begins with a name.
        said, about: the columns that an entry has which takes nothing back.
        subject: SQL of what is one subject.
    """
    definitions = "".join(f"  {column},\n" for column in columns)
    names = ", ".join(column.split()[0] for column in columns)
    return (
        f"""CREATE TABLE log (
  number INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  time INTEGER NOT NULL CHECK (  -- microseconds since 1970, UTC, to the end of the year 9999
    typeof(time) = 'integer' AND time BETWEEN 0 AND 253402300799999999),
  person TEXT NOT NULL CHECK (person != ''),
{definitions}  undoes TEXT,
  CHECK (({said} IS NULL) = (undoes IS NOT NULL) AND ({said} IS NULL) = ({about} IS NULL))
)""",
        "CREATE INDEX log_person ON log (person, time, id)",
        "CREATE INDEX log_undoes ON log (undoes)",
        f"""CREATE VIEW kept AS
  SELECT * FROM log
  WHERE {said} IS NOT NULL
    AND NOT EXISTS (SELECT 1 FROM log AS later WHERE later.undoes = log.id)""",
        f"""CREATE VIEW standing AS
  SELECT number, id, time, person, {names} FROM (
    SELECT *, row_number() OVER (
      PARTITION BY person, {subject} ORDER BY time DESC, id DESC) AS rank_by_time
    FROM kept)
  WHERE rank_by_time = 1""",
    )


def is_absent(path: Path, kind: LogFormat, *, wait: float = 10.0) -> bool:
    """Whether nothing is there, or what a kill left while a file was made: a database without
    tables, once its journal is rolled back."""
    if not path.is_file():
        return not path.exists()
    try:
        with database_errors(path, kind), contextlib.closing(_connect(path, "rw", wait)) as found:
            return not _has_tables(found)
    except CorruptError:  # something else is there
        return False


def create(
    path: Path,
    kind: LogFormat,
    about: Mapping[str, str],
    *,
    insert: str = "",
    rows: Iterable[Any] = (),
    wait: float = 10.0,
) -> bool:
    """Make a file, with ``rows`` that the statement ``insert`` puts into it; False, and nothing is
    written, where another process made one first."""
    with (
        database_errors(path, kind),
        contextlib.closing(_connect(path, "rwc", wait)) as made,
        _transaction(made),
    ):
        if _has_tables(made):
            return False
        for statement in (_ABOUT, *kind.schema):
            made.execute(statement)
        made.executemany("INSERT INTO about VALUES (?, ?)", about.items())
        if insert:
            made.executemany(insert, rows)
        made.execute(f"PRAGMA application_id = {kind.application}")
        made.execute(f"PRAGMA user_version = {kind.version}")
    return True


def connect(path: Path, kind: LogFormat, *, wait: float) -> sqlite3.Connection:
    """Open the file at ``path``; ``wait``: seconds for others that write.

    Raises:
        StorageError: no file there, or an empty one; it cannot be opened; locked. CorruptError: it
            is damaged, or something else. UnsupportedError: of a newer version.
    """
    if not path.is_file() or is_absent(path, kind, wait=wait):
        reason = errno.EISDIR if path.is_dir() else errno.ENOENT
        why = "the file is empty" if path.is_file() else os.strerror(reason)
        raise StorageError(reason, f"there is no {kind.file} at {os.fspath(path)!r}: {why}")
    with database_errors(path, kind):
        connection = _connect(path, "rw", wait)
        try:
            _check(path, connection, kind)
        except BaseException:
            connection.close()
            raise
        return connection


def _connect(path: Path, mode: str, wait: float) -> sqlite3.Connection:
    # Transactions are begun by hand. Threads share the connection behind a lock of its owner.
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    connection = sqlite3.connect(
        uri, uri=True, timeout=wait, isolation_level=None, check_same_thread=False
    )
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def _has_tables(connection: sqlite3.Connection) -> bool:
    return bool(connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])


def _check(path: Path, connection: sqlite3.Connection, kind: LogFormat) -> None:
    application, version, damage = (
        connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("application_id", "user_version", "quick_check(1)")
    )
    if application != kind.application:
        raise CorruptError(
            f"{path} is an SQLite file, but not one of {kind.contents}; name another file"
        )
    if version > kind.version:
        raise UnsupportedError(
            f"{path} holds {kind.contents} of version {version}, and this helip knows version "
            f"{kind.version}; update helip"
        )
    if damage != "ok":
        raise CorruptError(
            f"{path} is damaged ({damage}); restore a copy, or save what is left: sqlite3 {path} "
            ".recover"
        )


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All that is written inside, or nothing; other writers wait for its end."""
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        yield


@contextlib.contextmanager
def database_errors(path: Path, kind: LogFormat) -> Iterator[None]:
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


class SqliteLog:
    """An open file with a log. Threads may share it."""

    def __init__(self, path: Path, connection: sqlite3.Connection, kind: LogFormat) -> None:
        self._path, self._connection, self._kind = path, connection, kind
        self._lock = threading.Lock()
        self._about: dict[str, str] = dict(self._read("SELECT name, value FROM about"))

    @property
    def path(self) -> Path:
        """The file."""
        return self._path

    def close(self) -> None:
        """Closes the file; an object that is closed is of no more use."""
        with self._lock:
            self._connection.close()

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _read(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._lock, database_errors(self._path, self._kind):
            return self._connection.execute(query, values).fetchall()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """All that is written inside, or nothing."""
        with self._lock, database_errors(self._path, self._kind), _transaction(self._connection):
            yield self._connection

    def _append(self, person: str, columns: str, entries: Sequence[Sequence[Any]]) -> list[Any]:
        """Writes entries of one person, of which ``columns`` has the names; returns them with id,
        time and person before."""
        names, places = f"id, time, person, {columns}", ", ".join("?" * (3 + len(entries[0])))
        with self._writing() as connection:
            at = _next_time(connection, person)
            rows = [
                (uuid.uuid4().hex, at + place, person, *entry)
                for place, entry in enumerate(entries)
            ]
            connection.executemany(f"INSERT INTO log ({names}) VALUES ({places})", rows)
        return rows

    def _take_back(self, person: str, columns: str) -> Any:
        """Undoes the newest entry of the person that stands; returns it as `_append` does, None
        where there is none."""
        newest = (
            f"SELECT id, time, person, {columns} FROM kept WHERE person = ?"
            " ORDER BY time DESC, id DESC LIMIT 1"
        )
        with self._writing() as connection:
            last = connection.execute(newest, (person,)).fetchone()
            if last is not None:
                undone = (uuid.uuid4().hex, _next_time(connection, person), person, last[0])
                connection.execute(
                    "INSERT INTO log (id, time, person, undoes) VALUES (?, ?, ?, ?)", undone
                )
            return last


def _next_time(connection: sqlite3.Connection, person: str) -> int:
    """Now, but after all that the person said: a clock may have been set back."""
    last = connection.execute("SELECT max(time) FROM log WHERE person = ?", (person,)).fetchone()[0]
    return max(time.time_ns() // 1000, 0 if last is None else last + 1)


def checked_person(person: Any) -> str:
    """A name of 1 to 100 characters, spaces around it removed, in one Unicode form."""
    bound = f"a name of 1 to {_PERSON_LENGTH} characters, without line breaks"
    require(isinstance(person, str), "person", person, bound)
    name = unicodedata.normalize("NFC", person).strip()
    plain = all(unicodedata.category(character)[0] != "C" for character in name)
    require(0 < len(name) <= _PERSON_LENGTH and plain, "person", person, bound)
    return name


def time_of(microseconds: int) -> datetime:
    """The time in UTC of microseconds since 1970."""
    seconds, rest = divmod(microseconds, 1_000_000)
    return datetime.fromtimestamp(seconds, timezone.utc).replace(microsecond=rest)
