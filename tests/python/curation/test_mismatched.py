"""Probabilities of wrong captions, against mixtures whose densities are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import helip
from helip.curation.mismatched import (
    CROSS_NAMES,
    NAMES,
    Neighbourhoods,
    discriminant,
    exchange,
    expected,
    rising,
    wrong_probability,
)
from helip.curation.options import CurateOptions
from helip.curation.similar_rows import SimilarRows, components
from support.curation_samples import (
    OUTLIER,
    ROWS,
    UNREADABLE,
    WIDTH,
    cosines,
    planted,
    sides,
)

pytestmark = pytest.mark.usefixtures("one_thread")


def plain(
    image: np.ndarray, text: np.ndarray, cross: np.ndarray, pictures: int, caption: int, k: int
) -> list[float]:
    """The features of one picture with one caption, as the module states them."""

    def nearest(side: np.ndarray, row: int) -> list[int]:
        order = sorted((-value, j) for j, value in enumerate(side[row]) if j != row and value > 0)
        return [j for _, j in order[:k]]

    like_pictures, like_captions = nearest(image, pictures), nearest(text, caption)
    captions = [(text[caption, j], image[pictures, j]) for j in like_pictures if j != caption]
    shown = [(image[pictures, j], text[caption, j]) for j in like_captions if j != pictures]
    found = []
    for pairs in (captions, shown):
        values = [a for a, _ in pairs]
        found += [np.mean(values), max(values), max(a * b for a, b in pairs)]
    for side, row, ids in ((image, pictures, like_pictures), (text, caption, like_captions)):
        values = [side[row, j] for j in ids]
        found += [np.mean(values), max(values)]
    found.append(cross[pictures, caption])
    found.append(max(cross[pictures, j] for j in like_pictures))
    found.append(max(cross[j, caption] for j in like_captions))
    return found


def test_features_are_those_of_their_definition(tmp_path: Path) -> None:
    sample = planted(tmp_path)
    rows = SimilarRows(sample.store, CurateOptions(neighbours=6, threads=1), progress=False)
    cross = np.random.default_rng(0).uniform(-1, 1, (ROWS, ROWS))

    def scores(sides: str, first: int, ids: np.ndarray) -> np.ndarray:
        targets = np.arange(first, first + len(ids))[:, None]
        return cross[targets, ids] if sides == "image_text" else cross[ids, targets]

    near = Neighbourhoods(rows, scores)
    caption_of = np.random.default_rng(1).permutation(ROWS)
    found = near.features(caption_of)
    assert found.shape == (ROWS, len(NAMES) + len(CROSS_NAMES))
    image, text = cosines(sample.image), cosines(sample.text)
    for row in (0, 3, 17, 203, 310, 399):
        if {row, int(caption_of[row])} & {OUTLIER, UNREADABLE}:
            continue
        expected = plain(image, text, cross, row, int(caption_of[row]), 6)
        assert found[row] == pytest.approx(expected, abs=1e-5)
    own = Neighbourhoods(rows, None).features(np.arange(ROWS))
    assert own.shape == (ROWS, len(NAMES))
    # The outlier is orthogonal to all others, so that it has no neighbours.
    assert np.flatnonzero(np.isnan(own).any(axis=1)).tolist() == [OUTLIER, UNREADABLE]


def test_components_are_named_by_their_smallest_row() -> None:
    one, other = np.array([5, 4, 9, 1]), np.array([4, 3, 8, 7])
    assert components(10, one, other).tolist() == [0, 1, 2, 3, 3, 3, 6, 1, 8, 8]
    chain = np.random.default_rng(0).permutation(1000)
    assert (components(1000, chain[:-1], chain[1:]) == 0).all()


@pytest.mark.parametrize("share", [0.0, 0.1, 0.4])
def test_the_share_and_the_probability_of_known_normals_are_found(share: float) -> None:
    random = np.random.default_rng(0)
    count = 20_000
    wrong = np.arange(count) < share * count
    scores = random.normal(size=count) + np.where(wrong, 0.0, 3.0)
    found, rate = wrong_probability(scores, random.normal(size=count))
    # Of right ones a few lie among the lowest: 0.0005 of N(3, 1) below -0.67, over 0.25.
    assert rate == pytest.approx(share, abs=0.02)
    null, right = np.exp(-(scores**2) / 2), np.exp(-((scores - 3) ** 2) / 2)
    expected = share * null / (share * null + (1 - share) * right)
    assert np.abs(found - expected).mean() < 0.02
    assert (np.diff(found[np.argsort(scores)]) <= 1e-12).all(), "falls as pairs agree better"


def test_rows_that_are_all_exchanged_are_all_wrong() -> None:
    random = np.random.default_rng(1)
    found, rate = wrong_probability(random.normal(size=5000), random.normal(size=5000))
    assert rate == pytest.approx(1, abs=0.06)
    assert (found >= 0.5).mean() > 0.99


def test_no_caption_stays_with_its_picture_and_unreadable_rows_keep_theirs() -> None:
    readable = np.arange(50) % 7 != 0
    caption_of = exchange(readable, 3)
    assert np.array_equal(np.sort(caption_of), np.arange(50))
    assert (caption_of[readable] != np.flatnonzero(readable)).all()
    assert np.array_equal(caption_of[~readable], np.flatnonzero(~readable))
    assert not np.array_equal(caption_of, exchange(readable, 4))


@pytest.mark.parametrize("right", [True, False])
def test_exchanged_captions_tell_what_flags_are_worth(tmp_path: Path, right: bool) -> None:
    """Where captions agree with pictures most are found; of captions at random none is told."""
    image, text = sides(wrong=False)
    if not right:
        text = np.random.default_rng(7).permuted(text, axis=1)
    with helip.EmbeddingStore.create(tmp_path / "s", image_dim=WIDTH, text_dim=WIDTH) as writer:
        writer.append([str(row) for row in range(ROWS)], image, text)
    store = helip.EmbeddingStore.open(tmp_path / "s")
    rows = SimilarRows(store, CurateOptions(), progress=False)
    near, readable = Neighbourhoods(rows, None), rows.readable()
    captions = cosines(text)

    def alike(ids: np.ndarray) -> np.ndarray:
        return captions[np.arange(ROWS), ids]

    found = expected(near, readable, 0.5, alike, seed=0)
    assert found == expected(near, readable, 0.5, alike, seed=0)
    assert found is not None and found.exchanged == 40
    if right:
        assert found.recall > 0.8 and found.precision is not None and found.precision > 0.5
    else:
        assert found.precision is None or found.precision < 0.3
    # Captions that are nearly the row's own are not wrong, so nothing is left to tell by.
    assert expected(near, readable, 0.5, lambda ids: np.ones(ROWS), seed=0) is None


def test_the_discriminant_is_fishers_direction() -> None:
    random = np.random.default_rng(2)
    mixed = random.normal(size=(4000, 2)) @ np.array([[1.0, 0.9], [0.0, 0.3]])
    own, null = mixed[:2000] + np.array([1.0, 0.0]), mixed[2000:]
    constant = np.full((2000, 1), 7.0)
    scores, others, weights = discriminant(np.hstack([own, constant]), np.hstack([null, constant]))
    assert weights[2] == 0
    spread = null.std(axis=0)
    plain = np.linalg.solve(
        np.cov((own / spread).T) + np.cov((null / spread).T), (own.mean(0) - null.mean(0)) / spread
    )
    assert np.allclose(weights[:2], plain, rtol=1e-3)
    assert scores.mean() > others.mean()


def test_rising_values_are_the_closest_by_least_squares() -> None:
    values = np.array([1.0, 3.0, 2.0, 2.0, 5.0, 4.0])
    found = rising(values, np.ones(6))
    assert found.tolist() == pytest.approx([1, 7 / 3, 7 / 3, 7 / 3, 4.5, 4.5])
    assert rising(np.array([2.0, 1.0]), np.array([3, 1])).tolist() == [1.75, 1.75]
