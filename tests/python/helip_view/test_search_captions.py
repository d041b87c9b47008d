"""The index of captions is made in the background, and goes on where it was stopped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from helip_view import search as module
from helip_view.search import CaptionSearch


class Texts:
    """Captions of rows."""

    def __init__(self, count: int) -> None:
        self.count, self.read = count, 0
        self.at: dict[int, Callable[[], None]] = {}  # what happens when a row is read

    def __len__(self) -> int:
        return self.count

    def captions(self, row: int) -> tuple[str, ...]:
        self.read += 1
        self.at.get(row, int)()
        return (f"Número {row} of Straße", f"parity{row % 2}")


def made(data: Any, folder: Path) -> CaptionSearch:
    search = CaptionSearch(data, folder)
    search.start()
    assert search.wait(30)
    return search


def test_words_are_found_without_case_and_accents(tmp_path: Path) -> None:
    search = made(Texts(30), tmp_path)
    assert search.find("numero PARITY1").tolist() == list(range(1, 30, 2))
    assert search.find("stra").tolist() == list(range(30))
    assert search.find("tra").tolist() == []
    assert search.find("  ").tolist() == []
    assert search.share == 1.0


def test_an_index_goes_on_where_it_was_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_CAPTIONS", 10)
    data = Texts(30)
    stopped = CaptionSearch(data, tmp_path)
    monkeypatch.setattr(data, "at", {19: stopped._stop.set})
    stopped.start()
    stopped._thread.join(30)
    assert not stopped.wait(0) and data.read == 20
    search = made(data, tmp_path)
    assert data.read == 30
    assert search.find("parity0").tolist() == list(range(0, 30, 2))


def test_a_damaged_index_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "captions.sqlite").write_bytes(b"no database" * 500)
    assert made(Texts(4), tmp_path).find("parity0").tolist() == [0, 2]


def test_nothing_is_found_before_the_index_is_there(tmp_path: Path) -> None:
    search = CaptionSearch(Texts(4), tmp_path)
    assert search.find("parity0") is None and search.share < 1


class Single:
    """Rows with one caption each, and nothing else."""

    def __len__(self) -> int:
        return 4

    def caption(self, row: int) -> str:
        return f"parity{row % 2}"


def test_rows_of_one_caption_are_found(tmp_path: Path) -> None:
    assert made(Single(), tmp_path).find("parity1").tolist() == [1, 3]


@pytest.mark.parametrize(("words", "told"), [(["own fault"], "own fault"), ([], "KeyError")])
def test_an_error_of_the_data_ends_the_index_and_is_said(
    tmp_path: Path, words: list[str], told: str
) -> None:
    def fail() -> None:
        raise KeyError(*words)

    data = Texts(4)
    data.at[2] = fail
    search = CaptionSearch(data, tmp_path)
    search.start()
    search._thread.join(30)
    assert not search.wait(0) and told in search.failure
    assert search.find("parity0") is None


def test_a_file_that_cannot_be_opened_finds_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    search = made(Texts(4), tmp_path)
    search._path = tmp_path / "absent" / "captions.sqlite"
    assert search.find("parity0").tolist() == []
    assert "the search in captions failed" in caplog.text
