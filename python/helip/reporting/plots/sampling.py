"""Which targets a plot looks at, and how it says so."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.int64]


def sampled_targets(pairs: Any, count: int, seed: int) -> Rows:
    """All targets with a hard pair, or ``count`` of them drawn at random, ascending."""
    known = np.flatnonzero(np.asarray(pairs.counts) > 0)
    if len(known) > count:
        known = np.sort(np.random.default_rng(seed).choice(known, count, replace=False))
    return known


def sample_words(drawn: int, known: int, what: str = "targets with a hard pair") -> str:
    """Such as "a random sample of 20,000 of 1,000,000 targets with a hard pair"."""
    if drawn < known:
        return f"a random sample of {drawn:,} of {known:,} {what}"
    return f"all {known:,} {what}"
