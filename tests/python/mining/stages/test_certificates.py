"""Kept samples: targets whose exact pools are known are not solved again, and stay exact."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

import helip
from helip.common.errors import CorruptError
from helip.mining.options import HostOptions, MineOptions
from helip.mining.stages.certificates import (
    certificate_path,
    draw_sample,
    read_certificate,
    still_exact,
    tag_of,
)
from helip.mining.stages.certifying import exact_sample, known_sample
from helip.mining.stages.job import open_job, stages_folder
from helip.mining.stages.scheduling import begin_update_stages, run_slice, stage_status
from helip.pairs.blocks import Pools
from support.mining_reference import mine_plainly
from support.stage_samples import CALL, IMAGE, clustered_rows, small_units, write_store

pytestmark = pytest.mark.usefixtures(small_units.__name__)


def test_an_update_samples_what_changed_and_its_pools_are_those_of_a_float64_search(
    tmp_path: Path,
) -> None:
    values, out = clustered_rows(), tmp_path / "p"
    store = write_store(tmp_path / "s", values[:1900])
    helip.mine(store, out=out, **CALL)
    tag = tag_of(store.fingerprint, MineOptions(k=10))
    kept = read_certificate(certificate_path(out), tag)
    assert kept is not None
    with helip.EmbeddingStore.append_to(tmp_path / "s") as writer:
        writer.append([str(x) for x in range(1900, 2000)],
                      values[1900:, :IMAGE].copy(), values[1900:, IMAGE:].copy())  # fmt: skip
        writer.delete([*range(60, 70), int(kept[0][0])])
    store = helip.EmbeddingStore.open(tmp_path / "s")
    table = helip.update(out, store, out=out, keep_stages=True, threads=1, progress=False)
    job = open_job(out)
    known = known_sample(job)[0]
    assert table.report["update"]["certified_before"] == len(known)
    assert 0.5 * len(job.sample) < len(known) < len(job.sample)
    assert np.isin(known, kept[0]).all() and (job.sample >= 1900).any()
    image, text = np.array(store.image), np.array(store.text)
    image[store.deleted] = 0
    exact = mine_plainly(image, text, 10)
    found = exact_sample(job)
    np.testing.assert_array_equal(found.counts, exact.counts[job.sample])
    np.testing.assert_array_equal(found.scores, exact.scores[job.sample].astype(np.float32))
    # The kept sample of the new table, for the next update.
    after = read_certificate(certificate_path(out), tag_of(store.fingerprint, MineOptions(k=10)))
    assert after is not None and after[0].tolist() == job.sample.tolist()
    assert read_certificate(certificate_path(out), tag) is None
    shutil.rmtree(stages_folder(out))


@pytest.mark.parametrize("fault", ["flipped", "removed"])
def test_known_pools_that_are_lost_while_a_job_runs_end_it(tmp_path: Path, fault: str) -> None:
    values, base, out = clustered_rows(), tmp_path / "p", tmp_path / "q"
    helip.mine(write_store(tmp_path / "s", values[:1900]), out=base, **CALL)
    with helip.EmbeddingStore.append_to(tmp_path / "s") as writer:
        writer.append([str(x) for x in range(1900, 2000)],
                      values[1900:, :IMAGE].copy(), values[1900:, IMAGE:].copy())  # fmt: skip
    store, host = helip.EmbeddingStore.open(tmp_path / "s"), HostOptions(threads=1)
    begin_update_stages(helip.HardPairs.open(base), store, out)
    while (stage := stage_status(out)["next"]) != "measure":
        run_slice(out, stage, (1, 1), host)
    known = open_job(out).known
    if fault == "flipped":
        whole = known.read_bytes()
        known.write_bytes(whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:])
        words = r"known\.safetensors is damaged: .*; remove .*q\.stages, and begin again"
    else:
        known.unlink()
        certificate_path(base).unlink()
        words = r"known\.safetensors.*; put it back, or remove .*q\.stages, and begin again"
    with pytest.raises(CorruptError, match=words):
        run_slice(out, "measure", (1, 1), host)
    with pytest.raises(CorruptError, match=words):
        helip.update(base, store, out=out, threads=1, progress=False)
    assert not out.exists() and stage_status(out)["next"] == "measure"


def test_a_kept_sample_that_is_damaged_or_of_other_rules_is_none(tmp_path: Path) -> None:
    store = write_store(tmp_path / "s", clustered_rows(1200))
    helip.mine(store, out=tmp_path / "p", **CALL)
    path, tag = certificate_path(tmp_path / "p"), tag_of(store.fingerprint, MineOptions(k=10))
    assert read_certificate(path, tag) is not None
    assert read_certificate(path, tag_of(store.fingerprint, MineOptions(k=9))) is None
    whole = path.read_bytes()
    path.write_bytes(whole[:-9] + b"~" + whole[-8:])
    assert read_certificate(path, tag) is None
    assert read_certificate(tmp_path / "none", tag) is None


def test_pools_that_were_full_and_lost_a_pair_are_exact_no_more() -> None:
    pools = Pools(
        np.array([[5, 6], [5, 7], [7, -1], [8, 6]]),
        np.float32([[0.9, 0.8], [0.9, 0.8], [0.7, 0], [0.6, 0.5]]), np.array([2, 2, 1, 2]),
    )  # fmt: skip
    targets, left = still_exact(np.array([0, 1, 2, 3]), pools, np.array([3, 7]))
    assert targets.tolist() == [0, 2]  # 3 is outdated itself
    assert left.ids.tolist() == [[5, 6], [-1, -1]]
    assert left.counts.tolist() == [2, 0]
    assert left.scores[1].tolist() == [0, 0]


def test_each_row_is_as_likely_in_a_sample_with_known_targets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("helip.mining.recall.TARGETS", 20)
    counts = np.zeros(100)
    for seed in range(1500):
        draw = np.random.default_rng(seed)
        known = np.sort(draw.choice(80, 12, replace=False))
        sample = draw_sample(draw, 100, 0.1, 80, known)
        assert len(sample) == len(set(sample.tolist())) == 20
        old = sample[sample < 80]
        assert np.isin(old, known).sum() == min(len(old), 12)
        counts[sample] += 1
    assert abs(counts[:80].mean() - 300) < 5 and abs(counts[80:].mean() - 300) < 15
    assert (abs(counts - 300) < 75).all()  # five standard deviations
