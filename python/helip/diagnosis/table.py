"""What a table of hard pairs tells by itself: short pools, hubs, how steep the scores are, and what
would be so by chance alone; and with its data what stands in each window of ranks: near duplicates,
equal captions, equal pictures.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from helip.common.unit_rows import unit_rows
from helip.data.equal_pictures import equal_pictures
from helip.diagnosis.draws import (
    COMMUNITY,
    Bools,
    Ints,
    RowGroups,
    drawn_places,
    equal,
    rank_windows,
)
from helip.diagnosis.options import DiagnoseOptions
from helip.pairs.unreadable import unreadable_rows

TOP = 0.01  # share of the rows that are called the top
HUB_RANKS = (10, 50)
HUB_TARGETS = 100_000  # whose pools are counted; of smaller tables all
SHOWN_RANKS = (1, 10, 50)
BATCH_SIZES = (64, 256, 1024)
#: From this ratio of the last score of the window to the first one a pool counts as saturated.
SATURATED = 0.9
MEMBERS = 8  # hard pairs of a target that are looked at in each window
NEAR_SCORE = 0.9  # product of both cosines
NEAR_COSINE = 0.95  # of two captions, of two pictures, in the store
STORE_TARGETS = 500  # whose rows of the store are read
_BLOCK = 64  # targets of which they are read together


def members_by_chance(window: float, batch_size: int, rows: int) -> float:
    """How many of a row's ``window`` hard pairs a random batch that holds it holds as well.

    Each other row is in the batch with probability (batch_size - 1) / (rows - 1).
    """
    if rows < 2:
        return 0.0
    return window * (min(batch_size, rows) - 1) / (rows - 1)


def none_by_chance(window: int, batch_size: int, rows: int) -> float:
    """Probability that a random batch that holds a row holds none of its ``window`` hard pairs.

    Hypergeometric: the other batch_size - 1 rows are drawn without replacement.
    """
    others, drawn = rows - 1, min(batch_size, rows) - 1
    if others - drawn < window:
        return 0.0
    return math.prod(1.0 - drawn / (others - place) for place in range(window))


def mean_none_by_chance(members: Ints, batch_size: int, rows: int) -> float:
    """`none_by_chance`, on average over the rows that have hard pairs; 1 where there are none.

    ``members`` int64 [n] are the hard pairs of each row.
    """
    sizes, counts = np.unique(members[members > 0], return_counts=True)
    if not len(sizes):
        return 1.0
    nones = [none_by_chance(size, batch_size, rows) for size in sizes.tolist()]
    return float(np.average(nones, weights=counts))


def coverage(members: Ints, others: int) -> float:
    """Share of the ``others`` places beside each row of a community that its own hard pairs can
    fill: 1 where every row has so many, 0.02 where a fiftieth has and the rest have none."""
    return float(np.minimum(members, others).mean() / others) if len(members) else 0.0


def top_share_by_chance(mean: float) -> float:
    """Share of all places that the top 1 % of rows hold where places fall on rows at random.

    The in-degree of a row is then Poisson distributed with this ``mean``.
    """
    if mean <= 0:
        return 0.0
    degree, probability = 0, math.exp(-mean)
    below, held = 0.0, 0.0  # share of the rows, and of the places, up to this degree
    while below + probability < 1.0 - TOP:
        below += probability
        held += probability * degree
        degree += 1
        probability *= mean / degree
    # Of the rows with the degree at the border as many as fill up the 99 %.
    held += (1.0 - TOP - below) * degree
    return 1.0 - held / mean


@dataclass(frozen=True)
class ByChance:
    """What a random batch holds of a target's window."""

    batch_size: int
    members: float  # of the window, expected
    none: float  # probability that there are none, of a row that has hard pairs


@dataclass(frozen=True)
class Hubs:
    """How unevenly rows are chosen as hard pairs."""

    ranks: int  # the first so many of each pool
    targets: int  # whose pools were counted
    top_share: float  # of the places, that the 1 % of rows hold that are chosen most
    top_share_by_chance: float
    skewness: float  # of the in-degree over all rows
    skewness_by_chance: float


@dataclass(frozen=True)
class TableMeasures:
    """Of a table alone. Medians are those of the sampled targets."""

    rows: int
    k: int
    method: str  # of mining
    window: int  # ranks 1 to this one; at most k
    sampled: int  # targets
    empty: int  # targets of the table without a hard pair; rows without an embedding are none
    short: int  # with fewer than k, those without one among them
    window_members: float  # of a target on average
    coverage: float  # share of a community's places that rows' own hard pairs can fill
    by_chance: tuple[ByChance, ...]
    hubs: tuple[Hubs, ...]
    scores: tuple[tuple[int, float], ...]  # (rank from 1, median score)
    # Median of a target's last score of the window over its first; None where no pool is so long.
    flatness: float | None

    @property
    def saturated(self) -> bool:
        """Whether the last rank of the window scores almost as the first."""
        return self.flatness is not None and self.flatness >= SATURATED


def measure_table(
    pairs: Any,  # HardPairs
    *,
    batch_size: int = 256,
    window: int = 50,
    targets: int = 2000,
    seed: int = 0,
) -> TableMeasures:
    """Measure a table without its data: see docs/when-it-helps.md for each definition.

    Reads the counts of all targets, the pools of 100,000 at most, and the scores of ``targets``.
    """
    DiagnoseOptions(batch_size=batch_size, window=window, targets=targets, seed=seed)  # bounds
    rows, k = len(pairs), int(pairs.k)
    window = min(window, k)
    counts = pool_sizes(pairs)
    sampled = sample_of(rows, targets, seed)
    members = np.minimum(counts, window)
    mean = float(members.mean())
    sizes = sorted({*BATCH_SIZES, batch_size})
    scores, real = _scores(pairs, sampled)
    return TableMeasures(
        rows=rows,
        k=k,
        method=str(pairs.options.get("method", "unknown")),
        window=window,
        sampled=len(sampled),
        empty=int((counts == 0).sum()),
        short=int((counts < k).sum()),
        window_members=mean,
        coverage=coverage(members, COMMUNITY - 1),
        by_chance=tuple(
            ByChance(
                size, members_by_chance(mean, size, rows), mean_none_by_chance(members, size, rows)
            )
            for size in sizes
            if size <= rows or size == batch_size
        ),
        hubs=tuple(_hubs(pairs, ranks, seed) for ranks in HUB_RANKS if ranks <= k),
        scores=tuple(
            (rank, float(np.median(scores[real[:, rank - 1], rank - 1])))
            for rank in sorted({*(r for r in SHOWN_RANKS if r < window), window})
            if real[:, rank - 1].any()
        ),
        flatness=_flatness(scores, real, window),
    )  # fmt: skip


def pool_sizes(pairs: Any) -> Ints:
    """Hard pairs of each target, without the rows that are known to have no embedding: none of
    them can be trained on. Of a table of nothing else, of all."""
    counts = np.asarray(pairs.counts)
    readable: Ints = np.delete(counts, unreadable_rows(pairs))
    return readable if len(readable) else counts


def sample_of(rows: int, count: int, seed: int) -> Ints:
    """``count`` distinct rows in random order, all where there are no more.

    The first m of them are as random a sample as all.
    """
    generator = np.random.default_rng([seed, 0])
    return generator.choice(rows, size=min(count, rows), replace=False, shuffle=True)


def _scores(pairs: Any, targets: Ints) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Scores [T, k] of ``targets``, and which of them are of a hard pair."""
    scores = np.asarray(pairs.scores[targets], dtype=np.float64)
    return scores, np.arange(scores.shape[1]) < np.asarray(pairs.counts[targets])[:, None]


def _flatness(
    scores: npt.NDArray[np.float64], real: npt.NDArray[np.bool_], window: int
) -> float | None:
    full = real[:, window - 1] & (scores[:, 0] > 0)
    if window < 2 or not full.any():
        return None
    return float(np.median(scores[full, window - 1] / scores[full, 0]))


def _hubs(pairs: Any, ranks: int, seed: int) -> Hubs:
    rows = len(pairs)
    targets: Any = slice(None)
    if rows > HUB_TARGETS:
        targets = np.sort(sample_of(rows, HUB_TARGETS, seed))
    counted = min(rows, HUB_TARGETS)
    ids = np.asarray(pairs.ids[targets, :ranks])
    degrees = np.unique(ids[ids >= 0], return_counts=True)[1].astype(np.float64)
    places, mean = float(degrees.sum()), float(degrees.sum()) / rows
    if not places:
        return Hubs(ranks, counted, 0.0, 0.0, 0.0, 0.0)
    top = np.sort(degrees)[::-1][: max(1, math.ceil(TOP * rows))].sum()
    return Hubs(
        ranks,
        counted,
        float(top / places),
        top_share_by_chance(mean),
        _skewness(degrees, rows, mean),
        mean**-0.5,
    )


def _skewness(degrees: Sequence[float] | npt.NDArray[np.float64], rows: int, mean: float) -> float:
    """Third standardised moment over all ``rows``, of which those not listed have degree 0."""
    away = np.asarray(degrees) - mean
    unseen = rows - len(away)
    second = (float((away**2).sum()) + unseen * mean**2) / rows
    third = (float((away**3).sum()) - unseen * mean**3) / rows
    return third / second**1.5 if second > 0 else 0.0


@dataclass(frozen=True)
class WindowMeasures:
    """Shares of hard pairs in a window of ranks; None where that is not known."""

    first: int  # rank from 1
    last: int
    pairs: int  # that were looked at
    near: float  # score of the table at 0.9 or more
    equal_captions: float
    equal_pictures: float | None
    near_captions: float | None  # cosine in the store at 0.95 or more
    near_pictures: float | None


def measure_windows(
    pairs: Any,  # HardPairs
    data: Any,  # Dataset
    targets: Ints,
    *,
    window: int = 50,
    store: Any = None,  # EmbeddingStore
    groups: RowGroups | None = None,
    seed: int = 0,
) -> tuple[WindowMeasures, ...]:
    """Look at up to eight random hard pairs of each target in each window of ranks.

    The first window is that of ranks 1 to ``window``, the others are ranks 1 to 10, 11 to 30 and
    31 to 100 as far as pools go.
    """
    groups = RowGroups(data) if groups is None else groups
    generator = np.random.default_rng([seed, 1])
    ids, scores = np.asarray(pairs.ids[targets]), np.asarray(pairs.scores[targets])
    found = []
    for first, last in rank_windows(int(pairs.k), window):
        # [T, MEMBERS], -1 for none
        places = drawn_places(ids[:, first:last] >= 0, MEMBERS, generator)
        there = places >= 0
        members = np.where(there, np.take_along_axis(ids[:, first:last], places, 1), -1)
        near = np.take_along_axis(scores[:, first:last], places, 1) >= NEAR_SCORE
        near_text, near_image = (None, None)
        if store is not None:
            near_image, near_text = _near_in_store(store, targets, members)
        found.append(
            WindowMeasures(
                first=first + 1,
                last=last,
                pairs=int(there.sum()),
                near=_share_of(near[there]),
                equal_captions=_share_of(_equal_captions(groups, targets, members)[there]),
                equal_pictures=_equal_pictures(data, targets, members),
                near_captions=near_text,
                near_pictures=near_image,
            )
        )
    return tuple(found)


def _equal_captions(groups: RowGroups, targets: Ints, members: Ints) -> Bools:
    """bool [T, m]"""
    flat = np.where(members >= 0, members, targets[:, None])
    captions = groups.of(flat.ravel())[:, :1].reshape(*flat.shape, 1)
    return equal(groups.of(targets)[:, :1], captions)


def _equal_pictures(data: Any, targets: Ints, members: Ints) -> float | None:
    """Share of the same picture: known to be, or with the same bytes; of data at URLs with the same
    size and the same end."""
    there = members >= 0
    flat = np.where(there, members, targets[:, None])
    groups = data.image_groups()
    same = np.zeros_like(there) if groups is None else groups[targets][:, None] == groups[flat]
    ends = [data.row_digests(rows)[0] for rows in (targets, flat.ravel())]
    one, others = ends[0][:, None], ends[1].reshape(flat.shape)
    remote = data._is_remote()
    part = np.uint64(32 if remote else 0)
    told = there & (one >> part != 0) & (others >> part != 0)
    alike = told & (one == others) & ~same
    if not remote and alike.any():
        rows, place = np.unique([np.broadcast_to(targets[:, None], flat.shape)[alike], flat[alike]],
                                return_inverse=True)  # fmt: skip
        first = equal_pictures(data, rows, pixels=False)[0][place.reshape(2, -1)]
        alike[alike] = (first[0] == first[1]) & (first[0] >= 0)
    known = there if groups is not None else told
    return _share_of((same | alike)[known]) if known.any() else None


def _near_in_store(store: Any, targets: Ints, members: Ints) -> tuple[float, float]:
    """Shares of pictures and of captions with a cosine of NEAR_COSINE or more."""
    targets, members = targets[:STORE_TARGETS], members[:STORE_TARGETS]
    counts, pairs = np.zeros(2), 0
    for start in range(0, len(targets), _BLOCK):
        own, theirs = targets[start : start + _BLOCK], members[start : start + _BLOCK]
        there = theirs >= 0
        rows = np.unique(np.concatenate([own, theirs[there]]))
        at = np.searchsorted(rows, own)
        to = np.searchsorted(rows, np.where(there, theirs, own[:, None]))
        pairs += int(there.sum())
        for side, matrix in enumerate(map(unit_rows, store.rows(rows))):
            cosines = torch.einsum("td,tmd->tm", matrix[at], matrix[to]).numpy()
            counts[side] += int((cosines[there] >= NEAR_COSINE).sum())
    image, text = counts / max(pairs, 1)
    return float(image), float(text)


def _share_of(flags: Bools) -> float:
    return float(flags.mean()) if flags.size else 0.0
