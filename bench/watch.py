"""A child process seen from outside: the lines that it prints, its peak memory, a limit on both.

Memory is what the process cannot give back without writing it somewhere: anonymous pages and
shared memory, as ``/proc/<pid>/status`` has them. Pages of mapped files, such as the input of a
benchmark, do not count. They are sampled every few milliseconds from the parent, which works also
while the child holds its interpreter's lock; a shorter peak is missed. Where there is no ``/proc``
nothing is measured and nothing limited but time.

With ``tree=True`` a child counts with the processes that it starts, and pages that several of them
share count once (``/proc/<pid>/smaps_rollup``). That takes milliseconds a look, so looks are rarer.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

EVERY = 0.005  # seconds between two looks
EVERY_TREE = 0.5
_FIELD = re.compile(rb"^(RssAnon|RssShmem|VmHWM):\s+(\d+) kB", re.MULTILINE)
_SHARED_FIELD = re.compile(rb"^(Pss_Anon|Pss_Shmem):\s+(\d+) kB", re.MULTILINE)


class Watched:
    """Runs a command; ``lines`` are what it prints, ``ended`` why it was stopped, if it was."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        seconds: float = float("inf"),
        memory: float = float("inf"),
        tree: bool = False,
    ) -> None:
        self.ended = ""
        self.most = 0  # bytes, over its whole life
        self.resident = 0  # the same with pages of mapped files
        self._deadline, self._seconds = time.monotonic() + seconds, seconds
        self._memory, self._tree = memory, tree
        self._now = self._peak = 0
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=self._errors, env=environment, text=True
        )
        self._looker = threading.Thread(target=self._look, daemon=True)
        self._looker.start()

    def lines(self) -> Iterator[str]:
        """Its standard output, line by line, until it ends or is stopped."""
        try:
            assert self._process.stdout is not None
            with self._process.stdout as output:
                yield from output
            self.status = self._process.wait()
        finally:
            self._process.kill()
            self._process.wait()
            self._looker.join()
            self._errors.seek(0)
            self.errors = self._errors.read().decode(errors="replace")
            self._errors.close()
        if self.status == -9 and not self.ended:
            self.ended = "killed by the system, most likely for its memory"

    def restart_peak(self) -> None:
        """Forgets the peak so far."""
        self._peak = 0
        self._sample()

    @property
    def peak(self) -> int:
        """Most bytes since the last ``restart_peak``."""
        return self._peak

    def _look(self) -> None:
        while self._process.poll() is None:
            self._sample()
            if self._now > self._memory:
                self.ended = f"took more than {self._memory / 1e9:.1f} GB"
            elif time.monotonic() > self._deadline:
                self.ended = f"took more than {self._seconds:.0f} s"
            if self.ended:
                self._process.kill()
                return
            time.sleep(EVERY_TREE if self._tree else EVERY)

    def _sample(self) -> None:
        if self._tree:
            self._now = sum(map(_shared_bytes, processes(self._process.pid)))
            self._peak, self.most = max(self._peak, self._now), max(self.most, self._now)
            return
        fields = _fields(str(self._process.pid))
        self._now = fields.get(b"RssAnon", 0) + fields.get(b"RssShmem", 0)
        self._peak = max(self._peak, self._now)
        self.most = max(self.most, self._now)
        self.resident = max(self.resident, fields.get(b"VmHWM", 0))


def held() -> int:
    """Bytes that this process holds now, counted in the same way."""
    fields = _fields("self")
    return fields.get(b"RssAnon", 0) + fields.get(b"RssShmem", 0)


def _fields(process: str) -> dict[bytes, int]:
    try:
        status = Path(f"/proc/{process}/status").read_bytes()
    except OSError:
        return {}
    return {name: int(size) * 1024 for name, size in _FIELD.findall(status)}


def processes(root: int) -> list[int]:
    """A process and all that descend from it, by their numbers."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, IndexError):
            parents[int(path.parent.name)] = int(_after_name(path.read_bytes())[1])
    found = [root]
    for number in found:
        found.extend(child for child, parent in parents.items() if parent == number)
    return found


def processor_seconds(root: int) -> float:
    """What a process and its descendants have computed, those that have ended included."""
    ticks = 0
    for number in processes(root):
        with suppress(OSError):
            fields = _after_name(Path(f"/proc/{number}/stat").read_bytes())
            ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def _after_name(stat: bytes) -> list[bytes]:
    # A name may hold spaces and brackets.
    return stat.rpartition(b")")[2].split()


def _shared_bytes(number: int) -> int:
    try:
        rollup = Path(f"/proc/{number}/smaps_rollup").read_bytes()
    except OSError:
        return 0
    return sum(int(size) * 1024 for _, size in _SHARED_FIELD.findall(rollup))
