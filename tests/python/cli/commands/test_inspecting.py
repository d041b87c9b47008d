"""``helip inspect`` of one target: what Python gives, for people and for programs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import helip
from helip import HardPairs


@pytest.fixture
def pairs(store: Path, tmp_path: Path) -> Path:
    helip.mine(store, k=5, out=tmp_path / "pairs", progress=False)
    return tmp_path / "pairs"


def test_a_row_shows_ranks_rows_and_scores(run, pairs: Path) -> None:
    code, out, err = run("inspect", pairs, "--row", 17)
    pool = HardPairs.open(pairs)[17]
    lines = out.splitlines()
    assert (code, err) == (0, "")
    assert lines[0] == f"target 17: {len(pool)} hard pairs"
    assert lines[1].split() == ["rank", "hard", "score"]
    wanted = [
        [str(rank), str(row), f"{score:.4f}"]
        for rank, (row, score) in enumerate(zip(pool.ids, pool.scores, strict=True), start=1)
    ]
    assert [line.split() for line in lines[2:]] == wanted


@pytest.mark.parametrize("chosen", [("--row", 17), ("--row", -43), ("--key", "k17")])
def test_with_its_store_a_target_has_keys_and_similarities(
    run, store: Path, pairs: Path, chosen: tuple
) -> None:
    pool = HardPairs.open(pairs, store=store)[17]
    code, out, _ = run("inspect", pairs, *chosen, "--store", store)
    assert code == 0
    assert out.splitlines()[0] == f"target 17 k17: {len(pool)} hard pairs"
    assert out.splitlines()[2].split() == [
        "1", str(pool.ids[0]), f"{pool.scores[0]:.4f}", f"{pool.image_similarity[0]:.4f}",
        f"{pool.text_similarity[0]:.4f}", pool.keys[0],
    ]  # fmt: skip
    code, out, _ = run("inspect", pairs, *chosen, "--store", store, "--json")
    shown = json.loads(out)
    assert (shown["target"], shown["target_key"]) == (17, "k17")
    assert [pair["rank"] for pair in shown["pairs"]] == list(range(1, len(pool) + 1))
    for name, column in (
        ("hard", pool.ids), ("score", pool.scores), ("hard_key", pool.keys),
        ("image_similarity", pool.image_similarity), ("text_similarity", pool.text_similarity),
    ):  # fmt: skip
        assert [pair[name] for pair in shown["pairs"]] == list(column)


def test_without_a_store_json_has_rows_alone(run, pairs: Path) -> None:
    _, out, _ = run("inspect", pairs, "--row", 0, "--json")
    shown = json.loads(out)
    assert shown["target_key"] is None
    assert list(shown["pairs"][0]) == ["rank", "hard", "score"]


def test_an_outlier_has_no_hard_pairs(run, tmp_path: Path) -> None:
    nothing = HardPairs.from_arrays(np.full((2, 1), -1, np.int32), np.zeros((2, 1)))
    nothing.save(tmp_path / "p")
    assert run("inspect", tmp_path / "p", "--row", 1)[:2] == (0, "target 1: 0 hard pairs\n")
    assert json.loads(run("inspect", tmp_path / "p", "--row", 1, "--json")[1])["pairs"] == []


def test_a_similarity_that_is_not_known_is_null(run, store: Path, tmp_path: Path) -> None:
    with helip.EmbeddingStore.append_to(store) as writer:
        writer.delete([3])
    ids = np.full((60, 1), -1, np.int32)
    ids[1] = 3
    HardPairs.from_arrays(ids, np.where(ids >= 0, 0.5, 0)).save(tmp_path / "p")
    asked = ("inspect", tmp_path / "p", "--row", 1, "--store", store)
    assert json.loads(run(*asked, "--json")[1])["pairs"][0]["text_similarity"] is None
    assert run(*asked)[1].splitlines()[2].split() == ["1", "3", "0.5000", "-", "-", "k3"]


def test_wrong_use_is_one_line(run, store: Path, pairs: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    with helip.EmbeddingStore.create(other, image_dim=8, text_dim=6) as writer:
        writer.append([f"x{i}" for i in range(60)], np.ones((60, 8)), np.ones((60, 6)))
    for words, code, message in (
        (("--row", 60), 2, "--row is 60, must be in 0 .. 59"),
        (("--row", "x"), 2, "row"),
        (("--key", "k1"), 2, "add --store STORE"),
        (("--key", "none", "--store", store), 2, "no key 'none'"),
        (("--store", store), 2, "give one of --row and --key"),
        (("--row", 1, "--key", "k1", "--store", store), 2, "give one of --row and --key"),
        (("--row", 1, "--store", other), 1, "made of a store with fingerprint"),
        (("--row", 1, "--store", tmp_path / "absent"), 1, "absent"),
    ):
        found, out, err = run("inspect", pairs, *words)
        assert (found, out) == (code, ""), words
        assert message in err and err.count("\n") == 1
    found, _, err = run("inspect", store, "--row", 1)
    assert (found, err.count("\n")) == (2, 1) and "is no table of hard pairs" in err
