"""``helip verdicts``: what it shows, writes and refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import helip
from helip import HardPairs, Verdicts
from helip_view import LearntVeto


@pytest.fixture
def files(tmp_path: Path, store: Path) -> tuple[Path, Path, Path]:
    """A table, and two files of verdicts on it."""
    table = helip.mine(store, k=8, out=tmp_path / "pairs", device="cpu", progress=False)
    for person, keep in (("Ada", 0.5), ("Bo", 0.6)):
        with Verdicts.open(tmp_path / person, pairs=table) as verdicts:
            for pool in table:
                if len(pool):
                    verdict = "keep" if pool.scores[0] < keep else "false negative"
                    verdicts.add(pool.target, int(pool.ids[0]), verdict, person=person)
            verdicts.add(0, None, "mismatch", person=person)
    return tmp_path / "pairs", tmp_path / "Ada", tmp_path / "Bo"


def shown(run: Any, *arguments: object) -> Any:
    code, out, err = run("verdicts", *arguments, "--json")
    assert code == 0, err
    return json.loads(out)


def test_merged_files_have_the_counts_of_both(run, files, tmp_path: Path) -> None:
    _, one, other = files
    merged = shown(run, "merge", one, other, "--out", tmp_path / "both")
    with Verdicts.open(tmp_path / "both") as verdicts:
        assert merged == {"path": str(tmp_path / "both"), "data_rows": 60, **verdicts.counts()}
    assert shown(run, "show", tmp_path / "both") == merged
    assert shown(run, "merge", other, one, "--out", tmp_path / "both") == merged
    code, out, _ = run("verdicts", "show", tmp_path / "both")
    assert code == 0
    words = " ".join(out.split())
    assert f"judged {merged['judged']}" in words
    assert "mismatch 1 rows by Ada" in words


def test_a_file_moves_to_data_that_grew(run, files, store: Path, tmp_path: Path) -> None:
    pairs, _, _ = files
    with Verdicts.open(tmp_path / "v", pairs=HardPairs.open(pairs, store=store)) as verdicts:
        verdicts.add(3, 4, "keep", person="Ada")
    writer = helip.EmbeddingStore.append_to(store)
    writer.append(["new"], np.ones((1, 8), np.float32), np.ones((1, 6), np.float32))
    writer.commit()
    helip.mine(store, k=8, out=tmp_path / "grown", device="cpu", progress=False)
    done = shown(
        run, "move", tmp_path / "v", "--pairs", tmp_path / "grown", "--store", store,
        "--out", tmp_path / "moved",
    )  # fmt: skip
    assert done == {"path": str(tmp_path / "moved"), "kept": 1, "lost": 0, "unkeyed": 0}
    assert shown(run, "show", tmp_path / "moved")["data_rows"] == 61


def test_export_writes_a_table(run, files, tmp_path: Path) -> None:
    path = tmp_path / "v.csv"
    done = shown(run, "export", files[1], "--out", path, "--what", "decisions")
    assert len(path.read_text().splitlines()) == done["rows"] + 1


def test_mine_and_filter_obey(run, files, store: Path, tmp_path: Path) -> None:
    pairs, one, _ = files
    taken = Verdicts.open(one).excluded()
    code, _, err = run(
        "mine", store, "-k", 8, "--verdicts", one, "--device", "cpu", "--out", tmp_path / "mined"
    )
    assert code == 0, err
    code, out, err = run("filter", pairs, "--verdicts", one, "--out", tmp_path / "filtered")
    assert code == 0, err
    assert "verdicts" in out
    for name in ("mined", "filtered"):
        table = HardPairs.open(tmp_path / name)
        assert not taken.flags(0, table.ids.astype(np.int64)).any()
    code, out, err = run("inspect", tmp_path / "filtered")
    assert code == 0, err


def test_a_veto_is_learnt_and_proposes(run, files, store: Path, tmp_path: Path) -> None:
    pairs, one, _ = files
    veto = tmp_path / "veto.json"
    table = ("--pairs", pairs, "--store", store)
    learnt = shown(run, "learn", one, *table, "--out", veto)
    assert learnt == {"path": str(veto), **json.loads(veto.read_text())}
    assert learnt["measured"]["precision"] == [*LearntVeto.open(veto).measured.precision]
    code, out, _ = run("verdicts", "learn", one, *table, "--out", tmp_path / "v2")
    assert code == 0
    assert "precision" in out
    proposed = shown(run, "propose", one, *table, "--veto", veto, "--number", 3)
    assert len(proposed) == 3
    code, _, err = run(
        "filter", pairs, "--learnt-veto", veto, "--store", store, "--min-precision", 0.1,
        "--out", tmp_path / "new",
    )  # fmt: skip
    assert code == 0, err
    assert HardPairs.open(tmp_path / "new").report["filter"][0]["reasons"]["learnt_veto"] > 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["show"], "show has 0 files of verdicts, must have one"),
        (["show", "a", "b"], "show has 2 files"),
        (["merge", "a"], "--out is missing, which merge needs"),
        (["show", "a", "--out", "b"], "--out is b, which is for merge, move, export, learn"),
        (["show", "no-such"], "there is no file of verdicts at 'no-such'"),
    ],
)
def test_wrong_use_is_said(run, words: list[str], message: str) -> None:
    code, _, err = run("verdicts", *words)
    assert code != 0
    assert message in " ".join(err.split())
