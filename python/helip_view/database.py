"""The SQLite file of a study: its questions, which never change, and a log of answers."""

from __future__ import annotations

from helip.common.sqlite_files import SqliteFormat
from helip.common.sqlite_log import log_schema

_SCHEMA = """
CREATE TABLE questions (
  number INTEGER PRIMARY KEY,
  type TEXT NOT NULL CHECK (type IN ('harder', 'caption')),
  target INTEGER NOT NULL CHECK (typeof(target) = 'integer' AND target >= 0),
  pools TEXT NOT NULL  -- JSON: [[kind, [row, …]], …] from the first side to the last
);
""" + log_schema(
    columns=("question INTEGER REFERENCES questions (number)", "answer TEXT"),
    said="answer", about="question", subject="question",
)  # fmt: skip

FORMAT = SqliteFormat(
    application=0x68656C73,  # "hels"
    version=1,
    schema=_SCHEMA,
    file="file of a study",
    contents="answers",
)
