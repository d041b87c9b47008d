"""The pools of a target by other rules than those of the table, next to each other."""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from helip.evaluation import ModelFeatures
from helip.reporting import Card, Picture, Similarities, Strip, Target, targets_of
from helip_view.cards import Cards

SHOWN = 12  # hard pairs of each pool
_KEPT = 64  # targets


class ComparedPools:
    """Pools by the table, by image alone, by text alone, and by the towers of each model.

    A target is compared with all rows of the store, by all cores; the last ones are kept. Safe to
    use from threads.
    """

    def __init__(
        self, pairs: Any, similarities: Similarities | None, models: Sequence[ModelFeatures]
    ) -> None:
        self._pairs, self._similarities, self._models = pairs, similarities, models
        self._kept: OrderedDict[int, Target] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, target: int) -> Target:
        """The target with its pools."""
        with self._lock:
            if (known := self._kept.get(target)) is not None:
                return known
        made = targets_of(self._pairs, [target], SHOWN, self._similarities, None)[0]
        made = replace(made, strips=[*made.strips, *(self._towers(m, made) for m in self._models)])
        with self._lock:
            self._kept[target] = made
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return made

    def _towers(self, model: ModelFeatures, target: Target) -> Strip:
        rows, scores = model.nearest(target.row, SHOWN)
        if self._similarities is not None:
            cards = self._similarities.cards(target.row, rows, scores)
        else:
            cards = [Card(row, score) for row, score in zip(rows, scores, strict=True)]
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
