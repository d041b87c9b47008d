"""Certifying: exact pools of the sample, and what follows from the recall."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import helip
from helip.mining.options import HostOptions, MineOptions, StageOptions
from helip.mining.recall import recall_of
from helip.mining.stages import certifying
from helip.mining.stages import job as stage_job
from helip.mining.stages.certifying import exact_sample
from helip.mining.stages.job import Workplace, begin_mining
from helip.mining.stages.running import run_unit
from helip.mining.stages.steps import CERTIFY, Step
from support.mining_reference import mine_plainly
from support.stage_samples import clustered_rows, small_units, write_store

pytestmark = pytest.mark.usefixtures(small_units.__name__)


def place_of(tmp_path: Path, rows: int, **options: float) -> Workplace:
    write_store(tmp_path / "s", clustered_rows(rows))
    with helip.EmbeddingStore.append_to(tmp_path / "s") as writer:
        writer.delete(range(50, 90))
    store = helip.EmbeddingStore.open(tmp_path / "s")
    rules = MineOptions(k=12, method="partition", **options)
    job = begin_mining(store, rules, StageOptions(cluster_rows=100), str(tmp_path / "p"))
    return Workplace(job, store, HostOptions(threads=1))


@pytest.mark.parametrize("block", [128, 4096])
def test_the_sample_has_the_pools_of_a_float64_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(stage_job, "BLOCK", block)
    place = place_of(tmp_path, 450, image_max=1.0, text_max=1.0)
    for unit in range(place.job.ranges):
        run_unit(place, CERTIFY, unit)
    image, text = np.array(place.store.image), np.array(place.store.text)
    image[50:90] = 0
    exact = mine_plainly(image, text, 12, image_max=1.0, text_max=1.0)
    _, scores, counts = exact_sample(place.job)
    sample = place.job.sample
    assert np.isin(sample, np.arange(50, 90)).any()
    np.testing.assert_array_equal(counts, exact.counts[sample])
    np.testing.assert_array_equal(scores, exact.scores[sample].astype(np.float32))


@pytest.mark.parametrize(
    ("found", "before", "number", "round", "then"),
    [
        (0.999, None, 0, 0, "write"),  # reached
        (0.5, None, 0, 0, "refine"),
        (0.61, 0.5, 1, 0, "refine"),  # a fifth of what was missing, and more
        (0.59, 0.5, 1, 0, "widen"),
        (0.8, 0.5, 2, 0, "widen"),  # two passes are all
        (0.5, None, 0, 1, "refine"),
        (0.8, 0.5, 2, 1, "widen"),
        (0.8, 0.5, 2, 2, "widen"),
        (0.8, 0.5, 2, 3, "write"),  # and so are three widenings
    ],
)
def test_what_comes_next_depends_on_what_was_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    found: float, before: float | None, number: int, round: int, then: str,
) -> None:  # fmt: skip
    job = place_of(tmp_path, 450, recall=0.9).job
    monkeypatch.setattr(certifying, "verdict", lambda *_: {"value": before})
    hits = np.zeros(1000)
    hits[: int(found * 1000)] = 1
    recall = recall_of(hits, np.ones(1000))
    assert certifying._next(job, Step("measure", round, number), recall) == then
