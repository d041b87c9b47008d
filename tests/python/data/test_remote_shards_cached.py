"""Reading shards over HTTP with a cache on disk: what is fetched again, and what never is."""

from __future__ import annotations

import errno
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import helip
from helip.common.errors import InvalidArgumentError, MismatchError, StorageError
from helip.common.remote import disk_cache
from helip.data import options
from helip.data.picture_reader import PictureReader
from support.data_samples import caption, encoded, picture, pixels, write_tar
from support.http_shards import ShardServer

SIZE = (160, 120)  # of pictures, 58 kB each: more than a block in three rows
ROWS = np.arange(18)


def write_large(path: Path, numbers: range) -> None:
    members = {}
    for number in numbers:
        members[f"{number:05d}.png"] = encoded(picture(number, SIZE))
        members[f"{number:05d}.txt"] = caption(number).encode()
    write_tar(path, members)


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Three shards of six pictures each, of several blocks."""
    (tmp_path / "data").mkdir()
    for shard in range(3):
        write_large(tmp_path / "data" / f"{shard}.tar", range(6 * shard, 6 * shard + 6))
    return tmp_path / "data"


@pytest.fixture
def index(shards: Path, server: ShardServer, tmp_path: Path) -> Path:
    """An index of the URLs, with their tags."""
    urls = server.url + "/{0..2}.tar"
    helip.SampleIndex.build(urls, out=tmp_path / "index", progress=False)
    server.requests.clear()
    return tmp_path / "index"


def opened(index: Path, tmp_path: Path, **others) -> helip.Dataset:
    return helip.open_dataset(index, cache=tmp_path / "cache", **others)


def read_all(data: helip.Dataset, numbers: np.ndarray = ROWS) -> None:
    """Read every row as the loader does: by threads of the core, and captions by Python."""
    reader = PictureReader(data, [helip.ImageTransform(size=8)], threads=2)
    reader.start()
    assert not reader.wait(reader.begin(ROWS))
    for row, number in zip(ROWS.tolist(), numbers.tolist(), strict=True):
        assert data.caption(row) == caption(number)
        np.testing.assert_array_equal(pixels(data.image(row)), pixels(picture(number, SIZE)))


def test_a_second_epoch_and_another_process_fetch_nothing(index, tmp_path, server):
    first = opened(index, tmp_path)
    read_all(first)
    fetched = server.gets()
    assert first.cache_counts()["misses"] == 18
    read_all(first)
    assert server.gets() == fetched
    # A process of its own, where nothing of the first is in memory.
    code = (
        "import sys, helip; data = helip.open_dataset(sys.argv[1], cache=sys.argv[2])\n"
        "print([data[row]['text'] for row in range(len(data))], data.cache_counts())"
    )
    command = [sys.executable, "-c", code, str(index), str(tmp_path / "cache")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert server.gets() == fetched
    assert repr([caption(row) for row in range(18)]) in done.stdout
    assert "'misses': 0, 'bytes_fetched': 0" in done.stdout


def test_a_loader_fetches_in_its_first_epoch_alone(index, tmp_path, server):
    data = opened(index, tmp_path)
    loader = helip.HardPairLoader(
        data, None, hard_per_target=0, batch_size=4, workers=1,
        transform=helip.ImageTransform(size=8),
    )  # fmt: skip
    seen = [np.sort(np.concatenate([batch["index"] for batch in loader]))]
    fetched = server.gets()
    data = opened(index, tmp_path)
    loader = helip.HardPairLoader(
        data, None, hard_per_target=0, batch_size=3, workers=1, seed=5,
        transform=helip.ImageTransform(size=8),
    )  # fmt: skip
    seen.append(np.sort(np.concatenate([batch["index"] for batch in loader])))
    np.testing.assert_array_equal(seen, [ROWS, ROWS])
    assert server.gets() == fetched
    assert data.subset([3]).cache_counts()["misses"] == 0
    assert data.subset([3]).cache_counts()["bytes_from_cache"] > 18 * 58_000


def test_each_byte_comes_once_at_most(index, tmp_path, server, shards):
    read_all(opened(index, tmp_path))
    for name in ("0.tar", "1.tar", "2.tar"):
        times = np.zeros((shards / name).stat().st_size, dtype=np.int64)
        for asked_of, asked in server.gets():
            if asked_of == name:
                first, last = map(int, asked.removeprefix("bytes=").split("-"))
                times[first : last + 1] += 1
        assert times.max() == 1


def test_a_shard_that_was_changed_is_fetched_anew(index, tmp_path, server, shards):
    read_all(opened(index, tmp_path))
    write_large(shards / "1.tar", range(30, 36))
    with pytest.raises(MismatchError, match=r"1\.tar was changed"):
        opened(index, tmp_path)
    helip.SampleIndex.build(server.url + "/{0..2}.tar", out=index, progress=False)
    server.requests.clear()
    read_all(opened(index, tmp_path), np.r_[0:6, 30:36, 12:18])
    assert {name for name, _ in server.gets()} == {"1.tar"}


def test_an_index_without_tags_asks_the_server_what_its_shards_are(shards, tmp_path, server):
    helip.SampleIndex.build(shards, out=tmp_path / "index", progress=False)
    read_all(opened(tmp_path / "index", tmp_path, root=server.url))
    fetched = server.gets()
    data = opened(tmp_path / "index", tmp_path, root=server.url)
    read_all(data)
    assert server.gets() == fetched
    # As many bytes, another picture: its tag is another, and what was kept is of no use.
    write_large(shards / "1.tar", [7, 6, 8, 9, 10, 11])
    helip.SampleIndex.build(shards, out=tmp_path / "index", progress=False)
    again = opened(tmp_path / "index", tmp_path, root=server.url)
    read_all(again, np.r_[0:6, [7, 6], 8:18])
    assert {name for name, _ in server.gets()[len(fetched) :]} == {"1.tar"}


def test_a_shard_that_is_replaced_while_it_is_read_is_never_mixed(shards, tmp_path, server):
    helip.SampleIndex.build(shards, out=tmp_path / "index", progress=False)
    data = opened(tmp_path / "index", tmp_path, root=server.url)
    assert data.caption(6) == caption(6)
    # The same members, and one other byte behind them all, of which the index knows nothing.
    raw = bytearray((shards / "1.tar").read_bytes())
    raw[-1] = 1
    (shards / "1.tar").write_bytes(raw)
    with pytest.raises(MismatchError, match=r"/1\.tar was changed .*its tag was"):
        read_all(data)


def test_a_file_of_the_same_tag_and_size_is_told_by_its_pictures(shards, tmp_path, server):
    server.tags = False  # times of whole seconds in their place
    urls = server.url + "/{0..2}.tar"
    helip.SampleIndex.build(urls, out=tmp_path / "index", progress=False)
    read_all(opened(tmp_path / "index", tmp_path))
    time = (shards / "1.tar").stat().st_mtime
    write_large(shards / "1.tar", [7, 6, 8, 9, 10, 11])
    os.utime(shards / "1.tar", (time, time))
    shutil.rmtree(tmp_path / "index")
    helip.SampleIndex.build(urls, out=tmp_path / "index", progress=False)
    data = opened(tmp_path / "index", tmp_path)
    for row, number in ((6, 7), (7, 6)):
        np.testing.assert_array_equal(pixels(data.image(row)), pixels(picture(number, SIZE)))


def test_a_block_that_was_damaged_is_fetched_anew(index, tmp_path, server):
    read_all(opened(index, tmp_path))
    for number, path in enumerate(sorted((tmp_path / "cache").glob("blocks/??/*"))):
        raw = bytearray(path.read_bytes())
        raw[number * 97 % len(raw)] ^= 1 << number % 8
        path.write_bytes(raw)
    data = opened(index, tmp_path)
    read_all(data)
    counts = data.cache_counts()
    assert counts["damaged"] == counts["misses"] > 9


def test_the_bound_is_kept(index, tmp_path, server, monkeypatch):
    monkeypatch.setattr(options, "_FEWEST_CACHE_BYTES", 1)
    data = opened(index, tmp_path, cache_size="400 kB")
    for _ in range(2):
        read_all(data)
        kept = [path.stat().st_size for path in (tmp_path / "cache").glob("blocks/??/*")]
        assert 0 < sum(kept) <= 400_000
    assert data.cache_counts()["evicted"] > 0


def test_a_full_disk_slows_and_stops_nothing(index, tmp_path, server, monkeypatch):
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(disk_cache.DiskCache, "_write", full)
    data = opened(index, tmp_path)
    with pytest.warns(RuntimeWarning, match="No space left on device") as said:
        read_all(data)
    assert len(said) == 1
    counts = data.cache_counts()
    assert counts["not_kept"] == counts["misses"] > 9


def test_it_goes_along_to_another_process(index, tmp_path, server):
    for data in (
        opened(index, tmp_path),
        helip.open_dataset(server.url + "/{0..2}.tar", cache=tmp_path / "cache", progress=False),
    ):
        read_all(data)
        fetched = server.gets()
        again = pickle.loads(pickle.dumps(data))
        read_all(again)
        assert server.gets() == fetched
        assert again.cache_counts()["misses"] == 0


def test_a_description_names_the_cache_from_its_folder(index, tmp_path, server):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "data.yaml").write_text("source: ../index\ncache: kept\ncache_size: 1GB\n")
    data = helip.open_dataset(tmp_path / "d" / "data.yaml")
    assert data.caption(3) == caption(3)
    assert list((tmp_path / "d" / "kept" / "blocks").glob("??/*"))
    assert data.cache_counts()["misses"] > 0


def test_without_a_cache_there_are_no_counts(index, shards):
    assert helip.open_dataset(index).cache_counts() == {}
    assert helip.open_dataset(shards).cache_counts() == {}


def test_options_that_make_no_sense_are_refused(index, shards, tmp_path):
    for source in (shards, shards / "0.tar"):
        with pytest.raises(InvalidArgumentError, match="cache='c' does not apply to shards on th"):
            helip.open_dataset(source, cache="c")
    (tmp_path / "t.csv").write_text("image,caption\na.png,b\n")
    with pytest.raises(InvalidArgumentError, match="cache_size='1GB' does not apply to data that"):
        helip.open_dataset(tmp_path / "t.csv", cache_size="1GB")
    with pytest.raises(InvalidArgumentError, match="cache_size is '1GB', which bounds cache"):
        helip.open_dataset(index, cache_size="1GB")
    with pytest.raises(InvalidArgumentError, match="cache_size is 1000, must be 64MiB or more"):
        helip.open_dataset(index, cache="c", cache_size=1000)
    with pytest.raises(InvalidArgumentError, match="cache_size is 'much'; write bytes, or \"4GB\""):
        helip.open_dataset(index, cache="c", cache_size="much")
    with pytest.raises(InvalidArgumentError, match="cache is '', must be a name"):
        helip.open_dataset(index, cache="")
    (tmp_path / "file").write_text("words")
    with pytest.raises((StorageError, InvalidArgumentError), match="file"):
        helip.open_dataset(index, cache=tmp_path / "file")
