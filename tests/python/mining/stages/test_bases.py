"""Tables of partition that follow their store: what they find, and what is refused."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest

import helip
from helip.cli import main as cli
from helip.common.errors import (
    CancelledError,
    InvalidArgumentError,
    MismatchError,
    UnsupportedError,
)
from helip.mining.options import HostOptions
from helip.mining.stages import running
from helip.mining.stages.bases import Changes, changes_of_rebuilt, is_in
from helip.mining.stages.job import Workplace, begin_update, open_job, stages_folder
from helip.mining.stages.scheduling import (
    begin_update_stages,
    run_slice,
    stage_status,
    write_staged,
)
from helip.mining.stages.steps import Step
from helip.mining.stages.unit_files import open_unit_file
from helip.verdicts import Exclusions
from support.http_shards import serving
from support.mining_reference import mine_plainly
from support.s3_server import S3Server
from support.stage_samples import (
    CALL,
    IMAGE,
    clustered_rows,
    files_of,
    run_in_any_order,
    small_units,
    write_store,
)

pytestmark = pytest.mark.usefixtures(small_units.__name__)

BEFORE, ROWS = 1900, 2000
ROUTE, SOLVE = Step("route"), Step("solve")


def test_a_store_that_came_back_to_an_earlier_state_is_followed_from_there() -> None:
    states = [
        {"fingerprint": name, "rows": 100, "deleted": gone, "replaced": changed}
        for name, gone, changed in (("a", 0, 7), ("b", 0, 7), ("a", 4, 1))
    ]
    table: Any = mock.MagicMock(fingerprint="a", __len__=lambda _: 100)
    store: Any = mock.MagicMock(fingerprint="c", metadata={"earlier": states}, __len__=lambda _: 96)
    assert changes_of_rebuilt(table, store) == {"added": 0, "deleted": 4, "replaced": 1}


@pytest.fixture(scope="module")
def mined(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store and a table of it, both before anything changed."""
    folder = tmp_path_factory.mktemp("mined")
    store = write_store(folder / "s", clustered_rows()[:BEFORE])
    helip.mine(store, out=folder / "p", **CALL)
    return folder


@pytest.fixture
def folder(mined: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    for name in ("s", "p"):
        shutil.copytree(mined / name, tmp_path / name)
    return tmp_path


def grow(folder: Path, deleted: Any = ()) -> helip.EmbeddingStore:
    values = clustered_rows()[BEFORE:]
    with helip.EmbeddingStore.append_to(folder / "s") as writer:
        keys = [str(row) for row in range(BEFORE, ROWS)]
        writer.append(keys, values[:, :IMAGE].copy(), values[:, IMAGE:].copy())
        writer.delete(list(deleted))
    return helip.EmbeddingStore.open(folder / "s")


def update(folder: Path, store: Any = None, **options: Any) -> helip.HardPairs:
    call = {"out": folder / "p", "progress": False, "threads": 1, **options}
    return helip.update(folder / "p", store or folder / "s", **call)


def recalls(table: helip.HardPairs, store: helip.EmbeddingStore) -> np.ndarray:
    """Of each row that has an exact pool, by scores; and nothing scores what it should not."""
    values = [np.array(x) for x in (store.image, store.text)]
    for side in values:
        side[store.deleted] = 0
    exact = mine_plainly(*values, 10)
    counted = exact.counts > 0
    place = np.maximum(exact.counts - 1, 0)[:, None]
    last = np.float32(np.take_along_axis(exact.scores, place, axis=1))
    there = np.arange(10) < table.counts[:, None]
    for target in range(0, len(table), 23):
        own = dict(zip(exact.ids[target], np.float32(exact.scores[target]), strict=True))
        for row, score in zip(table.ids[target], table.scores[target], strict=True):
            assert row not in own or score == own[row]
    assert (table.scores[:, 1:] <= table.scores[:, :-1]).all()
    hits = ((table.scores >= last) & there).sum(axis=1)
    return (np.minimum(hits, exact.counts) / np.maximum(exact.counts, 1))[counted]


def test_new_rows_are_found_and_find_and_the_recall_is_measured_anew(folder: Path) -> None:
    before = helip.HardPairs.open(folder / "p")
    store = grow(folder, deleted=[40, 41, 42, 1950])
    table = update(folder, keep_stages=True)
    told = table.report
    assert told["update"] == {
        "from": before.fingerprint, "added": ROWS - BEFORE, "deleted": 4, "replaced": 0,
    }  # fmt: skip
    assert table.options == before.options
    assert (table.fingerprint, len(table)) == (store.fingerprint, ROWS)
    assert "drops" not in told
    shares = recalls(table, store)
    assert shares.mean() >= told["recall"]["low"] >= 0.95
    gone = [40, 41, 42, 1950]
    assert not table.counts[gone].any() and not np.isin(table.ids, gone).any()
    # Each cluster compared its new rows with its rows, and no two old ones.
    job = open_job(folder / "p")
    notes = [
        open_unit_file(SOLVE.place(job, unit), job=job.digest).notes for unit in range(job.clusters)
    ]
    copies = sum(each["joined"] for each in notes)
    assert (ROWS - BEFORE) < copies <= 4 * (ROWS - BEFORE)
    assert sum(each["rows"] for each in notes) - copies < BEFORE  # each old row once
    compared = sum(each["report"].get("pairs", 0) for each in notes)
    assert compared <= sum(each["joined"] * each["rows"] for each in notes)
    table.verify()
    assert update(folder).ids.tolist() == table.ids.tolist()  # it is up to date
    assert not stages_folder(folder / "p").exists()


def test_pools_that_lost_rows_are_filled_up(folder: Path) -> None:
    gone = np.arange(0, 600, 4)
    store = grow(folder, deleted=gone)
    table = update(folder)
    assert not np.isin(table.ids, gone).any()
    assert table.report["stages"]["recalls"][0] > 0.97  # before any pass of refining
    assert recalls(table, store).mean() >= table.report["recall"]["low"] >= 0.95


@pytest.mark.parametrize("engine", ["threads", "local"])
def test_order_kills_and_engines_change_no_byte(folder: Path, engine: str) -> None:
    store = grow(folder, deleted=[5, 700])
    shutil.copytree(folder / "p", folder / "q")
    update(folder)
    other = folder / "q"
    if engine == "local":
        helip.update(other, store, out=other, engine="local", threads=2, progress=False)
    else:
        job = begin_update(helip.HardPairs.open(other), store, str(other))
        run_in_any_order(job, store, memory="200KB")
        helip.update(other, store, out=other, progress=False)
    assert files_of(other) == files_of(folder / "p")


def test_a_stopped_update_leaves_the_table_and_goes_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, was = grow(folder), files_of(folder / "p")
    run = running.run_unit

    def stop(place: Workplace, step: Step, unit: int) -> None:
        if (step.stage, unit) == ("merge", 1):
            raise CancelledError("stopped")
        run(place, step, unit)

    with monkeypatch.context() as patch:
        patch.setattr(running, "run_unit", stop)
        with pytest.raises(CancelledError):
            update(folder)
    assert files_of(folder / "p") == was
    assert stage_status(folder / "p")["next"] == "merge"
    shutil.copytree(stages_folder(folder / "p"), stages_folder(folder / "q"))
    with pytest.raises(MismatchError, match="holds a job that differs: update_of"):
        helip.mine(store, out=folder / "q", **CALL)
    update(folder)
    assert helip.HardPairs.open(folder / "p").fingerprint == store.fingerprint


def test_units_of_any_scheduler_update_as_well(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*arguments: object) -> None:
        monkeypatch.setattr(sys, "argv", ["helip", *map(str, arguments)])
        cli.main()

    store = grow(folder)
    shutil.copytree(folder / "p", folder / "q")
    update(folder)
    out = folder / "q"
    run("stage", out, "--store", store.path, "--update", out)
    seen = []
    while (stage := stage_status(out)["next"]) != "write":
        seen.append(stage)
        for index in (2, 1):
            run_slice(out, stage, (index, 2), HostOptions(threads=1))
    assert seen[:6] == ["centres", "certify", "route", "solve", "merge", "measure"]
    write_staged(out)
    assert files_of(out) == files_of(folder / "p")
    assert stage_status(out)["next"] == "done"
    begin_update_stages(helip.HardPairs.open(folder / "p"), store, out)  # which is done
    assert not stages_folder(out).exists()
    capsys.readouterr()
    with pytest.raises(SystemExit):
        run("stage", out, "--update", out, "--next")
    assert "no job begins here" in capsys.readouterr().err


def test_a_table_is_updated_at_its_url_as_on_disk(s3: S3Server, folder: Path) -> None:
    helip.copy(folder / "p", "s3://bucket/x/p", progress=False)
    grow(folder)
    here = update(folder)
    helip.update("s3://bucket/x/p", folder / "s", out="s3://bucket/x/p", threads=1, progress=False)
    there = helip.HardPairs.open("s3://bucket/x/p", cache=folder / "c")
    np.testing.assert_array_equal(there.ids, here.ids)
    assert there.report == here.report


def test_a_table_of_a_plain_server_is_updated_to_another_place(folder: Path) -> None:
    grow(folder)
    with serving(folder) as server:
        url = f"{server.url}/p"
        with pytest.raises(UnsupportedError, match=r"where helip writes nothing; give a URL of"):
            helip.update(url, folder / "s", out=url, progress=False)
        with pytest.raises(InvalidArgumentError, match=r"out is None.* give out"):
            helip.update(url, folder / "s", progress=False)
        updated = helip.update(url, folder / "s", out=folder / "u", threads=1, progress=False)
    assert updated.report["update"]["added"] == ROWS - BEFORE


def test_rows_with_other_values_are_new_ones(folder: Path) -> None:
    changed = np.arange(100, 130)
    base = helip.HardPairs.open(folder / "p")
    job = begin_update(base, grow(folder), str(folder / "q"))
    assert job.base is not None
    changes = Changes(job.base, helip.EmbeddingStore.open(folder / "s"))
    changes.replaced = changed
    changes.outdated = changed
    rows = np.array([99, 100, 129, 130, BEFORE])
    assert changes.fresh(rows).tolist() == [False, True, True, False, True]
    pools, lost = changes.pools(np.arange(BEFORE))
    assert not pools.counts[changed].any() and not np.isin(pools.ids, changed).any()
    theirs = (is_in(base.ids.astype(np.int64), changed)).any(axis=1) & (base.counts == 10)
    theirs[changed] = False
    np.testing.assert_array_equal(lost, theirs)


def test_a_table_of_partition_without_stages_is_updated_in_one_cluster(
    tmp_path: Path,
) -> None:
    store = write_store(tmp_path / "s", clustered_rows()[:BEFORE])
    options = {"k": 10, "method": "partition", "device": "cpu", "progress": False}
    before = helip.mine(store, out=tmp_path / "p", **options)
    store = grow(tmp_path)
    table = update(tmp_path)
    assert table.options == before.options
    assert table.report["stages"]["clusters"] == 1
    assert recalls(table, store).mean() == table.report["recall"]["value"] == 1.0


def test_what_is_no_later_state_is_one_clear_error(folder: Path, tmp_path: Path) -> None:
    for name, values in (("short", clustered_rows()[:1000]), ("other", clustered_rows() + 1)):
        store = write_store(tmp_path / name, values)
        words = rf"mined from 1,900 rows of the store .*{name}, of .* rows, never was that store"
        with pytest.raises(MismatchError, match=words):
            update(folder, store)
    assert not stages_folder(folder / "p").exists()
    assert update(folder).fingerprint == helip.HardPairs.open(folder / "p").fingerprint


def test_a_table_that_was_mined_under_verdicts_is_refused(folder: Path) -> None:
    store = helip.EmbeddingStore.open(folder / "s")
    out = Exclusions(np.array([[1, 2]]), np.zeros(0, np.int64))
    options = {"k": 10, "method": "partition", "device": "cpu", "progress": False}
    table = helip.mine(store, verdicts=out, out=folder / "judged", **options)
    store, words = grow(folder), "judged was mined under verdicts, which an update does not know"
    with pytest.raises(UnsupportedError, match=words):
        begin_update_stages(table, store, folder / "q")
    with pytest.raises(UnsupportedError, match=words):
        helip.update(table, store, out=folder / "q", progress=False)
    assert not stages_folder(folder / "q").exists()


def test_what_cannot_be_updated_in_stages_is_refused(folder: Path) -> None:
    base, store = helip.HardPairs.open(folder / "p"), grow(folder)
    with pytest.raises(InvalidArgumentError, match="out is None, and a table of method 'part"):
        update(folder, out=None)
    helip.mine(store, out=folder / "skip", **{**CALL, "skip": 2})
    grown = write_store(folder / "other", clustered_rows(1700))
    helip.mine(grown, out=folder / "else", **CALL)
    with pytest.raises(InvalidArgumentError, match="else holds another table than the one"):
        update(folder, out=folder / "else")
    with helip.EmbeddingStore.append_to(folder / "s") as writer:
        writer.delete([1])
    with pytest.raises(UnsupportedError, match="was mined with skip 2, and the pairs"):
        helip.update(folder / "skip", folder / "s", out=folder / "skip")
    exact = helip.mine(store, k=3, method="exact", device="cpu", progress=False)
    with pytest.raises(InvalidArgumentError, match="engine is 'local', and the table was mined"):
        helip.update(exact, store, engine="local")
    manifest = folder / "p" / "manifest.json"
    job = begin_update(base, helip.EmbeddingStore.open(folder / "s"), str(folder / "q"))
    said = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**said, "checksum": "0" * 32}))
    assert job.base is not None
    with pytest.raises(MismatchError, match="is another one than when its update was begun"):
        job.base.open()
