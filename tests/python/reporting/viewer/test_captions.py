"""The index of captions is made in the background, and goes on where it was stopped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from helip.reporting.viewer import captions
from helip.reporting.viewer.captions import CaptionSearch


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


def made(data: Texts, folder: Path) -> CaptionSearch:
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
    monkeypatch.setattr(captions, "_BLOCK", 10)
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
