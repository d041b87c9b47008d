"""What this machine gives the process."""

from __future__ import annotations

import platform
from pathlib import Path

from helip.common.sizes import parse_bytes


def usable_processors() -> int:
    """Processors that this process may use: those it is bound to, within its cgroups' quota.

    ``os.cpu_count()`` says what the machine has, which in a container can be many times as much.
    """
    from helip import _core

    return _core.usable_processors()


def memory_bound(memory: int | str | None) -> int:
    """A bound in bytes; without one a quarter of what the process may use."""
    from helip import _core

    return parse_bytes(memory) or max(_core.usable_memory() // 4, 1)


def processor_name() -> str:
    """What the maker calls the processor, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()
