"""Scores, similarities and N_k of a table, against plain sums."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import helip
from helip.reporting import hard_pair_counts, plot_hubness, plot_scores
from helip.reporting.plots import table_plots
from support.plot_samples import mined, part_of, words_of

pytest.importorskip("matplotlib")


def test_medians_are_those_of_the_table(tmp_path: Path) -> None:
    pairs, _ = mined(tmp_path)
    told = words_of(plot_scores(pairs))
    pools = [pool for pool in pairs if len(pool.ids)]
    for name, value in {
        "image": np.concatenate([pool.image_similarity for pool in pools]),
        "text": np.concatenate([pool.text_similarity for pool in pools]),
        "product (score)": np.concatenate([pool.scores for pool in pools]),
    }.items():
        assert f"{name}, median {np.median(value):.2f}" in told
    median = np.nanmedian(np.where(pairs.ids >= 0, pairs.scores, np.nan), axis=0)
    (line,) = plot_scores(pairs).axes[1].lines
    np.testing.assert_allclose(line.get_ydata(), median, rtol=1e-6)


def test_a_sample_is_said_and_depends_on_the_seed(tmp_path: Path) -> None:
    pairs, _ = mined(tmp_path)
    known = int((pairs.counts > 0).sum())
    assert f"all {known} targets with a hard pair" in words_of(plot_scores(pairs))
    few = [plot_scores(pairs, sample=20, seed=seed) for seed in (0, 0, 1)]
    assert f"a random sample of 20 of {known} targets" in words_of(few[0])
    same, again, other = (figure.axes[1].lines[0].get_ydata() for figure in few)
    assert np.array_equal(same, again) and not np.array_equal(same, other)


def test_a_table_without_store_shows_scores_alone(tmp_path: Path) -> None:
    mined(tmp_path)
    told = words_of(plot_scores(helip.HardPairs.open(tmp_path / "pairs")))
    assert "product (score)" in told and "image, median" not in told


def test_scores_of_one_modality_are_no_products(tmp_path: Path) -> None:
    pairs, _ = mined(tmp_path)
    text = helip.mine(pairs.store, k=8, modality="text", progress=False)
    for table in (text, text.with_store(pairs.store), text.join(pairs, progress=False)):
        told = words_of(plot_scores(table))
        assert "product" not in told and "\nscore, median" in told
    assert "score (product)" in words_of(plot_scores(pairs)).split("\n")


def test_an_empty_table_is_refused() -> None:
    empty = helip.HardPairs.from_arrays(np.full((3, 2), -1, np.int32), np.zeros((3, 2), np.float32))
    with pytest.raises(helip.InvalidArgumentError, match="no hard pair"):
        plot_scores(empty)
    with pytest.raises(helip.InvalidArgumentError, match="sample is 0, must be at least 1"):
        plot_scores(empty, sample=0)


def test_counts_are_those_of_a_loop_in_any_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs, _ = mined(tmp_path)
    expected = np.zeros(len(pairs), dtype=np.int64)
    for pool in pairs:
        for row in pool.ids:
            expected[row] += 1
    np.testing.assert_array_equal(hard_pair_counts(pairs), expected)
    monkeypatch.setattr(table_plots, "_PLACES", 24)
    np.testing.assert_array_equal(hard_pair_counts(pairs), expected)
    assert expected.sum() == pairs.counts.sum()


def test_a_part_of_a_table_is_refused(tmp_path: Path) -> None:
    part = part_of(tmp_path)
    for draw in (hard_pair_counts, plot_hubness, plot_scores):
        with pytest.raises(helip.UnsupportedError, match="a part is not a table; merge the parts"):
            draw(part)


def test_skewness_is_the_third_standardised_moment(tmp_path: Path) -> None:
    stats = pytest.importorskip("scipy.stats")
    counts = np.random.default_rng(0).geometric(0.2, 1000)
    assert table_plots.skewness(counts) == pytest.approx(stats.skew(counts))
    assert table_plots.skewness(np.full(5, 3)) == 0.0
    pairs, _ = mined(tmp_path)
    told = words_of(plot_hubness(pairs))
    found = table_plots.skewness(hard_pair_counts(pairs))
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
