"""Pictures that the core has no decoder for: by Pillow, in threads beside the core's."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, wait
from typing import Any

from helip.common.errors import SampleError
from helip.common.lasting_threads import LastingThreads

# Pillow lets go of the GIL while it decodes, but not while it copies pixels.
_MOST_THREADS = 8
# How long a thread waits for a picture of its batch, and so how long it holds back the end of a
# program.
_PATIENCE = 0.1
_PICTURES = 8  # that a thread decodes before it asks whether the program ends

Outcome = SampleError | Exception | None


@dataclasses.dataclass
class SideWork:
    """What Pillow does of one batch."""

    ticket: int
    decode: Callable[[int], SampleError | None]  # of a place; fills it, or tells what is wrong
    outcomes: dict[int, Outcome] = dataclasses.field(default_factory=dict)  # by place
    tasks: list[Future[None]] = dataclasses.field(default_factory=list)
    claimed: set[int] = dataclasses.field(default_factory=set)  # places that are done, or will be
    helpers: int = 0  # threads that look for places, or will
    dropped: bool = False


class PillowThreads:
    """Threads that fill places of batches which the core found "unsupported_format".

    One is started with the first batch, the others when there are pictures for them, as many as the
    core has and at most 8; each holds one picture.

    Args:
        assembler: the core's reader, which names the places.
    """

    def __init__(self, assembler: Any) -> None:
        self._take = assembler.take_unsupported
        self._threads = min(assembler.threads, _MOST_THREADS)
        self._pool = LastingThreads(self._threads, "helip-pillow")
        self._lock = threading.Lock()
        self._begun: dict[int, SideWork] = {}

    def begin(self, ticket: int, decode: Callable[[int], SampleError | None]) -> SideWork:
        """Begin with the batch of a ticket; ``decode`` is called from the threads."""
        work = self._begun[ticket] = SideWork(ticket, decode)
        self._add_task(work)
        return work

    def finish(self, work: SideWork, places: Iterable[int]) -> dict[int, SampleError]:
        """Wait until ``places`` are done, all that there are; what is wrong with each that failed.

        The core has finished the batch. Raises what ``decode`` raised for the first place, other
        than SampleError.
        """
        for place in places:  # from now on the core names none
            if place not in work.claimed:
                work.tasks.append(self._pool.submit(self._decode, work, place))
        _wait(work)
        del self._begun[work.ticket]
        errors = {}
        for place, outcome in sorted(work.outcomes.items()):
            if isinstance(outcome, SampleError):
                errors[place] = outcome
            elif outcome is not None:
                raise outcome
        return errors

    def clear(self) -> None:
        """Drop every batch. Afterwards no thread calls a ``decode`` of theirs."""
        for work in self._begun.values():
            work.dropped = True
        for work in self._begun.values():
            _wait(work)
        self._begun.clear()

    def _add_task(self, work: SideWork) -> None:
        with self._lock:
            if work.helpers < self._threads:
                work.tasks.append(self._pool.submit(self._help, work))
                work.helpers += 1

    def _help(self, work: SideWork) -> None:
        for _ in range(_PICTURES):
            place = -1 if work.dropped else self._take(work.ticket, _PATIENCE)
            if place is None:
                break
            if place < 0:
                return
            self._add_task(work)  # there may be more
            self._decode(work, place)
        # Behind what else there is to do; refused when the program ends.
        work.tasks.append(self._pool.submit(self._help, work))

    def _decode(self, work: SideWork, place: int) -> None:
        with self._lock:
            if work.dropped or place in work.claimed:
                return
            work.claimed.add(place)
        try:
            work.outcomes[place] = work.decode(place)
        except Exception as error:
            work.outcomes[place] = error


def _wait(work: SideWork) -> None:
    while work.tasks:  # a task adds the next before it ends
        wait(work.tasks[:1])
        work.tasks.pop(0)
