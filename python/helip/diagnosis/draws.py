"""Which rows are held against each other: random batches, and communities around targets.

A *community* of a target is the target and seven random hard pairs of a window of ranks. Rows that
are equal to the target, by caption or picture, are in none of its communities: they are no wrong
answers, and training leaves them out of the loss as well.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from helip.common.errors import SampleError
from helip.data.captions import caption_group
from helip.data.dataset import read_ahead
from helip.loading.options import BatchOptions
from helip.loading.sampling import Plans, make_sampler

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
#: First and one past the last rank, from 0.
RANKS = ((0, 10), (10, 30), (30, 100))
COMMUNITY = 8  # rows, the target among them
RANDOM_BATCHES = 8
#: bool [n, p]: whether rows [n] are equal to each of the others [n, p].
Equal = Callable[[Ints, Ints], Bools]


class RowGroups:
    """The groups of rows of a data set, read when they are asked for and kept.

    A row has the number of its first caption (`helip.data.captions`), which is the one that is
    embedded and mined, and where the data knows of pictures at several rows that of its picture.
    0 where the caption cannot be read.
    """

    def __init__(self, data: Any) -> None:
        self._data = data
        self._captions: dict[int, int] = {}
        self._pictures = data.image_groups()
        self.unread: Counter[str] = Counter()

    def read(self, rows: Ints) -> None:
        """Read the captions of ``rows``, those that were read before not again."""
        missing = [row for row in np.unique(rows).tolist() if row not in self._captions]
        for row in read_ahead(self._data, missing, captions=True):
            try:
                self._captions[row] = caption_group(self._data.caption(row))
            except SampleError as error:
                self._captions[row] = 0
                self.unread[error.reason] += 1

    def of(self, rows: Ints) -> Ints:
        """int64 [n, m]: in each column the same number for equal rows; 0 equals nothing."""
        self.read(rows)
        captions = np.array([self._captions[row] for row in rows.tolist()], dtype=np.int64)
        if self._pictures is None:
            return captions[:, None]
        return np.stack([captions, self._pictures[rows]], axis=1)


def equal(one: Ints, others: Ints) -> Bools:
    """bool [n, p]: whether the groups of ``one`` [n, m] and of ``others`` [n, p, m] agree
    in a column."""
    return ((one[:, None] == others) & (one[:, None] != 0)).any(axis=2)


def rank_windows(k: int, window: int) -> list[tuple[int, int]]:
    """The window that is asked about, then those of RANKS that a pool of ``k`` has."""
    found = [(0, min(window, k))]
    return found + [(first, min(last, k)) for first, last in RANKS if first < k]


def drawn_places(allowed: Bools, count: int, generator: np.random.Generator) -> Ints:
    """int64 [T, count]: columns drawn at random among those ``allowed`` [T, k]; -1 beyond."""
    keys = np.where(allowed, generator.random(allowed.shape), np.inf)
    order = np.argsort(keys, axis=1, kind="stable")[:, :count]
    chosen = np.where(np.take_along_axis(allowed, order, 1), order, -1)
    return np.pad(chosen, ((0, 0), (0, count - chosen.shape[1])), constant_values=-1)


@dataclass(frozen=True)
class Communities:
    """Of a window of ranks; each row begins with its target."""

    first: int  # rank from 0
    last: int  # one past the last rank
    rows: Ints  # [T, COMMUNITY]
    left_out: int  # targets with fewer than seven hard pairs there that are not equal


@dataclass(frozen=True)
class Draws:
    """What a model is asked."""

    random: tuple[Ints, ...]  # batches of rows
    window: Communities  # of the window that hard pairs shall come from
    ranks: tuple[Communities, ...]  # of other windows
    planned: tuple[Ints, ...]  # batches of communities, as a loader makes them

    def rows(self) -> Ints:
        """All rows, once each, ascending."""
        parts = [*self.random, *self.planned]
        parts += [each.rows.ravel() for each in (self.window, *self.ranks)]
        return np.unique(np.concatenate(parts))


def draw(
    pools: Ints,  # [T, k] rows, -1 for none
    targets: Ints,  # [T] rows, drawn at random
    plain: Ints,  # [P] rows, drawn at random, P >= batch_size
    equal: Equal,
    *,
    batch_size: int,
    window: int,
    ranked: int | None = None,  # targets, of the first, that other windows are drawn for; None: all
    planned: Sequence[Ints] = (),
    seed: int = 0,
) -> Draws:
    """Draw batches of ``plain`` rows and a community of each target and window of ranks."""
    generator = np.random.default_rng([seed, 2])
    # All of ``plain`` are the same batch in any order.
    count = RANDOM_BATCHES if len(plain) > batch_size else 1
    batches = tuple(generator.permutation(plain)[:batch_size] for _ in range(count))
    allowed = (pools >= 0) & (pools != targets[:, None])
    filled = np.where(allowed, pools, targets[:, None])
    allowed &= ~equal(targets, filled)
    first, *others = rank_windows(pools.shape[1], window)
    return Draws(
        batches,
        _communities(pools, targets, allowed, first, generator),
        tuple(
            _communities(pools[:ranked], targets[:ranked], allowed[:ranked], each, generator)
            for each in others
        ),
        tuple(np.asarray(batch, dtype=np.int64) for batch in planned),
    )


def _communities(
    pools: Ints,
    targets: Ints,
    allowed: Bools,
    ranks: tuple[int, int],
    generator: np.random.Generator,
) -> Communities:
    first, last = ranks
    places = drawn_places(allowed[:, first:last], COMMUNITY - 1, generator)
    whole = (places >= 0).all(axis=1)
    members = np.take_along_axis(pools[whole, first:last], places[whole], 1)
    rows = np.concatenate([targets[whole, None], members], axis=1).astype(np.int64)
    return Communities(first, last, rows, int((~whole).sum()))


def planned_batches(
    pairs: Any,  # HardPairs
    *,
    batch_size: int = 256,
    window: int = 50,
    count: int = 2,
    seed: int = 0,
) -> list[Ints]:
    """Row numbers, int64 [b] each, of ``count`` batches of the first epoch, evenly over it.

    They are those of a HardPairLoader with ``strategy="communities"``, ``community_rows=8`` and
    ``rank_max=window``. Fewer where an epoch has fewer; none where no target has a hard pair.
    """
    options = BatchOptions(
        batch_size=batch_size,
        rank_max=min(window, int(pairs.k)),
        strategy="communities",
        community_rows=COMMUNITY,
        short="keep",
    )
    if not np.asarray(pairs.counts).any():
        return []
    sampler = make_sampler(pairs, None, options, seed=seed, rank=0, world_size=1)
    steps = int(sampler.batches_per_epoch)
    chosen = np.unique(np.linspace(0, max(steps - 1, 0), count).astype(int))[:steps]
    plans = [Plans(sampler, 0, 0, range(step, step + 1)) for step in chosen.tolist()]
    return [np.asarray(plan.index, dtype=np.int64) for each in plans for plan in each]
