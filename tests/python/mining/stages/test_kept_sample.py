"""Kept samples: targets whose exact pools are known are not solved again, and stay exact."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import helip
from helip.common.remote.container import KEPT_SAMPLE
from helip.mining.options import HostOptions
from helip.mining.stages import kept_sample
from helip.mining.stages.certifying import exact_sample
from helip.mining.stages.job import StageJob, open_job
from helip.mining.stages.kept_sample import still_exact
from helip.mining.stages.scheduling import begin_update_stages, run_slice
from helip.mining.stages.steps import CERTIFY
from helip.mining.stages.unit_files import open_unit_file
from helip.pairs.blocks import Pools
from support.mining_reference import mine_plainly
from support.s3_server import S3Server
from support.stage_samples import CALL, IMAGE, clustered_rows, files_of, small_units, write_store

pytestmark = pytest.mark.usefixtures(small_units.__name__)

URL = "s3://bucket/x/p"
BEFORE, ROWS = 1900, 2000
GONE = [*range(60, 70), 1950]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a table in stages, whose store has changed since."""
    values = clustered_rows(ROWS)
    helip.mine(write_store(tmp_path / "s", values[:BEFORE]), out=tmp_path / "p", **CALL)
    with helip.EmbeddingStore.append_to(tmp_path / "s") as writer:
        keys = [str(row) for row in range(BEFORE, ROWS)]
        writer.append(keys, values[BEFORE:, :IMAGE].copy(), values[BEFORE:, IMAGE:].copy())
        writer.delete(GONE)
    return tmp_path


def known_of(job: StageJob) -> list[int]:
    """Of each unit of certify, how many targets it knew."""
    places = [CERTIFY.place(job, unit) for unit in range(job.ranges)]
    return [open_unit_file(place, job=job.digest).notes["known"] for place in places]


def updated(folder: Path, name: str) -> tuple[dict[str, bytes], StageJob]:
    """The files of the new table, and its job."""
    call = {"out": folder / name, "keep_stages": True, "threads": 1, "progress": False}
    helip.update(folder / "p", folder / "s", **call)
    return files_of(folder / name), open_job(folder / name)


@pytest.mark.parametrize("fault", ["absent", "damaged", "foreign"])
def test_a_table_is_the_same_with_its_kept_sample_or_without(folder: Path, fault: str) -> None:
    with_it, job = updated(folder, "with")
    assert len(set(known_of(job))) == 1
    assert 0.7 * len(job.sample) < known_of(job)[0] < len(job.sample)
    kept = folder / "p" / KEPT_SAMPLE
    if fault == "absent":
        kept.unlink()
    elif fault == "damaged":
        whole = kept.read_bytes()
        kept.write_bytes(whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:])
    else:
        kept.write_bytes((folder / "with" / KEPT_SAMPLE).read_bytes())
    without, job = updated(folder, "without")
    assert not any(known_of(job))
    assert without == with_it


def test_pools_are_those_of_a_float64_search_also_where_the_file_goes_meanwhile(
    folder: Path,
) -> None:
    store, out = helip.EmbeddingStore.open(folder / "s"), folder / "q"
    begin_update_stages(helip.HardPairs.open(folder / "p"), store, out)
    for stage, part in (("centres", 1), ("certify", 1), ("certify", 2)):
        run_slice(out, stage, (part, 1 if stage == "centres" else 2), HostOptions(threads=1))
        if (stage, part) == ("certify", 1):
            (folder / "p" / KEPT_SAMPLE).unlink()
    job = open_job(out)
    assert min(known_of(job)) == 0 < max(known_of(job))
    assert (job.sample >= BEFORE).any()
    image, text = np.array(store.image), np.array(store.text)
    image[store.deleted] = 0
    exact, found = mine_plainly(image, text, 10), exact_sample(job)
    np.testing.assert_array_equal(found.counts, exact.counts[job.sample])
    np.testing.assert_array_equal(found.scores, exact.scores[job.sample].astype(np.float32))


def test_pools_that_were_full_and_lost_a_pair_are_exact_no_more() -> None:
    pools = Pools(
        np.array([[5, 6], [5, 7], [7, -1], [8, 6]]),
        np.float32([[0.9, 0.8], [0.9, 0.8], [0.7, 0], [0.6, 0.5]]), np.array([2, 2, 1, 2]),
    )  # fmt: skip
    stays, left = still_exact(np.array([0, 1, 2, 3]), pools, np.array([3, 7]))
    assert stays.tolist() == [True, False, True, False]  # 3 is outdated itself
    assert left.ids[[0, 2]].tolist() == [[5, 6], [-1, -1]]
    assert left.counts[[0, 2]].tolist() == [2, 0]
    assert left.scores[2].tolist() == [0, 0]


def test_a_kept_sample_goes_with_its_table_to_urls_and_back(s3: S3Server, folder: Path) -> None:
    kept = (folder / "p" / KEPT_SAMPLE).read_bytes()
    helip.copy(folder / "p", URL, progress=False)
    helip.copy(URL, "s3://bucket/y/p", progress=False)
    helip.copy("s3://bucket/y/p", folder / "back", progress=False)
    assert files_of(folder / "back") == files_of(folder / "p")
    opened = helip.HardPairs.open(URL, cache=folder / "c")
    assert (Path(opened.path) / KEPT_SAMPLE).read_bytes() == kept
    helip.update(URL, folder / "s", out=URL, threads=1, progress=False)
    there = helip.HardPairs.open(URL, cache=folder / "c")
    assert files_of(Path(there.path)) == updated(folder, "q")[0]


def test_one_that_is_too_large_to_be_copied_is_not_kept(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = (folder / "p" / KEPT_SAMPLE).stat().st_size
    monkeypatch.setattr(kept_sample, "MOST_BYTES", kept_sample._OVERHEAD + size // 2)
    assert KEPT_SAMPLE not in updated(folder, "q")[0]
