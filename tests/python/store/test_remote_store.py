"""A store at a URL: the same as on disk, by few and small requests, and never of two states."""

from __future__ import annotations

import itertools
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import helip
from helip.common.errors import (
    CorruptError,
    InvalidArgumentError,
    MismatchError,
    StorageError,
    UnsupportedError,
)
from helip.common.remote import client, container, range_cache
from helip.common.remote.manifest import digest_of
from helip.store import remote_store
from support.http_shards import ShardServer, serving
from support.remote_samples import ROWS, files_of, write_store
from support.s3_server import serving_s3

DTYPES = ("float32", "float16", "bfloat16", "int8")


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(client, "RETRIES", 1)
    monkeypatch.setattr(client, "RETRY_SECONDS", 5)
    monkeypatch.setattr(container, "WAITS", (0.0,))
    monkeypatch.setenv("HELIP_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ShardServer]:
    (tmp_path / "served").mkdir()
    with serving(tmp_path / "served") as running:
        yield running


def both(server: ShardServer, **options) -> tuple[helip.EmbeddingStore, helip.EmbeddingStore]:
    """The same store at its URL and on disk."""
    path = write_store(server.folder / "a.store", **options)
    return helip.EmbeddingStore.open(f"{server.url}/a.store"), helip.EmbeddingStore.open(path)


def asked_bytes(server: ShardServer) -> int:
    """Bytes of all ranges that were asked for."""
    ranges = [re.fullmatch(r"bytes=(\d+)-(\d+)", asked) for _, asked in server.gets() if asked]
    return sum(int(each[2]) - int(each[1]) + 1 for each in ranges)


# The same as on disk


@pytest.mark.parametrize("dtype", DTYPES)
def test_all_that_is_known_is_the_same_and_nothing_is_downloaded(dtype, server, tmp_path):
    write_store(server.folder / "a.store", dtype=dtype)
    with helip.EmbeddingStore.append_to(server.folder / "a.store") as writer:
        writer.delete([3, 5000, 5001, 5002])
    remote = helip.EmbeddingStore.open(Path(f"{server.url}/a.store"))
    local = helip.EmbeddingStore.open(server.folder / "a.store")
    for name in (
        "dtype", "image_dim", "text_dim", "generation", "fingerprint", "keys_fingerprint",
        "data_fingerprint", "metadata",
    ):  # fmt: skip
        assert getattr(remote, name) == getattr(local, name), name
    assert len(remote) == len(local) == ROWS
    assert remote.deleted.tolist() == local.deleted.tolist() == [3, 5000, 5001, 5002]
    assert remote.path == f"{server.url}/a.store"
    assert f"rows=8,000, image=8, text=6, dtype={dtype}" in repr(remote)
    for index in ([0, 4095, 4096, ROWS - 1], [7, 7, -1, 2], slice(4000, 4200, 3), [], slice(0, 0)):
        for mine, theirs in zip(remote.rows(index), local.rows(index), strict=True):
            assert mine.dtype == torch.float32
            assert torch.equal(mine, theirs)
    assert remote.keys[17] == local.keys[17]
    assert remote.keys[4090:4100] == local.keys[4090:4100]
    assert list(remote.keys) == list(local.keys)
    some = [7999, 3, 3, 4096, -1]
    assert remote.keys.take(some) == local.keys.take(some) == [local.keys[row] for row in some]
    assert remote.keys.take([]) == []
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [1000, 5000])
def test_blocks_are_those_of_the_directory(dtype, rows, server):
    remote, local = both(server, dtype=dtype)
    for first, last in ((0, None), (1234, 5678), (50, 50)):
        blocks = list(remote.blocks(first, last, rows=rows))
        expected = list(local.blocks(first, last, rows=rows))
        assert [block.first for block in blocks] == [block.first for block in expected]
        for mine, theirs in zip(blocks, expected, strict=True):
            assert mine.image.dtype == theirs.image.dtype
            assert torch.equal(mine.image, theirs.image)
            assert torch.equal(mine.text, theirs.text)
            for a, b in zip(mine.decoded(), theirs.decoded(), strict=True):
                assert torch.equal(a, b)
            decoded = local.rows(slice(mine.first, mine.first + len(mine)))
            assert torch.equal(mine.decoded()[0], decoded[0])


def test_a_store_of_more_matrices_reads_the_same(server):
    rows = np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32)
    path = server.folder / "a.store"
    with helip.EmbeddingStore.create(
        path, image_dim=6, text_dim=6, matrices={"audio": 6, "scale": 6}, dtype="int8"
    ) as writer:
        others = {"audio": rows, "scale": rows[::-1].copy()}
        writer.append([str(row) for row in range(50)], rows, rows, matrices=others)
    remote, local = (
        helip.EmbeddingStore.open(f"{server.url}/a.store"),
        helip.EmbeddingStore.open(path),
    )
    assert remote.matrix_names == local.matrix_names == ("image", "text", "audio", "scale")
    assert torch.equal(remote.rows([3, 7])[0], local.rows([3, 7])[0])
    assert torch.equal(remote.decoded("scale", [3]), local.decoded("scale", [3]))


def test_mining_downloads_the_store_once_and_gives_the_same_table(server, tmp_path):
    remote, local = both(server)
    a = helip.mine(remote, k=5, progress=False)
    requests = len(server.requests)
    b = helip.mine(f"{server.url}/a.store", k=5, progress=False)
    expected = helip.mine(local, k=5, progress=False)
    for table in (a, b):
        np.testing.assert_array_equal(table.ids, expected.ids)
        np.testing.assert_array_equal(table.scores, expected.scores)
        assert table.fingerprint == expected.fingerprint
    assert server.gets()[requests:] == [("a.store/manifest.json", None)]
    (place,) = (tmp_path / "cache" / "remote").iterdir()
    assert files_of(place) == files_of(server.folder / "a.store")


def test_the_whole_is_kept_where_it_is_asked_for(server, tmp_path):
    _, local = both(server)
    remote = helip.EmbeddingStore.open(f"{server.url}/a.store", cache=tmp_path / "mine")
    here = remote.download(progress=False)
    assert Path(here.path).parent == tmp_path / "mine"
    np.testing.assert_array_equal(here.image, local.image)
    np.testing.assert_array_equal(remote.text, local.text)
    assert here.download() is here


def test_a_store_in_a_bucket_reads_the_same(tmp_path, monkeypatch):
    local = helip.EmbeddingStore.open(write_store(tmp_path / "a.store"))
    with serving_s3(monkeypatch) as s3:
        helip.copy(local.path, "s3://bucket/a/b.store", progress=False)
        remote = helip.EmbeddingStore.open("s3://bucket/a/b.store")
        s3.requests.clear()
        assert torch.equal(remote.rows([1, 7000])[0], local.rows([1, 7000])[0])
        assert remote.keys[5:9] == local.keys[5:9]
        assert all(request.range for request in s3.requests if request.method == "GET")


def test_a_file_url_is_a_directory(tmp_path):
    path = write_store(tmp_path / "a store")
    store = helip.EmbeddingStore.open(f"file://{tmp_path}/a%20store")
    assert store.path == str(path)


# What is asked of the server


def test_opening_reads_the_manifest_alone(server):
    remote, _ = both(server)
    assert len(remote) == ROWS and remote.fingerprint
    assert server.requests == [("GET", "a.store/manifest.json", None)]


def test_rows_take_the_pages_that_hold_them(server):
    remote, _ = both(server, dims=(256, 128))
    remote.rows([5])  # and the header of the first shard, of 4 kB
    server.requests.clear()
    remote.rows([100, 1000, 2000])
    # A row of 1024 bytes lies in two pages at most, one of 512 in one or two.
    assert asked_bytes(server) <= 3 * 2 * 2 * 4096
    server.requests.clear()
    remote.rows([1000, 2000, 100])
    assert server.requests == []  # they are kept


def test_near_rows_come_by_one_request_and_far_ones_at_once(server):
    remote, _ = both(server, dims=(256, 128))
    remote.rows([0])
    server.requests.clear()
    remote.rows(range(1000, 1040))
    assert len(server.requests) == 2  # one for each matrix
    server.delay = 0.02
    remote.rows(range(0, 4096, 128))
    assert server.most_running > 8


def test_what_is_kept_is_bounded(server, monkeypatch):
    monkeypatch.setattr(range_cache, "PAGE_BYTES", 10 * 4096)
    monkeypatch.setattr(range_cache, "_CHUNK", 8)
    remote, local = both(server, dims=(256, 128))
    some = slice(3000, 3200)
    for mine, theirs in zip(remote.rows(some), local.rows(some), strict=True):
        assert torch.equal(mine, theirs)
    assert 0 < remote._source._pages._ranges.held <= 10 * 4096


def test_keys_in_turn_are_fetched_many_at_once(server):
    remote, local = both(server)
    assert list(remote.keys) == list(local.keys)
    # The header of each of two shards and a look at the manifest, then offsets and keys.
    assert len(server.gets()) == 1 + 2 * 3


def test_blocks_are_fetched_ahead_and_no_further_than_allowed(server, monkeypatch):
    monkeypatch.setattr(remote_store, "AHEAD_BYTES", 3 * 1000 * 56)
    remote, _ = both(server)
    blocks = remote.blocks(rows=1000)
    assert server.requests == [("GET", "a.store/manifest.json", None)]  # not begun
    next(blocks)
    blocks.close()  # what was begun is waited for
    assert asked_bytes(server) - 4096 <= 3 * 1000 * 56
    assert asked_bytes(server) - 4096 >= 1000 * 56


def test_a_block_larger_than_what_is_ahead_comes_alone(server, monkeypatch):
    monkeypatch.setattr(remote_store, "AHEAD_BYTES", 1)
    monkeypatch.setattr(remote_store, "PIECE", 4096)
    remote, local = both(server)
    whole = torch.cat([block.image for block in remote.blocks(rows=3000)])
    assert torch.equal(whole, local.image_tensor)


# What changed, what is damaged, and what is not there


@pytest.mark.parametrize("touched", [True, False], ids=["read-before", "not-read-yet"])
def test_a_store_that_was_replaced_is_never_mixed_with_the_new_one(touched, server, tmp_path):
    remote, _ = both(server)
    if touched:
        remote.rows([5000])
    write_store(tmp_path / "other", seed=1)  # of the same sizes
    shutil.rmtree(server.folder / "a.store")
    shutil.copytree(tmp_path / "other", server.folder / "a.store")
    with pytest.raises(MismatchError, match=r"a\.store was changed after it was opened"):
        remote.rows([6000])
    with pytest.raises(MismatchError, match="open it again when nobody"):
        list(remote.blocks())
    with pytest.raises(MismatchError):
        remote.download(progress=False)


def test_a_store_that_grew_is_told(server):
    remote, _ = both(server, rows=5000)
    with helip.EmbeddingStore.append_to(server.folder / "a.store") as writer:
        writer.append(["new"], np.ones((1, 8), np.float32), np.ones((1, 6), np.float32))
    with pytest.raises(MismatchError, match="its manifest is another"):
        remote.rows([4999])


def test_verify_finds_damage_and_keeps_nothing(server, tmp_path):
    remote, _ = both(server)
    remote.verify()
    path = server.folder / "a.store" / "shard-00001.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    again = helip.EmbeddingStore.open(f"{server.url}/a.store")
    with pytest.raises(CorruptError, match=r"a\.store/shard-00001\.safetensors is damaged"):
        again.verify()
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("lie", ["columns", "rows", "deleted"])
def test_a_manifest_that_lies_is_refused(lie, server):
    path = write_store(server.folder / "a.store", rows=100) / "manifest.json"
    manifest = json.loads(path.read_text())
    if lie == "columns":
        manifest["columns"][0]["cols"] = 7
    elif lie == "rows":
        manifest["shards"][0]["rows"] = manifest["rows"] = manifest["shard_rows"] = 2**40
    else:
        manifest["attributes"]["deleted"] = {"batches": [f"5-{2**40}"]}
    del manifest["checksum"]
    manifest["checksum"] = digest_of(json.dumps(manifest, indent=1, sort_keys=True).encode())
    path.write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n")
    with pytest.raises(CorruptError, match=r"a\.store.* is damaged"):
        helip.EmbeddingStore.open(f"{server.url}/a.store").rows([0])


def test_failures_name_the_url(server):
    remote, _ = both(server)
    server.faults["a.store/shard-00000.safetensors"] = 403
    with pytest.raises(StorageError, match=r"/a\.store/shard-00000\.safetensors: 403 Forbidden"):
        remote.rows([0])
    with pytest.raises(StorageError, match=r"/a\.store/shard-00000\.safetensors: 403 Forbidden"):
        next(remote.blocks())
    with pytest.raises(StorageError, match=r"nothing that helip wrote at http.*/b\.store"):
        helip.EmbeddingStore.open(f"{server.url}/b.store")


def test_rows_outside_are_refused(server):
    remote, _ = both(server)
    for index in ([ROWS], [-ROWS - 1]):
        for read in (remote.rows, remote.keys.take):
            with pytest.raises(IndexError, match="is outside"):
                read(index)
    for first, last in itertools.combinations((9000, -1, 3), 2):
        with pytest.raises(InvalidArgumentError, match=r"must be within 0 \.\. 8000"):
            remote.blocks(first, last)
    with pytest.raises(InvalidArgumentError, match="rows is 0, must be at least 1"):
        remote.blocks(rows=0)


def test_a_table_is_no_store(server, tmp_path):
    _, local = both(server)
    helip.mine(local, k=2, out=server.folder / "a.pairs", progress=False)
    with pytest.raises(MismatchError, match=r"is of a helip\.hard_pairs, not of a helip\.embedd"):
        helip.EmbeddingStore.open(f"{server.url}/a.pairs")


def test_a_store_is_not_written_where_it_is_read(server):
    for open_writer in (
        lambda: helip.EmbeddingStore.create(f"{server.url}/b", image_dim=1, text_dim=1),
        lambda: helip.EmbeddingStore.append_to("s3://bucket/b.store"),
    ):
        with pytest.raises(UnsupportedError, match=r"write it to a directory, then helip\.copy"):
            open_writer()
