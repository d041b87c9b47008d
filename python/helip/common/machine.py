"""What this machine gives the process."""

from __future__ import annotations


def usable_processors() -> int:
    """Processors that this process may use: those it is bound to, within its cgroups' quota.

    ``os.cpu_count()`` says what the machine has, which in a container can be many times as much.
    """
    from helip import _core

    return _core.usable_processors()
