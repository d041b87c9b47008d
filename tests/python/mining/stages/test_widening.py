"""Widening: the rows that need it go to one cluster more, and nothing is done twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import helip
from helip.mining.recall import mean_needed, recall_of
from helip.mining.stages.job import open_job
from helip.mining.stages.steps import Step
from helip.mining.stages.unit_files import open_unit_file
from helip.mining.stages.widening import widest_margin
from support.mining_reference import mine_plainly
from support.stage_samples import CALL, IMAGE, TEXT, small_units, write_store

pytestmark = pytest.mark.usefixtures(small_units.__name__)

EASY, HARD = 1500, 500


@pytest.fixture
def store(tmp_path: Path) -> helip.EmbeddingStore:
    """Three quarters in tight groups, and a quarter spread out around one place."""
    random = np.random.default_rng(3)
    centres = random.normal(size=(60, IMAGE + TEXT))
    easy = centres[random.integers(0, 60, EASY)] + 0.1 * random.normal(size=(EASY, IMAGE + TEXT))
    hard = 1.5 * random.normal(size=IMAGE + TEXT) + random.normal(size=(HARD, IMAGE + TEXT))
    return write_store(tmp_path / "s", np.concatenate([easy, hard]).astype(np.float32))


def test_where_one_region_is_hard_its_rows_are_widened_alone(
    store: helip.EmbeddingStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("helip.mining.stages.certifying._PASSES", 0)
    options: dict[str, Any] = {
        **CALL, "cluster_rows": 125, "overlap": 1, "recall": 0.96, "image_max": 1.0,
        "text_max": 1.0,
    }  # fmt: skip
    table = helip.mine(store, out=tmp_path / "p", keep_stages=True, **options)
    told = table.report["stages"]
    assert told["reached"] and told["recalls"][0] < 0.96
    job = open_job(tmp_path / "p")
    rows = np.concatenate([
        np.array(open_unit_file(Step("route", 1).place(job, unit), job=job.digest)["ids"])
        for unit in range(job.ranges)
    ])  # fmt: skip
    assert len(rows) == told["widened"][0] < 0.4 * (EASY + HARD)
    assert (rows >= EASY).mean() > 0.8
    # Clusters that no row joined are not solved again, and others compare the new rows alone.
    again = [
        open_unit_file(Step("solve", 1).place(job, unit), job=job.digest).notes
        for unit in range(job.clusters)
    ]
    assert sum(notes["joined"] for notes in again) == len(rows)
    assert not all(notes["joined"] for notes in again)
    added = [notes for notes in again if 0 < 4 * notes["joined"] <= notes["rows"]]
    for notes in added:
        pairs = notes["joined"] * (notes["rows"] - notes["joined"])
        assert notes["report"]["pairs"] <= pairs + notes["joined"] * (notes["joined"] + 1) / 2
    # What is told is so for all rows.
    exact = mine_plainly(store.image, store.text, CALL["k"], image_max=1.0, text_max=1.0)
    last = np.float32(exact.scores[:, -1:])
    assert (table.scores >= last).mean() >= table.report["recall"]["low"]


def test_rows_that_join_find_and_are_found_as_if_the_cluster_were_mined(
    store: helip.EmbeddingStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("helip.mining.stages.certifying._PASSES", 0)
    options = {**CALL, "cluster_rows": 125, "overlap": 1, "recall": 0.96, "image_max": 0.97}
    tables = []
    for name, joining in (("a", 4), ("b", 10**6)):  # as it is; each cluster anew
        monkeypatch.setattr("helip.mining.stages.solving.JOINING", joining)
        table = helip.mine(store, out=tmp_path / name, keep_stages=True, **options)
        tables.append(table)
        job = open_job(tmp_path / name)
        files = [
            open_unit_file(Step("solve", 1).place(job, unit), job=job.digest)
            for unit in range(job.clusters)
        ]
        joined = [file.notes for file in files if file.notes["joined"]]
        assert joined and all("drops" in each["report"] for each in joined) == (name == "b")
    for field in ("ids", "scores", "counts"):
        np.testing.assert_array_equal(getattr(tables[0], field), getattr(tables[1], field))
    assert tables[0].report["drops"] == tables[1].report["drops"]
    assert tables[0].report["drops"]["image_duplicate"] > 0


def test_the_margin_leaves_half_of_what_may_be_missed() -> None:
    targets, wanted = 1000, np.full(1000, 10)
    margin = np.arange(targets, dtype=np.float32)
    hits = np.where(margin < 300, 7, 10)  # 90 of 1000 are missed, all at small margins
    widest = widest_margin(margin, hits, wanted, 0.95)
    assert widest is not None
    allowed = 1 - mean_needed(targets, 0.95)
    left = (1 - hits / wanted)[margin > widest].sum() / targets
    assert 0.5 * allowed - 0.001 <= left <= 0.5 * allowed
    # Where no row has a further cluster, none can be widened; nor where nothing is missed.
    assert widest_margin(np.full(targets, np.inf, np.float32), hits, wanted, 0.95) is None
    assert widest_margin(margin, wanted, wanted, 0.95) is None
    # Misses at margins without a further cluster: as many rows as there are.
    margin[200:] = np.inf
    assert widest_margin(margin, hits, wanted, 0.95) == 199


def test_the_mean_that_is_needed_has_the_lower_limit_that_is_wanted() -> None:
    for targets, recall in ((1000, 0.95), (200, 0.9), (5000, 0.99)):
        hits = np.full(targets, 10_000)
        mean = mean_needed(targets, recall)
        assert recall_of(hits * mean, hits).low == pytest.approx(recall, abs=1e-9)
