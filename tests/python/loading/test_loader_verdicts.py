"""A loader under verdicts: what people took out is no hard pair, and no negative either."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import helip
from helip import Verdicts
from helip.common.collectives import Everyone
from helip.common.errors import MismatchError, UnsupportedError
from helip.loading.loader import HardPairLoader
from helip.losses.equal import equal_rows, groups_of
from helip.losses.options import EqualOptions
from helip.verdicts import Exclusions
from support.loader_samples import FakeData, drawing, random_pools, table_of, to_tensor

ROWS, K = 90, 6
POOLS = random_pools(ROWS, K, seed=5)
TABLE = table_of(POOLS, K)


def excluded() -> Exclusions:
    """The best pair of every second target, and some pairs of no pool; two mismatched rows."""
    pairs = {tuple(sorted((row, POOLS[row][0][0]))) for row in range(0, ROWS, 2) if POOLS[row]}
    pairs |= {(0, 50), (0, 51), (50, 51), (3, 77)}
    return Exclusions(np.array(sorted(pairs), np.int64), np.array([9, 40], np.int64))


def loader(**options: Any) -> HardPairLoader:
    given = {"batch_size": 30, "seed": 4, "transform": to_tensor, "workers": 0}
    return HardPairLoader(FakeData(ROWS), TABLE, **given | options)


@pytest.mark.parametrize("options", [{}, drawing({"hard_per_target": 2})], ids=["among", "drawn"])
def test_what_people_took_out_is_no_hard_pair_and_counts_as_equal(options: dict[str, Any]) -> None:
    out = excluded()
    either = {frozenset(pair) for pair in out.pairs.tolist()}
    met = 0
    for batch in loader(verdicts=out, **options):
        rows = batch["index"].tolist()
        for place, target in enumerate(batch["target"].tolist()):
            assert frozenset((rows[place], rows[target])) not in either
        for place, hard in enumerate(batch.get("hard_rows", torch.zeros(0)).tolist()):
            for other in filter(lambda at: at >= 0, hard):
                pair = rows[place], rows[other]
                assert frozenset(pair) not in either
                assert not {9, 40} & set(pair)
        features = torch.zeros(len(rows), 2)
        equal = equal_rows(groups_of(batch), None, EqualOptions(), Everyone(features, features))
        assert equal is not None
        for a, b in np.ndindex(len(rows), len(rows)):
            assert equal[a, b] == (frozenset((rows[a], rows[b])) in either)
            met += bool(equal[a, b])
    assert met > 0


def test_without_verdicts_a_batch_is_as_it_was(tmp_path: Path) -> None:
    Verdicts.open(tmp_path / "v", pairs=TABLE).close()
    for plain, judged in zip(loader(), loader(verdicts=tmp_path / "v"), strict=True):
        assert plain.keys() == judged.keys()
        assert torch.equal(plain["index"], judged["index"])


def test_a_state_of_other_verdicts_is_refused() -> None:
    state = loader(verdicts=excluded()).state_dict()
    loader(verdicts=excluded()).load_state_dict(state)
    with pytest.raises(MismatchError, match=r"differs in .*verdicts"):
        loader().load_state_dict(state)


def test_verdicts_on_other_data_and_pairs_that_grow_are_refused(tmp_path: Path) -> None:
    other = helip.HardPairs.from_arrays(TABLE.ids, TABLE.scores, data_fingerprint="b" * 32)
    Verdicts.open(tmp_path / "v", pairs=other).close()
    with pytest.raises(MismatchError, match="belongs to other data than this"):
        loader(verdicts=tmp_path / "v")
    miner = helip.StreamingMiner(rows=ROWS, image_dim=4, text_dim=4)
    with pytest.raises(UnsupportedError, match="pairs is a StreamingMiner"):
        HardPairLoader(FakeData(ROWS), miner, verdicts=excluded(), batch_size=8)


def test_stats_count_what_verdicts_left_out() -> None:
    out = excluded()
    either = {frozenset(pair) for pair in out.pairs.tolist()}
    lost = [
        [h for h, _ in pool if frozenset((row, h)) in either or {row, h} & {9, 40}]
        for row, pool in enumerate(POOLS)
    ]
    assert sum(map(len, lost)) > 20
    stats = loader(verdicts=out).stats()
    assert stats["verdicts"] == {
        "pairs": len(out.pairs),
        "rows": 2,
        "hard_pairs": sum(map(len, lost)),
        "targets": sum(map(bool, lost)),
    }
    assert "verdicts" not in loader().stats()
