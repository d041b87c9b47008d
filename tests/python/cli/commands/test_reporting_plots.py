"""``helip plot``: the pictures that Python draws."""

from __future__ import annotations

import json
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


def test_runs_are_read_from_their_folders(run, tmp_path: Path) -> None:
    mined(tmp_path)
    for name, value in {"control": 0.1, "tuned": 0.2}.items():
        line = {"step": 5, "event": "validation", "recall@1": value}
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    runs = [part for name in ("control", "tuned") for part in ("--run", tmp_path / name)]
    code, _, said = run("plot", tmp_path / "pairs", "--out", tmp_path / "o", *runs)
    assert code == 0 and "validation.svg" in said, said
    code, _, said = run("plot", tmp_path / "pairs", "--out", tmp_path / "o", "--run", "absent")
    assert code == 1 and "metrics.jsonl" in said


def test_a_wrong_format_is_wrong_use(run, tmp_path: Path) -> None:
    mined(tmp_path)
    code, _, said = run("plot", tmp_path / "pairs", "--out", tmp_path / "o", "--formats", "gif")
    assert code == 2 and "gif" in said
