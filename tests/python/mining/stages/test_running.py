"""Mining in stages: what is found, the same bytes in whatever order, and what is refused."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
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
from helip.common.files import DirectoryLock
from helip.common.parts import part_path
from helip.mining.options import HostOptions, MineOptions, StageOptions
from helip.mining.stages.job import Workplace, begin_mining, open_job, stages_folder
from helip.mining.stages.steps import current_step
from support.mining_reference import mine_plainly
from support.stage_samples import (
    CALL,
    IMAGE,
    ROWS,
    TEXT,
    clustered_rows,
    files_of,
    run_in_any_order,
    small_units,
    write_store,
)

pytestmark = pytest.mark.usefixtures(small_units.__name__)
assert small_units


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> helip.EmbeddingStore:
    return write_store(tmp_path_factory.mktemp("store") / "s", clustered_rows())


def mine(store: Any, out: Path | None, **options: Any) -> helip.HardPairs:
    return helip.mine(store, out=out, **{**CALL, **options})


def plainly(store: helip.EmbeddingStore, k: int, **rules: Any) -> Any:
    return mine_plainly(store.image, store.text, k, **rules)


def recall_against(table: helip.HardPairs, exact: Any, targets: np.ndarray) -> float:
    """Mean share of the exact pools of these targets that a table has, by scores."""
    shares = []
    for target in targets:
        wanted = int(exact.counts[target])
        if wanted:
            last = np.float32(exact.scores[target, wanted - 1])
            found = (table.scores[target, : table.counts[target]] >= last).sum()
            shares.append(min(int(found), wanted) / wanted)
    return float(np.mean(shares))


def test_the_measured_recall_is_that_of_a_float64_search(
    store: helip.EmbeddingStore, tmp_path: Path
) -> None:
    table = mine(store, tmp_path / "p", keep_stages=True)
    exact = plainly(store, 10)
    sample = open_job(tmp_path / "p").sample
    told = table.report["recall"]
    assert told["value"] == pytest.approx(recall_against(table, exact, sample), abs=1e-12)
    assert told["targets"] == int((exact.counts[sample] > 0).sum())
    assert told["low"] >= 0.9
    assert recall_against(table, exact, np.arange(ROWS)) >= told["low"]
    # What is there scores what it should, in the order that it should have.
    for target in range(0, ROWS, 37):
        count = table.counts[target]
        ids, scores = table.ids[target, :count], table.scores[target, :count]
        assert target not in ids and len(set(ids.tolist())) == count
        assert (np.diff(scores) <= 0).all()
    np.testing.assert_array_equal(table.counts[[3, ROWS - 1]], 0)
    assert not np.isin(table.ids, [3, ROWS - 1]).any()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "int8"])
def test_where_nothing_is_missed_the_table_is_that_of_exact_mining(
    tmp_path: Path, dtype: str
) -> None:
    # Tight groups: each lies in one cluster, and is larger than a pool.
    store = write_store(tmp_path / "s", clustered_rows(1500, groups=25, noise=0.2), dtype)
    options = {"k": 6, "skip": 2, "image_max": 0.999, "text_max": 1.0}
    table = mine(store, tmp_path / "p", **options)
    exact = helip.mine(store, method="exact", device="cpu", progress=False, **options)
    assert table.report["recall"]["value"] == 1.0
    for name in ("ids", "scores", "counts"):
        np.testing.assert_array_equal(getattr(table, name), getattr(exact, name))
    assert table.report["drops"] == exact.report["drops"]
    assert table.fingerprint == store.fingerprint
    table.verify()


@pytest.mark.parametrize(
    "options",
    [{"skip": 3, "text_max": 0.8}, {"modality": "text"}, {"margin": 0.2, "min_score": 0.2, "k": 4}],
    ids=str,
)
def test_the_rules_of_a_pool_hold(tmp_path: Path, options: dict[str, Any]) -> None:
    values = clustered_rows()
    if "margin" in options:  # both of one space
        noise = np.random.default_rng(1).normal(size=(ROWS, IMAGE))
        values[:, IMAGE:] = values[:, :IMAGE] + 0.4 * noise
    store = write_store(tmp_path / "s", values)
    table = mine(store, tmp_path / "p", **options)
    rules = {name: value for name, value in options.items() if name != "k"}
    exact = plainly(store, options.get("k", 10), **rules)
    targets = np.arange(0, ROWS, 3)
    assert recall_against(table, exact, targets) >= table.report["recall"]["low"]
    for target in targets:
        ids, best = (x[target, : table.counts[target]] for x in (table.ids, table.scores))
        score = dict(zip(exact.ids[target], np.float32(exact.scores[target]), strict=True))
        both = np.isin(ids, exact.ids[target])
        np.testing.assert_array_equal(best[both], [score[row] for row in ids[both]])


def test_any_order_and_repeats_give_the_same_bytes(
    store: helip.EmbeddingStore, tmp_path: Path
) -> None:
    options = {"recall": 0.97, "overlap": 1}  # refines and widens
    table = mine(store, tmp_path / "a", **options)
    assert table.report["stages"]["passes"] >= 1
    assert table.report["stages"]["overlap"] == 1
    assert 0 < table.report["stages"]["widened"][0] < ROWS

    out = tmp_path / "b"
    call = MineOptions(**{n: CALL[n] for n in ("k", "method")}, recall=0.97)
    stages = StageOptions(cluster_rows=CALL["cluster_rows"], overlap=1)
    job = begin_mining(store, call, stages, str(out))
    run_in_any_order(job, store, memory="100KB")
    mine(store, out, **options)
    assert files_of(out) == files_of(tmp_path / "a")
    assert not stages_folder(out).exists()


KILLED = """
import os, sys
from pathlib import Path
import helip
from helip.mining.stages import solving
from support import stage_samples
from helip.mining import recall
from helip.mining.stages import job
job.BLOCK, recall.TARGETS = 512, 200
write = solving._write
def die(place, step, unit, *found):
    if unit == 2:
        os._exit(9)
    write(place, step, unit, *found)
solving._write = die
helip.mine(sys.argv[1], out=sys.argv[2], **stage_samples.CALL)
"""


def test_a_kill_costs_its_unit_and_no_byte(
    store: helip.EmbeddingStore, tmp_path: Path, small_units: Path
) -> None:
    mine(store, tmp_path / "a")
    out = tmp_path / "b"
    environment = {
        **os.environ, "TMPDIR": str(small_units), "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }  # fmt: skip
    call = [sys.executable, "-c", KILLED, store.path, str(out)]
    assert subprocess.run(call, env=environment, check=False).returncode == 9
    assert list(small_units.iterdir())  # its matrices
    step, missing = current_step(open_job(out))
    assert (step.stage, missing[0]) == ("solve", 2)
    mine(store, out)
    assert files_of(out) == files_of(tmp_path / "a")


def test_an_interrupted_job_goes_on_with_what_is_missing(
    store: helip.EmbeddingStore, tmp_path: Path
) -> None:
    seen: list[tuple[str, int, int]] = []

    def stop(stage: str, done: int, total: int) -> bool:
        seen.append((stage, done, total))
        return (stage, done) != ("solve", 3)

    out = tmp_path / "p"
    with pytest.raises(CancelledError, match="stage solve; 3 of its 8 units are done and stay"):
        mine(store, out, on_progress=stop)
    begun = len(seen)
    mine(store, out, on_progress=lambda *now: seen.append(now))
    assert seen[begun] == ("solve", 3, 8)
    first = [stage for stage, done, _ in seen if not done][:6]
    assert first == ["centres", "certify", "route", "solve", "merge", "measure"]


def test_a_job_that_was_begun_otherwise_is_refused_with_what_changed(
    store: helip.EmbeddingStore, tmp_path: Path
) -> None:
    out = tmp_path / "p"
    with pytest.raises(CancelledError):
        mine(store, out, on_progress=lambda stage, done, total: stage != "solve")
    for options, words in (
        ({"k": 3}, "k 10, here 3"),
        ({"cluster_rows": 900}, "cluster_rows 500, here 900"),
        ({"overlap": 3}, "overlap 2, here 3"),
        ({"seed": 1}, "seed 0, here 1"),
    ):
        with pytest.raises(MismatchError, match=f"holds a job that differs: {words}"):
            mine(store, out, **options)
    with pytest.raises(InvalidArgumentError, match="go on with it, or remove"):
        mine(store, out, method="exact", cluster_rows=None)
    with pytest.raises(InvalidArgumentError, match="go on with resume=True"):
        mine(store, out, resume=False)
    mine(store, out, cluster_rows=None)  # as it was begun
    assert mine(store, out).path == str(out)
    with pytest.raises(MismatchError, match="cluster_rows 500, now 900"):
        mine(store, out, cluster_rows=900)


@pytest.mark.parametrize(("name", "own"), [("format", "4"), ("version", helip.__version__)])
def test_a_job_of_another_helip_is_refused_with_what_differs(
    store: helip.EmbeddingStore, tmp_path: Path, name: str, own: str
) -> None:
    out = tmp_path / "p"
    with pytest.raises(CancelledError):
        mine(store, out, on_progress=lambda *_: False)
    file = stages_folder(out) / "job.json"
    file.write_text(json.dumps(json.loads(file.read_text("utf-8")) | {name: 2}), "utf-8")
    with pytest.raises(UnsupportedError, match=f"has {name} 2, this helip has {own}; .* remove"):
        open_job(out)


def test_a_job_that_was_begun_without_stages_is_not_taken_up_in_them(
    store: helip.EmbeddingStore, tmp_path: Path
) -> None:
    out = tmp_path / "p"
    part = {"k": 10, "method": "exact", "part": (1, 2), "progress": False}
    helip.mine(store, out=part_path(out, 1, 2), **part)
    with pytest.raises(MismatchError, match=r"p.parts holds a job that was begun without stages"):
        mine(store, out)
    shutil.rmtree(tmp_path / "p.parts")
    (tmp_path / "p.checkpoint").mkdir()
    (tmp_path / "p.checkpoint" / "manifest.json").write_text("{}")
    with pytest.raises(MismatchError, match=r"p.checkpoint holds a job that was begun without"):
        mine(store, out)


def test_a_second_runner_is_refused_and_named_the_first(
    store: helip.EmbeddingStore, tmp_path: Path
) -> None:
    out = tmp_path / "p"
    with pytest.raises(CancelledError):
        mine(store, out, on_progress=lambda stage, *_: stage != "route")
    words = f"in use by another job .pid {os.getpid()} on"
    with DirectoryLock(stages_folder(out)), pytest.raises(StorageError, match=words):
        mine(store, out)


def test_a_store_that_grew_is_refused(tmp_path: Path) -> None:
    store = write_store(tmp_path / "s", clustered_rows(1000))
    out = tmp_path / "p"
    with pytest.raises(CancelledError):
        mine(store, out, cluster_rows=400, on_progress=lambda stage, *_: stage != "solve")
    with helip.EmbeddingStore.append_to(tmp_path / "s") as writer:
        writer.append(["new"], np.ones((1, IMAGE)), np.ones((1, TEXT)))
    grown = helip.EmbeddingStore.open(tmp_path / "s")
    with pytest.raises(MismatchError, match='store "'):
        mine(grown, out, cluster_rows=400)
    with pytest.raises(MismatchError, match="as it was when the job was begun"):
        Workplace(open_job(out), grown, HostOptions())


def test_a_unit_of_another_job_is_refused(store: helip.EmbeddingStore, tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 1)):
        with pytest.raises(CancelledError):
            mine(store, tmp_path / name, seed=seed, on_progress=lambda stage, *_: stage != "merge")
    ours, theirs = (stages_folder(tmp_path / n) / "solve-0" / "000001.safetensors" for n in "ab")
    shutil.copy(theirs, ours)
    with pytest.raises(MismatchError, match=r"000001.safetensors belongs to the job"):
        mine(store, tmp_path / "a")
    ours.write_bytes(b"")
    with pytest.raises(CorruptError, match=r"000001.safetensors is damaged"):
        mine(store, tmp_path / "a")
    ours.unlink()
    mine(store, tmp_path / "a")


def test_deleted_rows_are_in_no_pool(tmp_path: Path) -> None:
    store = write_store(tmp_path / "s", clustered_rows(1500))
    with helip.EmbeddingStore.append_to(tmp_path / "s") as writer:
        writer.delete(range(100, 400))
    store = helip.EmbeddingStore.open(tmp_path / "s")
    table = mine(store, tmp_path / "p", cluster_rows=400)
    assert not table.counts[100:400].any()
    assert not np.isin(table.ids, np.arange(100, 400)).any()
    exact = helip.mine(store, k=10, method="exact", device="cpu", progress=False)
    low = table.report["recall"]["low"]
    assert np.isin(table.ids, exact.ids).mean() > 0.5
    assert recall_against(table, exact, np.arange(1500)) >= low


def test_where_no_row_has_a_hard_pair_nothing_is_missed(tmp_path: Path) -> None:
    values = clustered_rows(600)
    values[:, IMAGE:] = 0
    table = mine(write_store(tmp_path / "s", values), tmp_path / "p", cluster_rows=200)
    assert not table.counts.any()
    assert table.report["recall"]["targets"] == 0
    assert table.report["stages"]["reached"] is True


def test_a_full_disk_names_the_stage_and_how_to_go_on(
    store: helip.EmbeddingStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "p"
    with pytest.raises(CancelledError):
        mine(store, out, on_progress=lambda stage, *_: stage != "merge")

    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        words = r"stage merge, unit 1 of 4: .*No space left.*the same call goes on from there"
        with pytest.raises(StorageError, match=words) as raised:
            mine(store, out)
    assert raised.value.errno == errno.ENOSPC
    assert os.listdir(stages_folder(out) / "merge-0") == []
    mine(store, out)


def test_a_recall_that_is_not_reached_is_said(
    store: helip.EmbeddingStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("helip.mining.stages.certifying.MOST_ROUNDS", 0)
    with pytest.warns(
        UserWarning, match=r"stages found recall 0\.\d+ with the lower limit .* in 1 clusters, some"
    ):
        table = mine(store, tmp_path / "p", overlap=1, recall=0.97)
    assert table.report["stages"]["reached"] is False
    assert table.report["recall"]["low"] < 0.97


def test_rows_that_fit_one_cluster_are_mined_without_stages(
    store: helip.EmbeddingStore, tmp_path: Path
) -> None:
    mine(store, tmp_path / "a", cluster_rows=ROWS)
    mine(store, tmp_path / "b", cluster_rows=None)
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b")
    mine(store, tmp_path / "a", cluster_rows=ROWS)
    assert "stages" not in json.dumps(helip.HardPairs.open(tmp_path / "a").report)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"collapse": "text"}, UnsupportedError, "collapse is 'text'"),
        ({"parts": 2}, UnsupportedError, "parts is 2"),
        ({"device": "cuda"}, UnsupportedError, "device is 'cuda'"),
        ({"method": "exact"}, InvalidArgumentError, "cluster_rows is 500 and method 'exact'"),
        ({"engine": "local", "method": "auto", "cluster_rows": None}, InvalidArgumentError,
         "engine is 'local' and method 'auto'"),
        ({"cluster_rows": 3}, InvalidArgumentError, "cluster_rows is 3"),
        ({"overlap": 0}, InvalidArgumentError, "overlap is 0"),
    ],
    ids=str,
)  # fmt: skip
def test_what_cannot_be_done_in_stages_is_refused(
    store: helip.EmbeddingStore,
    tmp_path: Path,
    options: dict[str, Any],
    error: type[Exception],
    words: str,
) -> None:
    with pytest.raises(error, match=words):
        mine(store, tmp_path / "p", **options)
    assert not (tmp_path / "p").exists()
    assert not (tmp_path / "p.stages").exists()


def test_a_high_recall_is_shown_by_more_targets(
    store: helip.EmbeddingStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (
        r"recall is 0.998, must be at most 0.99744 in stages: .* 1,500 targets, .*; ask for less"
    )
    with monkeypatch.context() as patch, pytest.raises(InvalidArgumentError, match=words):
        patch.setattr("helip.mining.stages.job.MOST_TARGETS", 1500)
        patch.setattr("helip.mining.recall.MOST_TARGETS", 1500)
        mine(store, tmp_path / "p", recall=0.998)
    table = mine(store, tmp_path / "p", recall=0.997)
    assert table.report["recall"]["targets"] > 1500
    exact = plainly(store, 10)
    assert recall_against(table, exact, np.arange(ROWS)) >= table.report["recall"]["low"] >= 0.997


def test_stages_need_a_store_and_a_place(store: helip.EmbeddingStore, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="fingerprint"):
        helip.mine(image=store.image, text=store.text, out=tmp_path / "p", **CALL)
    with pytest.raises(InvalidArgumentError, match="give out"):
        mine(store, None)
