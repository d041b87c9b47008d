"""What a filter found and did, counted."""

from __future__ import annotations

from typing import Any

import numpy as np

from helip.pairs.filtering.rules import Flags


class Account:
    """Counts over the blocks of a table; ``k_out``: places of the new pools."""

    def __init__(self, k: int, k_out: int, reasons: list[str]) -> None:
        self._k_out = k_out
        self._counts = dict.fromkeys(("pairs", "flagged", "unjudged", "cut", "left", "changed"), 0)
        self._reasons = dict.fromkeys(reasons, 0)
        self._ranks = np.zeros((2, k), dtype=np.int64)  # pairs, flagged
        self._targets = {name: {"before": 0, "after": 0} for name in ("outliers", "short_targets")}

    def add(
        self,
        valid: Flags,
        by_rule: dict[str, Flags],
        flagged: Flags,
        unknown: Flags,
        kept: np.ndarray,
        after: np.ndarray,
    ) -> None:
        """Of a block. kept, after [b]: pairs of each pool, before it is cut to k and then."""
        before = valid.sum(axis=1)
        self._ranks += valid.sum(axis=0), flagged.sum(axis=0)
        for name, found in by_rule.items():
            self._reasons[name] += int((found & valid).sum())
        for name, number in (
            ("pairs", before),
            ("flagged", flagged),
            ("unjudged", unknown & valid),
            ("cut", kept - after),
            ("left", after),
            ("changed", flagged.any(axis=1)),
        ):
            self._counts[name] += int(number.sum())
        for when, counts in (("before", before), ("after", after)):
            self._targets["outliers"][when] += int((counts == 0).sum())
            self._targets["short_targets"][when] += int((counts < self._k_out).sum())

    def to_dict(self) -> dict[str, Any]:
        """As JSON-able values; :meth:`helip.HardPairs.stats` says what the names mean."""
        pairs, flagged = self._ranks.tolist()
        return {
            **self._counts,
            "reasons": self._reasons,
            "ranks": {"pairs": pairs, "flagged": flagged},
            **self._targets,
        }
