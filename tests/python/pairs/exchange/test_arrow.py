"""A table in Arrow, pandas, Polars and Parquet: what a plain loop over the pairs gives."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import helip
from helip import EmbeddingStore, HardPairs
from helip.pairs.exchange import arrow
from helip.pairs.exchange.arrow import ArrowExport
from support.pair_samples import DELETED, ROWS, ZERO, core_of, cosines, mined, write_store

SIMILARITIES = ("image_similarity", "text_similarity")
NAMES = ["target", "rank", "hard", "score", "target_key", "hard_key", *SIMILARITIES]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> EmbeddingStore:
    return write_store(tmp_path_factory.mktemp("s") / "store")


@pytest.fixture(scope="module")
def pairs(store: EmbeddingStore) -> HardPairs:
    return mined(store).with_store(store)


def rows_of(pairs: HardPairs, store: EmbeddingStore) -> list[dict[str, Any]]:
    """The long layout, pair by pair; similarities in float64."""
    sides = [matrix.numpy() for matrix in store.rows(slice(None))]
    rows = []
    for target in range(len(pairs)):
        for rank in range(pairs.counts[target]):
            hard = int(pairs.ids[target, rank])
            image, text = (float(cosines(side, target, np.array([hard]))[0]) for side in sides)
            values = (
                target, rank + 1, hard, float(pairs.scores[target, rank]), f"k{target}",
                f"k{hard}", image, text,
            )  # fmt: skip
            rows.append(dict(zip(NAMES, values, strict=True)))
    return rows


def nested_of(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The nested layout of the long one."""
    found: list[dict[str, Any]] = []
    for target in range(ROWS):
        mine = [row for row in rows if row["target"] == target]
        lists = {n: [row[n] for row in mine] for n in NAMES if n not in ("rank", "target_key")}
        found.append({**lists, "target": target, "target_key": f"k{target}"})
    return found


def assert_same(found: list[dict[str, Any]], wanted: list[dict[str, Any]]) -> None:
    assert len(found) == len(wanted)
    for mine, theirs in zip(found, wanted, strict=True):
        assert set(mine) == set(theirs)
        for name, value in theirs.items():
            if name in SIMILARITIES:
                np.testing.assert_allclose(mine[name], value, rtol=0, atol=1e-6)
            else:
                assert mine[name] == value, name


@pytest.mark.parametrize("chunk", [1, 60, 1 << 22], ids="{} pairs a chunk".format)
def test_both_layouts_are_what_a_loop_gives(
    pairs: HardPairs, store: EmbeddingStore, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    build = ArrowExport.__init__
    monkeypatch.setattr(
        ArrowExport, "__init__", lambda self, *a, **k: build(self, *a, **{**k, "chunk": chunk})
    )
    rows = rows_of(pairs, store)
    assert len({row["target"] for row in rows}) < ROWS  # some targets have none
    assert_same(pairs.to_arrow().to_pylist(), rows)
    assert_same(pairs.to_arrow("nested").to_pylist(), nested_of(rows))


def test_columns_have_the_types_that_are_documented(pairs: HardPairs) -> None:
    key = pa.dictionary(pa.int32(), pa.large_string())
    types = [pa.int32()] * 3 + [pa.float32(), key, key, pa.float32(), pa.float32()]
    schema = pairs.to_arrow().schema
    assert (schema.names, schema.types) == (NAMES, types)
    nested = pairs.to_arrow("nested").schema
    assert nested.names == [name for name in NAMES if name != "rank"]
    assert nested.field("hard").type == pa.list_(pa.int32())
    assert nested.field("hard_key").type == pa.list_(pa.large_string())
    assert nested.field("score").type == pa.list_(pa.float32())


def test_a_table_without_a_store_has_rows_and_scores(store: EmbeddingStore) -> None:
    pairs = mined(store)
    assert pairs.to_arrow().schema.names == ["target", "rank", "hard", "score"]
    assert pairs.to_arrow("nested").schema.names == ["target", "hard", "score"]
    with_keys = pairs.with_store(store).to_arrow(similarities=False)
    assert with_keys.schema.names == NAMES[:6]
    about = json.loads(with_keys.schema.metadata[b"helip.hard_pairs"])
    assert about["fingerprint"] == store.fingerprint
    assert about["options"] == pairs.options


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_row_numbers_keep_their_dtype(dtype: type) -> None:
    pairs = HardPairs(core_of([[1, 2], [0, -1], [-1, -1]], dtype))
    table = pairs.to_arrow()
    kind = pa.from_numpy_dtype(dtype)
    assert (table.schema.field("target").type, table.schema.field("hard").type) == (kind, kind)
    assert table["target"].to_pylist() == [0, 0, 1]
    assert table["rank"].to_pylist() == [1, 2, 1]
    assert table["hard"].to_pylist() == [1, 2, 0]
    assert pairs.to_arrow("nested")["hard"].to_pylist() == [[1, 2], [0], []]


def test_full_pools_are_lists_over_the_map(tmp_path: Path) -> None:
    ids = (np.arange(50)[:, None] + np.arange(1, 5)) % 50
    scores = np.broadcast_to(np.linspace(1, 0.5, 4, dtype=np.float32), ids.shape)
    HardPairs.from_arrays(ids.astype(np.int32), scores).save(tmp_path / "p")
    pairs = HardPairs.open(tmp_path / "p")
    table = pairs.to_arrow("nested")
    for name, mapped in (("hard", pairs.ids), ("score", pairs.scores)):
        column = table[name].chunk(0)
        assert column.values.buffers()[1].address == mapped.__array_interface__["data"][0]
        np.testing.assert_array_equal(np.array(column.to_pylist(), mapped.dtype), mapped)
    long = pairs.to_arrow()["hard"].chunk(0)
    assert long.buffers()[1].address == pairs.ids.__array_interface__["data"][0]


def test_keys_are_read_in_parts(
    pairs: HardPairs, store: EmbeddingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrow, "_KEYS", 7)
    rows = rows_of(pairs, store)
    assert_same(pairs.to_arrow().to_pylist(), rows)
    assert_same(pairs.to_polars("nested").to_dicts(), nested_of(rows))


def test_arrow_outlives_the_table(tmp_path: Path) -> None:
    ids = np.array([[1], [2], [0]], np.int32)
    table = HardPairs.from_arrays(ids, np.ones((3, 1))).to_arrow("nested")
    assert table["hard"].to_pylist() == [[1], [2], [0]]


def test_a_similarity_that_is_not_known_is_null(store: EmbeddingStore) -> None:
    ids = np.full((ROWS, 3), -1, np.int32)
    ids[1] = [2, ZERO, DELETED]
    pairs = HardPairs.from_arrays(ids, np.where(ids >= 0, 0.5, 0)).with_store(store)
    table = pairs.to_arrow()
    for name in SIMILARITIES:
        assert [value is None for value in table[name].to_pylist()] == [False, True, True]
        assert [math.isnan(v) for v in pairs.to_pandas()[name]] == [False, True, True]
        inner = pairs.to_arrow("nested")[name].to_pylist()[1]
        assert [value is None for value in inner] == [False, True, True]


def test_pandas_has_the_same_rows(pairs: HardPairs, store: EmbeddingStore) -> None:
    pytest.importorskip("pandas")
    rows = rows_of(pairs, store)
    frame = pairs.to_pandas()
    assert str(frame["hard_key"].dtype) == "category"
    assert_same(frame.to_dict("records"), rows)
    nested = pairs.to_pandas("nested")
    assert_same(
        [{n: getattr(v, "tolist", lambda v=v: v)() for n, v in row.items()}
         for row in nested.to_dict("records")],
        nested_of(rows),
    )  # fmt: skip


def test_polars_has_the_same_rows(pairs: HardPairs, store: EmbeddingStore) -> None:
    polars = pytest.importorskip("polars")
    rows = rows_of(pairs, store)
    frame = pairs.to_polars()
    assert frame.schema["hard_key"] == frame.schema["target_key"] == polars.String
    assert_same(frame.to_dicts(), rows)
    assert_same(pairs.to_polars("nested").to_dicts(), nested_of(rows))


@pytest.mark.parametrize("layout", ["long", "nested"])
def test_parquet_is_the_arrow_table_in_row_groups(
    pairs: HardPairs, store: EmbeddingStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    layout: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(arrow, "_GROUP_PAIRS", 5 * pairs.k)
    pairs.to_parquet(tmp_path / "p.parquet", layout=layout)
    rows = rows_of(pairs, store)
    wanted = rows if layout == "long" else nested_of(rows)
    assert_same(pq.read_table(tmp_path / "p.parquet").to_pylist(), wanted)
    with pq.ParquetFile(tmp_path / "p.parquet") as file:
        assert file.metadata.num_row_groups == ROWS / 5
        assert file.schema_arrow.metadata[b"helip.hard_pairs"]
    assert [path.name for path in tmp_path.iterdir()] == ["p.parquet"]


def test_duckdb_reads_our_parquet(pairs: HardPairs, store: EmbeddingStore, tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    rows = rows_of(pairs, store)
    for layout, wanted in (("long", rows), ("nested", nested_of(rows))):
        pairs.to_parquet(tmp_path / f"{layout}.parquet", layout=layout)
        answer = duckdb.sql(f"SELECT * FROM '{tmp_path}/{layout}.parquet' ORDER BY target")
        names = [column[0] for column in answer.description]
        found = [dict(zip(names, row, strict=True)) for row in answer.fetchall()]
        if layout == "long":
            found.sort(key=lambda row: (row["target"], row["rank"]))
        assert_same(found, wanted)
    best = duckdb.sql(
        f"SELECT hard_key FROM '{tmp_path}/long.parquet' WHERE target_key = 'k3' AND rank = 1"
    ).fetchall()
    assert best == [(pairs.near("k3").keys[0],)]


def test_an_empty_table_is_written_and_read(tmp_path: Path) -> None:
    nothing = np.full((3, 2), -1, np.int32)
    pairs = HardPairs.from_arrays(nothing, np.zeros((3, 2)))
    for layout, rows in (("long", 0), ("nested", 3)):
        pairs.to_parquet(tmp_path / layout, layout=layout)
        assert pq.read_table(tmp_path / layout).num_rows == pairs.to_arrow(layout).num_rows == rows
    none = HardPairs.from_arrays(np.empty((0, 2), np.int32), np.empty((0, 2)))
    assert none.to_arrow().num_rows == none.to_arrow("nested").num_rows == 0
    assert none.to_arrow().schema.names == ["target", "rank", "hard", "score"]


def test_a_file_that_is_there_stays(pairs: HardPairs, tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    path.write_text("mine")
    with pytest.raises(helip.InvalidArgumentError, match="overwrite=True"):
        pairs.to_parquet(path)
    assert path.read_text() == "mine"
    pairs.to_parquet(path, overwrite=True)
    assert pq.read_table(path).num_rows == pairs.counts.sum()


def test_a_write_that_fails_leaves_nothing(
    pairs: HardPairs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq.ParquetWriter, "write_batch", full)
    with pytest.raises(helip.StorageError, match=r"cannot write .*p\.parquet: No space left"):
        pairs.to_parquet(tmp_path / "p.parquet")
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_done_is_told(
    pairs: HardPairs, store: EmbeddingStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for call in (pairs.to_arrow, pairs.to_pandas, pairs.to_polars):
        with pytest.raises(helip.InvalidArgumentError, match=r"layout is 'wide', .* 'nested'"):
            call("wide")
    part = helip.mine(store, k=3, out=tmp_path / "p", part=(1, 2), progress=False)
    with pytest.raises(helip.UnsupportedError, match="merge the parts"):
        part.to_parquet(tmp_path / "x")
    for library, call in (("polars", pairs.to_polars), ("pandas", pairs.to_pandas)):
        monkeypatch.setitem(sys.modules, library, None)
        with pytest.raises(helip.UnsupportedError, match=rf"{library}.*helip\[tables\]"):
            call()
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(helip.UnsupportedError, match=r"pyarrow.*helip\[data\]"):
        pairs.to_arrow()
