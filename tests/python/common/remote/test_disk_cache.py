"""Ranges through blocks on disk: what is fetched and kept, what makes room, what a fault does."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from helip.common.errors import InvalidArgumentError, StorageError
from helip.common.remote import disk_cache
from helip.common.remote.disk_cache import BLOCK, DiskCache, Version

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
        patched.setattr(DiskCache, "_write", full)
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
    file, usual, left = File(), disk_cache._digest, [2]

    def failing(name: str, data: object) -> bytes:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return usual(name, data)

    with monkeypatch.context() as patched:
        patched.setattr(disk_cache, "_digest", failing)
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
    file, cache = File(), DiskCache(tmp_path / "none", 1 << 30)
    with pytest.warns(RuntimeWarning, match="No space left"):
        assert file.is_read_by(cache, 0, SIZE)
    assert cache.counts()["not_kept"] == 6


# Blocks as files

FILE = 64 << 10


def name_of(number: int) -> str:
    return f"{number * 37 % 256:02x}{number:030x}"


def block(number: int, size: int = disk_cache.BLOCK) -> bytes:
    return np.random.default_rng(number).bytes(size)


def get(files: DiskCache, number: int) -> bytes | None:
    found = files._kept(name_of(number), disk_cache.BLOCK)
    return None if found is None else bytes(found)


def put(files: DiskCache, *numbers: int) -> None:
    files._keep({name_of(number): block(number) for number in numbers})


def there(folder: Path) -> list[Path]:
    return [path for path in folder.glob("blocks/??/*") if path.is_file()]


def bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in there(folder))


def use_at(folder: Path, number: int, time: int) -> None:
    """Let a block be used last at that second."""
    os.utime(folder / "blocks" / name_of(number)[:2] / name_of(number), (time, time))


def test_a_block_that_was_put_is_found_as_it_was(tmp_path):
    files = DiskCache(tmp_path, 10 * FILE)
    put(files, 1, 2)
    files._keep({name_of(3): block(3, 100)})
    assert (get(files, 1), get(files, 2)) == (block(1), block(2))
    assert bytes(files._kept(name_of(3), 100) or b"") == block(3, 100)
    assert get(files, 4) is None
    assert {path.stat().st_size for path in there(tmp_path)} == {FILE, 116}


def test_the_bound_is_kept_whatever_comes(tmp_path):
    files = DiskCache(tmp_path, 7 * FILE)
    for first in range(0, 40, 2):
        put(files, first, first + 1)
        assert bytes_in(tmp_path) <= 7 * FILE
    put(files, *range(50, 80))  # more than fits
    assert 0 < bytes_in(tmp_path) <= 7 * FILE
    assert files.counts()["evicted"] >= 40


def test_those_go_first_that_were_used_longest_ago(tmp_path):
    files = DiskCache(tmp_path, 4 * FILE)
    put(files, 0, 1, 2, 3)
    for number, time in enumerate((50, 20, 40, 10)):
        use_at(tmp_path, number, time)
    assert get(files, 3) == block(3)  # used now
    put(files, 4)
    assert [number for number in range(5) if get(files, number) is None] == [1]


def test_where_there_are_many_some_more_go_so_that_the_next_need_not_look(tmp_path, monkeypatch):
    files, looked = DiskCache(tmp_path, 64 * FILE), []
    put(files, *range(64))
    for number in range(64):
        use_at(tmp_path, number, number)
    blocks = files._blocks
    monkeypatch.setattr(files, "_blocks", lambda: looked.append(1) or blocks())
    for number in range(64, 96):
        put(files, number)
        assert bytes_in(tmp_path) <= 64 * FILE
    kept = [number for number in range(96) if get(files, number) is not None]
    assert kept == [*range(96 - len(kept), 96)]
    assert len(kept) >= 59
    assert len(looked) <= 3 * 8  # to count them, to remove some, and to count again


def test_a_block_that_is_used_while_room_is_made_stays(tmp_path, monkeypatch):
    files = DiskCache(tmp_path, 4 * FILE)
    put(files, 0, 1, 2, 3)
    for number in range(4):
        use_at(tmp_path, number, number)
    blocks, times = files._blocks, []

    def used_then():
        times.append(1)
        if len(times) == 2:
            assert get(files, 0)
        return blocks()

    monkeypatch.setattr(files, "_blocks", used_then)
    put(files, 4)
    assert get(files, 0) is not None
    assert bytes_in(tmp_path) <= 4 * FILE


def test_a_smaller_bound_is_kept_from_the_next_block_on(tmp_path):
    put(DiskCache(tmp_path, 40 * FILE), *range(40))
    put(DiskCache(tmp_path, 10 * FILE), 41)
    assert bytes_in(tmp_path) <= 10 * FILE


@pytest.mark.parametrize("place", [0, 20, FILE - 1])
def test_a_block_with_a_flipped_bit_is_not_there(tmp_path, place):
    files = DiskCache(tmp_path, 10 * FILE)
    put(files, 1)
    (path,) = there(tmp_path)
    raw = bytearray(path.read_bytes())
    raw[place] ^= 4
    path.write_bytes(raw)
    assert get(files, 1) is None
    assert files.counts()["damaged"] == 1
    put(files, 1)
    assert get(files, 1) == block(1)


@pytest.mark.parametrize("size", [0, 7, 16, FILE - 1])
def test_a_block_that_was_cut_short_is_not_there(tmp_path, size):
    files = DiskCache(tmp_path, 10 * FILE)
    put(files, 1)
    os.truncate(there(tmp_path)[0], size)
    assert get(files, 1) is None


def test_a_block_under_the_name_of_another_is_not_there(tmp_path):
    files = DiskCache(tmp_path, 10 * FILE)
    put(files, 1, 2)
    first, second = (
        tmp_path / "blocks" / name_of(number)[:2] / name_of(number) for number in (1, 2)
    )
    first.replace(second)
    assert get(files, 2) is None


def _put_and_die(folder: Path) -> None:
    written = DiskCache._write

    def write(self, path, name, data):
        if name == name_of(2):
            path.parent.mkdir(exist_ok=True)
            path.with_name(".tmp-" + name).write_bytes(b"half")
            os.kill(os.getpid(), signal.SIGKILL)
        return written(self, path, name, data)

    DiskCache._write = write
    put(DiskCache(folder, 4 * FILE), 1, 2)


def test_what_a_killed_process_left_is_removed_and_counted(tmp_path):
    killed = multiprocessing.get_context("fork").Process(target=_put_and_die, args=(tmp_path,))
    killed.start()
    killed.join()
    left = list(tmp_path.glob("blocks/??/.tmp-*"))
    assert killed.exitcode == -signal.SIGKILL and len(left) == 1
    files = DiskCache(tmp_path, 4 * FILE)
    assert get(files, 1) == block(1)
    put(files, 3)
    put(files, 4, 5, 6)
    assert not left[0].exists()
    assert bytes_in(tmp_path) <= 4 * FILE


@pytest.mark.parametrize("contents", [b"", b"x" * 50, None])
def test_a_size_that_is_lost_is_counted_again(tmp_path, contents):
    put(DiskCache(tmp_path, 4 * FILE), 1, 2, 3)
    if contents is None:
        (tmp_path / "blocks" / "size").unlink()
    else:
        (tmp_path / "blocks" / "size").write_bytes(contents)
    put(DiskCache(tmp_path, 4 * FILE), 4, 5)
    assert bytes_in(tmp_path) <= 4 * FILE


def test_other_files_of_the_folder_stay(tmp_path):
    (tmp_path / "blocks" / "00").mkdir(parents=True)
    (tmp_path / "blocks" / "00" / "mine.txt").write_text("words")
    files = DiskCache(tmp_path, 2 * FILE)
    for number in range(8):
        put(files, number)
    assert (tmp_path / "blocks" / "00" / "mine.txt").read_text() == "words"


def test_a_folder_that_was_removed_is_made_again(tmp_path):
    files = DiskCache(tmp_path, 4 * FILE)
    put(files, 1)
    (tmp_path / "blocks").rename(tmp_path / "gone")
    assert get(files, 1) is None
    put(files, 1)
    assert get(files, 1) == block(1)


def _put_many(folder: Path, first: int) -> None:
    files = DiskCache(folder, 12 * FILE)
    for number in range(first, first + 60):
        put(files, number)
        found = get(files, number)
        if found not in (None, block(number)):
            os._exit(3)


def test_processes_that_write_at_once_keep_the_bound(tmp_path):
    context = multiprocessing.get_context("fork")
    # Half of the blocks are wanted by both.
    jobs = [context.Process(target=_put_many, args=(tmp_path, first)) for first in (0, 30)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert [job.exitcode for job in jobs] == [0, 0]
    assert bytes_in(tmp_path) <= 12 * FILE
    assert int((tmp_path / "blocks" / "size").read_bytes()) >= bytes_in(tmp_path)


# Numbers as ranges


def test_near_numbers_come_in_one_range_and_far_ones_do_not():
    assert disk_cache._runs([1, 2, 4, 7, 8], near=1, longest=100) == [(1, 5), (7, 9)]
    assert disk_cache._runs([1, 2, 4, 7, 8], near=0, longest=100) == [(1, 3), (4, 5), (7, 9)]
    assert disk_cache._runs([], near=1, longest=100) == []


def test_a_range_is_no_longer_than_allowed():
    assert disk_cache._runs(range(7), near=1, longest=3) == [(0, 3), (3, 6), (6, 7)]
