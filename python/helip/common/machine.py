"""What this machine gives the process."""

from __future__ import annotations

import ctypes
import os
import platform
import re
import sys
import threading
from pathlib import Path

from helip.common.quantities import parse_bytes


def usable_processors() -> int:
    """Processors that this process may use: those it is bound to, within its cgroups' quota.

    ``os.cpu_count()`` says what the machine has, which in a container can be many times as much.
    """
    from helip import _core

    return _core.usable_processors()


def may_have_gpu() -> bool:
    """False where no driver of a GPU can be loaded.

    torch finds none there either, and its import, which takes most of a second, is spared.
    """
    if "torch" in sys.modules or os.path.exists("/dev/kfd"):  # of AMD
        return True
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


#: Read by libraries when they are loaded.
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_bound = 0  # threads of the core where a call names none; 0: all


def use_threads(threads: int) -> None:
    """Let torch, OpenMP and the core take so many threads, here and in processes that this starts.

    For programs, before torch is imported: it changes the environment of the process. What a call
    is given for itself goes first. 0 changes nothing.
    """
    global _bound
    if threads == 0:
        return
    _bound = threads
    for name in THREAD_VARIABLES:
        os.environ[name] = str(threads)
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(threads)


def wait_passively() -> None:
    """Let OpenMP's threads sleep soon while they wait, unless the user has said how they shall.

    For programs, before torch is imported. By default they spin for the next piece of work, on
    cores that another process could use, and what they wait for comes later. Those of GNU look a
    thousand times, some microseconds, before they sleep: waking them for each piece would cost a
    tenth of small steps.
    """
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"} & os.environ.keys():
        os.environ |= {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "1000"}


def core_threads(asked: int | None = None) -> int:
    """Threads for the core: as asked, else as `use_threads` says, else 0, which is all cores; of
    several processes of torchrun its share of them."""
    local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return asked or _bound or (max(1, usable_processors() // local) if local > 1 else 0)


def memory_bound(memory: int | str | None) -> int:
    """A bound in bytes; without one a quarter of what the process may use."""
    from helip import _core

    return parse_bytes(memory) or max(_core.usable_memory() // 4, 1)


class PeakMemory:
    """The most memory that the process took while this lasted, beyond what it had before; looked at
    ten times a second. Both are None where the system does not tell."""

    own: int | None = None
    """Bytes of its own."""
    mapped: int | None = None
    """Bytes of pages of mapped files, which the system can drop."""

    def __enter__(self) -> PeakMemory:
        self._before = _resident()
        self._ended = threading.Event()
        self._watch = threading.Thread(target=self._look, name="helip-memory", daemon=True)
        if self._before is not None:
            self.own = self.mapped = 0
            self._watch.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        if self._before is not None:
            self._watch.join()

    def _look(self) -> None:
        ended = False
        while not ended:
            ended = self._ended.wait(0.1)
            if (now := _resident()) is not None and self._before is not None:
                self.own = max(self.own or 0, now[0] - self._before[0])
                self.mapped = max(self.mapped or 0, now[1] - self._before[1])


def _resident() -> tuple[int, int] | None:
    """Bytes of memory that this process has of its own, and of mapped files."""
    try:
        text = Path("/proc/self/status").read_text(encoding="utf-8")
        found = dict(re.findall(r"^(RssAnon|RssFile):\s*(\d+) kB$", text, re.MULTILINE))
        return 1024 * int(found["RssAnon"]), 1024 * int(found["RssFile"])
    except (OSError, KeyError):
        return None


def processor_name() -> str:
    """What the maker calls the processor, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()
