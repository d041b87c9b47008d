"""Verdicts that follow their rows to other places, by keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helip import HardPairs, Verdicts
from helip.common.errors import InvalidArgumentError, MismatchError
from helip.verdicts import Moved, merge, move


def table(rows: int, data: str) -> HardPairs:
    ids = ((np.arange(rows)[:, None] + 1) % rows).astype(np.int32)
    return HardPairs.from_arrays(ids, np.ones((rows, 1)), data_fingerprint=data)


OLD, NEW = table(4, "k1-0-0-0"), table(5, "k2-0-0-0")
KEYS = {"old": list("abcd"), "new": list("xdcae")}  # b is gone


@pytest.fixture
def source(tmp_path: Path) -> Path:
    with Verdicts.open(tmp_path / "v", pairs=OLD, keys=KEYS["old"]) as verdicts:
        verdicts.add(0, 2, "keep", person="Ada")
        verdicts.add(0, 2, "near duplicate", person="Ada")
        verdicts.undo("Ada")
        verdicts.add(1, 3, "keep", person="Ada")
        verdicts.add(3, None, "mismatch", person="Bo")
        verdicts.undo("Bo")
        verdicts.add(1, None, "mismatch", person="Bo")
        verdicts.add(3, 0, "false negative", person="Bo")
    with Verdicts.open(tmp_path / "v", pairs=OLD) as verdicts:
        verdicts.add(3, 2, "keep", person="Cy")  # without keys
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
    (tmp_path / "text").write_text("mine")
    for path in (source, tmp_path / "text", tmp_path):
        with pytest.raises(InvalidArgumentError, match=r"out is .*, must be a new file"):
            moved(out=path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["text", "v"]
    assert (tmp_path / "text").read_text() == "mine"
