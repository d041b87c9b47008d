"""What belongs to one viewer, or to one study that is asked, is of its own data."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("starlette")

import helip
import helip_view
from helip.common.errors import InvalidArgumentError, MismatchError, StorageError
from helip.common.files import own_cache
from helip_view.viewing import ViewCall, asking, viewing
from support.study_samples import make, unanswered
from support.view_samples import call_of


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


@pytest.fixture(scope="module", autouse=True)
def study(folder: Path) -> None:
    unanswered(folder, folder / "study")


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"model": ("m",)}, InvalidArgumentError, "a study shows no model"),
        ({"verdicts": "v"}, InvalidArgumentError, "leave out verdicts, or study"),
        ({"study": "none"}, StorageError, "there is no file of a study at"),
        ({"study": "before/manifest.json"}, Exception, "damaged, or no file of a study"),
    ],
    ids=["model", "verdicts", "none", "other"],
)
def test_what_does_not_go_with_a_study_is_refused(
    folder: Path, options: Any, error: Any, words: str
) -> None:
    options = {"model": (), "study": "study", **options}
    options["study"] = folder / options["study"]
    with pytest.raises(error, match=words), asking(call_of(folder, **options)):
        pass


def test_a_study_of_another_table_is_refused(folder: Path, tmp_path: Path) -> None:
    store = helip.EmbeddingStore.open(folder / "store")
    other = helip.mine(store, k=4, device="cpu", progress=False)
    with make(folder, tmp_path / "s", store=None, cards=4, kinds=("product", "random")):
        pass
    helip_view.make_study(
        other, data=folder / "pictures", store=store, out=tmp_path / "t", cards=16, shown=3,
        progress=False,
    ).close()  # fmt: skip
    call = call_of(folder, model=(), study=tmp_path / "t")
    with pytest.raises(MismatchError, match="of another table"), asking(call):
        pass
