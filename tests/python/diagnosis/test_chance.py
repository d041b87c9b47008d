"""What happens by chance, against counting all batches and against draws."""

from __future__ import annotations

import itertools
from math import comb

import numpy as np
import pytest

from helip.diagnosis.chance import members_by_chance, none_by_chance, top_share_by_chance


def test_a_batch_holds_what_counting_all_batches_of_a_row_says() -> None:
    rows, batch, window = 9, 4, {1, 2, 5}
    held = [len(window & set(others)) for others in itertools.combinations(range(1, rows), 3)]
    assert members_by_chance(3, batch, rows) == pytest.approx(np.mean(held))
    assert none_by_chance(3, batch, rows) == pytest.approx(np.mean(np.array(held) == 0))


def test_figures_of_the_results_page() -> None:
    assert members_by_chance(50, 64, 8832) == pytest.approx(0.357, abs=1e-3)
    assert members_by_chance(50, 256, 8832) == pytest.approx(1.444, abs=1e-3)
    assert none_by_chance(50, 256, 30_761) == pytest.approx(comb(30_710, 255) / comb(30_760, 255))


def test_a_batch_of_all_rows_holds_the_whole_window() -> None:
    for batch in (20, 50):
        assert members_by_chance(5, batch, 20) == 5
        assert none_by_chance(5, batch, 20) == 0
    assert members_by_chance(5, 2, 1) == 0
    assert none_by_chance(0, 10, 20) == 1


@pytest.mark.parametrize("mean", [0.004, 0.5, 10.0, 50.0])
def test_the_top_rows_of_random_places_hold_what_a_draw_shows(mean: float) -> None:
    rows = 200_000
    places = np.random.default_rng(0).integers(0, rows, round(mean * rows))
    degrees = np.sort(np.bincount(places, minlength=rows))[::-1]
    drawn = degrees[: rows // 100].sum() / degrees.sum()
    assert top_share_by_chance(mean) == pytest.approx(drawn, rel=0.02)


def test_without_places_nothing_is_held() -> None:
    assert top_share_by_chance(0.0) == 0.0
