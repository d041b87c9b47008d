"""Which strategy makes the batches where none is named."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from helip.common.errors import InvalidArgumentError, MismatchError
from helip.common.options import choices_of, hints_of
from helip.loading.loader import HardPairLoader
from helip.loading.options import PairOptions
from helip.loading.strategy import (
    STRATEGIES,
    community_rows_for,
)
from helip.mining.streaming import StreamingMiner
from support.loader_samples import FakeData, random_pools, table_of, to_tensor

ROWS, K = 60, 9
NARROWING = {"epochs": 1, "rank_max": 2}


def loader_of(pairs="table", **options) -> HardPairLoader:
    if pairs == "table":
        pairs = table_of(random_pools(ROWS, K, seed=1), K)
    return HardPairLoader(FakeData(ROWS), pairs, batch_size=16, transform=to_tensor, **options)


@pytest.mark.parametrize(
    ("options", "strategy"),
    [
        ({}, "communities"),
        ({"fraction": 0.5}, "communities"),
        ({"rank_min": 1, "rank_max": 5}, "communities"),
        ({"targets_per_batch": 12}, "communities"),
        ({"schedule": NARROWING}, "communities"),
        ({"community_rows": 4, "hard_per_target": 2}, "communities"),
        ({"hard_per_target": 3}, "uniform"),
        ({"hard_per_target": 1}, "uniform"),  # the default, and asked for
        ({"short": "random"}, "communities"),  # it says nothing of the strategy
        ({"short": "skip"}, "communities"),
        ({"order": "blocks"}, "uniform"),
        ({"draw_temperature": 0.1}, "temperature"),
        ({"hard_per_target": 2, "schedule": NARROWING}, "scheduled"),
        ({"draw_temperature": 0.1, "schedule": NARROWING}, "scheduled"),
        ({"strategy": "uniform"}, "uniform"),
        ({"strategy": "walk", "hard_per_target": 2}, "walk"),
    ],
)
def test_communities_are_made_unless_hard_pairs_must_be_drawn(options, strategy):
    loader = loader_of(**options)
    assert loader.strategy == loader._sampler.strategy == strategy
    kept = loader.state_dict()["options"]
    assert kept["strategy"] == strategy
    assert kept["hard_per_target"] == options.get("hard_per_target", 1)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "communities, since no option asks for hard pairs to be drawn"),
        ({"hard_per_target": 2}, "uniform, since hard_per_target is 2"),
        ({"draw_temperature": 0.1, "order": "blocks"},
         "temperature, since draw_temperature is 0.1 and order is blocks"),
        ({"strategy": "uniform"}, None),
    ],
)  # fmt: skip
def test_the_log_says_which_strategy_was_chosen_and_why(options, words, caplog):
    with caplog.at_level(logging.INFO, logger="helip"):
        loader_of(**options)
    said = [record.getMessage() for record in caplog.records]
    assert said == ([] if words is None else [f"batches: strategy {words}"])


def sparse_table():
    """Of 200 rows, 20 have pools: each other's."""
    pools = [[((row + j) % 20, 0.9) for j in range(1, 5)] if row < 20 else [] for row in range(200)]
    return table_of(pools, 4)


def rows_of(loader) -> list[int]:
    return np.concatenate(list(loader.planned_rows(0))).tolist()


def test_communities_train_on_the_rows_that_a_control_sees():
    options = {"batch_size": 16, "transform": to_tensor}
    tuned = HardPairLoader(FakeData(200), sparse_table(), **options)
    control = HardPairLoader(FakeData(200), None, hard_per_target=0, **options)
    assert sorted(rows_of(tuned)) == sorted(rows_of(control)) == list(range(200))
    assert len(tuned) == len(control)
    for loader in (tuned, control):
        assert (loader.stats()["target_rows"], loader.stats()["rows"]) == (200, 200)
    for short, strategy in (("skip", "communities"), (None, "uniform")):
        drawn = HardPairLoader(
            FakeData(200), sparse_table(), short=short, strategy=strategy, **options
        )
        assert (drawn.stats()["target_rows"], drawn.stats()["rows"]) == (20, 200)
        assert set(rows_of(drawn)) == set(range(20))


def test_pairs_that_grow_are_drawn_from():
    assert loader_of(StreamingMiner(memory=10)).strategy == "uniform"
    growing = loader_of(StreamingMiner(memory=10), schedule=NARROWING)
    assert growing.strategy == "scheduled"


def test_plain_batches_have_no_strategy():
    assert loader_of(None, hard_per_target=0).strategy is None
    assert loader_of(hard_per_target=0).strategy is None
    with pytest.raises(InvalidArgumentError, match=r"hard_per_target = 1 needs a table"):
        loader_of(None)


def test_what_is_asked_for_and_cannot_be_is_refused():
    with pytest.raises(InvalidArgumentError, match="an order of its own"):
        loader_of(community_rows=4, order="blocks")
    with pytest.raises(InvalidArgumentError, match="pairs that grow cannot repeat"):
        loader_of(StreamingMiner(memory=10), community_rows=4)
    with pytest.raises(InvalidArgumentError, match='with "uniform" a batch has'):
        loader_of(hard_per_target=2, targets_per_batch=4)


@pytest.mark.parametrize(
    ("rows", "step_rows", "community"),
    [
        (30_761, 256, 8),  # icons in colour, 120 steps
        (30_761, 64, 16),  # 480 steps
        (216_115, 256, 32),  # all icons, 844 steps
        (216_115, 1024, 8),
        (10_000_000, 256, 32),
        (10_000_000, 64, 16),  # no more than a quarter of a step
        (10_000_000, 16, 8),
    ],
)
def test_communities_are_the_larger_the_more_steps_an_epoch_has(rows, step_rows, community):
    assert community_rows_for(rows, step_rows) == community


def test_a_loader_sizes_its_communities_by_the_steps_of_all_ranks():
    rows = 12 * 640
    pairs = table_of([[((row + 1) % rows, 0.5)] for row in range(rows)], K)

    def size(**options) -> int:
        options = {"batch_size": 64, "transform": to_tensor, **options}
        loader = HardPairLoader(FakeData(rows), pairs, **options)
        return loader.state_dict()["options"]["community_rows"]

    assert size() == 8
    assert size(batch_size=32) == 8
    assert size(batch_size=12) == 8
    assert size(community_rows=20) == 20
    rows = 64 * 240
    pairs = table_of([[((row + 1) % rows, 0.5)] for row in range(rows)], K)
    assert size() == 16
    assert size(world_size=2, rank=0) == 8
    assert size(strategy="uniform") is None


def test_a_state_of_communities_of_another_size_is_refused():
    state = loader_of(community_rows=5).state_dict()
    with pytest.raises(MismatchError, match="community_rows"):
        loader_of(community_rows=8).load_state_dict(state)


def test_a_state_that_is_refused_leaves_the_loader_as_it_was():
    loader = loader_of()
    before, rows = loader.state_dict(), rows_of(loader)
    other = loader_of(seed=7).state_dict()
    with pytest.raises(MismatchError, match=r"in seed \(state: 7, loader: 0\);"):
        loader.load_state_dict(other)
    outside = loader_of().state_dict() | {"batches": 10_000}
    with pytest.raises(InvalidArgumentError):
        loader.load_state_dict(outside)
    assert loader.state_dict() == before and rows_of(loader) == rows


def test_every_strategy_says_what_it_is():
    hints = hints_of(PairOptions)
    assert {*STRATEGIES} == {*choices_of(hints["strategy"])} - {"auto"}
    for strategy in STRATEGIES.values():
        assert strategy.among_targets or not strategy.gives_hard_rows
        assert {*strategy.options} <= hints.keys()
