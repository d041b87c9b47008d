"""Several files of verdicts in one, and verdicts on rows that moved."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helip import HardPairs, Verdicts
from helip.common.errors import InvalidArgumentError, MismatchError, StorageError
from helip.verdicts import Moved, merge, move

IDS = np.array([[1], [2], [3], [0]], np.int32)
SCORES = np.full((4, 1), 0.5, np.float32)
TABLE = HardPairs.from_arrays(IDS, SCORES, data_fingerprint="k-c-0-0")


def written(path: Path, person: str, keys: list[str] | None = None) -> Path:
    with Verdicts.open(path, pairs=TABLE, keys=keys) as verdicts:
        verdicts.judge(0, 1, "keep", person=person)
        verdicts.judge(1, 2, "near duplicate", person=person)
        verdicts.judge(1, 0, "false negative", person="Ada")
    return path


def test_the_union_is_the_same_in_any_order_and_again(tmp_path: Path) -> None:
    files = [written(tmp_path / name, name) for name in "ab"]
    shutil.copy(files[0], tmp_path / "c")  # a copy that went on
    with Verdicts.open(tmp_path / "c") as verdicts:
        verdicts.undo("a")
        verdicts.judge(3, None, "mismatch", person="a")
    files.append(tmp_path / "c")
    seen = []
    for number, order in enumerate(itertools.permutations(files)):
        with merge(order, out=tmp_path / f"m{number}") as merged:
            seen.append((list(merged), merged.history(), merged.decided(), merged.counts()))
    assert all(each == seen[0] for each in seen)
    assert seen[0][3]["log"] == {"verdicts": 7, "undone": 1}
    with merge([tmp_path / "m1", files[1]], out=tmp_path / "m0") as again:
        assert (list(again), again.history()) == seen[0][:2]
    step = tmp_path / "step"
    merge(files[:1], out=step).close()
    with merge(files[1:], out=step) as merged:
        assert merged.history() == seen[0][1]
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_files_of_other_data_are_refused_and_nothing_is_written(tmp_path: Path) -> None:
    one = written(tmp_path / "a", "a", keys=list("abcd"))
    other = HardPairs.from_arrays(IDS, SCORES, data_fingerprint="k-d-0-0")
    Verdicts.open(tmp_path / "b", pairs=other).close()
    with pytest.raises(MismatchError, match="belongs to other data than this: the captions differ"):
        merge([one, tmp_path / "b"], out=tmp_path / "m")
    two = written(tmp_path / "c", "c", keys=list("abxd"))
    with pytest.raises(MismatchError, match="row 2 is 'c' in one file and 'x' in another"):
        merge([one, two], out=tmp_path / "m")
    with pytest.raises(StorageError, match="there is no file of verdicts at"):
        merge([one, tmp_path / "no"], out=tmp_path / "m")
    with pytest.raises(InvalidArgumentError, match="sources is empty"):
        merge([], out=tmp_path / "m")
    assert not (tmp_path / "m").exists()
    with Verdicts.open(one) as verdicts:
        before = verdicts.history()
    with pytest.raises(MismatchError, match="row 2 is"):
        merge([two], out=one)
    with Verdicts.open(one) as verdicts:
        assert verdicts.history() == before


def test_what_one_file_knows_of_the_data_the_merged_one_does(tmp_path: Path) -> None:
    bare = HardPairs.from_arrays(IDS, SCORES)
    with Verdicts.open(tmp_path / "bare", pairs=bare) as verdicts:
        assert verdicts.data_fingerprint == ""
    with merge([tmp_path / "bare", written(tmp_path / "a", "a")], out=tmp_path / "m") as merged:
        assert merged.data_fingerprint == "k-c-0-0"
    with merge([tmp_path / "a"], out=tmp_path / "bare") as merged:
        assert merged.data_fingerprint == "k-c-0-0"


def table(rows: int, data: str) -> HardPairs:
    ids = ((np.arange(rows)[:, None] + 1) % rows).astype(np.int32)
    return HardPairs.from_arrays(ids, np.ones((rows, 1)), data_fingerprint=data)


OLD, NEW = table(4, "k1-0-0-0"), table(5, "k2-0-0-0")
KEYS = {"old": list("abcd"), "new": list("xdcae")}  # b is gone


@pytest.fixture
def source(tmp_path: Path) -> Path:
    with Verdicts.open(tmp_path / "v", pairs=OLD, keys=KEYS["old"]) as verdicts:
        verdicts.judge(0, 2, "keep", person="Ada")
        verdicts.judge(0, 2, "near duplicate", person="Ada")
        verdicts.undo("Ada")
        verdicts.judge(1, 3, "keep", person="Ada")
        verdicts.judge(3, None, "mismatch", person="Bo")
        verdicts.undo("Bo")
        verdicts.judge(1, None, "mismatch", person="Bo")
        verdicts.judge(3, 0, "false negative", person="Bo")
    with Verdicts.open(tmp_path / "v", pairs=OLD) as verdicts:
        verdicts.judge(3, 2, "keep", person="Cy")  # without keys
    return tmp_path / "v"


def test_each_verdict_goes_where_its_keys_are_now(source: Path, tmp_path: Path) -> None:
    done = move(source, pairs=NEW, keys=KEYS["new"], out=tmp_path / "new")
    assert done == Moved(kept=4, lost=2, unkeyed=1)
    with Verdicts.open(tmp_path / "new", pairs=NEW, keys=KEYS["new"]) as verdicts:
        assert [(j.person, j.target, j.hard, j.verdict) for j in verdicts] == [
            ("Ada", 3, 2, "keep"),
            ("Bo", 1, 3, "false negative"),
        ]
        assert [j.undone for j in verdicts.history()] == [False, True, True, False]
        before = verdicts.history()
    move(source, pairs=NEW, keys=KEYS["new"], out=tmp_path / "again")
    with merge([tmp_path / "new", tmp_path / "again"], out=tmp_path / "both") as verdicts:
        assert verdicts.history() == before


def test_what_cannot_be_moved_is_refused(source: Path, tmp_path: Path) -> None:
    def moved(**options: Any) -> None:
        move(source, **{"pairs": NEW, "keys": KEYS["new"], "out": tmp_path / "new", **options})

    with pytest.raises(InvalidArgumentError, match="keys is None, and pairs knows no store"):
        moved(keys=None)
    with pytest.raises(MismatchError, match="keys has 4 entries and pairs 5 rows"):
        moved(keys=KEYS["old"])
    with pytest.raises(InvalidArgumentError, match="v exists already; choose another place"):
        moved(out=source)
    assert [p.name for p in tmp_path.iterdir()] == ["v"]
