"""The SQLite file of a study: its questions, which never change, and a log of answers."""

from __future__ import annotations

from helip.common.sqlite_files import SqliteFormat

# The log is only ever appended to. An entry without an answer takes back the one that it undoes.
_SCHEMA = """
CREATE TABLE questions (
  number INTEGER PRIMARY KEY,
  type TEXT NOT NULL CHECK (type IN ('harder', 'caption')),
  target INTEGER NOT NULL CHECK (typeof(target) = 'integer' AND target >= 0),
  pools TEXT NOT NULL  -- JSON: [[kind, [row, …]], …] from the first side to the last
);
CREATE TABLE log (
  number INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  time INTEGER NOT NULL CHECK (  -- microseconds since 1970, UTC, to the end of the year 9999
    typeof(time) = 'integer' AND time BETWEEN 0 AND 253402300799999999),
  person TEXT NOT NULL CHECK (person != ''),
  question INTEGER REFERENCES questions (number),
  answer TEXT,
  undoes TEXT,
  CHECK ((answer IS NULL) = (undoes IS NOT NULL) AND (answer IS NULL) = (question IS NULL))
);
CREATE INDEX log_person ON log (person, time, id);
CREATE INDEX log_undoes ON log (undoes);
-- Answers that nobody took back.
CREATE VIEW kept AS
  SELECT * FROM log
  WHERE answer IS NOT NULL
    AND NOT EXISTS (SELECT 1 FROM log AS later WHERE later.undoes = log.id);
-- Of those the newest of each person to each question.
CREATE VIEW standing AS
  SELECT number, id, time, person, question, answer FROM (
    SELECT *, row_number() OVER (
      PARTITION BY person, question ORDER BY time DESC, id DESC) AS place
    FROM kept)
  WHERE place = 1;
"""

FORMAT = SqliteFormat(
    application=0x68656C73,  # "hels"
    version=1,
    schema=_SCHEMA,
    file="file of a study",
    contents="answers",
)
