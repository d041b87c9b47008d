"""The job of importing: it goes on, it holds little, and it says what is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import helip
from helip import EmbeddingStore
from helip.store.embedding_store import StoreWriter
from support.import_samples import Embeddings, clip_retrieval, embeddings

ROWS = 85


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("helip.store.importing.importing._BLOCK_BYTES", 13 * 20 * 2)


@pytest.fixture
def whole() -> Embeddings:
    return embeddings(ROWS)


@pytest.fixture
def folder(tmp_path: Path, whole: Embeddings) -> Path:
    return clip_retrieval(tmp_path / "c", whole, 30)


def imported(tmp_path: Path, source: Any, **options: Any) -> EmbeddingStore:
    return EmbeddingStore.import_from(source, out=tmp_path / "store", progress=False, **options)


@pytest.mark.parametrize("appends", range(1, 8))
def test_an_import_that_was_interrupted_goes_on_from_there(
    tmp_path: Path, whole: Embeddings, folder: Path, monkeypatch: pytest.MonkeyPatch, appends: int
) -> None:
    plain, calls = StoreWriter.append, []

    def interrupted(self: StoreWriter, *arguments: Any, **named: Any) -> None:
        calls.append(len(arguments[0]))
        plain(self, *arguments, **named)
        if len(calls) == appends:  # the block is taken, and its job does not know it yet
            raise KeyboardInterrupt

    monkeypatch.setattr(StoreWriter, "append", interrupted)
    with pytest.raises(KeyboardInterrupt):
        imported(tmp_path, folder)
    kept = EmbeddingStore.open(tmp_path / "store")
    assert len(kept) == sum(calls) and not kept.metadata["complete"]

    def counted(self: StoreWriter, *arguments: Any, **named: Any) -> None:
        calls.append(len(arguments[0]))
        plain(self, *arguments, **named)

    monkeypatch.setattr(StoreWriter, "append", counted)
    whole.check(imported(tmp_path, folder))
    assert sum(calls) == ROWS  # none was read twice
    # Once it is complete, the same call opens it.
    generation = EmbeddingStore.open(tmp_path / "store").generation
    assert imported(tmp_path, folder).generation == generation


def test_parts_of_which_some_have_keys_are_refused(tmp_path: Path, whole: Embeddings) -> None:
    import pyarrow.parquet

    for number, names in enumerate((["uid", "caption"], ["caption"], ["uid"])):
        table = whole.part(20 * number, 20 * number + 20).table()
        kept = table.select(["image_emb", "text_emb", *names])
        pyarrow.parquet.write_table(kept, tmp_path / f"{number}.parquet")
    with pytest.raises(helip.InvalidArgumentError, match=r"1.parquet has no keys, and .*0.parquet"):
        imported(tmp_path, tmp_path / "*.parquet")
    with pytest.raises(helip.InvalidArgumentError, match=r"2.parquet has no captions, and .*0.par"):
        imported(tmp_path, tmp_path / "*.parquet", key_column="row")


def test_a_part_without_rows_and_a_first_row_that_is_missing(
    tmp_path: Path, whole: Embeddings
) -> None:
    import pyarrow
    import pyarrow.parquet

    lists = pyarrow.list_(pyarrow.float16())
    for number, part in enumerate((whole.part(0, 0), whole, whole.part(0, 0))):
        table = part.table(image_emb=pyarrow.array(list(part.image), lists))
        pyarrow.parquet.write_table(table, tmp_path / f"{number}.parquet")
    whole.check(imported(tmp_path, tmp_path / "*.parquet"))
    cells = pyarrow.array([None, *whole.image[1:]], lists)
    with pytest.raises(helip.InvalidArgumentError, match="image_emb is null in row 0"):
        EmbeddingStore.import_from(
            whole.table(image_emb=cells), out=tmp_path / "other", progress=False
        )
    assert not list((tmp_path / "other").glob("shard*"))


def test_a_store_of_something_else_is_not_gone_on_with(tmp_path: Path, folder: Path) -> None:
    imported(tmp_path, folder)
    with pytest.raises(
        helip.MismatchError, match=r"holds a store of 85 rows of .*or its source or"
    ):
        imported(tmp_path, folder, dtype="float32")
    path = folder / "img_emb" / "img_emb_1.npy"
    np.save(path, np.load(path) + 1)
    with pytest.raises(helip.MismatchError, match="have changed since"):
        imported(tmp_path, folder)
    with EmbeddingStore.create(tmp_path / "other", image_dim=4, text_dim=2) as writer:
        writer.append(["a"], np.ones((1, 4)), np.ones((1, 2)))
    with pytest.raises(helip.MismatchError, match="holds a store of something else"):
        EmbeddingStore.import_from(folder, out=tmp_path / "other", progress=False)


def test_a_value_that_is_not_finite_is_named_by_file_and_row(tmp_path: Path, folder: Path) -> None:
    path = folder / "text_emb" / "text_emb_1.npy"
    array = np.load(path)
    array[17, 3] = np.inf
    np.save(path, array)
    with pytest.raises(
        helip.InvalidArgumentError,
        match=r"img_emb_1.npy: the text embedding of row 17 holds NaN or",
    ):
        imported(tmp_path, folder)


def test_a_key_twice_is_an_error_with_the_place(tmp_path: Path, whole: Embeddings) -> None:
    with pytest.raises(helip.InvalidArgumentError, match=r"rows 39 to 51: .*k0007"):
        imported(tmp_path, whole.table(uid=[*whole.keys[:40], "k0007", *whole.keys[41:]]))


def test_dimensions_that_change_between_shards_are_told_before_anything_is_written(
    tmp_path: Path, folder: Path
) -> None:
    path = folder / "text_emb" / "text_emb_2.npy"
    np.save(path, np.load(path)[:, :5])
    with pytest.raises(
        helip.InvalidArgumentError, match=r"_2.npy has text embeddings of 5 dimensions and .*_0.npy"
    ):
        imported(tmp_path, folder)
    assert not (tmp_path / "store").exists()


def test_float64_is_stored_as_float32_and_that_is_said_once(tmp_path: Path) -> None:
    whole = embeddings(ROWS, "float64")
    folder = clip_retrieval(tmp_path / "c", whole, 30)
    with pytest.warns(UserWarning, match="are float64 and stored as float32") as warned:
        store = imported(tmp_path, folder)
    assert len(warned) == 1
    assert store.dtype == "float32"
    whole.check(store)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8"])
def test_another_dtype_is_that_of_a_store_that_was_written_so(
    tmp_path: Path, whole: Embeddings, folder: Path, dtype: Any
) -> None:
    store = imported(tmp_path, folder, dtype=dtype)
    with EmbeddingStore.create(
        tmp_path / "other", image_dim=12, text_dim=8, dtype=dtype, digests=True
    ) as writer:
        nothing = np.zeros(ROWS, np.uint64)
        writer.append(whole.keys, whole.image, whole.text, (nothing, nothing))
    other = EmbeddingStore.open(tmp_path / "other")
    for own, theirs in zip(store.rows(slice(None)), other.rows(slice(None)), strict=True):
        np.testing.assert_array_equal(own, theirs)


REFUSED = [
    ("nothing", "nothing is there"),
    ("empty", "holds no embeddings that are known: accepted are"),
    ("half", "has no .npy files in img_emb, and pairs need both sides"),
    ("a.npy", r"holds one matrix; give the two as image= and text="),
    ("a.bin", "of no known kind"),
    ("a.h5", r"of no known kind: accepted are .*\.parquet"),
    (["a.npz", "a.bin"], r"several kinds \(.bin, .npz\)"),
]


@pytest.fixture
def odd_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "empty").mkdir()
    (tmp_path / "half" / "img_emb").mkdir(parents=True)
    np.save(tmp_path / "a.npy", np.ones((3, 2), np.float32))
    np.savez(tmp_path / "a.npz", image=np.ones((3, 2)), text=np.ones((3, 2)))
    for name in ("a.bin", "a.h5"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("source", "words"), REFUSED)
def test_what_is_no_source_is_told_what_is(odd_files: Path, source, words: str) -> None:
    with pytest.raises(helip.InvalidArgumentError, match=words):
        EmbeddingStore.import_from(source, out="s", progress=False)


def test_a_url_is_to_be_fetched_first(odd_files: Path) -> None:
    with pytest.raises(helip.UnsupportedError, match="fetch it first"):
        EmbeddingStore.import_from("https://host/a.npz", out="s", progress=False)


def test_other_objects_are_refused(odd_files: Path) -> None:
    with pytest.raises(helip.InvalidArgumentError, match="cannot import a dict"):
        EmbeddingStore.import_from({}, out="s", progress=False)


def test_a_source_or_both_sides_are_given(odd_files: Path) -> None:
    with pytest.raises(helip.InvalidArgumentError, match="text is missing"):
        EmbeddingStore.import_from(image="a.npy", out="s", progress=False)
    with pytest.raises(helip.InvalidArgumentError, match="image is given beside a source"):
        EmbeddingStore.import_from("a.npz", image="a.npy", out="s", progress=False)
    with pytest.raises(helip.InvalidArgumentError, match="give the metadata that holds key_column"):
        EmbeddingStore.import_from(
            image="a.npy", text="a.npy", key_column="uid", out="s", progress=False
        )
