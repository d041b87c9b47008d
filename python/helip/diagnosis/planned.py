"""Batches of communities as training would get them."""

from __future__ import annotations

from typing import Any

import numpy as np

from helip.diagnosis.draws import COMMUNITY
from helip.diagnosis.groups import Ints
from helip.loading.options import BatchOptions
from helip.loading.sampling import Plans, make_sampler


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
