"""Ranges of bytes that are fetched before they are read: many at once, in bounded memory."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Any, NamedTuple

from helip.common.errors import StorageError
from helip.common.lasting_threads import LastingThreads

NEAR = 64 << 10  # bytes that take less time than another request


class Member(NamedTuple):
    """Bytes that are read as one: ``size`` of them from ``offset`` on in a shard."""

    shard: int
    offset: int
    size: int
    is_picture: bool


class _Block:
    """A range on its way, and the members in it."""

    def __init__(self, members: list[Member]) -> None:
        self.shard, self.begin = members[0].shard, members[0].offset
        self.end = max(member.offset + member.size for member in members)
        self.members = members
        # Captions may be kept elsewhere, and then nobody reads them with their pictures.
        self.unread = {member for member in members if member.is_picture} or set(members)
        self.future: Future[Any] = Future()
        self.begun = False


class RangeCache:
    """Fetches what it is told of, in that order, and keeps it until it was read.

    A range whose pictures were read makes room for what comes. While all that is held was not read
    yet, no more is fetched. Where something is read that no room was left for, the oldest half of
    what is held is dropped, and counted: whoever wanted it seems to be gone. Thread-safe.

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
        self._queue: deque[_Block] = deque()  # not begun
        self._begun: dict[_Block, None] = {}  # in that order
        self._spent: dict[_Block, None] = {}  # of them, wholly read
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
            if not block.begun:
                self._queue.remove(block)
                if not self._make_room(block):
                    self._drop_oldest()
                self._begin(block)
        data = memoryview(block.future.result())
        with self._lock:
            block.unread.discard(member)
            if not block.unread and block in self._begun:
                self._spent[block] = None
                self._go_on()
        first = member.offset - block.begin
        return data[first : first + member.size]

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
        size = block.end - block.begin
        while self._spent and self._held + size > self._budget:
            self._forget(next(iter(self._spent)))
        return self._held + size <= self._budget or not self._begun

    def _drop_oldest(self) -> None:
        for block in list(self._begun):
            if self._held <= self._budget // 2:
                return
            if block.future.done():
                self._forget(block)
                self.dropped += 1

    def _begin(self, block: _Block) -> None:
        block.begun = True
        self._begun[block] = None
        self._held += block.end - block.begin
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
        data: Any = None
        try:
            data = self._fetch(block.shard, block.begin, block.end)
        except BaseException as raised:
            error = raised
        with self._lock:
            self._running -= 1
            if error is not None:
                self._forget(block)  # who reads it later tries again
            self._go_on()
        if error is not None:
            block.future.set_exception(error)
        else:
            block.future.set_result(data)

    def _forget(self, block: _Block) -> None:
        if block not in self._begun:
            return
        del self._begun[block]
        self._spent.pop(block, None)
        self._held -= block.end - block.begin
        for member in block.members:
            if self._blocks.get(member) is block:
                del self._blocks[member]
