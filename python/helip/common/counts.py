"""Counts by name, added up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping


def summed_counts(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """The sum of each name over all of ``counts``; names that are zero everywhere stay."""
    total: dict[str, int] = {}
    for each in counts:
        for name, count in each.items():
            total[name] = total.get(name, 0) + count
    return total
