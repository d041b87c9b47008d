"""Blocks as files: what is found again, what makes room, and what damage does."""

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path

import numpy as np
import pytest

from helip.common.remote import block_files
from helip.common.remote.block_files import BlockFiles

FILE = 64 << 10


def name_of(number: int) -> str:
    return f"{number * 37 % 256:02x}{number:030x}"


def block(number: int, size: int = block_files.BLOCK) -> bytes:
    return np.random.default_rng(number).bytes(size)


def get(files: BlockFiles, number: int) -> bytes | None:
    found = files.get(name_of(number), block_files.BLOCK)
    return None if found is None else bytes(found)


def put(files: BlockFiles, *numbers: int) -> None:
    files.put([(name_of(number), block(number)) for number in numbers])


def there(folder: Path) -> list[Path]:
    return [path for path in folder.glob("??/*") if path.is_file()]


def bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in there(folder))


def use_at(folder: Path, number: int, time: int) -> None:
    """Let a block be used last at that second."""
    os.utime(folder / name_of(number)[:2] / name_of(number), (time, time))


def test_a_block_that_was_put_is_found_as_it_was(tmp_path):
    files = BlockFiles(tmp_path, 10 * FILE)
    put(files, 1, 2)
    files.put([(name_of(3), block(3, 100))])
    assert (get(files, 1), get(files, 2)) == (block(1), block(2))
    assert bytes(files.get(name_of(3), 100) or b"") == block(3, 100)
    assert get(files, 4) is None
    assert {path.stat().st_size for path in there(tmp_path)} == {FILE, 116}


def test_the_bound_is_kept_whatever_comes(tmp_path):
    files = BlockFiles(tmp_path, 7 * FILE)
    for first in range(0, 40, 2):
        put(files, first, first + 1)
        assert bytes_in(tmp_path) <= 7 * FILE
    put(files, *range(50, 80))  # more than fits
    assert 0 < bytes_in(tmp_path) <= 7 * FILE
    assert files.evicted >= 40


def test_those_go_first_that_were_used_longest_ago(tmp_path):
    files = BlockFiles(tmp_path, 4 * FILE)
    put(files, 0, 1, 2, 3)
    for number, time in enumerate((50, 20, 40, 10)):
        use_at(tmp_path, number, time)
    assert get(files, 3) == block(3)  # used now
    put(files, 4)
    assert [number for number in range(5) if get(files, number) is None] == [1]


def test_the_oldest_of_a_part_of_the_folders_go_where_there_are_many(tmp_path, monkeypatch):
    monkeypatch.setattr(block_files, "_LOOKED_AT", 8)
    files = BlockFiles(tmp_path, 64 * FILE)
    put(files, *range(64))
    for number in range(64):
        use_at(tmp_path, number, number)
    for number in range(64, 96):
        put(files, number)
        assert bytes_in(tmp_path) <= 64 * FILE
    kept = [number for number in range(96) if get(files, number) is not None]
    assert len(kept) >= 52  # a few more go than must
    assert np.mean([number >= 32 for number in kept]) > 0.8


def test_a_smaller_bound_is_kept_from_the_next_block_on(tmp_path):
    put(BlockFiles(tmp_path, 40 * FILE), *range(40))
    put(BlockFiles(tmp_path, 10 * FILE), 41)
    assert bytes_in(tmp_path) <= 10 * FILE


@pytest.mark.parametrize("place", [0, 20, FILE - 1])
def test_a_block_with_a_flipped_bit_is_not_there(tmp_path, place):
    files = BlockFiles(tmp_path, 10 * FILE)
    put(files, 1)
    (path,) = there(tmp_path)
    raw = bytearray(path.read_bytes())
    raw[place] ^= 4
    path.write_bytes(raw)
    assert get(files, 1) is None
    assert files.damaged == 1
    put(files, 1)
    assert get(files, 1) == block(1)


@pytest.mark.parametrize("size", [0, 7, 16, FILE - 1])
def test_a_block_that_was_cut_short_is_not_there(tmp_path, size):
    files = BlockFiles(tmp_path, 10 * FILE)
    put(files, 1)
    os.truncate(there(tmp_path)[0], size)
    assert get(files, 1) is None


def test_a_block_under_the_name_of_another_is_not_there(tmp_path):
    files = BlockFiles(tmp_path, 10 * FILE)
    put(files, 1, 2)
    first, second = (tmp_path / name_of(number)[:2] / name_of(number) for number in (1, 2))
    first.replace(second)
    assert get(files, 2) is None


def _put_and_die(folder: Path) -> None:
    written = block_files.BlockFiles._write

    def write(self, path, name, data):
        if name == name_of(2):
            path.parent.mkdir(exist_ok=True)
            path.with_name(".tmp-" + name).write_bytes(b"half")
            os.kill(os.getpid(), signal.SIGKILL)
        return written(self, path, name, data)

    block_files.BlockFiles._write = write
    put(BlockFiles(folder, 4 * FILE), 1, 2)


def test_what_a_killed_process_left_is_removed_and_counted(tmp_path):
    killed = multiprocessing.get_context("fork").Process(target=_put_and_die, args=(tmp_path,))
    killed.start()
    killed.join()
    left = list(tmp_path.glob("??/.tmp-*"))
    assert killed.exitcode == -signal.SIGKILL and len(left) == 1
    files = BlockFiles(tmp_path, 4 * FILE)
    assert get(files, 1) == block(1)
    put(files, 3)
    assert not left[0].exists()
    put(files, 4, 5, 6)
    assert bytes_in(tmp_path) <= 4 * FILE


@pytest.mark.parametrize("contents", [b"", b"x" * 50, None])
def test_sizes_that_are_lost_are_counted_again(tmp_path, contents):
    put(BlockFiles(tmp_path, 4 * FILE), 1, 2, 3)
    if contents is None:
        (tmp_path / "sizes").unlink()
    else:
        (tmp_path / "sizes").write_bytes(contents)
    put(BlockFiles(tmp_path, 4 * FILE), 4, 5)
    assert bytes_in(tmp_path) <= 4 * FILE


def test_other_files_of_the_folder_stay(tmp_path):
    (tmp_path / "00").mkdir()
    (tmp_path / "00" / "mine.txt").write_text("words")
    files = BlockFiles(tmp_path, 2 * FILE)
    for number in range(8):
        put(files, number)
    assert (tmp_path / "00" / "mine.txt").read_text() == "words"


def test_a_folder_that_was_removed_is_made_again(tmp_path):
    files = BlockFiles(tmp_path / "blocks", 4 * FILE)
    put(files, 1)
    (tmp_path / "blocks").rename(tmp_path / "gone")
    assert get(files, 1) is None
    put(files, 1)
    assert get(files, 1) == block(1)


def _put_many(folder: Path, first: int) -> None:
    files = BlockFiles(folder, 12 * FILE)
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
    kept = (tmp_path / "sizes").read_bytes()
    assert sum(block_files._unpacked(kept)[:256]) == bytes_in(tmp_path)
