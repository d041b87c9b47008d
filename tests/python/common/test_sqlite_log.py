"""A log that is only appended to: the newest entry on a subject counts, and may be taken back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from helip.common import sqlite_log
from helip.common.errors import CorruptError, InvalidArgumentError, StorageError, UnsupportedError
from helip.common.sqlite_log import (
    LogFormat,
    SqliteLog,
    connect,
    create,
    database_errors,
    log_schema,
)

SCHEMA = log_schema(
    columns=("word TEXT", "place INTEGER"), said="word", about="place", subject="place"
)
KIND = LogFormat(0x74657374, 2, SCHEMA, "file of words", "words")
SAID = "word, place"
INSERT = "INSERT INTO log (id, time, person, word, place) VALUES (?, ?, ?, ?, ?)"
ROWS = [("i", 1, "Ada", "red", 1)]


@pytest.fixture
def log(tmp_path: Path) -> Iterator[SqliteLog]:
    assert create(tmp_path / "log", KIND, {})
    with SqliteLog(tmp_path / "log", connect(tmp_path / "log", KIND, wait=0.0), KIND) as found:
        yield found


def made(path: Path, kind: LogFormat = KIND, value: str = "1") -> Path:
    create(path, kind, {"a": value}, insert=INSERT, rows=ROWS)
    return path


def test_the_same_contents_give_the_same_bytes(tmp_path: Path) -> None:
    assert made(tmp_path / "a").read_bytes() == made(tmp_path / "b").read_bytes()


def test_the_first_of_two_that_make_a_file_stays(tmp_path: Path) -> None:
    whole = made(tmp_path / "a").read_bytes()
    assert not create(tmp_path / "a", KIND, {"a": "2"})
    assert (tmp_path / "a").read_bytes() == whole
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    connection = connect(tmp_path / "a", KIND, wait=0.0)
    assert connection.execute("SELECT * FROM about").fetchall() == [("a", "1")]
    connection.close()
    closed = pytest.raises(InvalidArgumentError, match=r"the words of .*a were closed")
    with closed, database_errors(tmp_path / "a", KIND):
        connection.execute("SELECT word FROM log")


def test_what_fails_while_a_file_is_filled_leaves_it_empty(tmp_path: Path) -> None:
    with pytest.raises(CorruptError, match="UNIQUE constraint failed"):
        create(tmp_path / "a", KIND, {"a": "2"}, insert=INSERT, rows=ROWS * 2)
    assert (tmp_path / "a").read_bytes() == b""
    assert standing_of(made(tmp_path / "a")) == [("Ada", "red", 1)]


def test_what_a_kill_left_of_a_file_that_was_removed_is_not_taken_into_a_new_one(
    tmp_path: Path,
) -> None:
    (tmp_path / "a-journal").write_bytes(b"what a kill left" * 100)
    assert standing_of(made(tmp_path / "a")) == [("Ada", "red", 1)]
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_messages_name_what_the_file_should_be(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no database, whatever is said of it")
    for path, error, words in (
        (tmp_path / "none", StorageError, "there is no file of words at"),
        (tmp_path, StorageError, "there is no file of words at"),
        (tmp_path / "text", CorruptError, "text is damaged, or no file of words"),
        (made(tmp_path / "other", replace(KIND, application=1)), CorruptError,
         "other is an SQLite .* not one of words"),
        (made(tmp_path / "newer", replace(KIND, version=3)), UnsupportedError,
         "words of version 3, .* version 2"),
    ):  # fmt: skip
        with pytest.raises(error, match=words):
            connect(path, KIND, wait=0.0)


def standing_of(path: Path) -> list[tuple[str, str, int]]:
    with SqliteLog(path, connect(path, KIND, wait=0.0), KIND) as found:
        return standing(found)


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
