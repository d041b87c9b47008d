"""Features of pairs, against plain float64."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from helip.curation.agreement import CROSS_NAMES, NAMES, Neighbourhoods
from helip.curation.options import CurateOptions
from helip.curation.similar_rows import SimilarRows, components
from support.curation_samples import OUTLIER, ROWS, UNREADABLE, cosines, planted

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
