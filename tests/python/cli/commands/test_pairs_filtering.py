"""``helip filter``: the table and the figures that Python gives."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import numpy as np
import pytest

import helip
from helip import EmbeddingStore, HardPairs
from helip.cli.commands.pairs import filter_pairs


@pytest.fixture
def paths(tmp_path: Path) -> tuple[Path, Path]:
    """A store of one model, and a table that was mined from it."""
    random = np.random.default_rng(1)
    text = random.standard_normal((50, 8)).astype(np.float32)
    image = text + random.standard_normal((50, 8)).astype(np.float32)
    with EmbeddingStore.create(tmp_path / "clip", image_dim=8, text_dim=8) as writer:
        writer.append([f"k{i}" for i in range(50)], image, text)
    helip.mine(tmp_path / "clip", k=10, out=tmp_path / "pairs", progress=False)
    return tmp_path / "clip", tmp_path / "pairs"


def test_the_shell_has_the_options_of_python() -> None:
    offered = {name for name, *_ in filter_pairs.fields()}
    offered |= set(inspect.signature(filter_pairs.work).parameters)
    wanted = set(inspect.signature(HardPairs.filter).parameters) - {"self", "progress"}
    assert wanted <= offered


def test_it_writes_the_table_and_shows_the_counts(run, paths, tmp_path: Path) -> None:
    store, pairs = paths
    code, out, _ = run("filter", pairs, "--by", store, "--veto", "any", "--out", tmp_path / "new")
    assert code == 0
    python = HardPairs.open(pairs).filter(by=store, veto="any", progress=False)
    shell = HardPairs.open(tmp_path / "new")
    np.testing.assert_array_equal(shell.ids, python.ids)
    found = shell.report["filter"][0]
    assert found == python.report["filter"][0]
    assert found["flagged"] > 0
    words = " ".join(out.split())
    assert f"flagged {found['flagged']:,} (" in words
    assert f"veto {found['reasons']['veto']:,} (" in words
    assert f"ranks 2 to 5 {sum(found['ranks']['flagged'][1:5]):,} of" in words
    assert (
        f"outliers {found['outliers']['before']} before, {found['outliers']['after']} now" in words
    )
    code, out, _ = run("inspect", tmp_path / "new")
    assert f"{found['flagged']} of {found['pairs']} flagged by veto: drop" in " ".join(out.split())


def test_json_has_the_whole_account(run, paths, tmp_path: Path) -> None:
    store, pairs = paths
    code, out, _ = run(
        "filter", pairs, "--by", store, "--relative-margin", 0.05, "--action", "downweight",
        "--out", tmp_path / "new", "--json",
    )  # fmt: skip
    assert code == 0
    shown = json.loads(out)
    table = HardPairs.open(tmp_path / "new")
    assert shown == {
        "path": str(tmp_path / "new"),
        "options": table.options["filter"][0],
        **table.report["filter"][0],
    }


def test_wrong_use_ends_with_2(run, paths, tmp_path: Path) -> None:
    code, _, err = run("filter", paths[1], "--veto", "any", "--out", tmp_path / "new")
    assert code == 2
    assert "by is missing" in err
    assert not (tmp_path / "new").exists()
