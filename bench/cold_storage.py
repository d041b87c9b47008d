"""Files that are not in the page cache, on a disk that is held to a rate.

Pages of single files are dropped (``posix_fadvise``), which takes no rights and leaves other files'
pages alone; names and sizes of files stay known to the kernel. A rate is set by the kernel's block
controller, v1 (``blkio.throttle``) or v2 (``io.max``), and takes root.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from watch import processes

V1 = Path("/sys/fs/cgroup/blkio")
V2 = Path("/sys/fs/cgroup")


def drop_pages(folder: Path) -> None:
    """Of every file below, those that a process maps excepted."""
    for path in folder.rglob("*"):
        if path.is_file():
            file = os.open(path, os.O_RDONLY)
            try:
                os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(file)


@contextmanager
def throttled(folder: Path, megabytes: float, reads: int = 0) -> Iterator[Path]:
    """A group of processes that read the disk of ``folder`` at so many MB (and reads) a second.

    Gives the file that a process writes its number into to join; 0 is no limit.

    Raises:
        RuntimeError: this kernel or user sets no rates.
    """
    number = os.stat(folder).st_dev
    disk = f"{os.major(number)}:{os.minor(number)}"
    rate = round(megabytes * 1e6)
    v1 = (V1 / "blkio.throttle.read_bps_device").exists() or V1.exists()
    group = (V1 if v1 else V2) / f"helip-bench-{os.getpid()}"
    try:
        group.mkdir()
        if v1:
            (group / "blkio.throttle.read_bps_device").write_text(f"{disk} {rate}")
            (group / "blkio.throttle.read_iops_device").write_text(f"{disk} {reads}")
        else:
            limits = [f"rbps={rate}"] * (rate > 0) + [f"riops={reads}"] * (reads > 0)
            (group / "io.max").write_text(" ".join([disk, *(limits or ["rbps=max"])]))
    except OSError as error:
        with suppress(OSError):
            group.rmdir()
        raise RuntimeError(
            f"cannot hold disk {disk} of {folder} to {megabytes} MB/s: {error}; be root with the "
            "blkio (v1) or io (v2) controller, or leave --disk-mb and --disk-reads out"
        ) from error
    try:
        yield group / "cgroup.procs"
    finally:
        with suppress(OSError):
            group.rmdir()


def bytes_read(root: int) -> int:
    """From disks, by a process and all that descend from it and still run."""
    total = 0
    for number in processes(root):
        with suppress(OSError):
            for line in Path(f"/proc/{number}/io").read_text().splitlines():
                if line.startswith("read_bytes:"):
                    total += int(line.split()[1])
    return total
