"""How well the picture and the caption of a pair agree, by what stands at rows like either.

A feature of a pair is a number of its picture i and its caption t. For each row, N_I are the
nearest rows by image and N_T those by text; without a model the features are the mean and the
greatest similarity of caption t to the captions of N_I(i), the same of picture i to the pictures of
N_T(t), the best products of both similarities on either side, and how close N_I(i) and N_T(t) are.
With a model they have its score of the pair, and the best scores of picture i with the captions of
N_I(i) and of caption t with the pictures of N_T(t), as well.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from helip.curation.similar_rows import Cosines, Floats, Ints, SimilarRows
from helip.pairs.blocks import row_blocks

NAMES = (
    "captions of like pictures, mean", "captions of like pictures, best",
    "captions of like pictures, best product", "pictures of like captions, mean",
    "pictures of like captions, best", "pictures of like captions, best product",
    "like pictures, mean", "like pictures, best", "like captions, mean", "like captions, best",
)  # fmt: skip
CROSS_NAMES = (
    "own cross-score", "cross-scores of like pictures, best", "cross-scores of like captions, best",
)  # fmt: skip


class Neighbourhoods:
    """The nearest rows of each row by either side, and what does not depend on who is paired.

    Keeps 16 bytes a row and neighbour.
    """

    def __init__(self, rows: SimilarRows, cross: Cosines | None) -> None:
        self._rows, self._cross = rows, cross
        self.by_image, self.by_text = rows.nearest("image"), rows.nearest("text")
        self.image = _all(rows.cosines, "image_image", self.by_image)
        self.text = _all(rows.cosines, "text_text", self.by_text)
        self._best_cross = (
            None if cross is None
            else (
                _best(_all(cross, "image_text", self.by_image)),
                _best(_all(cross, "text_image", self.by_text)),
            )
        )  # fmt: skip

    @property
    def names(self) -> tuple[str, ...]:
        """Of the features."""
        return NAMES if self._cross is None else NAMES + CROSS_NAMES

    def pictures_of_like_captions(self) -> Floats:
        """float32 [N, k]: image cosines to the nearest rows by text."""
        return _all(self._rows.cosines, "image_image", self.by_text)

    def features(self, caption_of: Ints) -> Floats:
        """float32 [N, features] of pictures 0 … N - 1 with the captions ``caption_of`` [N], a
        permutation; NaN where a row has no neighbour to compare with."""
        picture_of = np.empty_like(caption_of)
        picture_of[caption_of] = np.arange(len(caption_of))
        captions = _all(self._rows.cosines, "text_text", self.by_image, picture_of)[caption_of]
        pictures = _all(self._rows.cosines, "image_image", self.by_text, caption_of)
        # What stands at the pair's own rows tells nothing.
        captions[self.by_image == caption_of[:, None]] = np.nan
        pictures[self.by_text[caption_of] == np.arange(len(caption_of))[:, None]] = np.nan
        text = self.text[caption_of]
        found = [
            _mean(captions), _best(captions), _best(captions * self.image),
            _mean(pictures), _best(pictures), _best(pictures * text),
            _mean(self.image), _best(self.image), _mean(text), _best(text),
        ]  # fmt: skip
        if self._cross is not None and self._best_cross is not None:
            found.append(_all(self._cross, "image_text", caption_of[:, None])[:, 0])
            found += [self._best_cross[0], self._best_cross[1][caption_of]]
        return np.stack(found, axis=1)


def _all(
    cosines: Cosines, sides: str, ids: npt.NDArray[np.integer[Any]], of: Ints | None = None
) -> Floats:
    """float32 [N, k]: of the targets 0 … N - 1 with ``ids`` [N, k], or with ``ids[of]``."""
    order = np.arange(len(ids), dtype=np.int64) if of is None else of
    found = np.empty(ids.shape, dtype=np.float32)
    for block in row_blocks(*ids.shape):
        found[block] = cosines(sides, block.start, np.asarray(ids[order[block]], dtype=np.int64))
    return found


def _best(values: Floats) -> Floats:
    """The greatest of each row; NaN where none is known."""
    best = np.where(np.isnan(values), -np.inf, values).max(axis=1)
    return np.where(np.isinf(best), np.nan, best).astype(np.float32)


def _mean(values: Floats) -> Floats:
    known = ~np.isnan(values)
    count = known.sum(axis=1)
    total = np.where(known, values, 0).sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)
