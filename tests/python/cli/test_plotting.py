"""``helip plot``: the pictures that Python draws."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.plot_samples import mined

pytest.importorskip("matplotlib")


def test_it_draws_into_a_folder_and_says_so(run, tmp_path: Path) -> None:
    _, pictures = mined(tmp_path)
    code, _, said = run(
        "plot", tmp_path / "pairs", "--store", tmp_path / "store", "--data", pictures,
        "--out", tmp_path / "out", "--formats", "png", "--sample", "50",
    )  # fmt: skip
    assert code == 0, said
    names = {path.name for path in (tmp_path / "out").glob("*.png")}
    assert names == {"scores.png", "hubness.png", "map.png"}
    assert all(f"wrote {tmp_path / 'out' / name}" in said for name in names)


def test_a_wrong_format_is_wrong_use(run, tmp_path: Path) -> None:
    mined(tmp_path)
    code, _, said = run("plot", tmp_path / "pairs", "--out", tmp_path / "o", "--formats", "gif")
    assert code == 2 and "gif" in said
