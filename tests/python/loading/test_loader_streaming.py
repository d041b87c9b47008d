"""Batches drawn from what a StreamingMiner found meanwhile."""

from __future__ import annotations

import itertools
import json

import pytest

from helip import _core
from helip.common.errors import InvalidArgumentError, MismatchError
from helip.loading.loader import HardPairLoader
from helip.mining.streaming import StreamingMiner
from support.streaming_samples import ROWS, loader_of, whole_rows
from support.train_samples import Colours


def train_on(loader: HardPairLoader, miner: StreamingMiner, batches=None) -> list[tuple]:
    """Goes through an epoch, or through so many batches of it, as a training loop does."""
    image, text = whole_rows()
    seen = []
    iterator = iter(loader)
    while len(seen) != batches and (batch := next(iterator, None)) is not None:
        rows = batch["index"]
        miner.add(rows, image[rows], text[rows])
        seen.append((rows.tolist(), batch["target"].tolist()))
    return seen


def plan_ahead(epochs: int, ahead: int, **options) -> list[tuple]:
    """The batches, each planned when the one ``ahead`` + 1 before it was mined last."""
    image, text = whole_rows()
    miner = StreamingMiner(memory=30, rows=ROWS)
    sampler = _core.BatchSampler(miner.pairs._core, batch_size=10, seed=3, **options)
    seen = []
    for epoch in range(epochs):
        sampler.set_epoch(epoch)
        steps = sampler.batches_per_epoch
        plans = [sampler.batch(step) for step in range(min(ahead, steps))]
        for step in range(steps):
            if step + ahead < steps:
                plans.append(sampler.batch(step + ahead))
            rows, target, _ = plans[step]
            miner.add(rows, image[rows], text[rows])
            seen.append((rows.tolist(), target.tolist()))
    return seen


@pytest.mark.parametrize(("workers", "ahead"), [(0, 0), (2, 4)])
@pytest.mark.parametrize("short", ["skip", "random"])
def test_a_batch_is_drawn_from_what_was_found_when_it_was_planned(workers, ahead, short):
    miner = StreamingMiner(memory=30)
    loader = loader_of(miner, workers=workers, short=short)
    seen = train_on(loader, miner) + train_on(loader, miner)
    assert seen == plan_ahead(2, ahead, short_policy=short)


@pytest.mark.parametrize("workers", [0, 2])
def test_every_row_is_a_target_once_an_epoch_and_plain_ones_are_counted(workers):
    miner = StreamingMiner(memory=30)
    loader = loader_of(miner, workers=workers)
    for epoch in range(3):
        seen = train_on(loader, miner)
        targets = [
            row for rows, target in seen for place, row in enumerate(rows) if target[place] == place
        ]
        assert sorted(targets) == list(range(ROWS))
        assert len(seen) == len(loader)
        stats = loader.stats()
        assert stats["targets"] == ROWS
        assert stats["emitted"] == stats["targets"] + stats["hard_pairs"]
        assert stats["hard_pairs"] + stats["unfilled"] == ROWS
        # Nothing is known of a row that was never seen; of the outlier, nothing ever.
        assert stats["plain_targets"] == (ROWS if epoch == 0 else 1)
    assert stats["hard_pairs"] > ROWS / 2


def test_random_rows_are_seen_before_they_are_targets():
    miner = StreamingMiner(memory=30)
    loader = loader_of(miner, short="random")
    train_on(loader, miner)
    stats = loader.stats()
    assert 10 < stats["plain_targets"] < ROWS
    assert stats["hard_pairs"] > 0


def test_hard_pairs_come_from_the_pools_of_their_targets():
    miner = StreamingMiner(memory=30)
    loader = loader_of(miner, hard_per_target=2)
    image, text = whole_rows()
    served = 0
    for batch in itertools.chain(loader, loader):
        rows = batch["index"].numpy()
        pools = miner.pairs.pools(rows)
        for place, target in enumerate(batch["target"].tolist()):
            if place != target:
                assert rows[place] in pools.ids[target]
                served += 1
        miner.add(rows, image[rows], text[rows])
    assert served == loader.stats()["hard_pairs"] > 0


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("cut", [1, 5, 11, 12, 14])
def test_a_loader_resumes_with_the_batches_it_would_have_given(workers, cut):
    options = {"workers": workers, "short": "random"}
    miner = StreamingMiner(memory=30)
    loader = loader_of(miner, **options)
    whole = train_on(loader, miner) + train_on(loader, miner)
    assert len(loader) == 12

    miner = StreamingMiner(memory=30)
    first = loader_of(miner, **options)
    seen = train_on(first, miner, min(cut, 12))
    if cut > 12:
        seen += train_on(first, miner, cut - 12)
    state = json.loads(json.dumps(first.state_dict()))
    resumed = StreamingMiner(memory=30)
    second = loader_of(resumed, **options)
    resumed.load_state_dict(miner.state_dict())
    second.load_state_dict(state)
    assert second.state_dict() == state
    while len(seen) < 24:
        seen += train_on(second, resumed)
    assert seen == whole
    assert second.stats() == loader.stats()


def test_a_state_serves_another_number_of_workers_and_misses_nothing():
    miner = StreamingMiner(memory=30)
    first = loader_of(miner, workers=2)
    seen = train_on(first, miner, 3)
    second = loader_of(miner, workers=0)
    second.load_state_dict(first.state_dict())
    seen += train_on(second, miner)
    targets = [r for rows, target in seen for p, r in enumerate(rows) if target[p] == p]
    assert sorted(targets) == list(range(ROWS))


def test_a_state_that_is_loaded_again_has_the_plans_of_its_place():
    miner = StreamingMiner(memory=30)
    first = loader_of(miner, workers=2)
    train_on(first, miner, 3)
    state = first.state_dict()
    assert [plan["step"] for plan in state["plans"]] == [3, 4, 5, 6]
    second = loader_of(miner, workers=2)
    second.load_state_dict(state)
    train_on(second, miner, 2)
    assert [plan["step"] for plan in second.state_dict()["plans"]] == [5, 6, 7, 8]
    second.load_state_dict(state)
    iter(second)
    assert second.state_dict() == state


def test_a_miner_serves_one_data_set():
    miner = StreamingMiner()
    assert miner.pairs is None
    loader_of(miner)
    assert len(miner.pairs) == ROWS
    loader_of(miner), loader_of(miner.pairs)
    with pytest.raises(MismatchError, match="collects pairs of 60 rows, the data set has 61"):
        HardPairLoader(Colours(61), miner)
    with pytest.raises(MismatchError, match="60 rows"):
        HardPairLoader(Colours(61), miner.pairs)
    with pytest.raises(InvalidArgumentError, match="not found yet"):
        loader_of(miner, short="error")
