"""Ranges through blocks on disk: what is fetched, and what becomes of a disk that fails."""

from __future__ import annotations

import errno
import os
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from helip.common.errors import InvalidArgumentError, StorageError
from helip.common.remote import block_files, disk_cache
from helip.common.remote.block_files import BLOCK
from helip.common.remote.disk_cache import DiskCache, Version

PATIENCE = 30  # seconds, where a fault would be waited for without end
SIZE = 5 * BLOCK + 1000


class File:
    """A file at a URL, and what was asked of it."""

    def __init__(self, seed: int = 0, tag: str = "a") -> None:
        self.data = np.random.default_rng(seed).bytes(SIZE)
        self.version = Version("http://host/0.tar", SIZE, tag)
        self.asked: list[tuple[int, int]] = []
        self.broken = False

    def fetch(self, begin: int, end: int) -> bytes:
        self.asked.append((begin, end))
        if self.broken:
            raise StorageError("broken")
        assert 0 <= begin < end <= SIZE
        return self.data[begin:end]

    def is_read_by(self, cache: DiskCache, begin: int, end: int) -> bool:
        return cache.read(self.version, begin, end, self.fetch) == self.data[begin:end]


@pytest.fixture
def cache(tmp_path: Path) -> DiskCache:
    return DiskCache(tmp_path, 1 << 30)


def test_a_range_is_what_the_file_has_there(cache):
    file = File()
    random = np.random.default_rng(1)
    ends = np.sort(random.integers(0, SIZE + 1, (200, 2)), axis=1).tolist()
    edges = [[0, 1], [BLOCK - 1, BLOCK + 1], [BLOCK, 2 * BLOCK], [SIZE - 1, SIZE], [0, SIZE]]
    for begin, end in edges + ends:
        assert begin == end or file.is_read_by(cache, begin, end)
    assert sum(end - begin for begin, end in file.asked) == SIZE  # each byte once


def test_what_another_process_kept_is_not_fetched(tmp_path):
    file = File()
    assert file.is_read_by(DiskCache(tmp_path, 1 << 30), 10, SIZE)
    before = len(file.asked)
    again = DiskCache(tmp_path, 1 << 30)
    assert file.is_read_by(again, 10, SIZE)
    assert len(file.asked) == before
    assert again.counts() == {
        "hits": 6, "misses": 0, "bytes_fetched": 0, "bytes_from_cache": SIZE, "evicted": 0,
        "damaged": 0, "not_kept": 0,
    }  # fmt: skip


def test_missing_blocks_come_by_few_requests(cache):
    file = File()
    for number in (1, 4):
        assert file.is_read_by(cache, number * BLOCK, number * BLOCK + 5)
    file.asked.clear()
    assert file.is_read_by(cache, 0, SIZE)
    # One block that is there already lies between two that are not, and is less than a request.
    assert file.asked == [(0, SIZE)]
    assert cache.counts()["misses"] == 6
    assert cache.counts()["hits"] == 2


@pytest.mark.parametrize("changed", ["tag", "bytes", "url"])
def test_a_file_that_is_another_is_fetched(cache, changed):
    old, new = File(0), File(1)
    other = {"tag": "b", "bytes": SIZE + 1, "url": "http://host/1.tar"}[changed]
    new.version = new.version._replace(**{changed: other})
    assert old.is_read_by(cache, 0, 2 * BLOCK)
    assert new.is_read_by(cache, 0, 2 * BLOCK)
    assert new.asked == [(0, 2 * BLOCK)]
    assert old.is_read_by(cache, 0, 2 * BLOCK)


def test_a_block_with_a_flipped_bit_is_fetched_anew(cache, tmp_path):
    file = File()
    assert file.is_read_by(cache, 0, 3 * BLOCK)
    path = sorted(tmp_path.glob("blocks/??/*"))[1]
    raw = bytearray(path.read_bytes())
    raw[1000] ^= 1
    path.write_bytes(raw)
    file.asked.clear()
    assert file.is_read_by(cache, 0, 3 * BLOCK)
    assert [end - begin for begin, end in file.asked] == [BLOCK]
    assert cache.counts()["damaged"] == 1
    file.asked.clear()
    assert file.is_read_by(cache, 0, 3 * BLOCK)
    assert not file.asked


def test_what_is_forgotten_is_fetched_anew(cache):
    file = File()
    assert file.is_read_by(cache, 0, 3 * BLOCK)
    cache.forget(file.version, BLOCK + 5, BLOCK + 10)
    file.asked.clear()
    assert file.is_read_by(cache, 0, 3 * BLOCK)
    assert file.asked == [(BLOCK, 2 * BLOCK)]


def test_threads_that_want_one_block_fetch_it_once(cache):
    file, gate = File(), threading.Event()

    def fetch(begin: int, end: int) -> bytes:
        assert gate.wait(PATIENCE)
        return file.fetch(begin, end)

    with ThreadPoolExecutor(8) as pool:
        ranges = [(number * 1000, 2 * BLOCK + number) for number in range(1, 9)]
        coming = [pool.submit(cache.read, file.version, *each, fetch) for each in ranges]
        gate.set()
        for (begin, end), future in zip(ranges, coming, strict=True):
            assert future.result(PATIENCE) == file.data[begin:end]
    assert sum(end - begin for begin, end in file.asked) == 3 * BLOCK
    counts = cache.counts()
    assert (counts["misses"], counts["hits"]) == (3, 21)


def test_a_request_that_fails_is_told_and_made_again_by_the_next(cache):
    file = File()
    file.broken = True
    with pytest.raises(StorageError, match="broken"):
        cache.read(file.version, 0, 10, file.fetch)
    file.broken = False
    assert file.is_read_by(cache, 0, 10)


def test_who_waits_for_a_request_that_fails_makes_its_own(cache):
    file, begun, gate = File(), threading.Event(), threading.Event()

    def failing(begin: int, end: int) -> bytes:
        begun.set()
        assert gate.wait(PATIENCE)
        raise StorageError("broken")

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(cache.read, file.version, 0, 10, failing)
        assert begun.wait(PATIENCE)
        second = pool.submit(file.is_read_by, cache, 5, 20)
        gate.set()
        assert second.result(PATIENCE)
        with pytest.raises(StorageError):
            first.result(PATIENCE)


def test_a_full_disk_is_said_once_and_counted(cache, tmp_path, monkeypatch):
    file = File()
    assert file.is_read_by(cache, 0, BLOCK)

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(block_files.BlockFiles, "_write", full)
        with pytest.warns(RuntimeWarning, match=r"blocks cannot be written \(No space left on dev"):
            assert file.is_read_by(cache, 0, 3 * BLOCK)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert file.is_read_by(cache, 0, 4 * BLOCK)
    counts = cache.counts()
    assert (counts["hits"], counts["not_kept"]) == (2, 2 + 3)
    # Once there is room again it is used, after a while.
    assert file.is_read_by(cache, 4 * BLOCK, SIZE)
    assert cache.counts()["not_kept"] == 2 + 3 + 2
    monkeypatch.setattr(cache, "_paused_until", 0.0)
    assert file.is_read_by(cache, 0, SIZE)
    file.asked.clear()
    assert file.is_read_by(cache, 0, SIZE)
    assert not file.asked


def test_a_disk_that_fills_half_way_leaves_nothing_half_written(cache, tmp_path, monkeypatch):
    file, usual, left = File(), block_files._digest, [2]

    def failing(name: str, data: object) -> bytes:
        if name != "sizes":
            left[0] -= 1
            if left[0] < 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return usual(name, data)

    with monkeypatch.context() as patched:
        patched.setattr(block_files, "_digest", failing)
        with pytest.warns(RuntimeWarning, match="No space left"):
            assert file.is_read_by(cache, 0, SIZE)
    assert len(list(tmp_path.glob("blocks/??/*"))) == 2
    assert not list(tmp_path.glob("blocks/??/.*"))


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("words")
    with pytest.raises((StorageError, InvalidArgumentError), match="file"):
        DiskCache(tmp_path / "file", 1 << 30)


def test_a_full_disk_without_the_folder_is_no_reason_to_stop(tmp_path, monkeypatch):
    def full(path: Path) -> None:
        raise StorageError(errno.ENOSPC, "cannot create the directory: No space left on device")

    monkeypatch.setattr(disk_cache, "make_directory", full)
    monkeypatch.setattr(block_files, "make_directory", full)
    file, cache = File(), DiskCache(tmp_path / "none", 1 << 30)
    with pytest.warns(RuntimeWarning, match="No space left"):
        assert file.is_read_by(cache, 0, SIZE)
    assert cache.counts()["not_kept"] == 6
