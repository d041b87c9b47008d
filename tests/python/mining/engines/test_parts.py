"""Mining in parts: whatever the cut, the table is that of a single run, byte for byte."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import helip
from helip.common.errors import (
    CancelledError,
    CorruptError,
    InvalidArgumentError,
    MismatchError,
    StorageError,
    UnsupportedError,
)
from helip.common.parts import part_path, parts_folder
from helip.mining.engines import parts as mine_parts
from support.mining_reference import check_same_bits

ROWS = 330


def make_store(path: Path, rows: int = ROWS, seed: int = 0) -> helip.EmbeddingStore:
    """Whole numbers, so that a cosine has the same bits on every path; with copies and zeros."""
    random = np.random.default_rng(seed)
    centre = random.integers(0, 12, rows)
    matrices = []
    for dim in (24, 17):
        centres = random.integers(-40, 60, (12, dim))
        matrix = centres[centre] + random.integers(-25, 26, (rows, dim))
        copies = random.permutation(rows)[: rows // 6]
        matrix[copies] = matrix[np.roll(copies, 1)]
        matrix[random.integers(0, rows, 3)] = 0
        matrices.append(matrix.astype(np.float32))
    with helip.EmbeddingStore.create(path, image_dim=24, text_dim=17, dtype="float32") as writer:
        writer.append([f"k{i}" for i in range(rows)], *matrices)
    return helip.EmbeddingStore.open(path)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> helip.EmbeddingStore:
    return make_store(tmp_path_factory.mktemp("store") / "s")


def mine(store: Any, out: Path | None = None, **options: Any) -> Any:
    call = {"k": 7, "method": "exact", "device": "cpu", "threads": 2, "progress": False}
    return helip.mine(store, out=out, **{**call, **options})


def mine_all(store: Any, folder: Path, count: int, **options: Any) -> list[Path]:
    paths = [folder / f"part-{index}" for index in range(1, count + 1)]
    for index, path in enumerate(paths, start=1):
        mine(store, path, part=(index, count), **options)
    return paths


def files_of(path: Path) -> dict[str, bytes]:
    return {
        entry.name: entry.read_bytes() for entry in sorted(path.iterdir()) if entry.name != ".lock"
    }


@pytest.mark.parametrize("count", [1, 2, 7, ROWS])
def test_merged_parts_are_the_table_of_a_single_run(
    store: helip.EmbeddingStore, tmp_path: Path, count: int
) -> None:
    mine(store, tmp_path / "whole")
    paths = mine_all(store, tmp_path, count)
    merged = helip.merge(reversed(paths), out=tmp_path / "merged", progress=False)
    assert files_of(tmp_path / "merged") == files_of(tmp_path / "whole")
    check_same_bits(merged, store.image, store.text)
    assert all(path.is_dir() for path in paths)


@pytest.mark.parametrize(
    "options",
    [
        {"modality": "text"},
        {"signed": True, "min_score": 0.05},
        {"margin": None, "skip": 3, "collapse": "both", "image_max": 0.9, "text_max": 0.9},
        {"memory": 1},
        {"method": "sample", "candidates": 90, "refresh": 100, "seed": 5},
        {"method": "auto"},
    ],
    ids=str,
)
def test_parts_of_every_kind_of_job_merge_to_the_bytes_of_a_single_run(
    store: helip.EmbeddingStore, tmp_path: Path, options: dict[str, Any]
) -> None:
    mine(store, tmp_path / "whole", **options)
    paths = mine_all(store, tmp_path, 3, **options)
    helip.merge(paths, out=tmp_path / "merged", progress=False)
    assert files_of(tmp_path / "merged") == files_of(tmp_path / "whole")
    mine(store, tmp_path / "resumable", parts=4, **options)
    assert files_of(tmp_path / "resumable") == files_of(tmp_path / "whole")
    assert not (tmp_path / "resumable.parts").exists()


def test_parts_of_a_job_with_a_measured_filter_plan_are_those_of_a_single_run(
    tmp_path: Path,
) -> None:
    store = make_store(tmp_path / "s", rows=2300, seed=3)
    mine(store, tmp_path / "whole", k=20)
    assert mine(store, tmp_path / "whole", k=20).report["filters"]["passed"]
    helip.merge(mine_all(store, tmp_path, 3, k=20), out=tmp_path / "merged", progress=False)
    assert files_of(tmp_path / "merged") == files_of(tmp_path / "whole")


def test_an_empty_store_is_one_empty_part(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s", rows=8)
    with helip.EmbeddingStore.create(tmp_path / "e", image_dim=24, text_dim=17) as writer:
        writer.append([], store.image[:0], store.text[:0])
    mine(tmp_path / "e", tmp_path / "p", part=(1, 1))
    assert len(helip.merge([tmp_path / "p"], progress=False)) == 0


def test_a_part_knows_its_place(store: helip.EmbeddingStore, tmp_path: Path) -> None:
    whole = mine(store)
    mine(store, tmp_path / "p", part=(2, 4))
    part = helip.HardPairsPart.open(tmp_path / "p")
    assert (part.index, part.count, part.first, part.last, part.rows) == (2, 4, 83, 166, ROWS)
    np.testing.assert_array_equal(part.ids, whole.ids[83:166])
    np.testing.assert_array_equal(part.scores, whole.scores[83:166])
    np.testing.assert_array_equal(part.counts, whole.counts[83:166])
    assert part.fingerprint == store.fingerprint
    assert part.options == whole.options
    assert part.report["pairs"] == 83 * (ROWS - 1)
    assert part.stats()["targets"] == len(part) == 83
    assert part.stats()["pairs"] == int(whole.counts[83:166].sum())
    part.verify()
    for refused in (part.save, part.to_csv):
        with pytest.raises(UnsupportedError, match="merge"):
            refused(tmp_path / "q")
    with pytest.raises(MismatchError):
        helip.HardPairs.open(tmp_path / "p")


def test_ranges_are_even_and_cover_every_target(
    store: helip.EmbeddingStore, tmp_path: Path
) -> None:
    ends = []
    for path in mine_all(store, tmp_path, 13):
        part = helip.HardPairsPart.open(path)
        assert len(part) in (ROWS // 13, ROWS // 13 + 1)
        ends.append((part.first, part.last))
    assert [first for first, _ in ends] == [0, *(last for _, last in ends[:-1])]
    assert ends[-1][1] == ROWS


def test_a_part_that_is_there_is_taken_up_and_another_one_is_refused(
    store: helip.EmbeddingStore, tmp_path: Path
) -> None:
    mine(store, tmp_path / "p", part=(1, 3))
    before = files_of(tmp_path / "p")
    stamp = (tmp_path / "p" / "manifest.json").stat().st_mtime_ns
    mine(store, tmp_path / "p", part=(1, 3), threads=1)
    assert files_of(tmp_path / "p") == before
    assert (tmp_path / "p" / "manifest.json").stat().st_mtime_ns == stamp
    for change, words in (
        ({"k": 8}, "k 7, here 8"),
        ({"min_score": 0.5}, r"min_score 0\.0, here 0\.5"),
        ({"part": (2, 3)}, "it is part 1 of 3, here 2"),
        ({"part": (1, 4)}, "number of parts 3, here 4"),
        ({"method": "sample"}, 'method "exact", here "sample"'),
    ):
        with pytest.raises(MismatchError, match=words):
            mine(store, tmp_path / "p", **{"part": (1, 3), **change})
    with pytest.raises(InvalidArgumentError, match="already holds a part"):
        mine(store, tmp_path / "p", part=(1, 3), resume=False)
    other = make_store(tmp_path / "other", seed=1)
    with pytest.raises(MismatchError, match=f'store "{store.fingerprint}", here'):
        mine(other, tmp_path / "p", part=(1, 3))


def test_parts_of_different_jobs_are_not_merged(
    store: helip.EmbeddingStore, tmp_path: Path
) -> None:
    mine(store, tmp_path / "a", part=(1, 2))
    other = make_store(tmp_path / "other", seed=1)
    for name, source, options, words in (
        ("k", store, {"k": 9}, "k 7, here 9"),
        (
            "rules",
            store,
            {"skip": 1, "text_max": 0.5},
            r"skip 0, here 1; text_max 0\.98, here 0\.5",
        ),
        ("store", other, {}, f'store "{store.fingerprint}", here "{other.fingerprint}"'),
        ("count", store, {"part": (2, 3)}, "number of parts 2, here 3"),
    ):
        mine(source, tmp_path / name, **{"part": (2, 2), **options})
        with pytest.raises(MismatchError, match=words):
            helip.merge([tmp_path / "a", tmp_path / name], out=tmp_path / "out", progress=False)
        assert not (tmp_path / "out").exists()


def test_absent_and_repeated_parts_are_named(store: helip.EmbeddingStore, tmp_path: Path) -> None:
    paths = mine_all(store, tmp_path, 5)
    merge: Callable[..., Any] = lambda *parts: helip.merge(parts, out=tmp_path / "out")  # noqa: E731
    with pytest.raises(
        InvalidArgumentError,
        match=r"of 5 parts these are missing: 1 \(targets 0 \.\. 65\), 4 \(targets 198 \.\. 263\)",
    ):
        merge(paths[1], paths[2], paths[4])
    shutil.copytree(paths[1], tmp_path / "copy")
    with pytest.raises(InvalidArgumentError, match="part 2 of 5 is given twice"):
        merge(*paths, tmp_path / "copy")
    with pytest.raises(InvalidArgumentError, match="there is no part to merge"):
        merge()
    with pytest.raises(StorageError):
        merge(*paths, tmp_path / "nowhere")
    with pytest.raises(MismatchError, match=r"hard_pairs_part"):
        merge(store.path)
    with pytest.raises(InvalidArgumentError, match="the one path"):
        helip.merge(tmp_path / "part-1")
    assert not (tmp_path / "out").exists()
    merge(*paths)
    with pytest.raises(InvalidArgumentError, match="already holds"):
        merge(*paths)


@pytest.mark.parametrize("column", ["ids", "scores", "counts"])
def test_damage_in_a_part_is_found_before_its_table_is_published(
    store: helip.EmbeddingStore, tmp_path: Path, column: str
) -> None:
    paths = mine_all(store, tmp_path, 3)
    part = helip.HardPairsPart.open(paths[1])
    value = np.ascontiguousarray(getattr(part, column)[:40]).tobytes()
    shard = paths[1] / "shard-00000.safetensors"
    content = bytearray(shard.read_bytes())
    content[content.index(value) + 5] ^= 4
    shard.write_bytes(content)
    with pytest.raises(CorruptError, match="part-2"):
        helip.merge(paths, out=tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()
    for name in ("manifest.json", "shard-00000.safetensors"):
        content = bytearray((paths[0] / name).read_bytes())
        (paths[0] / name).write_bytes(content[: len(content) // 2])
        with pytest.raises(CorruptError, match="part-1"):
            helip.merge(paths, out=tmp_path / "out", progress=False)
        (paths[0] / name).write_bytes(content)


def test_a_manifest_that_claims_another_range_is_refused(
    store: helip.EmbeddingStore, tmp_path: Path
) -> None:
    path = mine_all(store, tmp_path, 3)[0]
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["attributes"]["part"]["count"] = 2
    (path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(CorruptError):
        helip.HardPairsPart.open(path)


def stop_after(monkeypatch: pytest.MonkeyPatch, share: float) -> None:
    """Ctrl-C at this share of a job."""

    def call(self: Any, stage: str, done: int, total: int) -> None:
        if stage == "mine" and done >= share * total:
            raise KeyboardInterrupt

    monkeypatch.setattr("helip.common.progress.Follower.__call__", call)


def test_an_interrupted_job_goes_on_with_what_is_missing(
    store: helip.EmbeddingStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "p"
    mine(store, tmp_path / "whole")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_after(patch, 0.5)
        mine(store, out, parts=10)
    assert mine_parts.begun_parts(out) == 10
    done = mine_parts.done_parts(out)
    assert 4 <= done <= 6
    assert not (out / "manifest.json").exists()

    seen: list[tuple[int, int]] = []
    monkeypatch.setattr(
        "helip.common.progress.Follower.__call__",
        lambda self, stage, now, total: seen.append((now, total)) if stage == "mine" else None,
    )
    mine(store, out)  # in as many parts as it was begun with
    assert seen[0] == (done * ROWS // 10, ROWS)
    assert [now for now, _ in seen] == sorted(now for now, _ in seen)
    assert files_of(out) == files_of(tmp_path / "whole")
    assert not parts_folder(out).exists()


def test_a_job_that_was_begun_otherwise_is_refused_with_what_changed(
    store: helip.EmbeddingStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "p"
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_after(patch, 0.5)
        mine(store, out, parts=4)
    for options, words in (
        ({"parts": 5}, "holds a job in 4 parts, now parts=5"),
        ({"parts": 1}, "holds a job in 4 parts, now parts=1"),
        ({"k": 3}, "k 7, here 3"),
        ({"collapse": "text"}, 'collapse "none", here "text"'),
        ({"method": "hnsw"}, "now method 'hnsw'"),
    ):
        with pytest.raises(MismatchError, match=words):
            mine(store, out, **options)
    with pytest.raises(MismatchError, match="store "):
        mine(make_store(tmp_path / "other", seed=1), out)
    assert mine_parts.done_parts(out) >= 1
    mine(store, out)
    assert files_of(out) == files_of_whole(store, tmp_path)


def files_of_whole(store: helip.EmbeddingStore, folder: Path) -> dict[str, bytes]:
    mine(store, folder / "whole")
    return files_of(folder / "whole")


def test_what_is_left_of_a_job_that_died_after_its_commit_is_tidied_up(
    store: helip.EmbeddingStore, tmp_path: Path
) -> None:
    out = tmp_path / "p"
    mine(store, out)
    mine(store, part_path(out, 1, 2), part=(1, 2))
    mine(store, out)
    assert not parts_folder(out).exists()


def test_a_damaged_part_of_a_resumed_job_is_named_and_the_rest_stays(
    store: helip.EmbeddingStore, tmp_path: Path
) -> None:
    out = tmp_path / "p"
    for index in (1, 3):
        mine(store, part_path(out, index, 3), part=(index, 3))
    shard = part_path(out, 3, 3) / "shard-00000.safetensors"
    content = bytearray(shard.read_bytes())
    content[9000] ^= 1
    shard.write_bytes(content)
    with pytest.raises(CorruptError, match="part-00003-of-00003"):
        mine(store, out)
    assert mine_parts.done_parts(out) == 3
    shutil.rmtree(part_path(out, 3, 3))
    mine(store, out)
    assert files_of(out) == files_of_whole(store, tmp_path)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"part": (0, 3)}, InvalidArgumentError, r"part is \(0, 3\)"),
        ({"part": (4, 3)}, InvalidArgumentError, r"part is \(4, 3\)"),
        ({"part": "1/3"}, InvalidArgumentError, "two whole numbers"),
        ({"part": (1, ROWS + 1)}, InvalidArgumentError, f"1 .. {ROWS}"),
        ({"part": (1, 2), "parts": 2}, InvalidArgumentError, "one part of a job"),
        ({"part": (1, 2), "method": "hnsw"}, UnsupportedError, "method is 'hnsw'"),
        ({"part": (1, 2), "device": "cuda"}, UnsupportedError, "parts are mined on the CPU"),
        ({"parts": 0}, InvalidArgumentError, "parts is 0"),
        ({"parts": 2.0}, InvalidArgumentError, r"parts is 2\.0"),
        ({"parts": ROWS + 1}, InvalidArgumentError, f"1 .. {ROWS}"),
        ({"parts": 2, "method": "hnsw"}, UnsupportedError, "method is 'hnsw'"),
        ({"engine": "spark"}, InvalidArgumentError, "engine is 'spark'"),
    ],
    ids=str,
)
def test_what_cannot_be_done_in_parts_is_refused(
    store: helip.EmbeddingStore,
    tmp_path: Path,
    options: dict[str, Any],
    error: type[Exception],
    words: str,
) -> None:
    with pytest.raises(error, match=words):
        mine(store, tmp_path / "p", **options)
    assert not (tmp_path / "p").exists()
    assert not (tmp_path / "p.parts").exists()


def test_parts_need_a_store_and_a_place(store: helip.EmbeddingStore, tmp_path: Path) -> None:
    arrays = {"image": store.image, "text": store.text}
    for options in ({"part": (1, 2)}, {"parts": 2}):
        with pytest.raises(InvalidArgumentError, match="fingerprint"):
            helip.mine(**arrays, out=tmp_path / "p", device="cpu", progress=False, **options)
        with pytest.raises(InvalidArgumentError, match="out"):
            mine(store, **options)
    with pytest.raises(InvalidArgumentError, match="reads a store and writes to out"):
        mine(store, engine="ray")


def test_a_long_job_is_committed_in_parts_without_being_asked(tmp_path: Path) -> None:
    def number(parts: int | None, rows: int, seconds: float, **others: Any) -> int:
        plan = {"method": "exact", "seconds": seconds, "bands": 1, **others}
        return mine_parts.number_of_parts(
            parts, out=str(tmp_path / "p"), method="auto", rows=rows, estimate=lambda: plan
        )

    assert number(None, 5_000_000, 3000) == 1
    assert number(None, 5_000_000, 36_000) == 20
    assert number(None, 5_000_000, 36_000, bands=33) == 33
    assert number(None, 5_000_000, 1e12) == 10_000
    assert number(None, 5_000_000, 36_000, method="hnsw") == 1
    assert number(None, 200_000, 36_000) == 1
    assert number(1, 5_000_000, 36_000) == 1
    assert number(6, 5_000_000, 36_000) == 6


def test_the_engine_ray_says_what_to_install(
    store: helip.EmbeddingStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(UnsupportedError, match=r"pip install 'helip\[ray\]'"):
        mine(store, tmp_path / "p", engine="ray")


def test_merging_can_be_stopped_and_publishes_nothing(
    store: helip.EmbeddingStore, tmp_path: Path
) -> None:
    from helip import _core

    paths = [str(path) for path in mine_all(store, tmp_path, 2)]
    with pytest.raises(CancelledError, match="the parts stay"):
        _core.merge_parts(paths, tmp_path / "out", lambda stage, done, total: done == 0)
    assert not (tmp_path / "out").exists()
