"""Scattered bytes of a container's shards: fetched as few, near ranges, and kept for a while."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any

import numpy as np

from helip.common.lasting_threads import LastingThreads
from helip.common.remote.container import RemoteContainer
from helip.common.remote.runs import runs

PAGE = 4096  # columns begin at multiples of it
NEAR = 16  # pages between two that are wanted, which take less time than another request
LONGEST = 1024  # pages of a request
IN_FLIGHT = 32
HELD_BYTES = 64 << 20
_CHUNK = 2048  # pages at a time, so that a call gathers 8 MiB at once


class Pages:
    """Reads items of any places in shards, and keeps the pages that were read last.

    At most HELD_BYTES are kept, besides what one call gathers. Thread-safe.
    """

    def __init__(self, container: RemoteContainer) -> None:
        self._container = container
        self._kept: OrderedDict[tuple[int, int], bytes] = OrderedDict()
        self._lock = threading.Lock()
        self._threads = LastingThreads(IN_FLIGHT, "helip-rows")

    def items(self, shard: int, begins: np.ndarray, size: int) -> np.ndarray:
        """uint8 [n, size]: the ``size`` bytes of a shard from each of ``begins``, int64 [n], on."""
        found = np.empty((len(begins), size), dtype=np.uint8)
        each = max(1, _CHUNK // (size // PAGE + 2))
        for first in range(0, len(begins), each):
            some = begins[first : first + each]
            self._gather(shard, some, size, found[first : first + each])
        return found

    def span(self, shard: int, begin: int, end: int) -> np.ndarray:
        """uint8 [end - begin]: the bytes of a shard from ``begin`` up to ``end``."""
        return self.items(shard, np.array([begin]), end - begin)[0]

    def _gather(self, shard: int, begins: np.ndarray, size: int, found: np.ndarray) -> None:
        if not size:
            return
        first, last = begins // PAGE, (begins + size - 1) // PAGE
        spans = np.arange(int((last - first).max()) + 1)
        wanted = first[:, None] + spans
        pages = np.unique(wanted[wanted <= last[:, None]])
        buffer = np.empty(len(pages) * PAGE, dtype=np.uint8)
        missing = self._take_kept(shard, pages, buffer)
        ranges = runs(pages[missing].tolist(), near=NEAR, longest=LONGEST)
        coming = [self._threads.submit(self._fetch, shard, *each) for each in ranges]
        for (begin, _), future in zip(ranges, coming, strict=True):
            self._store(shard, begin, future.result(), pages, buffer)
        # Pages of one item follow each other, in the buffer too.
        places = np.searchsorted(pages, first) * PAGE + begins % PAGE
        for row, place in enumerate(places.tolist()):
            found[row] = buffer[place : place + size]

    def _take_kept(self, shard: int, pages: np.ndarray, buffer: np.ndarray) -> np.ndarray:
        """Copy pages that are kept into the buffer; the places of the others."""
        missing = []
        with self._lock:
            for place, page in enumerate(pages.tolist()):
                data = self._kept.get((shard, page))
                if data is None:
                    missing.append(place)
                    continue
                self._kept.move_to_end((shard, page))
                buffer[place * PAGE : place * PAGE + len(data)] = np.frombuffer(data, np.uint8)
        return np.array(missing, dtype=np.int64)

    def _fetch(self, shard: int, begin: int, end: int) -> Any:
        size = self._container.manifest.shards[shard].bytes
        return self._container.read(shard, begin * PAGE, min(end * PAGE, size))

    def _store(
        self, shard: int, begin: int, data: Any, pages: np.ndarray, buffer: np.ndarray
    ) -> None:
        view = memoryview(data)
        place = int(np.searchsorted(pages, begin))
        with self._lock:
            while place < len(pages) and (at := (int(pages[place]) - begin) * PAGE) < len(view):
                page = bytes(view[at : at + PAGE])
                buffer[place * PAGE : place * PAGE + len(page)] = np.frombuffer(page, np.uint8)
                self._kept[shard, int(pages[place])] = page
                place += 1
            while len(self._kept) * PAGE > HELD_BYTES:
                self._kept.popitem(last=False)
