"""What the storage gives: pictures' bytes read out of the tar shards at random, and not decoded.

Reads by 1, 16 or 64 threads, one ``pread`` a picture; the batches are noise that was made once.
Below none of these can a loader be told to wait for anything but the storage.
"""

from __future__ import annotations

import itertools
import os
import tarfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from pictures import Pictures

from loader_sides.order import Order
from loader_sides.side import SIZE, Batches, Side

AHEAD = 2  # batches that are asked for before they are waited for


def _by(threads: int) -> Callable[[Pictures, Order, int], Batches]:
    return lambda pictures, order, workers: pread(pictures, order, threads)


def pread(pictures: Pictures, order: Order, threads: int) -> Batches:
    import torch

    images = torch.randn(order.batch, 3, SIZE, SIZE)
    texts = torch.zeros(order.batch, 77, dtype=torch.int64)
    places = _places(pictures)
    files = {shard: os.open(shard, os.O_RDONLY) for shard in pictures.shards}
    for file in files.values():  # nothing beside a picture is fetched
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_RANDOM)

    def read(row: int) -> int:
        shard, offset, size = places[row]
        return len(os.pread(files[shard], size, offset))

    def batches() -> Batches:
        with ThreadPoolExecutor(threads) as pool:
            asked = [[pool.submit(read, row) for row in rows] for rows in _some(order, AHEAD)]
            for rows in order:
                asked.append([pool.submit(read, row) for row in rows])
                for one in asked.pop(0):
                    one.result()
                yield images, texts

    return batches()


def _some(order: Order, batches: int) -> list[list[int]]:
    return list(itertools.islice(order, batches))


def _places(pictures: Pictures) -> list[tuple[str, int, int]]:
    """Shard, offset and bytes of each row's picture."""
    places = []
    for shard in pictures.shards:
        with tarfile.open(shard) as archive:
            places += [
                (shard, info.offset_data, info.size)
                for info in archive
                if info.name.endswith(pictures.suffix)
            ]
    return places


SIDES = {f"pread-{threads}": Side(_by(threads), (), "") for threads in (1, 16, 64)}
