"""The bytes of one shard in order, piece by piece, from a directory or from a URL."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from helip.common.files import storage_errors
from helip.common.remote.container import LocalFiles, RemoteContainer

IN_FLIGHT = 4  # pieces of 8 MiB that come at once, besides those that are on their way to elsewhere


def pieces_of(container: RemoteContainer, number: int, size: int) -> Generator[Any, None, None]:
    """Buffers of ``size`` bytes, the last one smaller, of the shard of that number.

    From a URL IN_FLIGHT of them come at once. Raises as `RemoteContainer.read`.
    """
    if isinstance(container.files, LocalFiles):
        return _of_file(Path(container.address(container.manifest.shards[number].file)), size)
    return _of_url(container, number, size)


def _of_file(path: Path, size: int) -> Generator[Any, None, None]:
    with storage_errors("read", path), path.open("rb") as file:
        while data := file.read(size):
            yield data


def _of_url(container: RemoteContainer, number: int, size: int) -> Generator[Any, None, None]:
    end = container.manifest.shards[number].bytes
    begins = iter(range(0, end, size))
    coming: deque[Future[Any]] = deque()
    pool = ThreadPoolExecutor(IN_FLIGHT, thread_name_prefix="helip-copy")
    try:
        while True:
            while len(coming) < IN_FLIGHT and (begin := next(begins, None)) is not None:
                piece = (number, begin, min(begin + size, end))
                coming.append(pool.submit(container.read, *piece))
            if not coming:
                return
            yield coming.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
