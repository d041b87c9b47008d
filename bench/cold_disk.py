"""Pictures a second from tar shards that are not in memory, against the reads that the disk can do.

    python bench/cold_disk.py
    python bench/cold_disk.py --folder /mnt/slow/bench --threads 8

Writes four shards of photographs of 500 px (see transforms.py), 300 MB, and reads them in random
order: by threads that only read, one ``pread`` a picture (the best of several numbers of threads),
and by the reader of batches, which decodes too. The pages of the shards are dropped before each
turn. ``POSIX_FADV_RANDOM`` keeps the kernel from reading neighbours ahead for the bare reads.

To see a slow disk on a fast one, as root with version 1 of control groups:

    mkdir /sys/fs/cgroup/blkio/slow
    echo "254:0 800" > /sys/fs/cgroup/blkio/slow/blkio.throttle.read_iops_device
    sh -c 'echo $$ > /sys/fs/cgroup/blkio/slow/cgroup.procs; exec python bench/cold_disk.py'
"""

from __future__ import annotations

import argparse
import io
import os
import tarfile
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transforms
from picture_batches import read_all, ready_reader

import helip

SHARDS = 4
READERS = (4, 16)


def write(folder: Path, count: int) -> list[Path]:
    pictures = transforms.encoded(500, 60)
    paths = [folder / f"{shard}.tar" for shard in range(SHARDS)]
    for shard, path in enumerate(paths):
        with tarfile.open(path, "w") as tar:
            for row in range(count // SHARDS):
                picture = pictures[(7 * row + shard) % len(pictures)]
                for end, data in (("jpg", picture), ("txt", b"a photograph")):
                    member = tarfile.TarInfo(f"{shard}{row:06d}.{end}")
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
    os.sync()
    return paths


def drop(paths: list[Path]) -> None:
    for path in paths:
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read_alone(paths: list[Path], members: list[Any], threads: int) -> float:
    """Seconds in which so many threads read all members."""
    drop(paths)
    files = [path.open("rb", buffering=0) for path in paths]
    numbers = [file.fileno() for file in files]
    for number in numbers:
        os.posix_fadvise(number, 0, 0, os.POSIX_FADV_RANDOM)

    def read(part: list[Any]) -> None:
        for each in part:
            os.pread(numbers[each.shard], each.bytes, each.offset)

    begin = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(read, [members[first::threads] for first in range(threads)]))
    seconds = time.perf_counter() - begin
    for file in files:
        file.close()
    return seconds


def read_batches(data: Any, rows: np.ndarray, threads: int) -> float:
    reader = ready_reader(data, threads)
    begin = time.perf_counter()
    read_all(reader, rows)
    return time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", type=Path, help="on the disk in question; else a temporary one")
    parser.add_argument("--pictures", type=int, default=6000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        paths = write(Path(folder), arguments.pictures)
        index = helip.SampleIndex.build(paths)
        index.save(Path(folder) / "index")
        data = helip.open_dataset(Path(folder) / "index", progress=False)
        rows = np.random.default_rng(0).permutation(len(data))
        members = [index.member(row, "image") for row in rows.tolist()]
        alone = cold = warm = float("inf")
        for _ in range(arguments.rounds):
            alone = min(alone, *(read_alone(paths, members, count) for count in READERS))
            drop(paths)
            cold = min(cold, read_batches(data, rows, arguments.threads))
            warm = min(warm, read_batches(data, rows, arguments.threads))
    ways = (("reads alone", alone), ("batches, cold", cold), ("batches, warm", warm))
    for name, seconds in ways:
        print(f"{name:14} {len(rows) / seconds:8,.0f} pictures/s")


if __name__ == "__main__":
    main()
