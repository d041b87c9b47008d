"""Stages for any scheduler: each call knows what it may do, and says what is missing."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import helip
from helip.common.errors import Error, InvalidArgumentError, MismatchError, StorageError
from helip.mining.options import HostOptions, MineOptions, StageOptions
from helip.mining.stages.job import stages_folder
from helip.mining.stages.scheduling import begin_stages, run_slice, stage_status, write_staged
from support.stage_samples import CALL, clustered_rows, files_of, small_units, write_store

pytestmark = pytest.mark.usefixtures(small_units.__name__)
HOST = HostOptions(threads=1)


@pytest.fixture
def store(tmp_path: Path) -> helip.EmbeddingStore:
    return write_store(tmp_path / "s", clustered_rows(1500))


def begin(store: helip.EmbeddingStore, out: Path) -> None:
    options = MineOptions(k=CALL["k"], method="partition")
    begin_stages(store, options, StageOptions(cluster_rows=CALL["cluster_rows"]), out)


def test_slices_in_a_loop_make_the_table_of_one_call(
    store: helip.EmbeddingStore, tmp_path: Path
) -> None:
    helip.mine(store, out=tmp_path / "a", **CALL)
    out = tmp_path / "b"
    begin(store, out)
    seen = []
    while (stage := stage_status(out)["next"]) != "write":
        seen.append(stage)
        for index in (3, 1, 2):
            run_slice(out, stage, (index, 3), HOST)
    assert seen[:6] == ["centres", "certify", "route", "solve", "merge", "measure"]
    table = write_staged(out)
    assert files_of(out) == files_of(tmp_path / "a")
    assert not stages_folder(out).exists()
    assert stage_status(out)["next"] == "done"
    assert write_staged(out).ids.tolist() == table.ids.tolist()
    begin(store, out)  # which is done already
    assert not stages_folder(out).exists()
    with pytest.raises(MismatchError, match="holds a table that differs: overlap 2, here 3"):
        begin_stages(
            store, MineOptions(k=CALL["k"], method="partition"),
            StageOptions(cluster_rows=CALL["cluster_rows"], overlap=3), out,
        )  # fmt: skip


def test_a_recall_that_is_not_reached_is_said_when_the_table_is_written(
    store: helip.EmbeddingStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("helip.mining.stages.certifying.MOST_ROUNDS", 0)
    monkeypatch.setattr("helip.mining.stages.certifying._PASSES", 0)
    out = tmp_path / "p"
    options = MineOptions(k=CALL["k"], method="partition", recall=0.97)
    begin_stages(store, options, StageOptions(cluster_rows=500, overlap=1), out)
    while (stage := stage_status(out)["next"]) != "write":
        run_slice(out, stage, (1, 1), HOST)
    with pytest.warns(UserWarning, match=r"stages found recall .* with each row in 1 clusters"):
        write_staged(out)


def test_a_stage_waits_for_the_one_before_it(store: helip.EmbeddingStore, tmp_path: Path) -> None:
    out = tmp_path / "p"
    begin(store, out)
    with pytest.raises(Error, match=r"route waits for centres: of its 1 units 1 is missing; run"):
        run_slice(out, "route", (1, 1), HOST)
    assert run_slice(out, "certify", (2, 2), HOST) == 1  # which waits for nothing
    assert run_slice(out, "centres", (1, 1), HOST) == 1
    assert stage_status(out)["missing"] == [1, 3]
    with pytest.raises(Error, match="merge waits for certify: of its 3 units 1, 3 are missing"):
        run_slice(out, "merge", (1, 1), HOST)
    with pytest.raises(Error, match="write waits for certify"):
        write_staged(out)
    assert run_slice(out, "centres", (1, 1), HOST) == 0
    assert not out.exists()


def test_a_file_of_another_job_is_not_taken_for_a_unit(
    store: helip.EmbeddingStore, tmp_path: Path
) -> None:
    for name, overlap in (("a", 1), ("b", 2)):
        options = MineOptions(k=CALL["k"], method="partition")
        begin_stages(
            store, options, StageOptions(cluster_rows=500, overlap=overlap), tmp_path / name
        )
    run_slice(tmp_path / "a", "centres", (1, 1), HOST)
    shutil.copytree(
        stages_folder(tmp_path / "a") / "centres", stages_folder(tmp_path / "b") / "centres"
    )
    with pytest.raises(MismatchError, match="belongs to the job"):
        run_slice(tmp_path / "b", "certify", (1, 1), HOST)
        run_slice(tmp_path / "b", "route", (1, 1), HOST)
    shutil.copy(
        stages_folder(tmp_path / "a") / "centres" / "000000.safetensors",
        stages_folder(tmp_path / "b") / "certify" / "000001.safetensors",
    )
    with pytest.raises(MismatchError, match=r"certify/000001.safetensors belongs to the job"):
        run_slice(tmp_path / "b", "certify", (2, 3), HOST)


def test_what_no_unit_can_be_run_of_is_refused(store: helip.EmbeddingStore, tmp_path: Path) -> None:
    out = tmp_path / "p"
    with pytest.raises(StorageError, match="no job in stages"):
        stage_status(out)
    begin(store, out)
    with pytest.raises(InvalidArgumentError, match="stage is 'rout', must be one of centres"):
        run_slice(out, "rout", (1, 1), HOST)
    with pytest.raises(InvalidArgumentError, match=r"unit is \(3, 2\)"):
        run_slice(out, "centres", (3, 2), HOST)
    other = write_store(tmp_path / "other", clustered_rows(1400))
    with pytest.raises(MismatchError, match="give the store as it was"):
        run_slice(out, "centres", (1, 1), HOST, other)
