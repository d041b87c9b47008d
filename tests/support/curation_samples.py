"""A data set with planted duplicates, wrong captions and an outlier, and what it is made of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

import helip
from support.data_samples import write_shard

ROWS = 400
TOPICS = 40
WIDTH = 24
DUPLICATES = ((3, 203), (203, 303), (10, 310))  # the first two make one group of three
SAME_CAPTION = (20, 220)  # at unlike pictures
ALIKE_IN_IMAGE = (30, 330)
OUTLIER = 50
UNREADABLE = 60
WRONG = tuple(range(100, 140))


@dataclass(frozen=True)
class Planted:
    """Arrays of unit rows, and what lies on disk of them."""

    image: np.ndarray
    text: np.ndarray
    data: helip.data.Dataset
    store: helip.EmbeddingStore
    pairs: helip.HardPairs


def sides(*, wrong: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Pictures and captions about 40 topics; those of ``WRONG`` exchange their captions."""
    random = np.random.default_rng(5)
    topic = random.integers(0, TOPICS, ROWS)
    found = []
    for _ in range(2):
        centres = random.normal(size=(TOPICS, WIDTH))
        found.append(centres[topic] + 0.45 * random.normal(size=(ROWS, WIDTH)))
    image, text = found
    for kept, double in DUPLICATES:
        image[double] = image[kept] + 0.01 * random.normal(size=WIDTH)
        text[double] = text[kept] + 0.01 * random.normal(size=WIDTH)
    one, other = ALIKE_IN_IMAGE  # its captions have a cosine of 0.97, between product and bound
    image[other] = image[one]
    along = text[one] / np.linalg.norm(text[one])
    across = random.normal(size=WIDTH)
    across[-1] = 0
    across -= across @ along * along
    text[other] = 0.97 * along + np.sqrt(1 - 0.97**2) * across / np.linalg.norm(across)
    one, other = SAME_CAPTION
    text[other] = text[one]
    image[other] = -image[one]
    # A direction of its own on either side.
    for side in (image, text):
        side[:, -1] = 0
        side[OUTLIER] = 0
        side[OUTLIER, -1] = 1
    image[UNREADABLE] = text[UNREADABLE] = 0
    if wrong:
        rows = np.array(WRONG)
        text[rows] = text[np.roll(rows, 7)]
    return image.astype(np.float32), text.astype(np.float32)


def planted(folder: Path, *, wrong: bool = True) -> Planted:
    write_shard(folder / "d.tar", range(ROWS))
    data = helip.open_dataset(folder / "d.tar", progress=False)
    image, text = sides(wrong=wrong)
    with helip.EmbeddingStore.create(folder / "s", image_dim=WIDTH, text_dim=WIDTH) as writer:
        writer.append(list(data.keys), image, text)
    store = helip.EmbeddingStore.open(folder / "s")
    pairs = helip.mine(store, k=10, device="cpu", progress=False, out=folder / "p")
    return Planted(image, text, data, store, pairs)


def cosines(rows: np.ndarray) -> np.ndarray:
    """float64 [N, N], NaN with a row of zeros."""
    rows = rows.astype(np.float64)
    norms = np.sqrt((rows**2).sum(axis=1, keepdims=True))
    with np.errstate(invalid="ignore"):
        unit = rows / norms
    return unit @ unit.T
