"""What a learnt veto knows of a pair: the same of (a, b) and of (b, a)."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from helip import InvalidArgumentError, MismatchError, SampleError
from helip.common.errors import needed
from helip.data import captions_of
from helip.store import EmbeddingStore, PairCosines

Floats = NDArray[np.float64]

#: Of every table with a store, of a store of one model beside it (cross), of captions.
OWN = ("image_similarity", "text_similarity", "product", "best_rank", "other_rank")
CROSS = ("cross_larger", "cross_smaller", "cross_gain")
CAPTIONS = ("caption_overlap",)

_PLACES = 1 << 22  # of a block: some arrays of 8 bytes each


class PairFeatures:
    """Features of pairs of one table, float64.

    ``image_similarity``, ``text_similarity`` and their ``product`` by the store that was mined;
    ``best_rank`` and ``other_rank``, log2(1 + rank) of the two places at which either row stands in
    the other's pool, k + 1 for none. With ``by``, c(i, j) the cosine of image i and caption j:
    ``cross_larger`` and ``cross_smaller`` of c(i, j) and c(j, i), and ``cross_gain``, their sum
    without c(i, i) and c(j, j). With the data, ``caption_overlap``: the words that both captions
    have, as a share of those that either has.

    Args:
        table: with ids, k and fingerprint.
        store: the one that was mined.
        by: a store of the same rows by one model, or its path.
        data: an open data set of the same rows.
    """

    def __init__(
        self,
        table: Any,
        store: EmbeddingStore | None,
        *,
        by: EmbeddingStore | str | os.PathLike[str] | None = None,
        data: Any = None,
    ) -> None:
        if store is None:
            raise InvalidArgumentError(
                "the table knows no store, and a learnt veto needs the similarities of its pairs; "
                "open it with the store that was mined: HardPairs.open(path, store=…)"
            )
        self._ids, self._k, self.rows = table.ids, int(table.k), len(table)
        self._own = PairCosines(store)
        self._by = None if by is None else _cosines_by(by, store)
        self._word_matrix = None if data is None else _word_matrix_of(data, self.rows)
        self.names = (
            *OWN,
            *(CROSS if self._by is not None else ()),
            *(CAPTIONS if self._word_matrix is not None else ()),
        )

    def of_pairs(self, pairs: NDArray[np.int64]) -> Floats:
        """[n, features] of the pairs [n, 2]; NaN where a row is zero or deleted."""
        found = np.empty((len(pairs), len(self.names)))
        for place, (target, hard) in enumerate(pairs.tolist()):
            ids = np.array([[hard]], dtype=np.int64)
            found[place] = self.of_block(target, ids)[0, 0]
        return found

    def of_table(
        self, parts: Iterable[range] | None = None
    ) -> Iterator[tuple[int, NDArray[np.int64], Floats]]:
        """(first target, ids [b, k], features [b, k, features]) of all pools, in blocks; or of the
        targets in ``parts``."""
        step = max(_PLACES // (self._k * len(self.names)), 1)
        for part in [range(self.rows)] if parts is None else parts:
            for first in range(part.start, part.stop, step):
                ids = np.asarray(self._ids[first : min(first + step, part.stop)], dtype=np.int64)
                yield first, ids, self.of_block(first, ids)

    def of_block(self, first: int, ids: NDArray[np.int64]) -> Floats:
        """[b, k, features] of the targets from ``first`` on with ids [b, k]; NaN for an id -1."""
        targets = np.broadcast_to(np.arange(first, first + len(ids))[:, None], ids.shape)
        image = self._own.of("image_image", first, ids)
        text = self._own.of("text_text", first, ids)
        ranks = self._ranks(targets.ravel(), ids.ravel()).reshape(*ids.shape, 2)
        found = [image, text, image * text, ranks.min(axis=2), ranks.max(axis=2)]
        if self._by is not None:
            cosines, own = self._by
            forth = cosines.of("image_text", first, ids)
            back = cosines.of("text_image", first, ids)
            gain = forth + back - own[targets] - own[ids]
            found += [np.maximum(forth, back), np.minimum(forth, back), gain]
        if self._word_matrix is not None:
            found.append(self._overlap(targets.ravel(), ids.ravel()).reshape(ids.shape))
        features = np.stack(found, axis=2)
        features[ids < 0] = np.nan
        return features

    def _ranks(self, targets: NDArray[np.int64], others: NDArray[np.int64]) -> Floats:
        """[n, 2]: log2(1 + rank) of each row in the pool of the other."""
        found = np.empty((len(targets), 2))
        step = max(_PLACES // self._k, 1)
        for first in range(0, len(targets), step):
            part = slice(first, first + step)
            for side, (row, other) in enumerate(((targets, others), (others, targets))):
                there = self._ids[row[part]] == other[part, None]
                rank = np.where(there.any(axis=1), there.argmax(axis=1), self._k) + 1
                found[part, side] = np.log2(1.0 + rank)
        return found

    def _overlap(self, targets: NDArray[np.int64], others: NDArray[np.int64]) -> Floats:
        found = np.empty(len(targets))
        words = self._word_matrix
        assert words is not None
        number = np.asarray(words.sum(axis=1)).ravel()
        step = _PLACES >> 4
        for first in range(0, len(targets), step):
            one, other = targets[first : first + step], others[first : first + step]
            both = np.asarray(words[one].multiply(words[other]).sum(axis=1)).ravel()
            either = number[one] + number[other] - both
            found[first : first + step] = both / np.maximum(either, 1)
        return found


def _cosines_by(
    by: EmbeddingStore | str | os.PathLike[str], store: EmbeddingStore
) -> tuple[PairCosines, Floats]:
    """The cosines of a store of one model, of the rows of ``store``, and c(i, i) [rows]."""
    by = by if isinstance(by, EmbeddingStore) else EmbeddingStore.open(by)
    rows = len(store)
    if len(by) != rows or by.image_dim != by.text_dim:
        raise MismatchError(
            f"by has {len(by):,} rows, images of {by.image_dim} numbers and captions of "
            f"{by.text_dim}, and the table {rows:,} rows; give a store of the same rows whose "
            "images and captions are of one model, such as CLIP"
        )
    theirs, ours = by.keys_fingerprint, store.keys_fingerprint
    if theirs and ours and theirs != ours:
        raise MismatchError(
            "by has rows of other keys, or in another order, than the store that was mined; give a "
            "store of the same rows"
        )
    cosines = PairCosines(by)
    ids = np.arange(rows, dtype=np.int64)[:, None]
    step = 1 << 20
    own = [cosines.of("image_text", first, ids[first : first + step])[:, 0]
           for first in range(0, rows, step)]  # fmt: skip
    return cosines, np.concatenate([np.empty(0), *own])


def _word_matrix_of(data: Any, rows: int) -> Any:
    """Which words the captions of each row have: a sparse matrix of 0 and 1, [rows, words]."""
    if len(data) != rows:
        raise MismatchError(
            f"row counts differ: table {rows:,}, data set {len(data):,}; give the data that the "
            "table was made of"
        )
    with needed("the overlap of captions needs scikit-learn", "'helip[view]'"):
        from sklearn.feature_extraction.text import CountVectorizer

    def text(row: int) -> str:
        try:
            return " ".join(captions_of(data, row))
        except SampleError:
            return ""

    # One word that no caption has, since a vocabulary must not be empty.
    vectorizer = CountVectorizer(binary=True, token_pattern=r"\w+", dtype=np.int32)
    vectorizer.fit([*map(text, range(rows)), "\u2060word"])
    return vectorizer.transform(map(text, range(rows))).tocsr()
