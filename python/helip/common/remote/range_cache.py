"""Ranges of bytes that are fetched many at once, ahead or as they are read, in bounded memory."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from typing import Any, NamedTuple

import numpy as np

from helip.common.errors import StorageError
from helip.common.lasting_threads import LastingThreads
from helip.common.remote.container import RemoteContainer

NEAR = 64 << 10  # bytes that take less time than another request
PAGE = 4096  # columns of a container begin at multiples of it
PAGES_IN_FLIGHT = 32
PAGE_BYTES = 128 << 20  # of pages that are held
_CHUNK = 2048  # pages at a time, so that a call gathers 8 MiB at once


class Member(NamedTuple):
    """Bytes that are read as one: ``size`` of them from ``offset`` on in a shard."""

    shard: int
    offset: int
    size: int
    is_picture: bool


class _Block:
    """A range on its way or held, and the members in it."""

    def __init__(self, members: list[Member]) -> None:
        self.shard, self.begin = members[0].shard, members[0].offset
        self.end = max(member.offset + member.size for member in members)
        self.members = members
        # Captions may be kept elsewhere, and then nobody reads them with their pictures.
        self.unread = {member for member in members if member.is_picture} or set(members)
        self.future: Future[dict[Member, memoryview]] = Future()
        self.started = False
        self.held = self.end - self.begin  # bytes


class RangeCache:
    """Fetches what it is told of, in that order, and keeps it until it was read and room is needed.

    Ranges whose pictures were read make room for what comes, those first that were read longest
    ago. While all that is held was not read yet, no more is fetched. Where something is read that
    no room was left for, the oldest half of what is held is dropped, and counted: whoever wanted it
    seems to be gone. Of ranges that were mostly not wanted the members alone are held. Thread-safe.

    Args:
        fetch: returns the bytes [begin, end) of a shard as a buffer.
        in_flight: requests at a time, each in a thread.
        budget: bytes that are held or on their way.
        longest: bytes of a range of several members.
    """

    def __init__(
        self,
        fetch: Callable[[int, int, int], Any],
        *,
        in_flight: int,
        budget: int,
        longest: int = 4 << 20,
    ) -> None:
        self._fetch, self._in_flight, self._budget = fetch, in_flight, budget
        self._longest = longest
        self._pool = LastingThreads(in_flight, "helip-fetch")
        self._lock = threading.Lock()
        self._blocks: dict[Member, _Block] = {}
        self._queue: deque[_Block] = deque()  # not started
        self._started: dict[_Block, None] = {}  # in that order
        self._spent: dict[_Block, None] = {}  # of them, wholly read, the last read last
        self._held = self._running = 0
        self.fetched = self.dropped = 0  # ranges; those dropped before they were read

    @property
    def held(self) -> int:
        """Bytes that are held or on their way."""
        return self._held

    def want(self, members: Iterable[Member], near: int = NEAR) -> None:
        """Begin to fetch ``members``, but for those that are on their way already.

        Those with at most ``near`` bytes between them are fetched as one range.
        """
        with self._lock:
            new = sorted({member for member in members if member not in self._blocks})
            joined: list[Member] = []
            for member in new:
                if joined and not self._belong_together(joined, member, near):
                    self._append(joined)
                    joined = []
                joined.append(member)
            if joined:
                self._append(joined)
            self._go_on()

    def take(self, member: Member) -> memoryview | None:
        """Return the bytes of a member once they are there; None where nobody wanted it.

        Raises what ``fetch`` raised.
        """
        with self._lock:
            block = self._blocks.get(member)
            if block is None:
                return None
            if not block.started:
                self._queue.remove(block)
                if not self._make_room(block):
                    self._drop_oldest()
                self._begin(block)
        data = block.future.result()[member]
        with self._lock:
            block.unread.discard(member)
            if not block.unread and block in self._started:
                self._spent.pop(block, None)
                self._spent[block] = None
                self._go_on()
        return data

    def _belong_together(self, joined: list[Member], member: Member, near: int) -> bool:
        first, last = joined[0], joined[-1]
        return (
            member.shard == first.shard
            and member.offset - (last.offset + last.size) <= near
            and member.offset + member.size - first.offset <= self._longest
        )

    def _append(self, members: list[Member]) -> None:
        block = _Block(members)
        self._blocks.update(dict.fromkeys(members, block))
        self._queue.append(block)

    def _go_on(self) -> None:
        while self._queue and self._running < self._in_flight and self._make_room(self._queue[0]):
            self._begin(self._queue.popleft())

    def _make_room(self, block: _Block) -> bool:
        while self._spent and self._held + block.held > self._budget:
            self._forget(next(iter(self._spent)))
        return self._held + block.held <= self._budget or not self._started

    def _drop_oldest(self) -> None:
        for block in list(self._started):
            if self._held <= self._budget // 2:
                return
            if block.future.done():
                self._forget(block)
                self.dropped += 1

    def _begin(self, block: _Block) -> None:
        block.started = True
        self._started[block] = None
        self._held += block.held
        self._running += 1
        self.fetched += 1
        try:
            self._pool.submit(self._run, block)
        except RuntimeError:
            self._running -= 1
            self._forget(block)
            error = StorageError("the interpreter ends, so nothing is fetched any more")
            block.future.set_exception(error)

    def _run(self, block: _Block) -> None:
        error: BaseException | None = None
        data: dict[Member, memoryview] = {}
        wanted = sum(member.size for member in block.members)
        try:
            whole = memoryview(self._fetch(block.shard, block.begin, block.end))
            for member in block.members:
                first = member.offset - block.begin
                some = whole[first : first + member.size]
                data[member] = memoryview(bytes(some)) if 2 * wanted < len(whole) else some
        except BaseException as raised:
            error = raised
        with self._lock:
            self._running -= 1
            if error is not None:
                self._forget(block)  # who reads it later tries again
            elif 2 * wanted < block.held and block in self._started:
                self._held -= block.held - wanted
                block.held = wanted
            self._go_on()
        if error is not None:
            block.future.set_exception(error)
        else:
            block.future.set_result(data)

    def _forget(self, block: _Block) -> None:
        if block not in self._started:
            return
        del self._started[block]
        self._spent.pop(block, None)
        self._held -= block.held
        for member in block.members:
            if self._blocks.get(member) is block:
                del self._blocks[member]


class Pages:
    """Reads items of any places in shards of a container, and keeps the pages that were read last.

    At most PAGE_BYTES are held, besides what one call gathers. Thread-safe.
    """

    def __init__(self, container: RemoteContainer) -> None:
        self._shards = container.manifest.shards
        self._ranges = RangeCache(container.read, in_flight=PAGES_IN_FLIGHT, budget=PAGE_BYTES)

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
        for place, data in enumerate(self._read(shard, pages)):
            buffer[place * PAGE : place * PAGE + len(data)] = np.frombuffer(data, np.uint8)
        # Pages of one item follow each other, in the buffer too.
        places = np.searchsorted(pages, first) * PAGE + begins % PAGE
        for row, place in enumerate(places.tolist()):
            found[row] = buffer[place : place + size]

    def _read(self, shard: int, pages: np.ndarray) -> Iterator[memoryview]:
        end = self._shards[shard].bytes
        members = [
            Member(shard, begin, min(PAGE, end - begin), is_picture=False)
            for begin in (pages * PAGE).tolist()
        ]
        self._ranges.want(members)
        for number, member in enumerate(members):
            while (data := self._ranges.take(member)) is None:  # dropped for what others read
                self._ranges.want(members[number:])
            yield data
