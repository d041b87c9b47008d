"""The SQLite file: made once, whole, by whoever is first."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from helip.common import sqlite_files
from helip.common.errors import InvalidArgumentError
from helip.verdicts.database import TakenError, connect, create, created

ABOUT = {"rows": "3", "data_fingerprint": ""}


def value(path: Path) -> str:
    connection = connect(path, wait=0.0)
    found = connection.execute("SELECT value FROM about WHERE name = 'rows'").fetchone()[0]
    assert connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    connection.close()
    return str(found)


def test_the_first_of_two_that_make_a_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "v"
    create(path, ABOUT)
    create(path, {**ABOUT, "rows": "4"})
    assert value(path) == "3"
    with pytest.raises(TakenError, match="v exists already"), created(path, ABOUT):
        pass
    assert [p.name for p in tmp_path.iterdir()] == ["v"]


def test_one_that_comes_while_another_is_made_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "v"
    copy = sqlite_files.shutil.copyfile

    def late(source: Path, target: Path) -> None:
        monkeypatch.setattr(sqlite_files.shutil, "copyfile", copy)
        create(path, ABOUT)
        copy(source, target)

    monkeypatch.setattr(sqlite_files.shutil, "copyfile", late)
    create(path, {**ABOUT, "rows": "4"})
    assert value(path) == "3"
    assert [p.name for p in tmp_path.iterdir()] == ["v"]


def test_what_fails_while_a_file_is_filled_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), created(tmp_path / "v", ABOUT) as connection:
        assert isinstance(connection, sqlite3.Connection)
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())


def test_the_log_of_a_file_that_was_removed_is_not_taken_into_a_new_one(tmp_path: Path) -> None:
    path = tmp_path / "v"
    (tmp_path / "v-wal").write_bytes(b"what a kill left")
    with pytest.raises(InvalidArgumentError, match=r"v-wal is left of a file .* was removed"):
        create(path, ABOUT)
    assert not path.exists()
