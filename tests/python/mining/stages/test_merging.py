"""Merging: one pool of several, in the order of the core."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import helip
from helip.mining.options import HostOptions, MineOptions, StageOptions
from helip.mining.stages.job import Workplace, begin_mining
from helip.mining.stages.merging import united
from support.stage_samples import small_units

pytestmark = pytest.mark.usefixtures(small_units.__name__)


def place_of(tmp_path: Path, values: np.ndarray, **options: int) -> Workplace:
    with helip.EmbeddingStore.create(tmp_path / "s", image_dim=2, text_dim=2) as writer:
        writer.append([str(row) for row in range(len(values))], values, values)
    store = helip.EmbeddingStore.open(tmp_path / "s")
    rules = MineOptions(method="partition", recall=0.5, **options)
    job = begin_mining(store, rules, StageOptions(cluster_rows=64), str(tmp_path / "p"))
    return Workplace(job, store, HostOptions(threads=1))


def rows_at(*angles: float) -> np.ndarray:
    """Rows of length 1, then many that are far from them."""
    far = np.linspace(2.0, 2.5, 80)
    return np.stack([np.cos([*angles, *far]), np.sin([*angles, *far])], axis=1).astype(np.float32)


def test_repeats_go_and_the_best_come_first(tmp_path: Path) -> None:
    place = place_of(tmp_path, rows_at(0, 0.3, 0.4, 0.5, 0.6), k=3)
    ids = np.array([[2, 4, -1, 1, 2, 3], [-1] * 6])
    scores = np.float32([[0.8, 0.6, 0, 0.9, 0.8, 0.7], [0] * 6])
    pools = united(place, np.array([0, 1]), ids, scores)
    assert pools.ids.tolist() == [[1, 2, 3], [-1, -1, -1]]
    assert pools.scores[0].tolist() == pytest.approx([0.9, 0.8, 0.7])
    assert pools.counts.tolist() == [3, 0]


@pytest.mark.parametrize("k", [1, 2, 3])
def test_scores_that_are_equal_in_float32_are_told_apart_in_float64(tmp_path: Path, k: int) -> None:
    # The second lies closer, by less than float32 shows in a score.
    place = place_of(tmp_path, rows_at(0, 2e-4, 1e-4, 0.4), k=k, image_max=1.0, text_max=1.0)
    exact = helip.mine(place.store, k=k, method="exact", image_max=1.0, text_max=1.0,
                       device="cpu", progress=False)  # fmt: skip
    score = np.float32(1.0)
    ids, scores = np.array([[1, 3, 2]]), np.float32([[score, 0.7, score]])
    pools = united(place, np.array([0]), ids, scores)
    assert exact.ids[0, 0] == 2
    assert pools.ids[0].tolist() == exact.ids[0].tolist()
    assert pools.scores[0].tolist() == exact.scores[0].tolist()
