"""A log of what people say, in an SQLite file: it is only ever appended to.

An entry says something about one subject, or takes back the entry that it undoes.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
import unicodedata
import uuid
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from helip.common.options import require
from helip.common.sqlite_files import SqliteFormat, database_errors, transaction

_PERSON_LENGTH = 100

Self = TypeVar("Self", bound="SqliteLog")


def log_schema(*, columns: Sequence[str], said: str, about: str, subject: str) -> str:
    """The table ``log``, and the views ``kept``, entries that nobody took back, and ``standing``,
    of those the newest of each person on each subject.

    Args:
        columns: definitions of what an entry says, each of which begins with a name.
        said, about: the columns that an entry has which takes nothing back.
        subject: SQL of what is one subject.
    """
    definitions = "".join(f"  {column},\n" for column in columns)
    names = ", ".join(column.split()[0] for column in columns)
    return f"""
CREATE TABLE log (
  number INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  time INTEGER NOT NULL CHECK (  -- microseconds since 1970, UTC, to the end of the year 9999
    typeof(time) = 'integer' AND time BETWEEN 0 AND 253402300799999999),
  person TEXT NOT NULL CHECK (person != ''),
{definitions}  undoes TEXT,
  CHECK (({said} IS NULL) = (undoes IS NOT NULL) AND ({said} IS NULL) = ({about} IS NULL))
);
CREATE INDEX log_person ON log (person, time, id);
CREATE INDEX log_undoes ON log (undoes);
CREATE VIEW kept AS
  SELECT * FROM log
  WHERE {said} IS NOT NULL
    AND NOT EXISTS (SELECT 1 FROM log AS later WHERE later.undoes = log.id);
CREATE VIEW standing AS
  SELECT number, id, time, person, {names} FROM (
    SELECT *, row_number() OVER (
      PARTITION BY person, {subject} ORDER BY time DESC, id DESC) AS rank_by_time
    FROM kept)
  WHERE rank_by_time = 1;
"""


class SqliteLog:
    """An open file with a log. Threads may share it."""

    def __init__(self, path: Path, connection: sqlite3.Connection, kind: SqliteFormat) -> None:
        self._path, self._connection, self._kind = path, connection, kind
        self._lock = threading.Lock()

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

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _read(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._lock, database_errors(self._path, self._kind):
            return self._connection.execute(query, values).fetchall()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """All that is written inside, or nothing."""
        with self._lock, database_errors(self._path, self._kind), transaction(self._connection):
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
        with self._writing() as connection:
            last = connection.execute(
                f"SELECT id, time, person, {columns} FROM kept WHERE person = ?"
                " ORDER BY time DESC, id DESC LIMIT 1",
                (person,),
            ).fetchone()
            if last is not None:
                connection.execute(
                    "INSERT INTO log (id, time, person, undoes) VALUES (?, ?, ?, ?)",
                    (uuid.uuid4().hex, _next_time(connection, person), person, last[0]),
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
