"""Refining: neighbours of neighbours in no cluster and no pool of their target."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import helip
from helip.common.errors import CancelledError
from helip.mining.options import HostOptions
from helip.mining.stages.job import Workplace, open_job
from helip.mining.stages.range_pools import pools_of
from helip.mining.stages.refining import Lookup
from helip.mining.stages.steps import Step
from support.stage_samples import CALL, clustered_rows, small_units, write_store

pytestmark = pytest.mark.usefixtures(small_units.__name__)


def test_candidates_are_what_a_plain_search_through_the_files_finds(tmp_path: Path) -> None:
    store = write_store(tmp_path / "s", clustered_rows(1400))
    with pytest.raises(CancelledError):
        helip.mine(
            store, out=tmp_path / "p", on_progress=lambda stage, *_: stage != "measure", **CALL
        )
    job = open_job(tmp_path / "p")
    merged = Step("merge", 0)
    ids = np.concatenate([pools_of(job, merged, unit)["ids"] for unit in range(job.ranges)])
    look = Lookup(Workplace(job, store, HostOptions()), merged, 0)
    clusters = look.clusters(np.arange(1400))
    targets = np.arange(0, 1400, 7)
    found = look.candidates(targets, ids[targets])
    assert found.size
    for target, candidates in zip(targets, found, strict=True):
        pool = ids[target][ids[target] >= 0]
        wanted = {
            int(other)
            for row in pool
            for other in ids[row]
            if other >= 0 and other != target and other not in pool
            and not set(clusters[other]) & set(clusters[target])
        }  # fmt: skip
        assert sorted(wanted) == [row for row in candidates.tolist() if row >= 0]


def test_a_row_that_is_none_has_no_neighbours_and_no_clusters(tmp_path: Path) -> None:
    store = write_store(tmp_path / "s", clustered_rows(1400))
    with pytest.raises(CancelledError):
        helip.mine(
            store, out=tmp_path / "p", on_progress=lambda stage, *_: stage != "measure", **CALL
        )
    place = Workplace(open_job(tmp_path / "p"), store, HostOptions())
    look = Lookup(place, Step("merge", 0), 0)
    for found in (look.neighbours(np.array([-1, 3])), look.clusters(np.array([-1, 3]))):
        assert (found == -1).all()  # row 3 is one of zeros
