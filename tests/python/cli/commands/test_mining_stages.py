"""helip stage: a job by clusters, one command a slice of a stage."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import helip

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def large(tmp_path: Path) -> Path:
    values = np.random.default_rng(0).normal(size=(600, 16)) + 0.4
    with helip.EmbeddingStore.create(tmp_path / "l", image_dim=8, text_dim=8) as writer:
        writer.append([str(row) for row in range(600)], values[:, :8], values[:, 8:])
    return tmp_path / "l"


def test_stages_are_run_until_the_table_is_there(run: Run, large: Path, tmp_path: Path) -> None:
    out = tmp_path / "p"
    call = ("stage", out, "--store", large, "-k", 5, "--cluster-rows", 200)
    code, text, err = run(*call)
    assert code == 0, err
    assert "centres: 1 of 1 units (1)" in text
    assert f"helip stage {out} --stage centres" in err
    code, _, err = run("stage", out, "--stage", "solve")
    assert (code, "solve waits for centres" in err) == (1, True)
    seen = []
    while (stage := run("stage", out, "--next")[1].strip()) != "done":
        seen.append(stage)
        for unit in ("1/2", "2/2"):
            code, _, err = run("stage", out, "--stage", stage, "--unit", unit)
            assert code == 0, err
    assert (seen[0], seen[-1]) == ("centres", "write")
    table = helip.HardPairs.open(out)
    assert (table.k, table.options["cluster_rows"]) == (5, 200)
    assert json.loads(run("stage", out, "--json")[1])["next"] == "done"
    assert "6 clusters, the largest of " in run("inspect", out)[1]
    assert not (tmp_path / "p.stages").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-k", 5], "no job begins here"),
        (["--store", "{store}", "--stage", "solve", "--overlap", 3], "no job begins here"),
        (["--store", "{store}"], "fit one cluster; mine without stages"),
        (["--stage", "solve", "--unit", "4"], "unit is '4'; write i/n"),
        (["--stage", "solved"], "Choose from"),
    ],
    ids=str,
)
def test_what_stage_cannot_do_is_refused(
    run: Run, large: Path, tmp_path: Path, arguments: list[object], message: str
) -> None:
    words = [str(each).format(store=large) for each in arguments]
    code, out, err = run("stage", tmp_path / "p", *words)
    assert (code, out) == (2, "")
    assert message in err
    assert not (tmp_path / "p.stages").exists()
