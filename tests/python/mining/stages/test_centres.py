"""Centres: close to their rows, and evened out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from helip.common.unit_rows import unit_rows
from helip.mining.stages.centres import MOST_SHARE, evened_out, spherical_kmeans
from helip.mining.stages.rows import closest, one_torch_thread


def rows_around(sizes: list[int], noise: float) -> torch.Tensor:
    random = np.random.default_rng(0)
    centres = random.normal(size=(len(sizes), 16))
    values = np.repeat(centres, sizes, axis=0)
    return unit_rows(torch.from_numpy(values + noise * random.normal(size=values.shape)).float())


def shares(rows: torch.Tensor, centres: torch.Tensor, overlap: int) -> np.ndarray:
    counts = np.bincount(closest(rows, centres, overlap)[0].reshape(-1), minlength=len(centres))
    return counts * len(centres) / (len(rows) * overlap)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    with one_torch_thread():
        yield


def test_rows_of_a_group_share_a_centre() -> None:
    rows = rows_around([50, 50], 0.05)
    centres = spherical_kmeans(rows, 2, np.random.default_rng(0))
    groups = closest(rows, centres, 1)[0][:, 0].reshape(2, 50)
    assert (groups == groups[:, :1]).all()
    assert groups[0, 0] != groups[1, 0]
    torch.testing.assert_close(centres.norm(dim=1), torch.ones(2))


@pytest.mark.parametrize("overlap", [1, 2])
def test_no_cluster_takes_more_than_twice_its_share(overlap: int) -> None:
    rows = rows_around([2000, 60, 60, 60], 0.3)
    centres = spherical_kmeans(rows, 8, np.random.default_rng(0))
    evened, largest = evened_out(rows, centres, overlap)
    assert shares(rows, evened, overlap).max() == pytest.approx(largest)
    assert largest <= MOST_SHARE
    assert len(evened) == 8


def test_rows_that_are_all_equal_are_not_split_for_ever() -> None:
    rows = torch.cat([rows_around([1], 0.1).repeat(900, 1), rows_around([0, 50, 50], 0.4)])
    centres = spherical_kmeans(rows, 5, np.random.default_rng(0))
    _, largest = evened_out(rows, centres, 1)
    assert largest > MOST_SHARE


def test_no_rows_give_centres_that_nobody_is_closer_to() -> None:
    centres = spherical_kmeans(torch.zeros(0, 4), 3, np.random.default_rng(0))
    assert evened_out(torch.zeros(0, 4), centres, 2)[0].tolist() == [[0.0] * 4] * 3


def test_equal_products_go_to_the_first_centre() -> None:
    centres = torch.tensor([[0.0, 1.0], [1.0, 0.0], [1.0, 0.0]])
    assert closest(torch.tensor([[1.0, 0.0]]), centres, 3)[0].tolist() == [[1, 2, 0]]
