"""`helip curate`: what it says, writes and refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from support.curation_samples import ROWS, planted

pytestmark = pytest.mark.usefixtures("one_thread")
Run = Callable[..., tuple[int, str, str]]


def test_counts_are_shown_by_reason_and_the_list_opens_the_data(run: Run, tmp_path: Path) -> None:
    planted(tmp_path)
    data, out = tmp_path / "d.tar", tmp_path / "out"
    drop = ("--drop", "near_duplicate", "--drop", "mismatched")
    words = ("curate", tmp_path / "p", "--data", data, *drop)
    code, shown, err = run(*words, "--store", tmp_path / "s", "--out", out)
    assert code == 0, err
    assert "keep.parquet" not in err
    counts = json.loads((out / "curation.json").read_text())
    lines = {line.rpartition("  ")[0].strip(): line.rpartition("  ")[2] for line in
             shown.splitlines()}  # fmt: skip
    assert lines["rows"] == str(ROWS)
    assert lines["kept"].startswith(f"{counts['kept']:,} (")
    for name, count in counts["dropped_by"].items():
        assert f"  {name.replace('_', ' ')}" in shown and str(count) in shown
    assert "listed alone" in lines["hub"]
    last = err.splitlines()[-1]
    assert last.startswith("next: helip embed") and " --update " in last
    assert last.endswith(f" --subset {out / 'keep.csv'}")
    share = float(last.partition("--max-removed ")[2].split()[0])
    assert share >= counts["dropped"] / ROWS > share - 0.011

    code, _, err = run("index", data, "--out", tmp_path / "index")
    assert code == 0, err
    code, _, err = run("diagnose", tmp_path / "p", "--data", data, "--subset", out / "keep.csv")
    assert code != 0, "the table is of all rows"
    assert f"left out {counts['dropped']} by --subset (" in err
    for name, count in counts["dropped_by"].items():
        assert not count or f"{count} {name.replace('_', ' ')}" in err

    code, _, err = run(*words, "--out", tmp_path / "other")
    assert code == 2 and "--store STORE" in err
    code, _, err = run(*words, "--store", tmp_path / "s", "--checkpoint", "x", "--out", "y")
    assert code == 2 and "give --model" in err


def test_a_list_of_a_part_of_the_data_is_no_list_to_embed_by(run: Run, tmp_path: Path) -> None:
    planted(tmp_path)
    call = ("curate", tmp_path / "p", "--data", tmp_path / "d.tar", "--store", tmp_path / "s")
    code, _, err = run(*call, "--limit", ROWS, "--out", tmp_path / "out")
    assert code == 0, err
    assert "next:" not in err
