"""Resuming with other ranks, workers and batch sizes: each target that is left, exactly once."""

from __future__ import annotations

import json

import numpy as np
import pytest

from helip.common.errors import InvalidArgumentError, MismatchError
from helip.loading.loader import HardPairLoader
from helip.mining.streaming import StreamingMiner
from support.loader_samples import FakeData, drawing, random_pools, table_of, to_tensor

K = 6
STRATEGIES = {
    "uniform": {},
    "temperature": {"draw_temperature": 0.1, "hard_per_target": 2},
    "scheduled": {"schedule": {"epochs": 2, "rank_max": 2}},
    "shared": {"strategy": "shared"},
    "walk": {"strategy": "walk", "walk_rows": 20},
    "communities": {
        "strategy": "communities",
        "fraction": 0.3,
        "schedule": {"epochs": 2, "fraction": 1.0},
    },
    "blocks": {"order": "blocks", "block": 8},
}


class Run:
    """All ranks of a run, in one process."""

    def __init__(self, rows, world, state=None, pools=None, **options):
        pools = pools or random_pools(rows, K, seed=rows)
        data, table = FakeData(rows), table_of(pools, K)
        options = {"seed": 3, "short": "random", "transform": to_tensor, **options}
        self.loaders = [
            HardPairLoader(data, table, rank=rank, world_size=world, **drawing(options))
            for rank in range(world)
        ]
        if state is not None:
            for loader in self.loaders:
                loader.load_state_dict(json.loads(json.dumps(state)))

    def steps(self, number=None):
        """[step][rank] batches as (index, target); ``number`` None goes to the end of the epoch."""
        iterators = [iter(loader) for loader in self.loaders]
        taken = []
        while number is None or len(taken) < number:
            batches = [next(iterator, None) for iterator in iterators]
            assert len({batch is None for batch in batches}) == 1  # ranks end together
            if batches[0] is None:
                break
            taken.append([(b["index"].tolist(), b["target"].tolist()) for b in batches])
        return taken

    def state(self, rank=0):
        return self.loaders[rank].state_dict()

    @property
    def targets(self):
        return [loader.stats()["targets"] for loader in self.loaders]


def number_of_targets(index, target):
    """Of a batch in which targets serve themselves."""
    return len(index) - sum(1 for place, served in enumerate(target) if served != place)


@pytest.mark.parametrize("strategy", ["uniform", "temperature", "scheduled", "blocks"])
def test_every_target_that_is_left_comes_once_whoever_goes_on(strategy):
    random = np.random.default_rng(len(strategy))
    for _ in range(12):
        rows = int(random.integers(60, 300))
        options = STRATEGIES[strategy]
        seen, state, epoch = [], None, 0
        for leg in range(3):  # saved twice
            world, batch_size = int(random.integers(1, 5)), int(random.integers(6, 30))
            run = Run(rows, world, state, batch_size=batch_size, **options)
            left = run.loaders[0]._steps - run.loaders[0]._start
            number = None if leg == 2 else int(random.integers(0, left))
            steps = run.steps(number)
            seen += [
                row
                for ranks in steps
                for index, target in ranks
                for row in index[: number_of_targets(index, target)]
            ]
            state = run.state(int(random.integers(0, world)))
            epoch = state["epoch"]
            assert epoch == (1 if leg == 2 else 0)
            assert state["targets"] == (0 if leg == 2 else len(seen))
        assert sorted(seen) == list(range(rows))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_what_is_left_is_the_rest_of_the_same_order(strategy):
    random = np.random.default_rng(len(strategy))
    options = STRATEGIES[strategy]
    for _ in range(8):
        rows = int(random.integers(60, 300))
        whole = Run(rows, 1, batch_size=10**6, **options).loaders[0]._sampler
        order = whole.batch(0)[0][:rows].tolist()
        first = Run(rows, int(random.integers(1, 5)), batch_size=12, **options)
        cut = int(random.integers(0, len(first.loaders[0])))
        first.steps(cut)
        gone = first.state()["targets"]
        world = int(random.integers(1, 5))
        second = Run(rows, world, first.state(), batch_size=18, **options)
        for step in range(second.loaders[0]._steps):
            for loader in second.loaders:
                loader._sampler.set_epoch(0, loader._first)
                loader._sampler.reset_statistics()
                index, *_ = loader._sampler.batch(step)
                targets = loader._sampler.statistics()["targets"]
                assert index[:targets].tolist() == order[gone : gone + targets]
                gone += targets
        assert gone == rows


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("workers", [(0, 0), (0, 2)])
def test_with_as_many_ranks_the_batches_are_those_of_an_uninterrupted_run(strategy, workers):
    options = {"batch_size": 13, **STRATEGIES[strategy]}
    whole = Run(101, 2, **options).steps()
    for cut in (1, len(whole) // 2, len(whole) - 1):
        first = Run(101, 2, workers=workers[0], **options)
        assert first.steps(cut) == whole[:cut]
        second = Run(101, 2, first.state(1), workers=workers[1], **options)
        assert second.steps() == whole[cut:]


def test_a_run_that_went_on_with_other_ranks_is_itself_repeated_bit_for_bit():
    first = Run(203, 3, batch_size=10)
    first.steps(4)
    whole = Run(203, 2, first.state(), batch_size=16).steps()
    for cut in (0, 1, 5):
        second = Run(203, 2, first.state(), batch_size=16)
        assert second.steps(cut) == whole[:cut]
        third = Run(203, 2, second.state(1), batch_size=16)
        assert third.steps() == whole[cut:]
        assert third.loaders[0].state_dict()["epoch"] == 1


def test_the_next_epoch_is_a_whole_one_again():
    first = Run(120, 2, batch_size=10)
    first.steps(3)
    second = Run(120, 1, first.state(), batch_size=12)
    assert len(second.steps()) < len(second.loaders[0])
    fresh = Run(120, 1, batch_size=12, epoch=1)
    assert second.steps() == fresh.steps()


def test_a_state_says_how_many_targets_are_behind_it():
    run = Run(100, 2, batch_size=10)
    run.steps(3)
    state = run.state()
    assert (state["epoch"], state["begin"], state["batches"]) == (0, 0, 3)
    assert state["targets"] == 30
    assert len(json.dumps(state)) < 2000


def test_counts_go_on_with_as_many_ranks_and_begin_anew_with_others():
    first = Run(100, 2, batch_size=10)
    first.steps(4)
    same = Run(100, 2, first.state(1), batch_size=10)
    assert same.targets == [0, 20]
    other = Run(100, 3, first.state(1), batch_size=10)
    assert other.targets == [0, 0, 0]
    other.steps()
    assert sum(other.targets) == 60


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("strategy", "shared"),
        ("order", "blocks"),
        ("schedule", {"epochs": 1, "rank_max": 2}),
    ],
)
def test_another_strategy_or_order_is_refused_by_name(option, value):
    state = Run(90, 1, batch_size=10).state()
    with pytest.raises(MismatchError, match=rf"{option} \(state: .*world_size and workers may"):
        Run(90, 1, state, batch_size=10, **{option: value})


@pytest.mark.parametrize(
    ("before", "now", "name"),
    [
        ({"order": "blocks", "block": 8}, {"order": "blocks", "block": 9}, "block"),
        ({"strategy": "walk"}, {"strategy": "walk", "walk_rows": 9}, "walk_rows"),
        ({"strategy": "walk"}, {"strategy": "walk", "restart": 0.3}, "restart"),
        (
            {"strategy": "communities"},
            {"strategy": "communities", "community_rows": 5},
            "community_rows",
        ),
    ],
)
def test_options_that_change_the_order_are_refused(before, now, name):
    state = Run(90, 1, batch_size=10, **before).state()
    with pytest.raises(MismatchError, match=rf"differs in {name} \("):
        Run(90, 1, state, batch_size=10, **now)
    # What does not matter to this order may be another one.
    Run(
        90,
        1,
        Run(90, 1, batch_size=10).state(),
        batch_size=10,
        block=7,
        walk_rows=7,
        restart=0.5,
        community_rows=3,
    )


@pytest.mark.parametrize(("world", "batch_size"), [(1, 10), (2, 10), (1, 30)])
@pytest.mark.parametrize(
    ("strategy", "name", "value", "default"),
    [("communities", "community_rows", 5, 8), ("uniform", "short", "random", "skip")],
)
def test_what_was_not_given_is_that_of_the_state(world, batch_size, strategy, name, value, default):
    options = {"strategy": strategy, "short": None}
    first = Run(90, 1, batch_size=10, **{**options, name: value})
    first.steps(3)
    second = Run(90, world, first.state(), batch_size=batch_size, **options)
    assert second.state()["options"][name] == value
    before = sum(second.targets)
    second.steps()
    assert sum(second.targets) - before == 90 - first.state()["targets"]
    refused = first.state() | {"options": first.state()["options"] | {"seed": 4}}
    other = Run(90, world, batch_size=batch_size, **options).loaders[0]
    with pytest.raises(MismatchError, match="seed"):
        other.load_state_dict(refused)
    assert other.state_dict()["options"][name] == default


def test_targets_per_batch_may_be_another_one():
    options = {"batch_size": 12, "strategy": "shared"}
    first = Run(90, 1, targets_per_batch=6, **options)
    first.steps(5)
    second = Run(90, 1, first.state(), targets_per_batch=9, **options)
    second.steps()
    assert second.targets == [60]


def test_too_few_targets_for_every_rank_are_refused_and_nothing_is_changed():
    first = Run(50, 1, batch_size=10)
    first.steps(len(first.loaders[0]) - 1)
    left = 50 - first.state()["targets"]
    run = Run(50, left + 1, batch_size=10)
    with pytest.raises(InvalidArgumentError, match=f"{left} targets of the epoch are left"):
        run.loaders[0].load_state_dict(first.state())
    assert run.state()["targets"] == 0
    assert sum(len(step) for step in Run(50, left, first.state(), batch_size=10).steps()) == left


@pytest.mark.parametrize(
    "change", [{"targets": 17}, {"begin": -1}, {"begin": 90}, {"batches": 500}, {"batches": -1}]
)
def test_a_state_that_contradicts_itself_is_refused(change):
    run = Run(90, 1, batch_size=10)
    run.steps(2)
    with pytest.raises(InvalidArgumentError):
        run.loaders[0].load_state_dict({**run.state(), **change})


@pytest.mark.parametrize("world", [1, 3])
def test_targets_of_waiting_plans_are_not_lost_with_other_ranks(world):
    """Workers had plans of a growing table under way; other ranks plan these targets anew."""
    rows = 84
    random = np.random.default_rng(0)
    features = random.normal(size=(2, rows, 8)).astype(np.float32)
    miner = StreamingMiner(memory=rows, k=K)
    options = {"batch_size": 12, "short": "random", "seed": 3, "transform": to_tensor}
    loader = HardPairLoader(FakeData(rows), miner, rank=0, world_size=1, workers=2, **options)
    seen, iterator = [], iter(loader)
    for _ in range(3):
        batch = next(iterator)
        index = batch["index"].numpy()
        seen += index[: number_of_targets(index.tolist(), batch["target"].tolist())].tolist()
        miner.add(index, features[0, index], features[1, index])
    state = json.loads(json.dumps(loader.state_dict()))
    iterator.close()
    assert state["plans"]
    assert state["targets"] == len(seen) == 18
    options["batch_size"] = 10
    for rank in range(world):
        other = HardPairLoader(FakeData(rows), miner, rank=rank, world_size=world, **options)
        other.load_state_dict(state)
        for batch in other:
            index, target = batch["index"].tolist(), batch["target"].tolist()
            seen += index[: number_of_targets(index, target)]
    assert sorted(seen) == list(range(rows))


def test_the_state_of_another_table_is_refused_and_an_older_one_warns(caplog):
    first, second = (
        Run(90, 1, batch_size=16, pools=random_pools(90, K, seed=seed)) for seed in (1, 2)
    )
    first.steps(2)
    state = first.state()
    with pytest.raises(MismatchError, match=r"differs in pairs \(state: '[0-9a-f]{64}', loader: '"):
        second.loaders[0].load_state_dict(state)
    second.loaders[0].set_pairs(table_of(random_pools(90, K, seed=1), K))
    second.loaders[0].load_state_dict(state)
    whole = Run(90, 1, batch_size=16, pools=random_pools(90, K, seed=1))
    assert second.steps() == whole.steps()[2:]
    assert not caplog.records
    del state["options"]["pairs"]
    third = Run(90, 1, state, batch_size=16, pools=random_pools(90, K, seed=3))
    assert "does not say of which table" in caplog.text and third.steps()
