"""Routing: each row lies, by its values, with the clusters that are closest to it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import helip
from helip.mining.options import HostOptions, MineOptions, StageOptions
from helip.mining.stages.centres import make_centres
from helip.mining.stages.job import Workplace, begin_mining
from helip.mining.stages.routing import route
from helip.mining.stages.steps import CENTRES, Step
from helip.mining.stages.unit_files import UnitFile, open_unit_file
from support.stage_samples import IMAGE, clustered_rows, small_units, write_store

pytestmark = pytest.mark.usefixtures(small_units.__name__)
ROWS = 1300


@pytest.fixture
def place(tmp_path: Path) -> Workplace:
    write_store(tmp_path / "s", clustered_rows(ROWS), "int8")
    with helip.EmbeddingStore.append_to(tmp_path / "s") as writer:
        writer.delete([600, 601])
    store = helip.EmbeddingStore.open(tmp_path / "s")
    options = MineOptions(k=5, method="partition")
    job = begin_mining(store, options, StageOptions(cluster_rows=300), str(tmp_path / "p"))
    place = Workplace(job, store, HostOptions())
    (job.folder / "centres").mkdir()
    make_centres(place, CENTRES, 0)
    return place


def routed(place: Workplace, round: int) -> list[UnitFile]:
    step = Step("route", round, margin=np.inf if round else None)
    (place.job.folder / step.name).mkdir()
    for unit in range(place.job.ranges):
        route(place, step, unit)
    return [
        open_unit_file(step.place(place.job, unit), job=place.job.digest)
        for unit in range(place.job.ranges)
    ]


def order_of_centres(place: Workplace) -> np.ndarray:
    """[rows, clusters]: by the sum of both cosines, in float64."""
    centres = open_unit_file(CENTRES.place(place.job, 0), job=place.job.digest)["centres"]
    image, text = (x.double().numpy() for x in place.store.rows(slice(None)))
    sides = [x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-30) for x in (image, text)]
    return np.argsort(
        -np.concatenate(sides, axis=1) @ np.array(centres).T.astype(np.float64), axis=1
    )


def test_rows_go_to_the_closest_clusters_and_later_to_the_next(place: Workplace) -> None:
    wanted = order_of_centres(place)
    gone = [3, 600, 601, ROWS - 1]
    first, second = routed(place, 0), routed(place, 1)
    for files, ranks in ((first, slice(0, 2)), (second, slice(2, 3))):
        assigned = np.concatenate([file["assigned"] for file in files])
        assert (assigned[gone] == -1).all()
        kept = np.setdiff1d(np.arange(ROWS), gone)
        np.testing.assert_array_equal(assigned[kept], wanted[kept, ranks])


def test_a_cluster_has_its_rows_in_order_with_their_values(place: Workplace) -> None:
    store, seen = place.store, []
    for unit, file in enumerate(routed(place, 0)):
        begin, _ = place.job.rows_of(unit)
        for cluster in range(place.job.clusters):
            part = slice(*file["offsets"][cluster : cluster + 2])
            ids = file["ids"][part]
            own = (file["assigned"][:] == cluster).any(axis=1)
            np.testing.assert_array_equal(ids, begin + np.flatnonzero(own))
            np.testing.assert_array_equal(file["image"][part], store.image[ids])
            np.testing.assert_array_equal(file["text_scale"][part], store.text_scale[ids])
            seen += ids.tolist()
    assert len(seen) == 2 * (ROWS - 4)
    assert store.image.shape[1] == IMAGE
