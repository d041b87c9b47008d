"""plan_batches and BatchPlan: the batches that a loader draws, in files."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

import helip
from helip.common.errors import CorruptError, InvalidArgumentError, MismatchError, UnsupportedError
from helip.loading.loader import HardPairLoader
from support.loader_samples import FakeData, random_pools, table_of, to_tensor

ROWS, K = 203, 7
POOLS = random_pools(ROWS, K, seed=8)
TABLE = table_of(POOLS, K)


def planned(out, table=TABLE, **options):
    options = {"batch_size": 24, "epochs": 2, "seed": 3, "progress": False} | options
    return helip.plan_batches(table, out=out, **options)


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    return planned(tmp_path_factory.mktemp("plans") / "plan")


@pytest.mark.parametrize("world_size", [1, 3])
@pytest.mark.parametrize(
    "options",
    [
        {}, {"rank_min": 2, "rank_max": 5, "fraction": 0.5}, {"hard_per_target": 2},
        {"strategy": "shared"}, {"strategy": "walk"},
        {"hard_per_target": 1, "schedule": {"epochs": 2, "rank_max": 2}},
    ],
    ids=str,
)  # fmt: skip
def test_its_batches_are_those_of_a_loader_on_each_rank(tmp_path, options, world_size):
    plan = planned(tmp_path / "plan", world_size=world_size, **options)
    data = FakeData(ROWS)
    for rank in range(world_size):
        loader = HardPairLoader(
            data, TABLE, batch_size=24, seed=3, transform=to_tensor, workers=0, rank=rank,
            world_size=world_size, **options,
        )  # fmt: skip
        for epoch in range(2):
            assert plan.batches_of(epoch) == len(loader) * world_size
            for step, batch in enumerate(loader):
                found = plan.batch(epoch, step * world_size + rank)
                assert found.rows.tolist() == batch["index"].tolist()
                assert found.target.tolist() == batch["target"].tolist()


def test_hard_rows_are_all_rows_of_the_batch_in_the_window_best_first(tmp_path):
    plan = planned(tmp_path / "plan", rank_min=1, rank_max=5)
    hard = 0
    for batch in plan.batches(1):
        rows = batch.rows.tolist()
        expected = [[rows.index(r) for r, _ in POOLS[row][1:5] if r in rows] for row in rows]
        assert [[place for place in own if place >= 0] for own in batch.hard_rows.tolist()] == (
            expected
        )
        hard += sum(map(len, expected))
    assert hard > ROWS
    counts = plan.counts()
    assert counts["rows"] == 2 * ROWS and counts["batches"] == 2 * plan.batches_of(0)
    assert counts["hard_rows"] > hard and 0 < counts["rows_with_hard_rows"] <= counts["rows"]
    assert counts["smallest"] <= counts["largest"] <= 24


@pytest.mark.parametrize("world_size", [1, 2])
def test_communities_are_numbered_as_they_come_and_hang_together(tmp_path, world_size):
    plan = planned(tmp_path / "plan", community_rows=6, fraction=0.8, world_size=world_size)
    for epoch in range(2):
        number = np.concatenate([batch.community for batch in plan.batches(epoch)])
        rows = np.concatenate([batch.rows for batch in plan.batches(epoch)])
        held = number[number >= 0]
        assert (np.diff(held) >= 0).all() and np.unique(held).tolist() == list(range(held[-1] + 1))
        assert 0.6 < len(held) / ROWS < 0.9
        for one in range(held[-1] + 1):
            members = set(rows[number == one].tolist())
            reached, edge = set(), {next(iter(members))}
            while edge:  # by pools, in either direction
                reached |= edge
                edge = {
                    row
                    for row in members - reached
                    if any(row in TABLE.ids[other] or other in TABLE.ids[row] for other in reached)
                }
            assert reached == members and 2 <= len(members) <= 9
    last = [int(batch.community.max()) for batch in plan.batches(1)]
    assert max(last) + 1 <= plan.counts()["communities"]


def test_other_strategies_have_no_communities(tmp_path):
    plan = planned(tmp_path / "plan", strategy="shared")
    assert all((batch.community == -1).all() for batch in plan.batches(0))
    assert plan.counts()["communities"] == 0


def test_every_row_comes_once_an_epoch_and_epochs_differ(plan):
    orders = [plan.rows_of(epoch).tolist() for epoch in range(2)]
    assert all(sorted(order) == list(range(ROWS)) for order in orders)
    assert orders[0] != orders[1]


def test_the_digest_is_that_of_batches_and_options(tmp_path, plan):
    assert planned(tmp_path / "again").digest == plan.digest
    assert planned(tmp_path / "seed", seed=4).digest != plan.digest
    assert planned(tmp_path / "short", epochs=1).digest != plan.digest


def test_the_arrays_are_mapped_and_of_any_reader(plan):
    rows = plan.rows_of(0)
    assert isinstance(rows, np.memmap) and rows.dtype == np.int32
    assert np.array_equal(np.load(plan.path / "epoch-00000.rows.npy"), rows)
    starts = plan.starts_of(0)
    assert starts[0] == 0 and starts[-1] == len(rows)
    assert np.array_equal(rows[starts[2] : starts[3]], plan.batch(0, 2).rows)


def test_parquet_has_the_same_batches(tmp_path, plan):
    parquet = pytest.importorskip("pyarrow.parquet")
    plan.to_parquet(tmp_path / "epoch.parquet", 1)
    table = parquet.read_table(tmp_path / "epoch.parquet")
    assert json.loads(table.schema.metadata[b"helip.batch_plan"])["digest"] == plan.digest
    found = table.to_pydict()
    for number, batch in enumerate(plan.batches(1)):
        here = [i for i, own in enumerate(found["batch"]) if own == number]
        assert [found["row"][i] for i in here] == batch.rows.tolist()
        assert [found["target"][i] for i in here] == batch.target.tolist()
        assert [found["hard_rows"][i] for i in here] == [
            [place for place in own if place >= 0] for own in batch.hard_rows.tolist()
        ]


def test_equal_captions_are_kept_apart_where_the_data_are_given(tmp_path):
    data = FakeData(ROWS)
    with pytest.raises(InvalidArgumentError, match="FakeData is no Dataset"):
        planned(tmp_path / "plan", data=data, unique="caption")
    with pytest.raises(InvalidArgumentError, match="no data are given; give data="):
        planned(tmp_path / "plan", unique="caption")
    assert not (tmp_path / "plan").exists()


def test_a_plan_of_other_data_is_refused(tmp_path, plan):
    plan.require_data(FakeData(ROWS))
    with pytest.raises(MismatchError, match=r"the plan .* belongs to other data"):
        helip.BatchPlan.open(plan.path, data=FakeData(ROWS + 1))
    with pytest.raises(MismatchError, match="numbers of rows differ"):
        planned(tmp_path / "plan", data=FakeData(ROWS - 1))


def test_what_it_does_not_have_is_refused_with_what_it_has(tmp_path, plan):
    with pytest.raises(InvalidArgumentError, match=r"epoch 2 .* has the epochs 0 \.\. 1"):
        plan.batch(2, 0)
    with pytest.raises(InvalidArgumentError, match=r"epoch -1 is not in"):
        helip.BatchPlan.open(plan.path).batches_of(-1)
    with pytest.raises(
        UnsupportedError, match="is a URL, and a plan of batches is read from a directory"
    ):
        helip.BatchPlan.open("https://some.host/plan")
    with pytest.raises(InvalidArgumentError, match=r"batch 9 of epoch 0 is none of 0 \.\. 8"):
        plan.batch(0, 9)
    with pytest.raises(InvalidArgumentError, match=r"no batch of epoch 1 .*set_epoch\)"):
        plan.number_of(1, plan.batch_rows(0, 3))
    with pytest.raises(InvalidArgumentError, match="exists already"):
        planned(plan.path)
    (tmp_path / "manifest.json").write_text('{"format": "helip.hard_pairs"}')
    with pytest.raises(
        InvalidArgumentError, match=r"not a plan of batches but a helip\.hard_pairs"
    ):
        helip.BatchPlan.open(tmp_path)


def test_a_damaged_plan_is_refused(tmp_path, plan):
    def copy(name):
        return shutil.copytree(plan.path, tmp_path / name)

    cut = copy("cut") / "epoch-00001.hard_rows.npy"
    cut.write_bytes(cut.read_bytes()[:-3])
    with pytest.raises(CorruptError, match=rf"^{cut} has .* bytes in place of"):
        helip.BatchPlan.open(tmp_path / "cut")
    (copy("gone") / "epoch-00000.starts.npy").unlink()
    with pytest.raises(CorruptError, match="is missing"):
        helip.BatchPlan.open(tmp_path / "gone")
    changed = copy("changed") / "epoch-00000.rows.npy"
    content = bytearray(changed.read_bytes())
    content[-1] ^= 1
    changed.write_bytes(content)
    opened = helip.BatchPlan.open(tmp_path / "changed")
    with pytest.raises(CorruptError, match=r"rows\.npy is damaged"):
        opened.verify()
    plan.verify()
    edited = copy("edited") / "manifest.json"
    edited.write_text(edited.read_text().replace('"seed": 3', '"seed": 4'))
    with pytest.raises(CorruptError, match=r"manifest\.json was changed"):
        helip.BatchPlan.open(edited.parent)
    manifest = copy("newer") / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"version": 1', '"version": 2'))
    with pytest.raises(UnsupportedError, match="version 2"):
        helip.BatchPlan.open(tmp_path / "newer")
    manifest.write_text('{"format": "helip.batch_plan", "version": 1}')
    with pytest.raises(CorruptError, match=r"manifest\.json was changed"):
        helip.BatchPlan.open(tmp_path / "newer")


def test_with_soft_labels_it_has_the_weights_of_hard_rows(tmp_path):
    weights = np.random.default_rng(1).random((ROWS, K))
    labels = helip.label_pairs(TABLE, out=tmp_path / "labels", weights=weights, progress=False)
    plan = planned(tmp_path / "plan", soft_labels=labels.path)
    assert plan.options["soft_labels"] == labels.digest
    assert plan.digest != planned(tmp_path / "without").digest
    for batch in plan.batches(1):
        dense = labels.of(batch.rows).numpy()
        assert batch.own_weights.tolist() == dense.diagonal().tolist()
        for i, hard in enumerate(batch.hard_rows.tolist()):
            expected = [dense[i, other] if other >= 0 else 0.0 for other in hard]
            assert batch.hard_weights[i].tolist() == expected
    plan.to_parquet(tmp_path / "epoch.parquet", 0)
    parquet = pytest.importorskip("pyarrow.parquet")
    columns = parquet.read_table(tmp_path / "epoch.parquet").to_pydict()
    first = plan.batch(0, 0)
    assert columns["own_weight"][: len(first.rows)] == first.own_weights.tolist()
    counts = (first.hard_rows >= 0).sum(axis=1)
    assert columns["hard_weights"][0] == first.hard_weights[0][: counts[0]].tolist()
    plan.verify()
