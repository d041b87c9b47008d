"""best_captions against every pair of captions in float64."""

from __future__ import annotations

import numpy as np
import pytest

import helip
from helip.common.errors import InvalidArgumentError, MismatchError
from helip.data.dataset import Dataset

PICTURES, DIM = 60, 6


class Several(Dataset):
    def __init__(self, extra: int = 0) -> None:
        self._extra = extra

    @property
    def keys(self):
        return [f"k{row}" for row in range(PICTURES)]

    def _read_image(self, row):
        raise AssertionError("nothing is decoded")

    def _read_captions(self, row):
        return [f"{row} {place} {self._extra}" for place in range(1 + row % 3)]


@pytest.fixture
def mined():
    random = np.random.default_rng(3)
    data = helip.open_dataset(Several(), row_per="caption")
    shown = random.random((PICTURES, DIM), dtype=np.float32)
    image = shown[data.picture_rows]
    text = random.random((len(data), DIM), dtype=np.float32)
    whole = {"k": 24, "image_max": 1.0, "text_max": 1.0, "progress": False}
    pairs = helip.mine(image=image, text=text, **whole)
    return data, pairs, image, text


def expected(data, image, text, k):
    """For each picture its k best others, by brute force."""
    x, y = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in
            (image.astype(np.float64), text.astype(np.float64)))  # fmt: skip
    scores = (x @ x.T) * (y @ y.T)
    best = np.full((PICTURES, PICTURES), -np.inf)
    rows = data.picture_rows
    np.maximum.at(best, (rows[:, None], rows[None]), scores)
    np.fill_diagonal(best, -np.inf)
    order = np.argsort(-best, axis=1)[:, :k]
    return order, np.take_along_axis(best, order, axis=1)


@pytest.mark.parametrize("k", [None, 3])
def test_the_best_pair_of_captions_counts(mined, k):
    data, pairs, image, text = mined
    table = helip.pairs.best_captions(pairs, data, k=k)
    ids, scores = expected(data, image, text, k or 8)
    assert table.k == (k or 8)
    np.testing.assert_allclose(table.scores, scores, atol=1e-6)
    assert (table.ids == ids).mean() > 0.999
    assert table.data_fingerprint == Several().fingerprint
    assert table.options["captions"] == "best"
    # The loader draws any caption of a picture, by this table.
    helip.HardPairLoader(Several(), table, batch_size=12, workers=0)


def test_what_does_not_fit_is_refused(mined):
    data, pairs, image, text = mined
    with pytest.raises(
        InvalidArgumentError, match=r"k of pictures is 9, .* up to 3 captions.* mine with k=27"
    ):
        helip.pairs.best_captions(pairs, data, k=9)
    with pytest.raises(InvalidArgumentError, match="open it with row_per='caption', whole"):
        helip.pairs.best_captions(pairs, Several())
    few = np.eye(4, dtype=np.float32)
    with pytest.raises(MismatchError, match="numbers of rows"):
        helip.pairs.best_captions(helip.mine(image=few, text=few, k=2, progress=False), data)
    short = helip.mine(image=image, text=text, k=2, image_max=1.0, text_max=1.0, progress=False)
    with pytest.raises(InvalidArgumentError, match=r"k of pictures is 1, .* mine with k=3"):
        helip.pairs.best_captions(short, data)
