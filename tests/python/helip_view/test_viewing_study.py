"""What belongs together when a study is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import helip
import helip_view
from helip.common.errors import InvalidArgumentError, MismatchError, StorageError
from helip_view.viewing import asking
from support.study_samples import make, unanswered
from support.view_samples import call_of


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
