"""Targets of a page, each beside its pools: its own, and those of the baselines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from helip.common.errors import MismatchError
from helip.reporting.similarities import Card, Similarities, pool_of


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
