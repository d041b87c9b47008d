"""Which source is which, and what is none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import helip
from helip import EmbeddingStore

REFUSED = [
    ("nothing", "nothing is there"),
    ("empty", "holds no embeddings that are known: accepted are"),
    ("half", "has no text_emb, and pairs need both sides"),
    ("a.npy", r"holds one matrix; give the two as image= and text="),
    ("a.bin", "of no known kind"),
    ("a.h5", r"of no known kind: accepted are .*\.parquet"),
    (["a.npz", "a.bin"], r"several kinds \(.bin, .npz\)"),
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "empty").mkdir()
    (tmp_path / "half" / "img_emb").mkdir(parents=True)
    np.save(tmp_path / "a.npy", np.ones((3, 2), np.float32))
    np.savez(tmp_path / "a.npz", image=np.ones((3, 2)), text=np.ones((3, 2)))
    for name in ("a.bin", "a.h5"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("source", "words"), REFUSED)
def test_what_is_no_source_is_told_what_is(folder: Path, source, words: str) -> None:
    with pytest.raises(helip.InvalidArgumentError, match=words):
        EmbeddingStore.import_from(source, out="s", progress=False)


def test_a_url_is_to_be_fetched_first(folder: Path) -> None:
    with pytest.raises(helip.UnsupportedError, match="fetch it first"):
        EmbeddingStore.import_from("https://host/a.npz", out="s", progress=False)


def test_other_objects_are_refused(folder: Path) -> None:
    with pytest.raises(helip.InvalidArgumentError, match="cannot import a dict"):
        EmbeddingStore.import_from({}, out="s", progress=False)


def test_a_source_or_both_sides_are_given(folder: Path) -> None:
    with pytest.raises(helip.InvalidArgumentError, match="text is missing"):
        EmbeddingStore.import_from(image="a.npy", out="s", progress=False)
    with pytest.raises(helip.InvalidArgumentError, match="image is given beside a source"):
        EmbeddingStore.import_from("a.npz", image="a.npy", out="s", progress=False)
    with pytest.raises(helip.InvalidArgumentError, match="give the metadata that holds key_column"):
        EmbeddingStore.import_from(
            image="a.npy", text="a.npy", key_column="uid", out="s", progress=False
        )
