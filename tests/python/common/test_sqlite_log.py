"""A log that is only appended to: the newest entry on a subject counts, and may be taken back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from helip.common import sqlite_log
from helip.common.errors import CorruptError
from helip.common.sqlite_files import SqliteFormat, connect, created
from helip.common.sqlite_log import SqliteLog, log_schema

SCHEMA = log_schema(
    columns=("word TEXT", "place INTEGER"), said="word", about="place", subject="place"
)
KIND = SqliteFormat(0x74657374, 1, SCHEMA, "file of words", "words")
SAID = "word, place"


@pytest.fixture
def log(tmp_path: Path) -> Iterator[SqliteLog]:
    with created(tmp_path / "log", {}, KIND):
        pass
    with SqliteLog(tmp_path / "log", connect(tmp_path / "log", KIND, wait=0.0), KIND) as found:
        yield found


def standing(log: SqliteLog) -> list[tuple[str, str, int]]:
    return log._read("SELECT person, word, place FROM standing ORDER BY time")


def test_of_a_person_the_newest_entry_on_a_subject_stands(log: SqliteLog) -> None:
    (first,) = log._append("Ada", SAID, [("red", 1)])
    log._append("Bo", SAID, [("blue", 1)])
    log._append("Ada", SAID, [("green", 1), ("grey", 2)])
    assert standing(log) == [("Bo", "blue", 1), ("Ada", "green", 1), ("Ada", "grey", 2)]
    assert first[2:] == ("Ada", "red", 1)
    assert len(log._read("SELECT * FROM log")) == 4


def test_taking_back_makes_what_was_said_before_hold_again(log: SqliteLog) -> None:
    log._append("Ada", SAID, [("red", 1)])
    (second,) = log._append("Ada", SAID, [("green", 1)])
    log._append("Bo", SAID, [("blue", 1)])
    assert log._take_back("Ada", SAID) == second
    assert standing(log) == [("Ada", "red", 1), ("Bo", "blue", 1)]
    assert log._take_back("Ada", SAID)[3:] == ("red", 1)
    assert log._take_back("Ada", SAID) is None
    assert standing(log) == [("Bo", "blue", 1)]


def test_a_clock_that_was_set_back_changes_no_order(
    log: SqliteLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seconds, word in ((20, "red"), (10, "green"), (10, "blue")):
        monkeypatch.setattr(sqlite_log.time, "time_ns", lambda at=seconds: at * 10**9)
        log._append("Ada", SAID, [(word, 1)])
    assert standing(log) == [("Ada", "blue", 1)]


@pytest.mark.parametrize("values", ["'red', NULL, NULL", "'red', 1, 'x'", "NULL, NULL, NULL"])
def test_an_entry_says_something_or_undoes_something(log: SqliteLog, values: str) -> None:
    with pytest.raises(CorruptError, match="CHECK constraint failed"), log._writing() as connection:
        connection.execute(
            "INSERT INTO log (id, time, person, word, place, undoes)"
            f" VALUES ('i', 1, 'Ada', {values})"
        )
    assert standing(log) == []
