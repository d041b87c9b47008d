"""Embeddings in columns of tables."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import helip
from helip import EmbeddingStore
from support.import_samples import D_IMAGE, Embeddings, embeddings

ROWS = 83


def imported(tmp_path: Path, source: Any, **options: Any) -> EmbeddingStore:
    return EmbeddingStore.import_from(source, out=tmp_path / "store", progress=False, **options)


def as_parquet(whole: Embeddings, folder: Path) -> Any:
    import pyarrow.parquet

    pyarrow.parquet.write_table(whole.table(), folder / "a.parquet", row_group_size=10)
    return folder / "a.parquet"


def as_shards_of_parquet(whole: Embeddings, folder: Path) -> Any:
    import pyarrow.parquet

    (folder / "d").mkdir()
    for number, first in enumerate(range(0, ROWS, 8)):  # numbers of two digits
        part = whole.part(first, first + 8).table()
        pyarrow.parquet.write_table(part, folder / "d" / f"part-{number}.parquet")
    return folder / "d"


def as_hub_of_hugging_face(whole: Embeddings, folder: Path) -> Any:
    import pyarrow.parquet

    (folder / "hub").mkdir()
    for number, first in enumerate(range(0, ROWS, 30)):  # the letters of a digest decide nothing
        name = f"train-{number:05d}-of-00003-{('f1e2', 'a9b8', 'c0d1')[number]}.parquet"
        part = whole.part(first, first + 30).table()
        pyarrow.parquet.write_table(part, folder / "hub" / name)
    return folder / "hub"


def as_lance(whole: Embeddings, folder: Path) -> Any:
    lance = pytest.importorskip("lance")
    lance.write_dataset(whole.table(), str(folder / "a.lance"), max_rows_per_file=30)
    return folder / "a.lance"


def as_lance_by_another_name(whole: Embeddings, folder: Path) -> Any:
    return as_lance(whole, folder).rename(folder / "a")


def as_table(whole: Embeddings, folder: Path) -> Any:
    return whole.table()


SOURCES = (as_parquet, as_shards_of_parquet, as_hub_of_hugging_face, as_lance, as_table)


@pytest.mark.parametrize("make", [*SOURCES, as_lance_by_another_name])
def test_a_table_becomes_a_store(
    tmp_path: Path, make: Callable[[Embeddings, Path], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Blocks of 13 rows, which are not those of the file.
    monkeypatch.setattr("helip.store.importing.importing._BLOCK_BYTES", 13 * 20 * 2)
    whole = embeddings(ROWS)
    store = imported(tmp_path, make(whole, tmp_path))
    whole.check(store)
    assert store.dtype == "float16"
    assert store.digests is not None and store.digests[1].all()


def test_columns_are_named_or_guessed(tmp_path: Path) -> None:
    whole = embeddings(ROWS)
    table = whole.table(image_other=whole.table().column("image_emb"), number=list(range(ROWS)))
    with pytest.raises(
        helip.InvalidArgumentError, match="2 fit by name; name it with image_column"
    ):
        imported(tmp_path, table)
    with pytest.raises(helip.InvalidArgumentError, match=r"no embeddings 'nothing'.*image_emb"):
        imported(tmp_path, table, image_column="nothing")
    with pytest.raises(helip.InvalidArgumentError, match=r"no column 'nothing'.*number"):
        imported(tmp_path, table, image_column="image_emb", key_column="nothing")
    store = imported(tmp_path, table, image_column="image_emb", key_column="number")
    dataclasses.replace(whole, keys=list(map(str, range(ROWS)))).check(store)


def test_row_numbers_are_keys_where_they_are_asked_for(tmp_path: Path) -> None:
    whole = embeddings(ROWS)
    whole.check(imported(tmp_path, whole.table(), key_column="row"), numbered=True)


def test_cells_that_are_no_embeddings_are_named_by_row(tmp_path: Path) -> None:
    import pyarrow

    whole = embeddings(ROWS, "float32")
    lists = [list(map(float, row)) for row in whole.image]
    for cell, words in (
        (None, "image_emb is null in row 41"),
        ([1.0] * 5, f"row 41 of .*image_emb has 5 numbers and the rows before it {D_IMAGE}"),
        ([None] * D_IMAGE, "image_emb has a null in row 41"),
    ):
        cells = [*lists[:41], cell, *lists[42:]]
        table = whole.table(image_emb=pyarrow.array(cells, pyarrow.list_(pyarrow.float32())))
        with pytest.raises(helip.InvalidArgumentError, match=words):
            imported(tmp_path, table)
    with pytest.raises(helip.InvalidArgumentError, match=r"caption of row 2 is 2, a int, not text"):
        imported(tmp_path, whole.table(caption=[None, None, 2, *range(ROWS - 3)]))
    with pytest.raises(helip.InvalidArgumentError, match=r"the key of row 7 is missing"):
        imported(tmp_path, whole.table(uid=[*whole.keys[:7], None, *whole.keys[8:]]))


def test_a_damaged_table_is_an_error(tmp_path: Path) -> None:
    path = as_parquet(embeddings(ROWS), tmp_path)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(helip.CorruptError, match=path.name):
        imported(tmp_path, path)


def test_text_that_is_no_utf_8_is_named_by_row(tmp_path: Path) -> None:
    import pyarrow

    whole = embeddings(3)
    bad = pyarrow.array([b"a", b"caf\xe9", b"c"])
    text = pyarrow.Array.from_buffers(pyarrow.string(), 3, bad.buffers())
    for column, kind in (("uid", "key"), ("caption", "caption")):
        for values in (bad, text):
            with pytest.raises(helip.InvalidArgumentError, match=f"{kind} of row 1 is no UTF-8"):
                imported(tmp_path, whole.table(**{column: values}))


def test_one_row_group_at_a_time_is_in_memory(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    rows, dim = 60_000, 256
    flat = np.random.default_rng(0).normal(size=(rows, dim)).astype(np.float32).ravel()
    lists = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(flat), dim)
    table = pyarrow.table({"image": lists, "text": lists})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet", row_group_size=2_000)
    del table, lists, flat
    script = (
        "import sys, helip, pyarrow\n"
        "helip.EmbeddingStore.import_from(sys.argv[1], out=sys.argv[2], progress=False)\n"
        "print(pyarrow.default_memory_pool().max_memory())"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "a.parquet", tmp_path / "store"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert int(done.stdout) < 50e6 < (tmp_path / "a.parquet").stat().st_size
