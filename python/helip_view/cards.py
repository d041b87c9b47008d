"""What a card shows: a target beside one of its hard pairs, with all that is known of the two."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from helip import Error, SampleError
from helip.common.text import caption, plain, words_of
from helip.data import captions_of
from helip.evaluation import ModelFeatures
from helip.pairs import unreadable_rows
from helip.reporting import Card as PoolCard
from helip.reporting import Picture, Similarities, Strip, Target, targets_of
from helip_view.thumbnails import SIDE, Thumbnails, reason_of

LONGEST = 600  # letters of a caption
ALT = 120  # letters of a caption that stands for a picture
KEY = 60  # letters of a key
SHOWN = 12  # hard pairs of each pool that is compared
_TARGETS = 64  # whose compared pools are kept
AROUND = 12  # hard pairs on both sides of the one that is shown
_GIVEN = ("target's picture", "hard pair's picture")


@dataclass(frozen=True)
class Side:
    """One of the two rows of a card."""

    row: int
    key: str
    picture: Picture
    captions: Sequence[Any]
    """As markup, with the words marked that both sides have."""
    missing: str = ""
    """Why there is no caption."""
    degree: int = 0
    """Of how many targets it is a hard pair."""


@dataclass(frozen=True)
class Place:
    """A hard pair in the strip of the pool."""

    rank: int  # from 1
    row: int
    score: float


@dataclass(frozen=True)
class Square:
    """Cross-scores of two pictures and two captions, by each model."""

    models: Sequence[str]
    cells: Sequence[Sequence[Sequence[float]]]
    """[2][2][models]: of the picture of the target and of the hard pair, with the caption of the
    target and of the hard pair."""

    @property
    def rows(self) -> list[tuple[str, Sequence[Sequence[float]]]]:
        """Each picture in words, with its cells."""
        return list(zip(_GIVEN, self.cells, strict=True))


@dataclass(frozen=True)
class Card:
    """A target and one of its hard pairs; ``hard`` is None where the target has none."""

    target: Side
    hard: Side | None
    rank: int | None
    """In the pool of the target, from 1; None for a pair that is not in it."""
    count: int
    """Hard pairs of the target."""
    strip: Sequence[Place] = ()
    before: int = 0
    """Hard pairs of the pool before those of the strip."""
    bars: Sequence[tuple[str, float]] = ()
    note: str = ""
    """Why the pair would not be mined."""
    square: Square | None = None
    unreadable: str = ""
    """Why a target without a hard pair is no outlier: a reason that it could not be read for."""


class Cards:
    """Makes cards of a table, its data, and the store and the models that there are.

    Reads a few rows for a card, whatever the number of targets. Safe to use from threads.
    """

    def __init__(
        self,
        pairs: Any,
        data: Any,
        thumbnails: Thumbnails,
        degrees: np.ndarray,
        similarities: Similarities | None,
        models: Sequence[ModelFeatures],
    ) -> None:
        self.pairs, self._data, self._thumbnails = pairs, data, thumbnails
        self._degrees, self._similarities, self._models = degrees, similarities, models
        self._unreadable = set(unreadable_rows(pairs).tolist())

    def card(self, target: int, rank: int | None = 1, hard: int | None = None) -> Card:
        """The card of a target with its hard pair of ``rank`` (from 1), or with row ``hard``."""
        count = int(self.pairs.counts[target])
        pool = np.asarray(self.pairs.ids[target, :count])
        scores = np.asarray(self.pairs.scores[target, :count])
        if hard is None:
            rank = min(max(rank or 1, 1), count) if count else None
            hard = int(pool[rank - 1]) if rank is not None else None
        else:
            found = np.flatnonzero(pool == hard)
            rank = int(found[0]) + 1 if len(found) else None
        texts = [self._captions(target), ([], "") if hard is None else self._captions(hard)]
        common = _common(texts[0][0], texts[1][0])
        own = self._side(target, texts[0], common)
        unreadable = ""
        if hard is None:
            deleted = target in self._unreadable and "no embedding"
            unreadable = own.picture.missing or own.missing or deleted or ""
        first = max(0, (rank or 1) - 1 - AROUND)
        shown = range(first, min(count, (rank or 1) + AROUND))
        return Card(
            own,
            None if hard is None else self._side(hard, texts[1], common),
            rank,
            count,
            [Place(i + 1, int(pool[i]), float(scores[i])) for i in shown],
            first,
            *self._figures(target, hard, None if rank is None else float(scores[rank - 1])),
            self._square(target, hard),
            unreadable,
        )

    def picture(self, row: int) -> Picture:
        """A picture that is shown at once, or why it is missing."""
        found = self.promised(row)
        try:
            self._thumbnails.get(row)
        except Error as error:
            return Picture(found.alt, reason_of(error))
        return replace(found, lazy=False)

    def promised(self, row: int) -> Picture:
        """A picture that is made when a browser asks for it."""
        text = self.text(row)
        alt = f"Row {row}" if text is None else f"Row {row}: {plain(text, ALT)}"
        return Picture(alt, "", SIDE, SIDE, self.address(row), lazy=True)

    def address(self, row: int) -> str:
        """Where the picture of a row is; of another viewer it is another address."""
        return f"/picture/{row}?of={self._thumbnails.mark}"

    def key(self, row: int) -> str:
        """The key of a row, its end where it is long."""
        key = str(self._data.keys[row])
        return key if len(key) <= KEY else f"…{key[1 - KEY :]}"

    def text(self, row: int) -> str | None:
        """The first caption of a row; None where there is none."""
        return next(iter(self._captions(row)[0]), None)

    def _side(self, row: int, texts: tuple[Sequence[str], str], common: set[str]) -> Side:
        captions = [caption(text, LONGEST, common) for text in texts[0]]
        degree = int(self._degrees[row])
        return Side(row, self.key(row), self.picture(row), captions, texts[1], degree)

    def _captions(self, row: int) -> tuple[Sequence[str], str]:
        try:
            return captions_of(self._data, row), ""
        except SampleError as error:
            return (), reason_of(error)

    def _figures(
        self, target: int, hard: int | None, score: float | None
    ) -> tuple[list[tuple[str, float]], str]:
        if hard is None:
            return [], ""
        if self._similarities is None:
            return ([] if score is None else [("score", score)]), ""
        found = self._similarities.cards(target, [hard], [score or 0.0])[0]
        return found.figures(), found.note

    def _square(self, target: int, hard: int | None) -> Square | None:
        if hard is None or not self._models:
            return None
        squares = [model.square(target, hard) for model in self._models]
        cells = [[[float(s[i, j]) for s in squares] for j in range(2)] for i in range(2)]
        return Square([model.name for model in self._models], cells)


def _common(one: Sequence[str], other: Sequence[str]) -> set[str]:
    """Words that a caption of each has."""
    both = [set().union(*map(words_of, texts)) if texts else set() for texts in (one, other)]
    return both[0] & both[1]


class ComparedPools:
    """Pools by the table, by image alone, by text alone, and by the towers of each model.

    A target is compared with all rows of the store, by all cores; the last ones are kept. Safe to
    use from threads.
    """

    def __init__(
        self, pairs: Any, similarities: Similarities | None, models: Sequence[ModelFeatures]
    ) -> None:
        self._pairs, self._similarities, self._models = pairs, similarities, models
        self._kept = functools.lru_cache(_TARGETS)(self._made)

    def of(self, target: int) -> Target:
        """The target with its pools."""
        return self._kept(target)

    def _made(self, target: int) -> Target:
        made = targets_of(self._pairs, [target], SHOWN, self._similarities, None)[0]
        return replace(made, strips=[*made.strips, *(self._towers(m, made) for m in self._models)])

    def _towers(self, model: ModelFeatures, target: Target) -> Strip:
        rows, scores = model.nearest(target.row, SHOWN)
        if self._similarities is not None:
            cards = self._similarities.cards(target.row, rows, scores)
        else:
            cards = [PoolCard(row, score) for row, score in zip(rows, scores, strict=True)]
        return Strip(model.name, "other", "picture with captions, by its own towers", cards)


class ShownPictures:
    """Pictures and captions as the templates of the report ask for them, by addresses."""

    shown = captioned = True

    def __init__(self, cards: Cards) -> None:
        self._cards = cards
        self.failures: Counter[str] = Counter()

    def picture(self, row: int) -> Picture:
        """Its place on this server, which makes it when a browser asks, or says why it cannot."""
        return self._cards.promised(row)

    def caption(self, row: int) -> str | None:
        """The first caption, None where there is none."""
        return self._cards.text(row)

    def name(self, row: int) -> str:
        """The key of a row."""
        return self._cards.key(row)
