"""Threads for the cores that other processes leave idle.

For programs, whose process it is: torch's threads are those of all of the process. Each step of
training waits for its slowest thread, and a thread that shares its core is slow. Where a core runs
two threads at a time the system counts two; torch takes one thread for both, and so does this.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from multiprocessing.process import BaseProcess
from typing import NamedTuple

from helip.common.machine import THREAD_VARIABLES, usable_processors, use_threads

_OVER = 0.1  # seconds that a look is over at least: the system counts hundredths
_EVERY = 2.0  # seconds from a look to the next


class _Used(NamedTuple):
    """Seconds of processor time since some moment in the past."""

    at: float
    all: float  # of all processes, on the processors that this one may use
    own: float  # and of the processes that it started by multiprocessing


_last: _Used | None = None
_sharing = False


def watch_cores() -> None:
    """Begin to look at what others use. Costs nothing: `idle_cores` compares with this moment."""
    global _last
    _last = _used()


def idle_cores() -> float | None:
    """Cores that other processes left to this one since the last look, of those that it may use;
    None where the system does not tell. A loader's workers are no others."""
    global _last
    before = _last or _used()
    if before is None:
        return None
    time.sleep(max(0.0, before.at + _OVER - time.monotonic()))
    _last = now = _used()
    if now is None:
        return None
    others = ((now.all - before.all) - (now.own - before.own)) / (now.at - before.at)
    # Within a quota others may use many cores, and leave what it allows while the machine has it.
    left = len(os.sched_getaffinity(0)) - others
    return min(max(left, 0.0), float(usable_processors()))


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
    if threads == _all():
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
    return None if idle is None else min(max(1, round(idle)), _all())


def _all() -> int:
    """Threads that torch takes where nobody else needs a core: one for each."""
    cores: set[bytes | int] = set()
    for processor in os.sched_getaffinity(0):
        try:
            name = f"/sys/devices/system/cpu/cpu{processor}/topology/thread_siblings_list"
            with open(name, "rb") as file:
                cores.add(file.read())
        except OSError:
            cores.add(processor)
    return min(len(cores), usable_processors())


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
    a_second = os.sysconf("SC_CLK_TCK")
    waited_for = os.times()
    own = time.process_time() + waited_for.children_user + waited_for.children_system
    running = multiprocessing.active_children()
    return _Used(time.monotonic(), ticks / a_second, own + sum(map(_ticks, running)) / a_second)


def _ticks(child: BaseProcess) -> int:
    try:
        with open(f"/proc/{child.pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()  # the name before may have spaces
    except OSError:
        return 0
    return int(fields[11]) + int(fields[12])  # user, system
