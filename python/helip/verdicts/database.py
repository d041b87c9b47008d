"""The SQLite file of verdicts: its schema, and how it is made and opened."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

from helip.common import sqlite_files
from helip.common.sqlite_files import SqliteFormat, TakenError, transaction

__all__ = ["FORMAT", "TakenError", "connect", "create", "created", "database_errors", "transaction"]

# The log is only ever appended to. An entry without a verdict takes back the one that it undoes.
_SCHEMA = """
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
FORMAT = SqliteFormat(
    application=0x68656C76,  # "helv"
    version=1,
    schema=_SCHEMA,
    file="file of verdicts",
    contents="verdicts",
)


def create(path: Path, about: dict[str, str]) -> None:
    """Put an empty file of verdicts at ``path``; one that another process put there stays."""
    with contextlib.suppress(TakenError), created(path, about):
        pass


def created(
    path: Path, about: dict[str, str]
) -> contextlib.AbstractContextManager[sqlite3.Connection]:
    """A new file of verdicts to fill; see `helip.common.sqlite_files.created`."""
    return sqlite_files.created(path, about, FORMAT)


def connect(path: Path, *, wait: float) -> sqlite3.Connection:
    """Open the file of verdicts at ``path``; see `helip.common.sqlite_files.connect`."""
    return sqlite_files.connect(path, FORMAT, wait=wait)


def database_errors(path: Path) -> contextlib.AbstractContextManager[None]:
    """Turn an error of SQLite inside into one of helip that names the file of verdicts."""
    return sqlite_files.database_errors(path, FORMAT)
