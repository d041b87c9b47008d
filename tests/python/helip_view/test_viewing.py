"""What belongs to one viewer is that of its own data."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest

pytest.importorskip("starlette")

from helip.common.errors import InvalidArgumentError
from helip.common.files import own_cache
from helip_view.viewing import ViewCall, viewing


def seen(pairs: Path, data: Path) -> tuple[bytes, list[int]]:
    """The thumbnail of row 1, and the rows whose captions have "green"."""
    with viewing(ViewCall(pairs, data, progress=False)) as pages:
        assert pages._search.wait(30)
        return pages._thumbnails.get(1), pages._search.find("green").tolist()


def test_data_with_equal_keys_share_nothing(folder: Path, tmp_path: Path) -> None:
    other = shutil.copytree(folder / "pictures", tmp_path / "other")
    (other / "001.txt").write_text("a green boat", encoding="utf-8")
    shutil.copy(other / "030.png", other / "001.png")
    # The table was mined of a store alone: it knows the keys, and fits both.
    one, two = (seen(folder / "pairs", data) for data in (folder / "pictures", other))
    assert one[0] != two[0]
    assert (one[1], two[1]) == ([], [1])


def test_verdicts_are_not_kept_in_the_cache(folder: Path, tmp_path: Path) -> None:
    table = shutil.copytree(folder / "pairs", own_cache() / "remote" / "table")
    call = ViewCall(table, folder / "pictures", progress=False)
    with pytest.raises(InvalidArgumentError, match="name a file: --verdicts FILE"), viewing(call):
        pass
    assert not list(table.parent.glob("*.verdicts"))
    with viewing(dataclasses.replace(call, verdicts=tmp_path / "own")) as pages:
        assert pages._taken.there
    shutil.rmtree(table)
