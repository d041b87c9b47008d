"""Which communities share a batch."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import helip
from support.loader_samples import FakeData, table_of

ROWS, PART = 192, 8
#: Communities of eight rows; a community is a hard pair of the next one, too.
POOLS = [
    [(other, 0.9) for other in range(row // PART * PART, row // PART * PART + PART) if other != row]
    + [((row + PART) % ROWS, 0.1)]
    for row in range(ROWS)
]


class Told(FakeData):
    """Half of the communities are told by the same three words, each of the others by its own."""

    def captions(self, row: int) -> list[str]:
        letter = chr(ord("a") + row // PART)
        return ["red dog runs" if row // PART % 2 else f"dog{letter} cat{letter} cow{letter}"]


@pytest.mark.parametrize("kind", ["near", "far", "balanced"])
def test_communities_share_a_batch_by_the_kind(
    experiments: Any, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ways = experiments("ways")
    table = table_of(POOLS, PART)
    loader = helip.HardPairLoader(Told(ROWS), table, batch_size=32, workers=0)
    made = np.arange(ROWS).reshape(-1, PART)
    monkeypatch.setattr(ways, "communities_of", lambda loader, epoch: [*made])
    epoch = list(itertools.islice(ways.between(kind, loader, table, 32, 0), ROWS // 32))
    assert sorted(np.concatenate(epoch).tolist()) == list(range(ROWS))
    parts = [batch[::PART] // PART for batch in epoch]  # four communities of each batch
    neighbours = [int(np.isin((own + 1) % len(made), own).sum()) for own in parts]
    if kind == "balanced":  # as long as there are others, no two that are told alike
        assert max((own % 2).sum() for own in parts[:3]) <= 1
    elif kind == "near":
        assert sum(neighbours) >= len(made) // 2
    else:
        assert neighbours[:4] == [0] * 4
