"""Threads for the cores that other processes leave idle.

For programs, whose process it is: torch's threads are those of all of the process. Each step of
training waits for its slowest thread, and a thread that shares its core is slow.
"""

from __future__ import annotations

import os
import sys
import time
from typing import NamedTuple

from helip.common.machine import THREAD_VARIABLES, usable_processors, use_threads

_OVER = 0.1  # seconds that a look is over at least: the system counts hundredths
_EVERY = 2.0  # seconds from a look to the next


class _Used(NamedTuple):
    """Seconds of processor time since some moment in the past."""

    at: float
    all: float  # of all processes, on the processors that this one may use
    own: float


_last: _Used | None = None
_sharing = False


def watch_cores() -> None:
    """Begin to look at what others use. Costs nothing: `idle_cores` compares with this moment."""
    global _last
    _last = _used()


def idle_cores() -> float | None:
    """Cores that other processes left to this one since the last look, of those that it may use;
    None where the system does not tell. Children count as others."""
    global _last
    before = _last or _used()
    if before is None:
        return None
    time.sleep(max(0.0, before.at + _OVER - time.monotonic()))
    _last = now = _used()
    if now is None:
        return None
    others = ((now.all - before.all) - (now.own - before.own)) / (now.at - before.at)
    cores = usable_processors()
    return min(max(cores - others, 0.0), float(cores))


def share_cores() -> int | None:
    """Take as many threads as cores are idle, one at least, and go on so in `look_again`.

    Returns how many, where they are fewer than all. Does nothing where the environment sets
    threads, and in processes of torchrun, which have a share each.
    """
    global _sharing
    _sharing = False
    local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if local > 1 or any(name in os.environ for name in THREAD_VARIABLES):
        return None
    threads = _threads()
    if threads is None:
        return None
    _sharing = True
    if threads == usable_processors():
        return None
    use_threads(threads)
    return threads


def look_again() -> None:
    """Between two steps: take other threads of torch where others use more cores or fewer.

    Does nothing unless `share_cores` was called, and nothing within two seconds of the last look.
    """
    if not _sharing or _last is None or time.monotonic() < _last.at + _EVERY:
        return
    threads, torch = _threads(), sys.modules.get("torch")
    if threads is not None and torch is not None and threads != torch.get_num_threads():
        torch.set_num_threads(threads)


def times_longer(cores: int) -> float:
    """How many times as long work takes now as on so many idle cores, 1 where as many are idle: a
    thread has its share of a core at least."""
    idle, usable = idle_cores(), usable_processors()
    if idle is None:
        return 1.0
    return max(1.0, cores / max(idle, usable / (usable - idle + 1)))


def _threads() -> int | None:
    idle = idle_cores()
    return None if idle is None else max(1, round(idle))


def _used() -> _Used | None:
    try:
        mine = os.sched_getaffinity(0)
        with open("/proc/stat", "rb") as file:
            lines = [line.split() for line in file if line[:3] == b"cpu" and line[3:4].isdigit()]
    except (AttributeError, OSError):
        return None
    ticks = 0
    for name, *counts in lines:
        if int(name[3:]) in mine:
            user, nice, system, _, _, interrupts, soft, *_ = map(int, counts)
            ticks += user + nice + system + interrupts + soft
    return _Used(time.monotonic(), ticks / os.sysconf("SC_CLK_TCK"), time.process_time())
