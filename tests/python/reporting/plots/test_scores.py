"""Scores and similarities of a table, by histogram and by rank."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import helip
from helip.reporting import plot_scores
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


def test_a_part_of_a_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(helip.UnsupportedError, match="a part is not a table; merge the parts"):
        plot_scores(part_of(tmp_path))


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
