"""Tables and parts at URLs: downloaded once, checked, and the same as on disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import helip
from helip.common.errors import CorruptError, MismatchError, StorageError
from helip.common.remote import client
from helip.pairs.opening import open_table
from support.http_shards import ShardServer, serving
from support.remote_samples import files_of, write_store


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ShardServer]:
    monkeypatch.setattr(client, "RETRIES", 1)
    monkeypatch.setenv("HELIP_CACHE", str(tmp_path / "cache"))
    with serving(tmp_path) as running:
        yield running


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return write_store(tmp_path / "a.store", rows=500)


@pytest.fixture
def table(store: Path, tmp_path: Path) -> helip.HardPairs:
    return helip.mine(store, k=4, out=tmp_path / "a.pairs", progress=False)


def test_a_table_at_a_url_is_that_of_the_directory(server, table, tmp_path):
    opened = helip.HardPairs.open(f"{server.url}/a.pairs")
    for name in ("ids", "scores", "counts"):
        np.testing.assert_array_equal(getattr(opened, name), getattr(table, name))
    assert opened.options == table.options and opened.report == table.report
    assert files_of(Path(opened.path)) == files_of(tmp_path / "a.pairs")


def test_it_is_downloaded_once(server, table, tmp_path):
    first = helip.HardPairs.open(f"{server.url}/a.pairs", cache=tmp_path / "mine")
    server.requests.clear()
    again = helip.HardPairs.open(Path(f"{server.url}/a.pairs"), cache=tmp_path / "mine")
    assert server.gets() == [("a.pairs/manifest.json", None)]
    assert first.path == again.path
    assert Path(again.path).parent == tmp_path / "mine"


def test_a_table_that_was_mined_anew_is_downloaded_anew(server, table, store, tmp_path):
    helip.HardPairs.open(f"{server.url}/a.pairs")
    other = helip.mine(store, k=3, progress=False)
    helip.HardPairs.save(other, tmp_path / "b.pairs")
    helip.copy(tmp_path / "b.pairs", tmp_path / "a.pairs", overwrite=True, progress=False)
    assert helip.HardPairs.open(f"{server.url}/a.pairs").k == 3


def test_a_table_knows_its_store_also_where_both_are_at_urls(server, table, store):
    opened = helip.HardPairs.open(f"{server.url}/a.pairs", store=f"{server.url}/a.store")
    keys = helip.EmbeddingStore.open(store).keys
    server.requests.clear()
    assert opened[7].keys == tuple(keys[row] for row in table[7].ids.tolist())
    assert len(server.requests) <= 5
    assert opened.near("key-700").keys == tuple(keys[row] for row in table[100].ids.tolist())
    pairs, found = open_table(f"{server.url}/a.pairs", f"{server.url}/a.store")
    assert len(pairs) == len(found) == 500


def test_parts_at_urls_are_merged(server, table, store, tmp_path):
    for index in (1, 2, 3):
        helip.mine(store, k=4, part=(index, 3), out=tmp_path / f"part-{index}", progress=False)
    urls = [f"{server.url}/part-{index}" for index in (3, 1, 2)]
    part = helip.HardPairsPart.open(urls[0])
    assert (part.index, part.count) == (3, 3)
    merged = helip.merge(urls, progress=False)
    np.testing.assert_array_equal(merged.ids, table.ids)


def test_a_damaged_table_is_not_kept(server, table, tmp_path):
    shard = tmp_path / "a.pairs" / "shard-00000.safetensors"
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)
    with pytest.raises(CorruptError, match=r"http.*/a\.pairs/shard-00000\.safetensors is damaged"):
        helip.HardPairs.open(f"{server.url}/a.pairs")
    assert not [each for each in (tmp_path / "cache" / "remote").iterdir() if each.name[0] != "."]


def test_other_things_at_urls_are_named(server, table, store):
    with pytest.raises(MismatchError, match=r"is of a helip\.embedding_store, not of a helip\.har"):
        helip.HardPairs.open(f"{server.url}/a.store")
    with pytest.raises(MismatchError, match=r"is of a helip\.hard_pairs, not of a helip\.hard_pai"):
        helip.HardPairsPart.open(f"{server.url}/a.pairs")
    with pytest.raises(StorageError, match=r"nothing that helip wrote at http.*/b\.pairs"):
        helip.HardPairs.open(f"{server.url}/b.pairs")


def test_a_file_url_is_the_directory(table, tmp_path):
    assert helip.HardPairs.open(f"file://{tmp_path}/a.pairs").path == table.path
