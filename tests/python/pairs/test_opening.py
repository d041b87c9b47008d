"""A table is opened together with what it was made of, or refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import helip
from helip.common.errors import InvalidArgumentError, MismatchError, UnsupportedError
from helip.pairs.hard_pairs import HardPairs
from helip.pairs.opening import open_table, open_together
from support.diagnosis_samples import table, write_pictures, write_store


def test_paths_and_objects_are_opened_alike(tmp_path: Path) -> None:
    csv = write_pictures(tmp_path)
    data = helip.open_dataset(csv, progress=False)
    store = write_store(data, tmp_path / "store")
    pairs = table()
    pairs.save(tmp_path / "pairs")
    given = open_together(pairs, data, store)
    assert given[1:] == (data, store)
    opened = open_together(str(tmp_path / "pairs"), csv, tmp_path / "store")
    assert all(np.array_equal(each[0].ids, pairs.ids) for each in (given, opened))
    assert opened[1].fingerprint == data.fingerprint
    assert opened[2].fingerprint == store.fingerprint
    assert open_together(pairs, data, None)[2] is None


def test_what_does_not_belong_together_is_refused(tmp_path: Path) -> None:
    data = helip.open_dataset(write_pictures(tmp_path), progress=False)
    store = write_store(data, tmp_path / "store")
    ids, scores = table().ids, table().scores
    with pytest.raises(MismatchError, match="90 rows there, 96 rows"):
        open_together(table(rows=90), data, store)
    with pytest.raises(MismatchError, match="belongs to other data"):
        other = "0" * 32 + data.fingerprint[32:]
        open_together(HardPairs.from_arrays(ids, scores, data_fingerprint=other), data, None)
    with pytest.raises(MismatchError, match=f"this one has {store.fingerprint[:12]}"):
        open_together(HardPairs.from_arrays(ids, scores, fingerprint="another"), data, store)


def test_a_part_of_a_table_is_refused(tmp_path: Path) -> None:
    data = helip.open_dataset(write_pictures(tmp_path), progress=False)
    store = write_store(data, tmp_path / "store")
    part = helip.mine(store, k=3, out=tmp_path / "part", part=(2, 2), progress=False)
    with pytest.raises(UnsupportedError, match="a part is not a table; merge the parts"):
        open_table(part, None)


def test_a_table_without_targets_is_refused(tmp_path: Path) -> None:
    data = helip.open_dataset(write_pictures(tmp_path), progress=False).subset([])
    empty = np.empty((0, 4), dtype=np.int32)
    pairs = HardPairs.from_arrays(empty, np.empty((0, 4), dtype=np.float32))
    with pytest.raises(InvalidArgumentError, match="0 targets"):
        open_together(pairs, data, None)
