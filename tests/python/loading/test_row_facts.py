"""hard_rows: which rows of a batch of communities are hard pairs of which."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import helip
from helip.common.errors import Error, MismatchError
from helip.loading.loader import HardPairLoader
from helip.loading.row_facts import HardRows
from support.loader_samples import FakeData, random_pools, table_of, to_tensor
from support.margin_reference import features, reference_margin

ROWS, K = 151, 9


class SomeMissing(FakeData):
    """Every seventh row cannot be read."""

    def __getitem__(self, row: int) -> dict:
        if row % 7 == 3:
            raise Error(f"row {row} is gone")
        return super().__getitem__(row)


def expected_of(rows, pools, first, last):
    """For each row the batch rows of its window, by rank."""
    return [[rows.index(r) for r, _ in pools[row][first:last] if r in rows] for row in rows]


def named(found):
    return [[place for place in places if place >= 0] for places in found.tolist()]


def loader_of(data, pools, **options):
    return HardPairLoader(
        data, table_of(pools, K), batch_size=32, seed=4, transform=to_tensor, workers=0,
        max_quarantined=0.5, **options,
    )  # fmt: skip


@pytest.mark.parametrize("data", [FakeData(ROWS), SomeMissing(ROWS)], ids=["whole", "some missing"])
@pytest.mark.parametrize(
    "options",
    [{}, {"rank_min": 2, "rank_max": 6}, {"fraction": 0.5}, {"targets_per_batch": 20}],
    ids=str,
)
def test_they_are_all_rows_of_the_batch_that_are_in_the_window(data, options):
    pools = random_pools(ROWS, K, seed=5)
    first, last = options.get("rank_min", 0), options.get("rank_max", K)
    several = 0
    for batch in loader_of(data, pools, **options):
        rows, found = batch["index"].tolist(), batch["hard_rows"]
        assert found.dtype == torch.int64
        assert named(found) == expected_of(rows, pools, first, last)
        assert found.shape[1] == max(1, *(len(places) for places in named(found)))
        several += sum(len(places) > 1 for places in named(found))
    assert several > 0


def test_the_window_is_that_of_the_epoch():
    pools = random_pools(ROWS, K, seed=6)
    loader = loader_of(FakeData(ROWS), pools, schedule={"epochs": 2, "rank_max": 1})
    for last in (K, 5, 1):
        for batch in loader:
            rows = batch["index"].tolist()
            assert named(batch["hard_rows"]) == expected_of(rows, pools, 0, last)


def test_they_are_the_same_after_a_resume_in_mid_epoch():
    pools = random_pools(ROWS, K, seed=7)
    options = {"rank_max": 9, "schedule": {"epochs": 2, "rank_max": 3}}
    whole = [batch["hard_rows"].tolist() for batch in loader_of(FakeData(ROWS), pools, **options)]
    loader = loader_of(FakeData(ROWS), pools, **options)
    batches = iter(loader)
    head = [next(batches)["hard_rows"].tolist() for _ in range(2)]
    again = loader_of(FakeData(ROWS), pools, **options)
    again.load_state_dict(loader.state_dict())
    rest = [batch["hard_rows"].tolist() for batch in again]
    assert head + rest == whole


def test_other_strategies_name_one_target_of_each_row():
    pools = random_pools(ROWS, K, seed=8)
    for options in ({"hard_per_target": 2}, {"strategy": "shared"}, {"strategy": "walk"}):
        assert all(
            "hard_rows" not in batch for batch in loader_of(FakeData(ROWS), pools, **options)
        )


def test_the_margin_loss_has_several_hard_pairs_a_target():
    import helip

    pools = random_pools(ROWS, K, seed=9)
    batch = next(iter(loader_of(FakeData(ROWS), pools)))
    rows = batch["index"].tolist()
    image, text = features(len(rows), seed=1)
    hard = torch.full((len(rows), K), -1)
    for place, places in enumerate(expected_of(rows, pools, 0, K)):
        hard[place, : len(places)] = torch.tensor(places, dtype=torch.int64)
    expected, violated = reference_margin(image, text, hard, 0.1, "preserve", "cross")
    out = helip.HelipLoss(margin=0.1)(
        image, text, 10.0, batch["target"], hard_rows=batch["hard_rows"]
    )
    torch.testing.assert_close(out["margin"], expected, rtol=1e-11, atol=1e-12)
    assert float(out["violated"]) == pytest.approx(violated)
    one_each = helip.HelipLoss(margin=0.1)(image, text, 10.0, batch["target"])
    assert abs(float(one_each["margin"] - out["margin"])) > 1e-3


def test_a_batch_in_which_no_row_has_one_has_one_empty_column():
    table = table_of([[(1, 0.5)], [(0, 0.5)], [], []], 1)
    hard_rows = HardRows(table)
    assert hard_rows.padded(np.array([3, 1]), 0, 1).tolist() == [[-1], [-1]]
    assert hard_rows.padded(np.array([1, 3, 0]), 0, 1).tolist() == [[2], [-1], [0]]


def test_soft_labels_of_a_batch_are_those_of_its_rows(tmp_path):
    pools = random_pools(ROWS, K, seed=6)
    weights = np.random.default_rng(1).random((ROWS, K))
    labels = helip.label_pairs(
        table_of(pools, K), out=tmp_path / "labels", weights=weights, progress=False
    )
    for given in (labels, labels.path):
        for batch in loader_of(SomeMissing(ROWS), pools, soft_labels=given):
            rows = batch["index"].tolist()
            for i, row in enumerate(rows):
                expected = dict(zip((other for other, _ in pools[row]), weights[row], strict=False))
                expected[row] = 1.0
                found = [expected.get(other, 0.0) for other in rows]
                np.testing.assert_allclose(batch["soft_labels"][i].numpy(), found, atol=1e-3)
    with pytest.raises(MismatchError, match="label the pairs of this one"):
        loader_of(FakeData(ROWS + 1), [*pools, []], soft_labels=labels)
