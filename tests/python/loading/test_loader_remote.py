"""Training batches and embeddings of shards over HTTP: the same bytes as of shards on disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import helip
from helip.common.errors import Error, UnsupportedError
from helip.common.remote import client
from helip.data.shards import members_of
from helip.loading.loader import HardPairLoader
from support.data_samples import encoded, picture, write_tar
from support.embed_samples import files_of, run
from support.http_shards import ShardServer, serving
from support.loader_samples import drawing, random_pools, table_of, to_tensor

ROWS = 60
TRANSFORM = helip.ImageTransform.train(size=16)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three shards of 20 pictures, and their index."""
    folder = tmp_path / "data"
    folder.mkdir()
    for shard in range(3):
        members = {}
        for row in range(20 * shard, 20 * shard + 20):
            members[f"{row:03d}.png"] = encoded(picture(row, (36, 40)))
            members[f"{row:03d}.txt"] = str(row).encode()
        write_tar(folder / f"{shard}.tar", members)
    helip.SampleIndex.build(folder, out=tmp_path / "index", progress=False)
    return folder


@pytest.fixture
def server(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ShardServer]:
    monkeypatch.setattr(client, "RETRIES", 0)
    with serving(folder) as running:
        yield running


def loader_of(data, **options) -> HardPairLoader:
    pools = table_of(random_pools(ROWS, 4, 0), 4)
    table = helip.HardPairs.from_arrays(
        pools.ids, pools.scores, pools.counts, data_fingerprint=data.fingerprint
    )
    given = {"batch_size": 16, "seed": 3, "transform": TRANSFORM}
    return HardPairLoader(data, table, **drawing({**given, **options}))


def both(tmp_path: Path, server: ShardServer) -> tuple[helip.Dataset, helip.Dataset]:
    index = tmp_path / "index"
    return helip.open_dataset(index), helip.open_dataset(index, root=server.url)


def assert_same_batches(one: HardPairLoader, other: HardPairLoader, epochs: int = 2) -> None:
    for epoch in range(epochs):
        one.set_epoch(epoch)
        other.set_epoch(epoch)
        pairs = list(zip(one, other, strict=True))
        assert pairs
        for left, right in pairs:
            assert left["text"] == right["text"]
            for name in ("image", "index", "target", "caption_group"):
                assert torch.equal(left[name], right[name])
    assert one.stats() == other.stats()


def test_batches_are_those_of_the_files(tmp_path, server):
    local, remote = both(tmp_path, server)
    assert_same_batches(loader_of(local, workers=2), loader_of(remote, workers=2))
    assert remote.index._remote.counts()["dropped"] == 0


def test_batches_of_worker_processes_are_those_of_the_files(tmp_path, server):
    local, remote = both(tmp_path, server)
    small = {"transform": _small, "workers": 1}
    assert_same_batches(loader_of(local, **small), loader_of(remote, **small), epochs=1)


def _small(image) -> torch.Tensor:
    return to_tensor(image.resize((8, 8)))


def test_rows_of_a_shard_that_fails_are_counted_and_the_rest_is_read(tmp_path, server):
    local, remote = both(tmp_path, server)
    server.faults["1.tar"] = 404
    loader = loader_of(remote, workers=2, max_quarantined=1.0)
    expected = {row for batch in loader_of(local) for row in batch["index"].tolist()}
    read = {row for batch in loader for row in batch["index"].tolist()}
    assert read == expected - set(range(20, 40))
    stats = loader.stats()
    assert set(stats["quarantined"]) == {"io"}
    assert "1.tar: 404 Not Found" in stats["quarantined_rows"][0]["message"]
    with pytest.raises(Error, match=r"max_quarantined = 0.1 .*404 Not Found"):
        list(loader_of(remote, workers=2, max_quarantined=0.1))


def test_a_shard_that_was_changed_ends_the_iteration(tmp_path, server, folder):
    _, remote = both(tmp_path, server)
    write_tar(folder / "1.tar", {"020.png": encoded(picture(1)), "020.txt": b"another"})
    with pytest.raises(helip.MismatchError, match=r"/1\.tar was changed after it was indexed"):
        list(loader_of(remote, workers=2))


def test_an_iteration_that_is_left_ends_while_pictures_are_on_their_way(tmp_path, server):
    _, remote = both(tmp_path, server)
    for _ in range(5):
        loader = loader_of(remote, workers=2, batch_size=4)
        next(iter(loader))
        del loader


def test_embeddings_are_those_of_the_files(tmp_path, server):
    local, remote = both(tmp_path, server)
    for engine in (0, 1):
        options = {"batch_size": 8, "workers": engine}
        run(local, tmp_path / f"a{engine}", **options)
        run(remote, tmp_path / f"b{engine}", **options)
        ours, theirs = files_of(tmp_path / f"b{engine}"), files_of(tmp_path / f"a{engine}")
        assert {name: data for name, data in ours.items() if name != "manifest.json"} == {
            name: data for name, data in theirs.items() if name != "manifest.json"
        }
    store = helip.EmbeddingStore.open(tmp_path / "b0")
    assert store.data_fingerprint == local.fingerprint
    np.testing.assert_array_equal(store.image, helip.EmbeddingStore.open(tmp_path / "a0").image)


def test_shards_at_urls_are_not_written_anew(tmp_path, server):
    _, remote = both(tmp_path, server)
    with pytest.raises(UnsupportedError, match=r"is a URL; fetch the shards"):
        members_of(remote, progress=False)


def test_the_cache_is_counted_over_worker_processes(tmp_path, server):
    """A process fetches a block once at most; what one has kept is found by all."""
    index, options = tmp_path / "index", {"root": server.url, "cache": tmp_path / "cache"}
    data = helip.open_dataset(index, **options)
    assert data.cache_counts()["misses"] == 0
    loader = loader_of(data, transform=_small, workers=2)
    list(loader)
    cold = loader.stats()["cache"]
    assert data.cache_counts()["misses"] == 0  # none of them in this process
    blocks = len(list((tmp_path / "cache" / "blocks").glob("??/*")))
    # Two processes that need a block at the same moment both fetch it.
    assert 0 < blocks <= cold["misses"] <= 2 * blocks
    assert cold["not_kept"] == 0
    assert cold["bytes_fetched"] > 0
    list(loader)
    warm = loader.cache_counts()
    assert warm["misses"] == cold["misses"]
    assert warm["hits"] > cold["hits"]


def test_the_cache_is_counted_where_threads_read(tmp_path, server):
    index, options = tmp_path / "index", {"root": server.url, "cache": tmp_path / "cache"}
    data = helip.open_dataset(index, **options)
    loader = loader_of(data, workers=2)
    list(loader)
    assert loader.stats()["cache"] == loader.cache_counts() == data.cache_counts()
    assert loader.cache_counts()["misses"] > 0
    assert "cache" not in loader_of(helip.open_dataset(index), workers=0).stats()
