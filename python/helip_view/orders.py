"""Orders of targets: the ways into a table. Each is computed once, for all of its targets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from helip.common import ArrayCache
from helip.evaluation import ModelFeatures
from helip.reporting import hard_pair_counts, read_scores
from helip.store import PairCosines

Floats = np.ndarray
DEPTH = 32  # hard pairs of a target that an order looks at
_BLOCK = 1 << 16  # targets at a time


@dataclass(frozen=True)
class Way:
    """A way in: its name in URLs, and what it says of itself."""

    name: str
    title: str
    lead: str
    value: str
    """What the number of a target is; empty for none."""
    needs: str = ""
    """``store``, ``model``, ``models`` or ``verdicts``: without it the way is not offered."""


WAYS = (
    Way("hardest", "Hardest", "Targets by the score of their best hard pair.", "best score"),
    Way("hubs", "Hubs", "Rows that are a hard pair of the most targets.", "times chosen"),
    Way(
        "short", "Short pools", "Targets with fewest hard pairs; 0 is an outlier or unreadable.",
        "hard pairs",
    ),
    Way(
        "duplicates", "Near duplicates",
        f"Pairs that are most alike in picture or caption, of the first {DEPTH} of each pool.",
        "greater similarity", "store",
    ),
    Way(
        "margin", "Violated margin",
        "Pairs whose cross-score exceeds the target's own by most, by the last model.",
        "cross − own", "model",
    ),
    Way(
        "mismatched", "Mismatched",
        "Targets whose own caption scores below the captions of their hard pairs.",
        "share above own", "model",
    ),
    Way(
        "change", "Changed by tuning",
        "Pairs whose cross-score moved most against the target's own, from one model to the other.",
        "change", "models",
    ),
    Way(
        "next", "What to judge next",
        "Pairs of which what was learnt from verdicts is least sure.",
        "chance to be taken out", "verdicts",
    ),
    Way("random", "Random", "Targets in an order drawn by the seed.", ""),
    Way("rows", "By row", "Targets in the order of the data.", ""),
)  # fmt: skip
BY_NAME = {way.name: way for way in WAYS}


@dataclass(frozen=True)
class Order:
    """Targets in an order, with the number that made it and the pair to open at."""

    targets: np.ndarray  # int32 or int64 [m]
    values: np.ndarray | None = None  # float32 [m]
    ranks: np.ndarray | None = None  # int16 [m], from 0

    def __len__(self) -> int:
        return len(self.targets)

    def rank(self, place: int) -> int:
        """The pair to open at, from 0."""
        return 0 if self.ranks is None else int(self.ranks[place])

    def taken(self, places: np.ndarray) -> Order:
        """The order of some of its places, ascending int64 [n]."""
        return Order(
            self.targets[places],
            None if self.values is None else self.values[places],
            None if self.ranks is None else self.ranks[places],
        )


class Orders:
    """The orders of a table: made when they are first asked for, kept by ``cache``.

    ``models`` are none, one, or the one before tuning and the one after.
    """

    def __init__(
        self,
        pairs: Any,
        store: Any,
        models: list[ModelFeatures],
        cache: ArrayCache,
        *,
        with_verdicts: bool = False,
    ) -> None:
        """``with_verdicts``: whether verdicts are taken."""
        self._pairs, self._store, self._models, self._cache = pairs, store, models, cache
        self._known: dict[str, Order] = {}
        self.kinds = {"": True, "store": store is not None, "model": bool(models)}
        self.kinds["models"] = len(models) > 1
        self.kinds["verdicts"] = with_verdicts and store is not None

    @property
    def ways(self) -> list[Way]:
        """Those that there are for this table."""
        return [way for way in WAYS if self.kinds[way.needs]]

    @property
    def first(self) -> np.ndarray:
        """float32 [N]: the best score of each target, NaN without a hard pair."""
        return self._arrays("scores", lambda: {"first": read_scores(self._pairs).first})["first"]

    @property
    def degrees(self) -> np.ndarray:
        """int32 [N]: of how many targets each row is a hard pair."""
        return self._arrays(
            "degrees", lambda: {"degrees": hard_pair_counts(self._pairs).astype(np.int32)}
        )["degrees"]

    def shades(self, by: str) -> np.ndarray:
        """uint8 [N]: 0 for a target without a hard pair, or a row that nobody chose; else 1 … 255
        from the least to the greatest, of ``score`` or (by its logarithm) ``hubness``."""

        def make() -> dict[str, np.ndarray]:
            values = np.array(self.first if by == "score" else np.log1p(self.degrees))
            values = np.where(values > 0, values, np.nan)
            known = values[~np.isnan(values)]
            low, high = np.quantile(known, [0.01, 0.99]) if len(known) else (0.0, 1.0)
            scaled = np.clip((values - low) / max(high - low, 1e-9), 0, 1) * 254 + 1
            return {"shades": np.nan_to_num(scaled, nan=0.0).astype(np.uint8)}

        return self._arrays(f"shades-{by}", make)["shades"]

    def order(self, name: str, seed: int = 0) -> Order:
        """The order of a way by its name; ``seed`` is that of ``random``."""
        if name == "random":
            return Order(np.random.default_rng(seed).permutation(len(self._pairs)).astype(np.int32))
        if name == "rows":
            return Order(np.arange(len(self._pairs), dtype=np.int32))
        if name not in self._known:
            makers: Mapping[str, Callable[[], dict[str, np.ndarray]]] = {
                "hardest": lambda: _falling(self.first),
                "hubs": lambda: _falling(self.degrees.astype(np.float32), above=0),
                "short": self._short,
                "duplicates": self._duplicates,
                "margin": lambda: self._by_gap(lambda gaps, _: gaps[-1]),
                "mismatched": self._mismatched,
                "change": lambda: self._by_gap(lambda gaps, _: np.abs(gaps[-1] - gaps[0])),
            }
            found = self._arrays(f"order-{name}", makers[name])
            self._known[name] = Order(found["targets"], found["values"], found.get("ranks"))
        return self._known[name]

    def prepare(self, done: Callable[[str], None] = lambda _: None) -> None:
        """Make all that are not there yet; ``done`` is told each title."""
        for way in self.ways:
            if way.name not in ("random", "rows", "next"):  # these cost nothing, or change
                self.order(way.name)
                done(way.title)

    def _arrays(
        self, name: str, make: Callable[[], Mapping[str, np.ndarray]]
    ) -> dict[str, np.ndarray]:
        return self._cache.arrays(name, make)

    def _short(self) -> dict[str, np.ndarray]:
        counts = np.asarray(self._pairs.counts)
        targets = np.argsort(counts, kind="stable")
        targets = targets[counts[targets] < self._pairs.k].astype(np.int32)
        return {"targets": targets, "values": counts[targets].astype(np.float32)}

    def _duplicates(self) -> dict[str, np.ndarray]:
        cosines = PairCosines(self._store)
        best, ranks = _blank(self._pairs)
        for start, ids, _ in _first_pairs(self._pairs):
            sides = (cosines.of(each, start, ids) for each in ("image_image", "text_text"))
            _take(np.fmax(*sides).astype(np.float32), start, best, ranks)
        return _falling(best, ranks)

    def _by_gap(
        self, measure: Callable[[list[Floats], np.ndarray], Floats]
    ) -> dict[str, np.ndarray]:
        best, ranks = _blank(self._pairs)
        for start, ids, real in _first_pairs(self._pairs):
            gaps = [model.gaps(start, ids) for model in self._models]
            _take(np.where(real, measure(gaps, ids), np.nan), start, best, ranks)
        return _falling(best, ranks)

    def _mismatched(self) -> dict[str, np.ndarray]:
        share, ranks = _blank(self._pairs)
        gap = np.full(len(self._pairs), np.nan, dtype=np.float32)
        for start, ids, real in _first_pairs(self._pairs):
            forth = self._models[-1].forth(start, ids)
            known = real & ~np.isnan(forth)
            some = known.any(axis=1)
            _take(np.where(known, forth, np.nan), start, gap, ranks)
            above = ((forth > 0) & known).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
            share[start : start + len(ids)] = np.where(some, above, np.nan)
        targets = np.lexsort((-gap, -share))
        targets = targets[share[targets] > 0].astype(np.int32)
        return {"targets": targets, "values": share[targets], "ranks": ranks[targets]}


def _first_pairs(pairs: Any) -> Any:
    """(first target, ids int64 [b, depth], which of them are real [b, depth])."""
    depth = min(pairs.k, DEPTH)
    for start in range(0, len(pairs), _BLOCK):
        ids = np.asarray(pairs.ids[start : start + _BLOCK, :depth], dtype=np.int64)
        yield start, ids, ids >= 0


def _blank(pairs: Any) -> tuple[np.ndarray, np.ndarray]:
    return np.full(len(pairs), np.nan, dtype=np.float32), np.zeros(len(pairs), dtype=np.int16)


def _take(values: np.ndarray, start: int, best: np.ndarray, ranks: np.ndarray) -> None:
    """The greatest of each target [b, depth] and its rank; NaN where none is known."""
    if not values.shape[1]:
        return
    known = np.where(np.isnan(values), -np.inf, values)
    place = known.argmax(axis=1)
    found = np.take_along_axis(known, place[:, None], 1)[:, 0]
    best[start : start + len(values)] = np.where(np.isinf(found), np.nan, found)
    ranks[start : start + len(values)] = place


def _falling(
    values: np.ndarray, ranks: np.ndarray | None = None, above: float | None = None
) -> dict[str, np.ndarray]:
    """Targets with a number, by it, greatest first; ties by row."""
    order = np.argsort(-values, kind="stable")  # NaN comes last
    count = int((~np.isnan(values)).sum() if above is None else (values > above).sum())
    order = order[:count].astype(np.int32 if len(values) < 2**31 else np.int64)
    found: dict[str, np.ndarray] = {"targets": order}
    found["values"] = np.asarray(values[order], dtype=np.float32)
    return found if ranks is None else {**found, "ranks": ranks[order]}
