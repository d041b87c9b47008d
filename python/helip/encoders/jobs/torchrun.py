"""A job of embedding by the processes that torchrun started, a part each.

The processes share the file system of ``out``; what they exchange is nothing but that they are
done. One that fails says why and ends, and torchrun ends the others; what each has committed stays.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.distributed as dist

from helip.common.machine import core_threads
from helip.common.processes import Processes, join_processes, patient_group, peers_that_work
from helip.encoders.jobs.joining import join_parts
from helip.encoders.jobs.parts import embed_part
from helip.encoders.jobs.request import Kept, Work
from helip.encoders.registry import ImageEncoder, TextEncoder


def embed_by_torchrun(
    work: Work,
    kept: Kept | None,
    load: Callable[[torch.device], tuple[ImageEncoder, TextEncoder]],
) -> None:
    """Embed the part of this process, wait for the others; the first puts them together."""
    with join_processes(work.call.device) as device, patient_group() as group:
        own = Processes()
        part = (own.rank + 1, own.count)
        embed_part(work, part, lambda: load(device), bar=own.leads, threads=core_threads())
        _meet(group)
        if own.leads:
            join_parts(work, own.count, kept)
        _meet(group)


def _meet(group: dist.ProcessGroup | None) -> None:
    if group is None:
        return
    with peers_that_work("What was committed stays, and the same call goes on from there"):
        dist.barrier(group)
