"""SQLite files that people write into, whatever they hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from helip.common.errors import CorruptError, InvalidArgumentError, StorageError, UnsupportedError
from helip.common.sqlite_files import SqliteFormat, connect, created, database_errors

KIND = SqliteFormat(0x74657374, 2, "CREATE TABLE rows (n INTEGER);", "file of rows", "rows")


def made(path: Path, kind: SqliteFormat = KIND) -> Path:
    with created(path, {"a": "1"}, kind) as connection:
        connection.execute("INSERT INTO rows VALUES (7)")
    return path


def test_the_same_contents_give_the_same_bytes(tmp_path: Path) -> None:
    assert made(tmp_path / "a").read_bytes() == made(tmp_path / "b").read_bytes()


def test_what_was_put_in_is_there(tmp_path: Path) -> None:
    connection = connect(made(tmp_path / "a"), KIND, wait=0.0)
    assert connection.execute("SELECT n FROM rows").fetchall() == [(7,)]
    assert connection.execute("SELECT * FROM about").fetchall() == [("a", "1")]
    connection.close()
    closed = pytest.raises(InvalidArgumentError, match=r"the rows of .*a were closed")
    with closed, database_errors(tmp_path / "a", KIND):
        connection.execute("SELECT n FROM rows")


def test_messages_name_what_the_file_should_be(tmp_path: Path) -> None:
    other = SqliteFormat(1, 2, KIND.schema, KIND.file, KIND.contents)
    newer = SqliteFormat(KIND.application, 3, KIND.schema, KIND.file, KIND.contents)
    (tmp_path / "text").write_text("no database, whatever is said of it")
    for path, error, words in (
        (tmp_path / "none", StorageError, "there is no file of rows at"),
        (tmp_path, StorageError, "there is no file of rows at"),
        (tmp_path / "text", CorruptError, "text is damaged, or no file of rows"),
        (made(tmp_path / "other", other), CorruptError, "other is an SQLite .* not one of rows"),
        (made(tmp_path / "newer", newer), UnsupportedError, "rows of version 3, .* version 2"),
    ):
        with pytest.raises(error, match=words):
            connect(path, KIND, wait=0.0)
