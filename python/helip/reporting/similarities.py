"""What the page shows of a table: chosen targets, each beside its pools and those of the baselines,
and similarities of pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from helip import _core
from helip.common.errors import InvalidArgumentError, MismatchError
from helip.common.machine import core_threads
from helip.common.unit_rows import unit_rows

BLOCK_BYTES = 64 << 20
BINS = 40

_BLOCK = 1 << 21  # rows at a time: some arrays of 8 bytes each

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Card:
    """One hard pair of a target as it is shown."""

    row: int
    score: float  # of the pool that it belongs to
    image: float | None = None  # cosine similarities, when there is a store
    text: float | None = None
    product: float | None = None  # 0 where a rule of mining masks the pair
    note: str = ""  # why the product is 0

    def figures(self) -> list[tuple[str, float]]:
        """What stands under the picture."""
        if self.image is None or self.text is None or self.product is None:
            return [("score", self.score)]
        return [("image", self.image), ("text", self.text), ("product", self.product)]


@dataclass(frozen=True)
class Scores:
    """Score distribution of a table."""

    first: npt.NDArray[np.float32]  # [N] the best score of each target, NaN for outliers
    edges: Floats  # [BINS + 1]
    all_counts: npt.NDArray[np.int64]  # [BINS]
    first_counts: npt.NDArray[np.int64]  # [BINS]


def read_scores(pairs: Any) -> Scores:
    """Read a table's scores block by block: the first of each target, and histograms."""
    n, k = len(pairs), max(int(pairs.k), 1)
    step = max(1, BLOCK_BYTES // (4 * k))
    first = np.full(n, np.nan, dtype=np.float32)
    low, high = np.inf, -np.inf
    for start in range(0, n, step):
        scores, real = _block(pairs, start, start + step)
        if real.any():
            low, high = min(low, float(scores[real].min())), max(high, float(scores[real].max()))
            first[start : start + step] = np.where(real[:, 0], scores[:, 0], np.nan)
    if low > high:
        low, high = 0.0, 1.0
    # Outward to multiples of 0.05, so that the axis has round ends.
    edges = np.linspace(
        np.floor(low * 20) / 20, max(np.ceil(high * 20), np.floor(low * 20) + 1) / 20, BINS + 1
    )
    counts = np.zeros(BINS, dtype=np.int64)
    for start in range(0, n, step):
        scores, real = _block(pairs, start, start + step)
        counts += np.histogram(scores[real], edges)[0]
    return Scores(first, edges, counts, np.histogram(first[~np.isnan(first)], edges)[0])


def choose_targets(first: npt.NDArray[np.float32], count: int, seed: int) -> list[int]:
    """``count`` targets spread over the quantiles of their best score, best first.

    Targets are sorted by score and cut into ``count`` equal strata; one of each is drawn.
    """
    order = np.argsort(-first, kind="stable")
    order = order[: int(np.sum(~np.isnan(first)))]
    generator = np.random.default_rng(seed)
    strata = np.array_split(order, min(count, len(order))) if len(order) else []
    return [int(generator.choice(stratum)) for stratum in strata]


class Similarities:
    """Cosine similarities of rows of a store, and pools by a single modality.

    ``options`` are those of mining: ``image_max``, ``text_max``, ``signed``.
    """

    def __init__(self, store: Any, options: Mapping[str, Any]):
        self._store = store
        self.image_max = float(options.get("image_max", 0.98))
        self.text_max = float(options.get("text_max", 0.98))
        self._signed = bool(options.get("signed", False))

    def cards(self, target: int, rows: Sequence[int], scores: Sequence[float]) -> list[Card]:
        """Cards of pairs with both cosines, in float64 from the stored values."""
        image, text = (
            unit_rows(matrix.double()).numpy() for matrix in self._store.rows([target, *rows])
        )
        return [
            self._card(row, score, float(image[0] @ image[place]), float(text[0] @ text[place]))
            for place, (row, score) in enumerate(zip(rows, scores, strict=True), start=1)
        ]

    def _card(self, row: int, score: float, image: float, text: float) -> Card:
        note = ""
        if image > self.image_max or text > self.text_max:
            note = "near duplicate"
        elif not self._signed and (image < 0 or text < 0):
            note = "unlike in image" if image < 0 else "unlike in text"
        return Card(row, score, image, text, 0.0 if note else image * text, note)

    def pools(
        self, targets: Sequence[int], modality: str, count: int
    ) -> dict[int, tuple[list[int], list[float]]]:
        """Brute-force pools of ``targets`` by ``"image"`` or ``"text"`` similarity alone.

        The same rules as in mining: not itself, no near duplicates of that modality, positive,
        by similarity descending, then row ascending. In float64, in blocks of bounded memory. The
        first call reads the store once more, for the norms of its rows.
        """
        limit = {"image": self.image_max, "text": self.text_max}[modality]
        return {target: self._nearest(target, modality, limit, count) for target in targets}

    def _nearest(
        self, target: int, modality: str, limit: float, count: int
    ) -> tuple[list[int], list[float]]:
        cosines, n = self._all, len(self._store)
        rows, best = np.empty(0, dtype=np.int64), np.empty(0)
        for start in range(0, n, _BLOCK):
            ids = np.arange(start, min(start + _BLOCK, n), dtype=np.int64)
            scores = cosines.of(f"{modality}_{modality}", target, ids[None])[0]
            scores[~(scores <= limit)] = 0  # also NaN, of rows of zeros
            if start <= target < start + len(ids):
                scores[target - start] = 0
            rows, best = _greatest(
                np.concatenate([rows, ids]), np.concatenate([best, scores]), count
            )
        return rows.tolist(), best.tolist()

    @cached_property
    def _all(self) -> _core.PairCosines:
        image, text = self._store.matrices
        return _core.PairCosines(image, text, core_threads())


def _greatest(rows: Rows, scores: Floats, count: int) -> tuple[Rows, Floats]:
    """The ``count`` greatest scores above zero, ties by row."""
    least = 0.0
    if len(scores) > count:
        least = float(np.partition(scores, len(scores) - count)[len(scores) - count])
    some = np.flatnonzero((scores >= least) & (scores > 0))
    some = some[np.lexsort((rows[some], -scores[some]))][:count]
    return rows[some], scores[some]


def pool_of(pairs: Any, target: int, count: int) -> tuple[list[int], list[float]]:
    """(rows, scores) of the first hard pairs of a target."""
    real = min(count, int(pairs.counts[target]))
    return pairs.ids[target, :real].tolist(), pairs.scores[target, :real].tolist()


@dataclass(frozen=True)
class Strip:
    """A row of hard pairs under one heading."""

    name: str
    kind: str  # "product", "image", "text" or "other"
    ranked_by: str
    cards: Sequence[Card]


@dataclass(frozen=True)
class Target:
    """A target and its pools; ``positions`` is the place of each row in the target's own pool."""

    row: int
    count: int
    positions: Mapping[int, int]
    strips: Sequence[Strip]


_OWN = {
    "both": ("HPM", "product", "image × text"),
    "image": ("Image only", "image", "image similarity"),
    "text": ("Text only", "text", "text similarity"),
}


def targets_of(
    pairs: Any,
    rows: Sequence[int],
    hard: int,
    similarities: Similarities | None,
    baselines: Mapping[str, Any] | None,
) -> list[Target]:
    """The targets in ``rows`` with the first ``hard`` pairs of each pool."""
    own = _OWN.get(pairs.options.get("modality", "both"), ("Mined", "product", "score"))
    pools: list[tuple[tuple[str, str, str], Mapping[int, tuple[list[int], list[float]]]]]
    pools = [(own, {row: pool_of(pairs, row, hard) for row in rows})]
    if baselines is not None:
        for name, table in baselines.items():
            if len(table) != len(pairs):
                raise MismatchError(
                    f"baseline {name!r} has {len(table):,} targets and the table {len(pairs):,}; "
                    "mine both from one store"
                )
            kind = str(table.options.get("modality", "other"))
            label = (name, kind if kind in ("image", "text") else "other", "")
            pools.append((label, {row: pool_of(table, row, hard) for row in rows}))
    elif similarities is not None and rows:
        for kind in ("image", "text"):
            label = (f"{kind.capitalize()} only", kind, f"{kind} similarity")
            pools.append((label, similarities.pools(rows, kind, hard)))
    found = []
    for row in rows:
        count = int(pairs.counts[row])
        positions = {r: place for place, r in enumerate(pairs.ids[row, :count].tolist(), start=1)}
        strips = [Strip(*label, _cards(similarities, row, *pool[row])) for label, pool in pools]
        found.append(Target(row, count, positions, strips))
    return found


def _cards(
    similarities: Similarities | None, target: int, rows: list[int], scores: list[float]
) -> list[Card]:
    if similarities is None:
        return [Card(row, score) for row, score in zip(rows, scores, strict=True)]
    return similarities.cards(target, rows, scores)


def check_rows(rows: Sequence[int], n: int) -> list[int]:
    """Rows that the caller asked for, checked."""
    for row in rows:
        if not 0 <= int(row) < n:
            raise InvalidArgumentError(f"row {row} is not in the table; give rows in 0 … {n - 1}")
    return [int(row) for row in dict.fromkeys(rows)]


def _block(pairs: Any, start: int, stop: int) -> tuple[Any, Any]:
    scores = np.asarray(pairs.scores[start:stop])
    counts = np.asarray(pairs.counts[start:stop]).reshape(-1, 1)
    return scores, np.arange(scores.shape[1]) < counts
