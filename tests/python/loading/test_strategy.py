"""Which strategy makes the batches where none is named."""

from __future__ import annotations

import pytest

from helip.common.errors import InvalidArgumentError
from helip.loading.loader import HardPairLoader
from helip.loading.options import BatchOptions
from helip.loading.strategy import as_recorded_now, with_strategy
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
        ({"short": "random"}, "uniform"),
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
    ("begun", "options", "strategy"),
    [
        ("uniform", {}, "uniform"),
        ("scheduled", {"schedule": NARROWING}, "scheduled"),
        ("communities", {}, "communities"),
        (None, {}, "communities"),
        ("walk", {}, "communities"),  # so that the change is seen
        ("communities", {"hard_per_target": 2}, "uniform"),
        ("uniform", {"strategy": "communities"}, "communities"),
    ],
)
def test_a_run_that_is_gone_on_with_keeps_its_default(begun, options, strategy):
    found = with_strategy(BatchOptions(**options), whole_table=True, begun=begun)
    assert found.strategy == strategy


@pytest.mark.parametrize(
    ("options", "strategy"),
    [
        ({"strategy": "auto"}, "uniform"),
        ({"strategy": "auto", "draw_temperature": 0.1}, "temperature"),
        ({"strategy": "auto", "draw_temperature": 0.1, "schedule": {"epochs": 1}}, "scheduled"),
        ({"strategy": "auto", "schedule": None, "draw_temperature": None}, "uniform"),
        ({"strategy": "communities"}, "communities"),
    ],
)
def test_what_earlier_versions_recorded_is_told_by_name(options, strategy):
    assert as_recorded_now(options) == {**options, "strategy": strategy}
    assert as_recorded_now({"seed": 3}) == {"seed": 3}  # of a loader of one's own
