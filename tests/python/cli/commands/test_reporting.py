"""helip report as a user types it, without data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import helip

Run = Callable[..., tuple[int, str, str]]


def test_a_page_needs_no_data(run: Run, store: Path, tmp_path: Path) -> None:
    helip.mine(store, k=3, out=tmp_path / "pairs", progress=False)
    (tmp_path / "captions.txt").write_text("\n".join(f"caption {row}" for row in range(60)))
    call = ("report", tmp_path / "pairs", "--out", tmp_path / "page.html", "--store", store)
    code, _, err = run(*call, "--captions", tmp_path / "captions.txt", "--target", "k7")
    assert code == 0, err
    page = (tmp_path / "page.html").read_text()
    assert "caption 7<" in page
    assert "<img" not in page


def test_options_of_data_are_refused_where_there_are_none(
    run: Run, store: Path, tmp_path: Path
) -> None:
    helip.mine(store, k=3, out=tmp_path / "pairs", progress=False)
    call = ("report", tmp_path / "pairs", "--out", tmp_path / "page.html")
    code, _, err = run(*call, "--limit", 5)
    assert (code, "--limit 5 does not apply to a call without --data" in err) == (2, True)
    code, _, err = run(*call, "--captions", tmp_path / "none.txt")
    assert (code, "none.txt" in err) == (1, True)
