"""What a notebook shows of tables, stores and data sets: escaped, small, and never fetched."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import helip
from helip import EmbeddingStore, HardPairs
from support.data_samples import caption, picture

HOSTILE = "<script>alert('x')</script> \u202e & co"


class _Page(HTMLParser):
    """Cells of a table, and the tags that there are."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.cells: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: Any) -> None:
        self.tags.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_data(self, data: str) -> None:
        if self.cells:
            self.cells[-1] += data


@pytest.fixture
def data() -> Any:
    captions = [HOSTILE, *(caption(row) for row in range(1, 4))]
    samples = [(picture(row), captions[row]) for row in range(4)]
    return helip.open_dataset(samples, keys=["a<b>", "b", "c", "d"])


def table(data_fingerprint: str = "") -> HardPairs:
    ids = np.array([[1, 2], [-1, -1], [0, -1], [0, 1]], np.int32)
    return HardPairs.from_arrays(
        ids, np.where(ids >= 0, [0.75, 0.5], 0), data_fingerprint=data_fingerprint
    )


def test_a_table_shows_rows_and_scores() -> None:
    page = _Page(table()._repr_html_())
    assert page.cells == [
        "target", "hard pair 1", "hard pair 2",
        "0", "1 (0.750)", "2 (0.500)",
        "2", "0 (0.750)", "",
        "3", "0 (0.750)", "1 (0.500)",
    ]  # fmt: skip


def test_a_table_with_its_data_shows_keys_pictures_and_captions(data: Any) -> None:
    html = table(data.fingerprint).with_data(data)._repr_html_()
    page = _Page(html)
    assert page.tags.count("img") == 8
    assert len(re.findall(r'src="data:image/(?:webp|jpeg);base64,[\w+/=]+"', html)) == 8
    assert "script" not in page.tags
    assert page.cells[3].startswith("0: a<b>") and "[U+202E]" not in html
    assert "<script>alert('x')</script>" in page.cells[3]
    assert "U+202E" in page.cells[3] and "\u202e" not in html
    assert f"1: b (0.750){caption(1)}" == page.cells[4]


def test_what_cannot_be_read_says_so(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text("image,caption\n0.png,a\n1.png,\n2.png,c\n3.png,d\n")
    data = helip.open_dataset(tmp_path / "d.csv", progress=False)
    page = _Page(table().with_data(data)._repr_html_())
    assert page.cells[4] == "1: 1.png (0.750)missing imagemissing caption"


def test_data_that_would_have_to_be_fetched_is_not(
    data: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(data), "_is_remote", lambda _: True)
    monkeypatch.setattr(type(data), "_read_image", lambda *_: pytest.fail("read"))
    part = data.subset([0, 1, 2, 3])
    for html in (part._repr_html_(), table().with_data(part)._repr_html_()):
        assert "a&lt;b&gt;" in html and "<img" not in html


def test_other_data_is_refused(data: Any) -> None:
    with pytest.raises(helip.MismatchError, match="other data"):
        table("0" * 32).with_data(data)


def test_a_data_set_shows_its_first_rows(data: Any) -> None:
    page = _Page(data._repr_html_())
    assert page.cells[:5] == ["row", "key", "picture and caption", "0", "a<b>"]
    assert page.tags.count("img") == 4 and "script" not in page.tags


def test_a_store_shows_its_keys(tmp_path: Path) -> None:
    with EmbeddingStore.create(tmp_path / "s", image_dim=2, text_dim=2) as writer:
        writer.append(["<i>", "b"], np.ones((2, 2)), np.ones((2, 2)))
    store = EmbeddingStore.open(tmp_path / "s")
    page = _Page(store._repr_html_())
    assert page.cells == ["row", "key", "0", "<i>", "1", "b"]
    assert "i" not in page.tags
    assert store.fingerprint in store._repr_html_()


def test_a_part_shows_its_text_alone(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
    with EmbeddingStore.create(tmp_path / "s", image_dim=4, text_dim=4) as writer:
        writer.append([str(i) for i in range(20)], rows, rows)
    store = tmp_path / "s"
    part = helip.mine(store, k=3, out=tmp_path / "p", part=(1, 2), progress=False)
    assert part._repr_html_() is None
