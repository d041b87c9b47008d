"""Runs a function in other processes on this machine: in several of gloo, bringing back what they
return, or in one that may be killed.

They are forked of a process that has imported what they need, once for all tests.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from helip.common.processes import leave_processes

_NEEDED = ["torch.distributed", "open_clip", "helip.training.trainer", "helip.evaluation.suite"]


def run(work: Callable[..., Any], folder: Path, *arguments: Any, processes: int = 2) -> list[Any]:
    """What ``work(rank, *arguments)`` gives on each rank: anything that torch.save takes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    forking()
    mp.start_processes(
        _main, (work, str(folder), port, processes, arguments, dict(os.environ)),
        nprocs=processes, start_method="forkserver",
    )  # fmt: skip
    return [torch.load(folder / f"rank-{rank}.pt", weights_only=False) for rank in range(processes)]


def forking() -> Any:
    """The context of multiprocessing whose processes are forked so."""
    context = mp.get_context("forkserver")
    context.set_forkserver_preload(_NEEDED)
    return context


def exit_code(work: Callable[..., Any], *arguments: Any) -> int | None:
    """How a process ends that does ``work(*arguments)``; -9 where it is killed."""
    process = forking().Process(target=work, args=arguments)
    process.start()
    process.join()
    return process.exitcode


def _main(
    rank: int, work: Any, folder: str, port: int, processes: int, arguments: Any, environment: Any
) -> None:
    torch.set_num_threads(1)
    os.environ |= environment | {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(processes),
    }
    dist.init_process_group("gloo", rank=rank, world_size=processes)
    try:
        torch.save(work(rank, *arguments), Path(folder) / f"rank-{rank}.pt")
        dist.barrier()  # nobody leaves while others still come
    finally:
        leave_processes()
