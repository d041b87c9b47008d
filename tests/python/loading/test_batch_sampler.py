"""BatchSampler: batches of row numbers for any loader, of a table or of a plan."""

from __future__ import annotations

import json

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import helip
from helip.common.errors import InvalidArgumentError, MismatchError, StorageError
from helip.loading.loader import HardPairLoader
from support.loader_samples import FakeData, random_pools, table_of

ROWS, K = 203, 7
POOLS = random_pools(ROWS, K, seed=8)
TABLE = table_of(POOLS, K)


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    return helip.plan_batches(
        TABLE, out=tmp_path_factory.mktemp("plans") / "plan", batch_size=24, epochs=2, seed=3,
        progress=False,
    )  # fmt: skip


def of_loader(epoch, **options):
    loader = HardPairLoader(FakeData(ROWS), TABLE, batch_size=24, seed=3, workers=0, **options)
    return [rows.tolist() for rows in loader.planned_rows(epoch)]


@pytest.fixture(params=["table", "plan", "path of a table", "path of a plan"])
def source(request, plan, tmp_path):
    if request.param == "path of a table":
        TABLE.save(tmp_path / "some.pairs")
    return {
        "table": (TABLE, {"batch_size": 24, "seed": 3}), "plan": (plan, {}),
        "path of a table": (tmp_path / "some.pairs", {"batch_size": 24, "seed": 3}),
        "path of a plan": (plan.path, {}),
    }[request.param]  # fmt: skip


def test_it_gives_what_a_loader_plans_epoch_after_epoch(source):
    sampler = helip.BatchSampler(source[0], **source[1])
    assert len(sampler) == len(of_loader(0))
    assert [list(sampler), list(sampler)] == [of_loader(0), of_loader(1)]
    sampler.set_epoch(0)
    assert list(sampler) == of_loader(0) and sampler.epoch == 0
    sampler.set_epoch(0)  # again, since it is over
    assert list(sampler) == of_loader(0)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_dataloader_of_torch_takes_it(source, workers):
    features = TensorDataset(torch.arange(ROWS) * 10)
    sampler = helip.BatchSampler(source[0], **source[1])
    loader = DataLoader(features, batch_sampler=sampler, num_workers=workers)
    for epoch in range(2):
        found = []
        for (rows,) in loader:
            found.append((rows // 10).tolist())
            # Workers are ahead, and what is asked of a batch is still of its own epoch.
            assert sampler.hard_rows(rows // 10).shape[0] == len(rows)
            assert sampler.state_dict(batches=len(found))["epoch"] == epoch
        assert found == of_loader(epoch)


def test_a_state_goes_on_where_it_was_taken(source):
    sampler = helip.BatchSampler(source[0], **source[1])
    batches = iter(sampler)
    for _ in range(4):
        next(batches)
    state = json.loads(json.dumps(sampler.state_dict()))
    again = helip.BatchSampler(source[0], **source[1])
    again.load_state_dict(state)
    assert list(again) == of_loader(0)[4:] and list(again) == of_loader(1)
    again.load_state_dict(sampler.state_dict(batches=2))  # those that were trained on
    assert list(again) == of_loader(0)[2:]
    again.load_state_dict(sampler.state_dict(batches=len(sampler)))
    again.set_epoch(again.epoch)  # as Accelerate must be told
    assert list(again) == of_loader(1)


def test_the_state_of_another_table_or_plan_is_refused_and_an_older_one_warns(tmp_path, caplog):
    other = table_of(random_pools(ROWS, K, seed=9), K)
    state = helip.BatchSampler(TABLE, 24).state_dict()
    sampler = helip.BatchSampler(other, 24)
    with pytest.raises(MismatchError, match=r"pairs '[0-9a-f]{64}' there, '[0-9a-f]{64}' here"):
        sampler.load_state_dict(state)
    plans = [
        helip.plan_batches(table, out=tmp_path / name, batch_size=24, progress=False)
        for name, table in (("one", TABLE), ("two", other))
    ]
    with pytest.raises(MismatchError, match=r"plan '.*' there, '.*' here"):
        helip.BatchSampler(plans[1]).load_state_dict(helip.BatchSampler(plans[0]).state_dict())
    assert not caplog.records
    TABLE.save(tmp_path / "again")  # the same pools from a path
    helip.BatchSampler(tmp_path / "again", 24).load_state_dict(state)
    assert not caplog.records
    del state["options"]["pairs"]
    sampler.load_state_dict(state)
    assert "does not say of which table" in caplog.text


def test_after_an_iteration_that_is_broken_off_the_next_epoch_begins(source):
    sampler = helip.BatchSampler(source[0], **source[1])
    next(iter(sampler))
    state = sampler.state_dict()
    assert list(sampler) == of_loader(1)
    sampler.load_state_dict(state)
    assert list(sampler) == of_loader(0)[1:]
    next(iter(sampler))
    sampler.set_epoch(1)
    assert list(sampler) == of_loader(1)


def test_an_epoch_whose_last_batch_was_taken_is_over(source):
    sampler = helip.BatchSampler(source[0], **source[1])
    batches = iter(sampler)
    assert [next(batches) for _ in range(len(sampler))] == of_loader(0)  # as Lightning does
    assert list(sampler) == of_loader(1)


def test_hard_rows_of_a_batch_are_for_the_losses(source):
    sampler = helip.BatchSampler(source[0], **source[1])
    features = torch.nn.functional.normalize(torch.randn(ROWS, 8), dim=1)
    for rows in sampler:
        if sampler.epoch != 0:
            break
        hard = sampler.hard_rows(rows)
        assert [[place for place in own if place >= 0] for own in hard.tolist()] == [
            [rows.index(r) for r, _ in POOLS[row] if r in rows] for row in rows
        ]
        own = torch.arange(len(rows))
        out = helip.HelipLoss(margin=0.1)(features[rows], features[rows], 10.0, own, hard_rows=hard)
        assert torch.isfinite(out["loss"])


def test_the_window_of_a_schedule_moves_with_the_batches(tmp_path):
    options = {"strategy": "scheduled", "hard_per_target": 1, "rank_max": 2, "seed": 1,
               "schedule": {"epochs": 1, "rank_max": K}}  # fmt: skip
    plan = helip.plan_batches(
        TABLE, out=tmp_path / "plan", batch_size=24, progress=False, **options
    )
    sampler = helip.BatchSampler(TABLE, 24, **options)
    for rows, batch in zip(sampler, plan.batches(0), strict=True):
        assert rows == batch.rows.tolist()
        assert sampler.hard_rows(rows).tolist() == batch.hard_rows.tolist()
    helip.BatchSampler(plan, **options)  # what it was planned with may be said again


def test_a_batch_has_its_own_window_whenever_and_in_whatever_order_it_is_asked_for(tmp_path):
    options = {"strategy": "scheduled", "hard_per_target": 1, "rank_max": 1, "seed": 1,
               "schedule": {"epochs": 2, "rank_max": K}}  # fmt: skip
    plan = helip.plan_batches(
        TABLE, out=tmp_path / "plan", batch_size=24, epochs=2, world_size=2, progress=False,
        **options,
    )  # fmt: skip

    def places(hard, order):
        """Sets of batch rows, as they stand in the plan."""
        return {
            order[row]: {order[place] for place in found if place >= 0}
            for row, found in enumerate(hard)
        }

    for epoch in range(2):
        sampler = helip.BatchSampler(TABLE, 24, rank=0, world_size=2, **options)  # as after a
        sampler.set_epoch(epoch)  # resume: it has given no batch
        for number in reversed(range(plan.batches_of(epoch))):
            batch = plan.batch(epoch, number)
            assert sampler.hard_rows(batch.rows).tolist() == batch.hard_rows.tolist()
            order = torch.randperm(len(batch.rows), generator=torch.manual_seed(number)).tolist()
            found = sampler.hard_rows(batch.rows[order])
            expected = places(batch.hard_rows.tolist(), range(len(order)))
            assert places(found.tolist(), order) == expected
    with pytest.raises(InvalidArgumentError, match=r"no batch of epoch 1.*schedule.*set_epoch"):
        sampler.hard_rows(plan.batch(0, 3).rows)
    with pytest.raises(InvalidArgumentError, match=r"rows from .* are no batch of epoch 1"):
        sampler.hard_rows(plan.batch(1, 0).rows[1:])


def test_ranks_share_an_epoch_of_a_table():
    ranks = [
        list(helip.BatchSampler(TABLE, 24, seed=3, rank=rank, world_size=3)) for rank in range(3)
    ]
    assert ranks == [of_loader(0, rank=rank, world_size=3) for rank in range(3)]
    rows = [row for batches in ranks for batch in batches for row in batch]
    assert sorted(rows) == list(range(ROWS))


def test_ranks_take_the_batches_of_a_plan_in_turn_and_what_is_left_out_is_said(plan, caplog):
    whole = of_loader(0)
    assert len(whole) == 9
    assert [list(helip.BatchSampler(plan, rank=r, world_size=3)) for r in range(3)] == [
        whole[r::3] for r in range(3)
    ]
    assert not caplog.records
    few = [helip.BatchSampler(plan, rank=r, world_size=2) for r in range(2)]
    assert [sampler.left_out for sampler in few] == [1, 1]
    assert "1 of the 9 of an epoch are left out" in caplog.text
    assert [list(sampler) for sampler in few] == [whole[0:8:2], whole[1:8:2]]


def test_bad_input_is_one_error_with_the_mend(plan, tmp_path):
    with pytest.raises(InvalidArgumentError, match=r"batch_size is not given.*pairs, 256"):
        helip.BatchSampler(TABLE)
    with pytest.raises(InvalidArgumentError, match=r"seed is 4, and .* was planned with 3"):
        helip.BatchSampler(plan, seed=4)
    with pytest.raises(InvalidArgumentError, match=r"batch_size is 32, and .* planned with 24"):
        helip.BatchSampler(plan, 32)
    helip.BatchSampler(plan, 24, seed=3)
    with pytest.raises(InvalidArgumentError, match=r"rank is 2, must be below world_size = 2"):
        helip.BatchSampler(TABLE, 24, rank=2, world_size=2)
    with pytest.raises(InvalidArgumentError, match=r"below world_size = 1; give world_size="):
        helip.BatchSampler(TABLE, 24, rank=1)
    with pytest.raises(InvalidArgumentError, match=r"source is int, must be a HardPairs, a Batch"):
        helip.BatchSampler(3, 24)
    with pytest.raises(MismatchError, match=r"is a helip.batch_plan, not a table of hard pairs"):
        helip.plan_batches(plan.path, out=tmp_path / "other", batch_size=24)
    with pytest.raises(MismatchError, match="numbers of rows differ"):
        helip.BatchSampler(TABLE, 24, data=FakeData(ROWS - 1))
    with pytest.raises(MismatchError, match="numbers of rows differ"):
        helip.BatchSampler(plan, data=FakeData(ROWS - 1))
    with pytest.raises(InvalidArgumentError, match=r"9 batches an epoch, too few for 10 ranks"):
        helip.BatchSampler(plan, rank=0, world_size=10)
    with pytest.raises(InvalidArgumentError, match="row 203 of a batch is none of the 203"):
        helip.BatchSampler(TABLE, 24).hard_rows([3, 203])
    with pytest.raises(InvalidArgumentError, match=r"has the epochs 0 \.\. 1; plan more"):
        helip.BatchSampler(plan, epoch=2)
    with pytest.raises(InvalidArgumentError, match=r"has the epochs 0 \.\. 1; plan more"):
        helip.BatchSampler(plan).set_epoch(2)
    over = helip.BatchSampler(plan, epoch=1)
    list(over)
    with pytest.raises(InvalidArgumentError, match=r"has the epochs 0 \.\. 1; plan more"):
        list(over)
    assert over.epoch == 1 and len(over) == 9
    with pytest.raises(StorageError, match=r"no table of hard pairs at '.*nowhere'"):
        helip.BatchSampler(tmp_path / "nowhere")
    with pytest.raises(
        InvalidArgumentError, match=r"world_size is 2 and rank is not given.*0 \.\. 1"
    ):
        helip.BatchSampler(TABLE, 24, world_size=2)
    with pytest.raises(InvalidArgumentError, match="no batch of epoch 0"):
        helip.BatchSampler(plan).hard_rows([5, 6])
    sampler = helip.BatchSampler(TABLE, 24)
    with pytest.raises(InvalidArgumentError, match="not a state of BatchSampler"):
        sampler.load_state_dict({"epoch": 1})
    for wrong in ({"options": None}, {"epoch": -1}):
        with pytest.raises(InvalidArgumentError):
            sampler.load_state_dict(sampler.state_dict() | wrong)
    with pytest.raises(MismatchError, match="seed 3 there, 0 here"):
        sampler.load_state_dict(helip.BatchSampler(TABLE, 24, seed=3).state_dict())
    with pytest.raises(MismatchError, match="world_size 1 there, 2 here"):
        helip.BatchSampler(TABLE, 24, rank=0, world_size=2).load_state_dict(sampler.state_dict())
    with pytest.raises(InvalidArgumentError, match=r"batches is 99"):
        sampler.state_dict(batches=99)
