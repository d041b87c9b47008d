"""helip.update: tables that follow their store, byte for byte those of a fresh run."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

import helip
from helip.cli import main as cli
from helip.common.errors import InvalidArgumentError, MismatchError, UnsupportedError
from support.mining_reference import mine_plainly

D_IMAGE, D_TEXT = 12, 9


def rows_of(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Whole numbers about shared centres: every path to a cosine gives the same bits."""
    random = np.random.default_rng(seed)
    centres = random.integers(-9, 10, size=(12, D_IMAGE + D_TEXT))
    rows = centres[random.integers(0, 12, size=count)] * 3
    rows = rows + random.integers(-9, 10, size=rows.shape)
    return rows[:, :D_IMAGE].astype(np.float32), rows[:, D_IMAGE:].astype(np.float32)


def grow(
    path: Path, image: np.ndarray, text: np.ndarray, rows: int, deleted: list[int] | None = None
) -> helip.EmbeddingStore:
    if (path / "manifest.json").exists():
        writer = helip.EmbeddingStore.append_to(path)
    else:
        writer = helip.EmbeddingStore.create(path, image_dim=D_IMAGE, text_dim=D_TEXT)
    with writer:
        new = slice(len(writer), rows)
        keys = [f"k{i}" for i in range(len(writer), rows)]
        if keys:
            writer.append(keys, image[new], text[new])
        writer.delete(deleted or [])
    return helip.EmbeddingStore.open(path)


def mine(store: helip.EmbeddingStore, **options: object) -> helip.HardPairs:
    return helip.mine(store, method="exact", device="cpu", progress=False, **options)


def check_same(left: helip.HardPairs, right: helip.HardPairs) -> None:
    for name in ("ids", "scores", "counts"):
        assert getattr(left, name).tobytes() == getattr(right, name).tobytes()
    for name in ("fingerprint", "data_fingerprint", "options"):
        assert getattr(left, name) == getattr(right, name)


@pytest.mark.parametrize(
    "options",
    [
        {"k": 7},
        {"k": 3, "min_score": 0.5},
        {"k": 7, "signed": True},
        {"k": 7, "modality": "text"},
        {"k": 7, "image_max": 0.9, "text_max": 0.85},
        {"k": 5000},
        {"k": 7, "skip": 1},
        {"k": 7, "collapse": "both"},
    ],
)
def test_an_updated_table_is_that_of_a_fresh_run(
    tmp_path: Path, options: dict[str, object]
) -> None:
    image, text = rows_of(600)
    pairs = mine(grow(tmp_path / "s", image, text, 480), **options)
    deleted = [3, 479, 500]
    store = grow(tmp_path / "s", image, text, 600, deleted)
    updated = helip.update(pairs, store, progress=False)
    check_same(updated, mine(store, **options))

    image, text = image.copy(), text.copy()
    image[deleted] = text[deleted] = 0  # deleted rows count as rows of zeros
    wanted = mine_plainly(image, text, **options)  # type: ignore[arg-type]
    np.testing.assert_array_equal(updated.ids, wanted.ids)
    np.testing.assert_array_equal(updated.scores, wanted.scores.astype(np.float32))
    did = updated.report["update"]
    assert (did["added"], did["deleted"]) == (120, 3)
    assert ("afresh" in did) == ("skip" in options or "collapse" in options)
    assert ("drops" in updated.report) == ("afresh" in did)
    json.dumps(updated.stats())


def test_a_random_walk_of_updates_ends_at_a_fresh_run(tmp_path: Path) -> None:
    image, text = rows_of(900, seed=1)
    dice = np.random.default_rng(2)
    store = grow(tmp_path / "s", image, text, 400)
    pairs = mine(store, k=6)
    for rows in (401, 470, 470, 700, 899, 900):
        deleted = dice.integers(0, rows, size=4).tolist()
        store = grow(tmp_path / "s", image, text, rows, deleted)
        pairs = helip.update(pairs, store, progress=False)
        check_same(pairs, mine(store, k=6))
    assert not set(store.deleted) & set(pairs.ids.ravel())


def test_rows_are_deleted_by_number_or_by_key(tmp_path: Path) -> None:
    image, text = rows_of(20)
    store = grow(tmp_path / "s", image, text, 20)
    assert store.deleted.dtype == np.int64
    assert len(store.deleted) == 0
    with helip.EmbeddingStore.append_to(tmp_path / "s") as writer:
        assert writer.delete([3, np.int64(4), 3]) == 2
        assert writer.delete(["k4", "k7"]) == 1
        assert writer.delete(np.array([19])) == 1
        assert writer.delete([]) == 0
        for wrong in (["k1", 2], [1.0], ["nobody"], [20], [-1]):
            with pytest.raises(InvalidArgumentError):
                writer.delete(wrong)
        with pytest.raises(InvalidArgumentError, match="one str"):
            writer.delete("k1")
    after = helip.EmbeddingStore.open(tmp_path / "s")
    assert after.deleted.tolist() == [3, 4, 7, 19]
    assert len(after) == 20
    assert after.generation == store.generation + 1
    assert after.fingerprint != store.fingerprint
    assert after.data_fingerprint == store.data_fingerprint
    np.testing.assert_array_equal(after.image, image)
    pairs = mine(after, k=4)
    assert (pairs.counts[after.deleted] == 0).all()
    assert not set(after.deleted) & set(pairs.ids.ravel())


def test_what_a_killed_update_left_goes_with_the_next_call(tmp_path: Path) -> None:
    image, text = rows_of(120)
    mine(grow(tmp_path / "s", image, text, 100), k=5, out=tmp_path / "p")
    store = grow(tmp_path / "s", image, text, 120)
    helip.update(tmp_path / "p", store, out=tmp_path / "p", progress=False)
    whole = {entry.name for entry in (tmp_path / "p").iterdir()}
    # Shards that were replaced, of a process that died between the manifest and their removal.
    for name in ("shard-00900.safetensors", ".pending-left"):
        (tmp_path / "p" / name).write_bytes(b"left")
    again = helip.update(tmp_path / "p", store, out=tmp_path / "p", progress=False)
    assert {entry.name for entry in (tmp_path / "p").iterdir()} == whole
    check_same(again, mine(store, k=5))


def test_a_store_with_deleted_rows_is_mined_on_the_host(tmp_path: Path) -> None:
    image, text = rows_of(20)
    grow(tmp_path / "s", image, text, 20, [1])
    with pytest.raises(UnsupportedError, match="1 deleted rows"):
        helip.mine(tmp_path / "s", device="cuda", progress=False)
    helip.mine(tmp_path / "s", device="auto", progress=False)


def test_tables_that_cannot_be_updated_say_why(tmp_path: Path) -> None:
    image, text = rows_of(60)
    store = grow(tmp_path / "s", image, text, 50)
    pairs = mine(store, k=5)
    sampled = helip.mine(store, k=5, method="sample", candidates=20, device="cpu", progress=False)
    bare = helip.mine(image=image, text=text, k=5, device="cpu", progress=False)
    store = grow(tmp_path / "s", image, text, 60)
    with pytest.raises(UnsupportedError, match="mined with method 'sample'"):
        helip.update(sampled, store, progress=False)
    with pytest.raises(MismatchError, match="bare arrays"):
        helip.update(bare, store, progress=False)
    other = grow(tmp_path / "t", *rows_of(60, seed=5), 60)
    with pytest.raises(MismatchError, match="which this one never had"):
        helip.update(pairs, other, progress=False)
    with pytest.raises(InvalidArgumentError, match="threads is -1"):
        helip.update(pairs, store, threads=-1, progress=False)


def test_the_command_updates_in_place_or_beside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*arguments: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["helip", *map(str, arguments)])
        cli.main()
        return 0, capsys.readouterr().out

    image, text = rows_of(300)
    mine(grow(tmp_path / "s", image, text, 280), k=5, out=tmp_path / "p")
    store = grow(tmp_path / "s", image, text, 300, [7])
    where = ("--store", tmp_path / "s", "--quiet")
    code, out = run("update", tmp_path / "p", *where, "--out", tmp_path / "q", "--json")
    assert code == 0
    assert json.loads(out)["update"]["added"] == 20
    assert len(helip.HardPairs.open(tmp_path / "p")) == 280
    code, out = run("update", tmp_path / "p", *where)
    assert code == 0
    assert "20 rows new, 1 deleted" in out
    fresh = mine(store, k=5)
    for name in ("p", "q"):
        check_same(helip.HardPairs.open(tmp_path / name), fresh)
    assert run("update", tmp_path / "p", *where)[0] == 0  # again: nothing to do
    code, out = run("inspect", tmp_path / "s", "--json")
    assert json.loads(out)["deleted"] == 1
    code, out = run("update", "--help")
    assert code == 0
    assert len(out.splitlines()) <= 50
