"""N_k and its skewness, against plain sums."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import helip
from helip.reporting import hard_pair_counts, plot_hubness
from helip.reporting.plots import hubness
from support.plot_samples import mined, part_of, words_of

pytest.importorskip("matplotlib")


def test_counts_are_those_of_a_loop_in_any_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs, _ = mined(tmp_path)
    expected = np.zeros(len(pairs), dtype=np.int64)
    for pool in pairs:
        for row in pool.ids:
            expected[row] += 1
    np.testing.assert_array_equal(hard_pair_counts(pairs), expected)
    monkeypatch.setattr(hubness, "_PLACES", 24)
    np.testing.assert_array_equal(hard_pair_counts(pairs), expected)
    assert expected.sum() == pairs.counts.sum()


def test_a_part_of_a_table_is_refused(tmp_path: Path) -> None:
    part = part_of(tmp_path)
    for draw in (hard_pair_counts, plot_hubness):
        with pytest.raises(helip.UnsupportedError, match="a part is not a table; merge the parts"):
            draw(part)


def test_skewness_is_the_third_standardised_moment(tmp_path: Path) -> None:
    stats = pytest.importorskip("scipy.stats")
    counts = np.random.default_rng(0).geometric(0.2, 1000)
    assert hubness.skewness(counts) == pytest.approx(stats.skew(counts))
    assert hubness.skewness(np.full(5, 3)) == 0.0
    pairs, _ = mined(tmp_path)
    told = words_of(plot_hubness(pairs))
    found = hubness.skewness(hard_pair_counts(pairs))
    assert f"this table, skewness {found:.2f}" in told
    assert found == pytest.approx(pairs.stats()["hubness"]["skewness"], rel=1e-6)


def test_rows_without_an_embedding_are_left_out(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    image, text = (random.normal(size=(50, 6)).astype(np.float32) for _ in range(2))
    image[:20] = 0
    with helip.EmbeddingStore.create(tmp_path / "s", image_dim=6, text_dim=6) as writer:
        writer.append([str(row) for row in range(50)], image, text)
    pairs = helip.mine(tmp_path / "s", k=4, device="cpu", progress=False)
    assert "all 50 rows" in words_of(plot_hubness(pairs))
    words = words_of(plot_hubness(pairs.with_store(tmp_path / "s")))
    assert "30 rows, without 20 unreadable ones" in words and "never chosen 0.0 %" in words


def test_a_tenth_of_few_rows_is_one_row_at_least() -> None:
    ids = np.array([[1], [0], [1], [1]], dtype=np.int32)
    table = helip.HardPairs.from_arrays(ids, np.ones((4, 1), dtype=np.float32))
    assert "25 % of the rows fill 75 % of the places" in words_of(plot_hubness(table))


def test_hubs_fill_most_places() -> None:
    ids = np.tile(np.array([0, 1], dtype=np.int32), (1000, 1))
    ids[:2] = [[2, 3], [2, 3]]
    table = helip.HardPairs.from_arrays(ids, np.ones((1000, 2), dtype=np.float32))
    told = words_of(plot_hubness(table))
    assert "10 % of the rows fill 100 % of the places" in told
    assert "never chosen 99.6 %; most chosen 998 times" in told
