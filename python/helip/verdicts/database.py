"""The SQLite file of verdicts: its schema, and how it is made and opened."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

from helip.common import sqlite_files
from helip.common.sqlite_files import SqliteFormat, TakenError, transaction
from helip.common.sqlite_log import log_schema

__all__ = ["FORMAT", "TakenError", "connect", "create", "created", "database_errors", "transaction"]

_SCHEMA = (
    log_schema(
        columns=(
            "verdict TEXT CHECK (verdict IN"
            " ('keep', 'false negative', 'near duplicate', 'mismatch', 'unsure'))",
            "target INTEGER CHECK (typeof(target) IN ('integer', 'null') AND target >= 0)",
            "hard INTEGER CHECK"
            " (typeof(hard) IN ('integer', 'null') AND hard >= 0 AND hard != target)",
            "target_key TEXT",
            "hard_key TEXT",
        ),
        said="verdict",
        about="target",
        subject="min(target, ifnull(hard, target)), max(target, hard)",  # a pair, or a row alone
    )
    + """
CREATE INDEX log_target ON log (target);
CREATE INDEX log_hard ON log (hard);
"""
)
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
