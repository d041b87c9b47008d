"""Which rows are held against each other: random batches, and communities around targets.

A *community* of a target is the target and seven random hard pairs of a window of ranks. Rows that
are equal to the target, by caption or picture, are in none of its communities: they are no wrong
answers, and training leaves them out of the loss as well.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from helip.diagnosis.groups import Bools, Ints
from helip.diagnosis.ranks import drawn_places, rank_windows

COMMUNITY = 8  # rows, the target among them
RANDOM_BATCHES = 8

#: bool [n, p]: whether rows [n] are equal to each of the others [n, p].
Equal = Callable[[Ints, Ints], Bools]


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
