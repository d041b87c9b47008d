"""helip.train(pools="own"): tables that the model mines for its own run, and again in it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import helip
from helip.common.errors import (
    CancelledError,
    InvalidArgumentError,
    MismatchError,
    StorageError,
    UnsupportedError,
)
from helip.pairs.hard_pairs import HardPairs
from helip.store.embedding_store import EmbeddingStore
from helip.training.checkpoints import facts_of
from helip.training.metrics import read_metrics
from helip.training.step import OptimizerStep
from support.mining_reference import check_exact
from support.process_group import run as processes
from support.train_samples import CONFIG, Colours, table
from support.tune_samples import RESNET, same, tiny, weights

pytestmark = pytest.mark.usefixtures("one_thread")

ROWS, BATCH = 300, 60  # in two batches of embedding, and five of training
EPOCH = ROWS // BATCH


class Read(Colours):
    """Keeps which pictures were read."""

    def __init__(self) -> None:
        super().__init__(ROWS)
        self.rows: list[int] = []

    def _read_image(self, row):
        self.rows.append(row)
        return super()._read_image(row)


def model(seed: int = 3):
    return helip.create_model("tiny", config=CONFIG, from_scratch=True, seed=seed)


def run(out: Path, **options):
    given = {"data": Colours(ROWS), "batch_size": BATCH, "lr": 1e-4, "epochs": 3, "pools": "own"}
    given |= {"device": "cpu", "progress": False, "precision": "float32", "workers": 0, **options}
    return helip.train(out=out, model=given.pop("model", None) or model(), **given)


@pytest.fixture
def stop(monkeypatch):
    """(steps, asks) -> a should_stop that says yes when it was asked so many times, and once more,
    after so many steps."""
    taken: list[int] = []
    original = OptimizerStep.__call__

    def counting(self, *arguments, **named):
        taken.append(1)
        return original(self, *arguments, **named)

    monkeypatch.setattr(OptimizerStep, "__call__", counting)

    def after(steps: int, asks: int):
        taken.clear()
        asked: list[int] = []

        def should_stop() -> bool:
            if len(taken) >= steps:
                asked.append(1)
            return len(asked) > asks

        return should_stop

    return after


def tables(out: Path) -> list[HardPairs]:
    folders = sorted((out / "pools").iterdir(), key=lambda folder: int(folder.name))
    return [HardPairs.open(folder / "pairs") for folder in folders]


def ids(pairs: HardPairs) -> list:
    return np.asarray(pairs.ids).tolist()


def trained(result) -> dict[str, torch.Tensor]:
    return weights(result.model.model)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run of three epochs that mines before each, its folder, and its weights."""
    out = tmp_path_factory.mktemp("whole")
    result = run(out, pools_every=1)
    return out, result, trained(result)


def test_the_first_table_is_that_of_the_start_model(tmp_path):
    result = run(tmp_path, steps=1)
    store = EmbeddingStore.open(tmp_path / "pools" / "0" / "store")
    data, start = Colours(ROWS), model()
    with torch.no_grad():
        image = start.encode_image([data.image(row) for row in range(ROWS)], normalize=False)
        text = start.encode_text([data.caption(row) for row in range(ROWS)], normalize=False)
    np.testing.assert_allclose(store.image, image, rtol=2e-3, atol=1e-4)
    np.testing.assert_allclose(store.text, text, rtol=2e-3, atol=1e-4)
    (found,) = tables(tmp_path)
    assert found.k == helip.mining.MineOptions().k == 100
    check_exact(found, *(np.asarray(side, np.float64) for side in (store.image, store.text)))
    assert (np.asarray(found.counts) > 0).any()
    assert result.strategy == "communities"
    assert result.metrics["margin"] > 0


@pytest.mark.parametrize("start", [model, lambda: tiny(RESNET)], ids=["vit", "resnet"])
def test_training_is_that_with_the_same_table_given(tmp_path, start):
    """Also of batch norms and random generators, which encoding leaves as they are."""
    options = {"batch_size": 100, "epochs": 2}
    own = run(tmp_path / "own", model=start(), **options)
    options |= {"pools": None, "pairs": tmp_path / "own" / "pools" / "0" / "pairs"}
    given = run(tmp_path / "given", model=start(), **options)
    assert same(trained(own), trained(given))
    assert own.loader_stats == given.loader_stats
    assert own.metrics["margin"] == given.metrics["margin"]


def test_the_model_mines_again_as_it_is_then(whole, tmp_path):
    out, result, _ = whole
    first, second, third = tables(out)
    assert ids(first) != ids(second) != ids(third)
    assert [each["mining"] for each in result.pools] == [0, 1, 2]
    once = run(tmp_path / "once", pools_every=3)
    assert len(tables(tmp_path / "once")) == len(once.pools) == 1
    assert not same(trained(once), trained(result))


def test_the_second_table_is_that_of_the_weights_at_its_epoch(whole, tmp_path):
    out, _, _ = whole
    run(tmp_path, pools_every=1, keep=9)
    at = helip.create_model(tmp_path / "checkpoints" / f"step-{EPOCH:06d}")
    run(tmp_path / "of", model=at, steps=1)
    assert ids(tables(tmp_path / "of")[0]) == ids(tables(out)[1])


def test_the_newest_store_and_all_tables_stay(whole):
    out, _, _ = whole
    assert [folder.name for folder in sorted(out.glob("pools/*/store"))] == ["store"]
    assert (out / "pools" / "2" / "store").is_dir()
    assert len(tables(out)) == 3


def test_encoding_and_mining_are_counted_beside_training(whole):
    out, result, _ = whole
    lines = [row for row in read_metrics(out / "metrics.jsonl") if row.get("event") == "pools"]
    assert [(row["step"], row["mining"]) for row in lines] == [(0, 0), (EPOCH, 1), (2 * EPOCH, 2)]
    named = ("mining", "plain_targets", "encode_seconds", "mine_seconds")
    assert [{name: row[name] for name in named} for row in lines] == result.pools
    plain = [int((np.asarray(each.counts) == 0).sum()) for each in tables(out)]
    assert [each["plain_targets"] for each in result.pools] == plain
    assert all(row["encode_seconds"] > 0 and row["mine_seconds"] > 0 for row in lines)


@pytest.mark.parametrize("options", [{}, {"warm_statistics": 2}], ids=["", "warm"])
def test_seconds_of_the_run_are_those_of_training(monkeypatch, tmp_path, options):
    clock, hour, late = time.perf_counter, 3600.0, [0.0]

    def embed(*arguments, **named):
        late[0] += hour
        return helip.embed(*arguments, **named)

    monkeypatch.setattr(time, "perf_counter", lambda: clock() + late[0])
    monkeypatch.setattr("helip.training.own_pools.embed", embed)
    result = run(tmp_path, pools_every=1, epochs=2, **options)
    assert all(each["encode_seconds"] > hour > each["mine_seconds"] for each in result.pools)
    assert result.seconds < hour
    steps = [row for row in read_metrics(tmp_path / "metrics.jsonl") if "event" not in row]
    steps = steps[1:]  # the clock of the first began before it was replaced
    assert min(row["samples_per_second"] for row in steps) > BATCH / hour
    assert max(row["data_wait_seconds"] for row in steps) < hour


@pytest.mark.parametrize(
    ("steps", "asks", "message"),
    [
        (0, 4, "mined its pools after step 0 of 15"),
        (0, 8, "mined its pools after step 0 of 15"),
        (3, 0, "stopped after step 3"),
        (EPOCH, 0, "stopped after step 5"),
        (EPOCH, 5, "mined its pools after step 5 of 15"),
        (EPOCH, 9, "mined its pools after step 5 of 15"),
        (EPOCH + 2, 0, "stopped after step 7"),
    ],
    ids=[
        "encoding", "mining", "before the second", "at the second", "encoding the second",
        "mining the second", "behind the second",
    ],
)  # fmt: skip
def test_a_stopped_run_ends_with_the_same_bits(whole, stop, tmp_path, steps, asks, message):
    with pytest.raises(CancelledError, match=message):
        run(tmp_path, pools_every=1, should_stop=stop(steps, asks))
    resumed = run(tmp_path, pools_every=1)
    assert same(trained(resumed), whole[2])
    assert [ids(each) for each in tables(tmp_path)] == [ids(each) for each in tables(whole[0])]
    lines = [row for row in read_metrics(tmp_path / "metrics.jsonl") if "event" in row]
    assert [row["mining"] for row in lines if row["event"] == "pools"] == [0, 1, 2]


def test_encoding_goes_on_after_the_last_commit(stop, tmp_path):
    with pytest.raises(CancelledError, match=r"goes on from what is in .*pools/0"):
        run(tmp_path, should_stop=stop(0, 4))
    assert len(EmbeddingStore.open(tmp_path / "pools" / "0" / "store")) == 256
    data = Read()
    run(tmp_path, data=data, steps=1)
    assert data.rows[0] == 256


def test_a_table_that_is_there_is_not_mined_again(monkeypatch, stop, tmp_path):
    with pytest.raises(CancelledError):
        run(tmp_path, pools_every=1, should_stop=stop(EPOCH + 2, 0))
    monkeypatch.setattr("helip.training.own_pools.embed", None)
    monkeypatch.setattr("helip.training.own_pools.mine", None)
    with pytest.raises(CancelledError, match="stopped after step 8"):
        run(tmp_path, pools_every=1, should_stop=stop(1, 0))


def test_what_another_start_began_is_begun_anew(stop, tmp_path):
    with pytest.raises(CancelledError):
        run(tmp_path / "a", model=model(4), should_stop=stop(0, 4))
    found = run(tmp_path / "a", steps=2)
    assert same(trained(found), trained(run(tmp_path / "b", steps=2)))


def test_batches_for_warm_statistics_are_of_the_first_table(whole, tmp_path):
    run(tmp_path, pools_every=1, warm_statistics=EPOCH + 2, steps=EPOCH + 1)
    assert ids(tables(tmp_path)[0]) == ids(tables(whole[0])[0])
    accounts = [json.loads((tmp_path / "pools" / n / "account.json").read_text()) for n in "01"]
    assert accounts[0]["of"]["weights"] != accounts[1]["of"]["weights"]
    lines = [r for r in read_metrics(tmp_path / "metrics.jsonl") if r.get("event") == "pools"]
    assert [(row["step"], row["mining"]) for row in lines] == [(0, 0), (EPOCH, 1)]


def test_pools_reach_as_far_as_the_options_ask(tmp_path):
    run(tmp_path, steps=1, rank_min=90, rank_max=120)
    assert tables(tmp_path)[0].k == 120


def test_the_plan_tells_how_often_it_mines(tmp_path):
    options = {"model": model(), "data": Colours(ROWS), "batch_size": BATCH, "device": "cpu"}
    options |= {"epochs": 5, "progress": False}
    plan = helip.plan_training(pools="own", pools_every=2, **options)
    assert (plan.minings, plan.steps, plan.rows) == (3, 5 * EPOCH, 5 * ROWS)
    assert helip.plan_training(pools="own", **options).minings == 1
    assert helip.plan_training(**options).minings == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pairs": table(Colours(24))}, "pools is 'own'.* and pairs is a HardPairs; give pools"),
        ({"pairs": helip.StreamingMiner(memory=24)}, "pairs is a StreamingMiner"),
        ({"control": True, "steps": 3}, "control is True.*steps=N"),
        ({"strategy": "uniform"}, "short is 'skip', must be 'keep' or 'random' with pools='own'"),
        ({"short": "error"}, "short is 'error', must be 'keep'"),
        ({"pools": None, "pools_every": 1}, "pools_every is 1, must be None without pools"),
        ({"pools": "others"}, "pools is 'others', must be"),
        ({"pools_every": 0}, "pools_every is 0, must be"),
        ({"pools_every": 0.5}, "pools_every is 0.5, must be a whole number"),
        ({"data": iter([])}, "can only be iterated"),
    ],
)
def test_what_does_not_go_with_it_is_refused(tmp_path, options, message):
    with pytest.raises((InvalidArgumentError, UnsupportedError), match=message):
        run(tmp_path / "out", **{"data": Colours(24), "batch_size": 8, **options})
    assert not (tmp_path / "out").exists()


def test_a_model_in_parts_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("helip.training.own_pools.Processes", lambda: SimpleNamespace(count=2))
    with pytest.raises(UnsupportedError, match="parallel is 'fsdp', where no process has"):
        run(tmp_path, parallel="fsdp")


def test_a_model_needs_its_transform_for_whole_pictures(tmp_path):
    start = model()
    start.eval_transform = None
    with pytest.raises(InvalidArgumentError, match="no eval_transform"):
        run(tmp_path, model=start)


def run_of_rank(rank: int, out: str):
    return trained(run(Path(out), pools_every=1, epochs=2, keep=9))


def test_of_two_processes_the_first_mines_for_both(whole, tmp_path):
    out = tmp_path / "run"
    first, second = processes(run_of_rank, tmp_path, str(out))
    assert same(first, second)
    assert ids(tables(out)[0]) == ids(tables(whole[0])[0])
    at = helip.create_model(out / "checkpoints" / f"step-{EPOCH:06d}")
    run(tmp_path / "of", model=at, steps=1)
    assert ids(tables(tmp_path / "of")[0]) == ids(tables(out)[1])


def test_a_card_does_not_call_such_a_run_plain(whole):
    facts = facts_of(whole[0]).told()
    assert not facts["plain"]
    assert (facts["strategy"], dict(facts["options"])["pools"]) == ("communities", "own")


def test_a_run_is_resumed_with_the_same_pools_alone(tmp_path):
    run(tmp_path, steps=2, pools_every=2)
    with pytest.raises(MismatchError, match="pools_every was 2, is 1"):
        run(tmp_path, steps=2, pools_every=1)
    with pytest.raises(MismatchError, match="pools was 'own', is None"):
        run(tmp_path, steps=2, pools=None, pairs=tmp_path / "pools" / "0" / "pairs")


def test_a_table_that_is_gone_is_named(stop, tmp_path):
    with pytest.raises(CancelledError):
        run(tmp_path, should_stop=stop(3, 0))
    (tmp_path / "pools" / "0" / "pairs").rename(tmp_path / "elsewhere")
    with pytest.raises(StorageError, match="pools/0/pairs"):
        run(tmp_path)
