"""The batch strategies: compared number by number with a plain Python reference, and by what they
promise. docs/loader.md describes them."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

import helip
from helip import _core
from helip.common.errors import InvalidArgumentError
from helip.loading.loader import HardPairLoader
from helip.loading.options import HardnessSchedule
from helip.mining.streaming import StreamingMiner
from support import sampler_reference
from support.loader_samples import FakeData, drawing, random_pools, table_of, to_tensor

ROWS, K = 151, 9
WINDOWED = {"rank_min": 1, "rank_max": 6}
CASES = {
    "uniform": {"hard_per_target": 2},
    "uniform-window": {**WINDOWED, "strategy": "uniform", "short": "random"},
    "temperature": {"draw_temperature": 0.07, "fraction": 0.6},
    "scheduled-window": {
        "strategy": "scheduled",
        "rank_min": 4,
        "schedule": {"epochs": 1.5, "rank_min": 0, "rank_max": 3},
    },
    "scheduled-temperature": {
        "draw_temperature": 2.0,
        "schedule": {"epochs": 3, "draw_temperature": 0.01, "shape": "linear"},
    },
    "scheduled-cosine": {
        "strategy": "scheduled",
        "schedule": {"epochs": 2, "rank_max": 2, "shape": "cosine"},
    },
    "shared": {"strategy": "shared", "hard_per_target": 2, "targets_per_batch": 9},
    "shared-window": {
        **WINDOWED,
        "strategy": "shared",
        "draw_temperature": 0.2,
        "short": "random",
        "targets_per_batch": 12,
        "fraction": 0.8,
    },
    "shared-default": {"strategy": "shared"},
    "walk": {"strategy": "walk", "hard_per_target": 2, "walk_rows": 13},
    "walk-window": {**WINDOWED, "strategy": "walk", "restart": 0.4, "short": "random"},
    "walk-room": {"strategy": "walk", "targets_per_batch": 10, "walk_rows": 40, "restart": 0.0},
    "communities": {"strategy": "communities", "hard_per_target": 2, "community_rows": 5},
    "communities-window": {
        **WINDOWED,
        "strategy": "communities",
        "community_rows": 9,
        "fraction": 0.7,
        "short": "random",
    },
    "communities-schedule": {
        "strategy": "communities",
        "community_rows": 7,
        "fraction": 0.2,
        "schedule": {"epochs": 2, "fraction": 0.9, "rank_max": 4},
    },
    "scheduled-fraction": {
        "strategy": "scheduled",
        "fraction": 0.1,
        "schedule": {"epochs": 1.2, "fraction": 1.0},
    },
    "communities-room": {
        "strategy": "communities",
        "targets_per_batch": 10,
        "community_rows": 24,
    },
    "blocks": {"order": "blocks", "block": 8},
    "blocks-shared": {"order": "blocks", "block": 5, "strategy": "shared", "targets_per_batch": 8},
    "plain": {"hard_per_target": 0, "order": "blocks", "block": 16},
}


def loader_of(pools, **options):
    options = {"batch_size": 14, "seed": 11, "transform": to_tensor, **options}
    return HardPairLoader(FakeData(len(pools)), table_of(pools, K), **options)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("world", [1, 3])
def test_batches_are_those_of_the_reference(name, world):
    options = CASES[name]
    pools = random_pools(ROWS, K, seed=len(name))
    for rank in range(world):
        loader = loader_of(pools, rank=rank, world_size=world, **options)
        reference = sampler_reference.Sampler(
            pools, K, **{"batch_size": 14, "seed": 11, "rank": rank, "world_size": world, **options}
        )
        assert len(loader) == reference.steps_after(0)
        for epoch in range(2):
            expected = [reference.batch(epoch, step) for step in range(len(loader))]
            for batch, plain in zip(loader, expected, strict=True):
                assert batch["index"].tolist() == plain.index
                assert batch["target"].tolist() == plain.target
            stats = loader.stats()
            assert stats["targets"] == sum(plain.targets for plain in expected)
            for count in ("hard_pairs", "shared", "replaced", "random_fills", "unfilled"):
                assert stats[count] == sum(plain.counts[count] for plain in expected), count


@pytest.mark.parametrize("name", CASES)
def test_each_target_comes_once_an_epoch_over_all_ranks(name):
    random = np.random.default_rng(sum(name.encode()))
    for _ in range(12):
        rows, world = int(random.integers(40, 400)), int(random.integers(1, 6))
        pools = random_pools(rows, K, seed=int(random.integers(1000)))
        options = {**CASES[name], "batch_size": int(random.integers(14, 60))}
        seen: list[int] = []
        for rank in range(world):
            loader = loader_of(pools, rank=rank, world_size=world, **options)
            sizes = []
            for step in range(len(loader)):
                loader._sampler.reset_statistics()
                index, *_ = loader._sampler.batch(step)
                sizes.append(loader._sampler.statistics()["targets"])
                seen += index[: sizes[-1]].tolist()
            assert min(sizes) >= max(sizes) - 1
        reference = sampler_reference.Sampler(pools, K, **options)
        assert sorted(seen) == reference.eligible


@pytest.mark.parametrize("name", CASES)
def test_the_account_of_places_is_complete(name):
    pools = random_pools(ROWS, K, seed=3)
    loader = loader_of(pools, **CASES[name])
    batches = list(loader)
    stats = loader.stats()
    assert stats["emitted"] == sum(len(batch["index"]) for batch in batches)
    assert stats["emitted"] == stats["targets"] + stats["hard_pairs"] + stats["random_fills"]
    places = stats["hard_pairs"] + stats["shared"] + stats["random_fills"] + stats["unfilled"]
    if CASES[name].get("fraction", 1.0) == 1.0:
        assert places == CASES[name].get("hard_per_target", 1) * stats["targets"]


@pytest.mark.parametrize("name", ["shared", "walk", "communities"])
def test_the_margin_loss_sees_the_pairs_that_target_names(name):
    import torch

    pools = random_pools(ROWS, K, seed=4)
    loss = helip.HelipLoss(gamma=1.0)
    for batch in loader_of(pools, **CASES[name]):
        rows, target = batch["index"].tolist(), batch["target"].tolist()
        named = {
            (rows[served], row)
            for place, (row, served) in enumerate(zip(rows, target, strict=True))
            if served != place
        }
        assert all(row in {id for id, _ in pools[of]} for of, row in named)
        image, text = torch.randn(2, len(rows), 8, generator=torch.Generator().manual_seed(0))
        out = loss(image, text, 10.0, batch["target"])
        assert torch.isfinite(out["loss"])
        assert (out["margin"] > 0) == bool(named)


def test_the_strategy_is_what_the_options_ask_for():
    pools = random_pools(60, K, seed=1)
    assert loader_of(pools, hard_per_target=1)._sampler.strategy == "uniform"
    assert loader_of(pools, draw_temperature=0.1)._sampler.strategy == "temperature"
    schedule = HardnessSchedule(epochs=1, rank_max=2)
    scheduled = loader_of(pools, hard_per_target=1, schedule=schedule)
    assert scheduled._sampler.strategy == "scheduled"
    one, other = (
        loader_of(pools, draw_temperature=0.1),
        loader_of(pools, draw_temperature=0.1, strategy="temperature"),
    )
    for batch, again in zip(one, other, strict=True):
        assert batch["index"].tolist() == again["index"].tolist()


@pytest.mark.parametrize("shape", ["linear", "cosine"])
def test_a_schedule_is_a_function_of_the_place_in_the_training(shape):
    pools = random_pools(120, K, seed=2)
    schedule = HardnessSchedule(
        epochs=2.5, rank_min=0, rank_max=2, draw_temperature=0.1, shape=shape
    )
    loader = loader_of(pools, rank_min=4, draw_temperature=1.0, schedule=schedule, short="random")
    for epoch in range(4):
        iterator, step = iter(loader), 0
        while True:
            gone = loader._sampler.targets_before(step) if step < len(loader) else 120
            way = min(1.0, (epoch + gone / 120) / 2.5)
            share = way if shape == "linear" else (1 - math.cos(math.pi * way)) / 2
            now = loader.hardness
            assert now["rank_min"] == math.floor(4 - 4 * share + 0.5)
            assert now["rank_max"] == max(math.floor(9 - 7 * share + 0.5), now["rank_min"] + 1)
            assert now["draw_temperature"] == pytest.approx(1 - 0.9 * share, rel=1e-14)
            if next(iterator, None) is None:
                break
            step += 1
    end = {"rank_min": 0, "rank_max": 2, "draw_temperature": 0.1, "fraction": 1.0}
    assert loader.hardness == end


def test_a_narrow_window_draws_harder_pairs_as_training_proceeds():
    pools = random_pools(300, K, seed=6)
    schedule = {"epochs": 3, "rank_max": 1}
    loader = loader_of(pools, strategy="scheduled", schedule=schedule, batch_size=20)
    means = []
    for _ in range(4):
        ranks = []
        for batch in loader:
            rows, target = batch["index"].tolist(), batch["target"].tolist()
            for place, served in enumerate(target):
                if served != place:
                    ranks.append([id for id, _ in pools[rows[served]]].index(rows[place]))
        means.append(np.mean(ranks))
    assert means == sorted(means, reverse=True)
    assert means[-1] < 0.35 < 2 < means[0]  # the best is sometimes in the batch already


def test_batches_of_walks_and_communities_hold_more_hard_pairs():
    # Groups of 40 rows, scattered over the data set; pools lie within a group.
    random = np.random.default_rng(7)
    groups = random.permutation(2000).reshape(50, 40)
    pools = [[] for _ in range(2000)]
    for group in groups:
        for row in group.tolist():
            near = random.choice(group[group != row], size=K, replace=False)
            pools[row] = [(int(id), 0.9 - 0.01 * rank) for rank, id in enumerate(near)]

    def inside(**options):
        found = 0
        for batch in loader_of(pools, batch_size=64, **options):
            rows = set(batch["index"].tolist())
            found += sum(id in rows for row in rows for id, _ in pools[row]) / len(rows)
        return found

    walking = inside(strategy="walk", walk_rows=32)
    assert walking > 2 * inside(strategy="uniform")
    assert walking > 10 * inside(hard_per_target=0)
    assert inside(strategy="communities", community_rows=32) > 1.2 * walking


def test_blocks_read_few_neighbourhoods_at_a_time():
    pools = random_pools(1200, K, seed=8)
    loader = loader_of(pools, order="blocks", block=50, batch_size=40, short="random")
    blocks_met = []
    for step in range(len(loader)):
        index, *_ = loader._sampler.batch(step)
        blocks_met.append(len({row // 50 for row in index[:20]}))
    assert max(blocks_met) <= 8  # four, or those of two groups
    assert Counter(blocks_met).most_common(1)[0][0] in (3, 4)


def test_all_rows_of_a_batch_have_company_also_where_the_epoch_ends():
    pools = random_pools(2000, K, seed=9)
    loader = loader_of(pools, strategy="communities", community_rows=6, batch_size=60)
    company = []
    for step in range(len(loader)):
        index, *_ = loader._sampler.batch(step)
        rows = set(index.tolist())
        company.append(np.mean([any(id in rows for id, _ in pools[row]) for row in rows]))
    assert np.mean(company) > 0.6
    assert np.mean(company[-5:]) > 0.9 * np.mean(company[:5])


def test_a_community_has_no_equal_captions():
    # Captions of four rows each: three quarters of all pools are equal rows.
    pools = [
        [(4 * (row // 4) + i, 0.9) for i in range(4) if 4 * (row // 4) + i != row]
        + [((row + 4 * step) % 400, 0.5) for step in range(1, K - 2)]
        for row in range(400)
    ]
    groups = [{row // 4} for row in range(400)]
    core = _core.BatchSampler(
        table_of(pools, K)._core, batch_size=40, seed=5, strategy="communities", community_rows=8,
        group_offsets=np.arange(401), groups=np.arange(400) // 4,
    )  # fmt: skip
    reference = sampler_reference.Sampler(
        pools, K, batch_size=40, seed=5, strategy="communities", community_rows=8, groups=groups
    )
    left_out = 0
    for step in range(core.batches_per_epoch):
        index, *_ = core.batch(step)
        order = reference.order_of(0)[core.targets_before(step) : core.targets_before(step + 1)]
        left_out += len(order) - len(index)
        assert [row for row in order if row in set(index.tolist())] == index.tolist()
        assert len({row // 4 for row in index.tolist()}) == len(index)
    assert left_out < 40  # equal rows of two communities of one batch


@pytest.mark.parametrize("strategy", ["walk", "communities"])
def test_an_order_by_the_table_is_refused_for_pairs_that_grow(strategy):
    with pytest.raises(InvalidArgumentError, match="cannot repeat"):
        HardPairLoader(FakeData(30), StreamingMiner(memory=10), batch_size=8, strategy=strategy)
    HardPairLoader(FakeData(30), StreamingMiner(memory=10), batch_size=8, strategy="shared")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strategy": "hardest"}, "strategy is 'hardest', must be one of 'auto', 'uniform'"),
        ({"order": "random"}, "order is 'random', must be one of 'rows', 'blocks'"),
        ({"strategy": "uniform", "draw_temperature": 0.1}, 'take the strategy "temperature"'),
        ({"strategy": "temperature"}, "needs a temperature above 0"),
        ({"strategy": "scheduled"}, "needs a schedule"),
        ({"strategy": "walk", "draw_temperature": 0.1}, "narrow the rank window"),
        ({"strategy": "walk", "order": "blocks"}, "an order of its own"),
        ({"strategy": "walk", "restart": 1.0}, "restart = 1"),
        ({"strategy": "walk", "walk_rows": 0}, "walk_rows is 0"),
        ({"strategy": "communities", "draw_temperature": 0.1}, "narrow the rank window"),
        ({"strategy": "communities", "order": "blocks"}, "an order of its own"),
        ({"strategy": "communities", "community_rows": 1}, "community_rows = 1"),
        ({"order": "blocks", "block": 0}, "block is 0"),
        ({"targets_per_batch": 4}, 'of the strategies "shared", "walk" and "communities"'),
        ({"strategy": "shared", "targets_per_batch": 0}, "targets_per_batch is 0"),
        ({"strategy": "shared", "targets_per_batch": 15}, "targets_per_batch = 15"),
        ({"strategy": "shared", "hard_per_target": 0}, "hard_per_target of at least 1"),
        ({"strategy": "shared", "schedule": {"epochs": 1, "rank_max": 2}}, "no schedule"),
        ({"schedule": {"rank_max": 2}}, "a mapping with epochs"),
        ({"schedule": {"epochs": 1, "rank": 2}}, "a mapping with epochs"),
        ({"schedule": {"epochs": 0, "rank_max": 2}}, "epochs is 0"),
        ({"schedule": {"epochs": 1, "rank_max": 0}}, "rank_max is 0"),
        ({"schedule": {"epochs": 1, "rank_max": K + 1}}, "k = 9"),
        ({"schedule": {"epochs": 1, "shape": "step", "rank_max": 2}}, "shape is 'step'"),
        ({"schedule": {"epochs": 1, "draw_temperature": 0.1}}, "none to start from"),
        ({"schedule": {"epochs": 1}}, "changes nothing"),
        ({"schedule": {"epochs": 1, "fraction": 1.2}}, "fraction is 1.2"),
        (
            {"strategy": "communities", "schedule": {"epochs": 1, "draw_temperature": 0.1}},
            "none to start from",
        ),
    ],
)
def test_options_outside_their_bounds_are_refused(options, message):
    with pytest.raises(InvalidArgumentError, match=message):
        loader_of(random_pools(60, K, seed=1), **drawing(options))


def test_a_schedule_is_read_from_words():
    schedule = HardnessSchedule.parse("epochs=2, rank_max=10,draw_temperature=0.05,shape=cosine")
    assert schedule == HardnessSchedule(
        epochs=2, rank_max=10, draw_temperature=0.05, shape="cosine"
    )
    for wrong in ("", "epochs", "epochs=soon", "rank_max=3", "epochs=1,speed=2"):
        with pytest.raises(InvalidArgumentError, match="schedule"):
            HardnessSchedule.parse(wrong)
