"""Duplicates by window of ranks, against plain loops."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import helip
from helip.data.dataset import Dataset
from helip.diagnosis import windows as module
from helip.diagnosis.draws import RowGroups, equal
from helip.diagnosis.windows import measure_windows
from helip.pairs.hard_pairs import HardPairs
from support.data_samples import png, write_tar
from support.diagnosis_samples import ROWS, table, write_pictures, write_store


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return helip.open_dataset(write_pictures(tmp_path_factory.mktemp("windows")), progress=False)


TARGETS = np.arange(ROWS)


def test_where_all_hard_pairs_are_looked_at_shares_are_those_of_a_loop(
    data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MEMBERS", 40)
    pairs = table()
    found = measure_windows(pairs, data, TARGETS, window=25)
    assert [(each.first, each.last) for each in found] == [(1, 25), (1, 10), (11, 30), (31, 40)]
    for each in found:
        ids, scores = (side[:, each.first - 1 : each.last] for side in (pairs.ids, pairs.scores))
        assert each.pairs == ids.size
        assert each.equal_captions == pytest.approx((ids % 24 == TARGETS[:, None] % 24).mean())
        assert each.near == pytest.approx((scores >= 0.9).mean())
        assert each.equal_pictures is each.near_captions is each.near_pictures is None


def test_of_many_hard_pairs_a_random_eight_are_looked_at(data: Dataset) -> None:
    pairs = table()
    found = [measure_windows(pairs, data, TARGETS, seed=seed) for seed in (0, 0, 1)]
    assert found[0] == found[1] != found[2]
    assert found[0][0].pairs == 8 * ROWS
    share = (pairs.ids % 24 == TARGETS[:, None] % 24).mean()
    assert found[0][0].equal_captions == pytest.approx(share, abs=0.03)


def test_a_store_tells_near_captions_and_pictures(
    data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MEMBERS", 40)
    monkeypatch.setattr(module, "_BLOCK", 7)
    store, pairs = write_store(data, tmp_path / "store"), table()
    whole = measure_windows(pairs, data, TARGETS, store=store)[0]
    shares = []
    for side in store.rows(slice(None)):
        unit = side.double().numpy()
        unit /= np.linalg.norm(unit, axis=1, keepdims=True)
        cosines = (unit @ unit.T)[TARGETS[:, None], pairs.ids]
        shares.append((cosines >= 0.95).mean())
    assert (whole.near_pictures, whole.near_captions) == pytest.approx(tuple(shares))
    assert whole.near_captions is not None
    assert whole.near_captions > 0
    monkeypatch.setattr(module, "STORE_TARGETS", 10)
    few = measure_windows(pairs, data, TARGETS, store=store)[0]
    cosines = (unit @ unit.T)[TARGETS[:10, None], pairs.ids[:10]]
    assert few.near_captions == pytest.approx((cosines >= 0.95).mean())


def test_places_that_no_hard_pair_fills_are_not_near(data: Dataset, tmp_path: Path) -> None:
    store, ids = write_store(data, tmp_path / "store"), table().ids.copy()
    ids[:, 2:] = -1
    pairs = HardPairs.from_arrays(ids, np.where(ids >= 0, 0.5, 0).astype(np.float32))
    whole = measure_windows(pairs, data, TARGETS, store=store)[0]
    text = store.rows(slice(None))[1].double().numpy()
    text /= np.linalg.norm(text, axis=1, keepdims=True)
    cosines = (text @ text.T)[TARGETS[:, None], ids[:, :2]]
    assert whole.near_captions == pytest.approx((cosines >= 0.95).mean())


def test_pools_that_are_short_or_empty_are_looked_at_as_far_as_they_go(data: Dataset) -> None:
    ids = table().ids.copy()
    ids[:, 12:] = -1
    ids[5:] = -1
    pairs = HardPairs.from_arrays(ids, np.where(ids >= 0, 0.5, 0).astype(np.float32))
    found = {(each.first, each.last): each for each in measure_windows(pairs, data, TARGETS)}
    assert found[1, 40].pairs == 5 * 8
    assert found[11, 30].pairs == 5 * 2
    assert found[31, 40].pairs == 0
    assert found[31, 40].equal_captions == found[31, 40].near == 0


def test_equal_pictures_in_tar_shards_are_told_by_their_bytes(tmp_path: Path) -> None:
    members = [
        (f"s{row:02}.{suffix}", raw)
        for row in range(20)
        for suffix, raw in (("png", png(row // 2)), ("txt", f"caption {row}".encode()))
    ]
    data = helip.open_dataset(write_tar(tmp_path / "0.tar", members), progress=False)
    ids = np.stack([np.roll(np.arange(20), -row)[1:9] for row in range(20)]).astype(np.int32)
    pairs = HardPairs.from_arrays(ids, np.full(ids.shape, 0.5, dtype=np.float32))
    whole = measure_windows(pairs, data, np.arange(20))[0]
    # Row 2i has its equal at rank 1, row 2i + 1 nowhere in its pool of eight.
    assert whole.equal_pictures == pytest.approx(10 / 160)
    assert whole.equal_captions == 0


def test_rows_of_one_picture_are_equal_where_the_data_knows_it(tmp_path: Path) -> None:
    for row in range(6):
        (tmp_path / f"{row}.png").write_bytes(png(row))
    lines = [f"{row % 6}.png,caption {row},k{row}" for row in range(12)]
    (tmp_path / "d.csv").write_text("\n".join(["image,caption,key", *lines]) + "\n")
    data = helip.open_dataset(tmp_path / "d.csv", key_column="key", progress=False)
    found = RowGroups(data).of(np.arange(12))
    assert equal(found[:1], found[None])[0].nonzero()[0].tolist() == [0, 6]


def test_captions_that_cannot_be_read_equal_nothing_and_are_counted(tmp_path: Path) -> None:
    members = [
        (f"s{row:02}.{suffix}", raw)
        for row in range(4)
        for suffix, raw in (("png", png(row)), ("txt", b"same" if row < 2 else b" "))
    ]
    data = helip.open_dataset(write_tar(tmp_path / "0.tar", members), progress=False)
    groups = RowGroups(data)
    found = groups.of(np.array([0, 1, 2, 3, 2]))
    assert equal(found, found[None].repeat(5, axis=0)).tolist() == [
        [True, True, False, False, False], [True, True, False, False, False],
        *[[False] * 5] * 3,
    ]  # fmt: skip
    assert sum(groups.unread.values()) == 2
