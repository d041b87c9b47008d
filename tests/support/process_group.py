"""Runs a function in several gloo processes on this machine, and brings back what they return."""

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


def run(work: Callable[..., Any], folder: Path, *arguments: Any, processes: int = 2) -> list[Any]:
    """What ``work(rank, *arguments)`` gives on each rank: anything that torch.save takes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.spawn(_main, (work, str(folder), port, processes, arguments), nprocs=processes)
    return [torch.load(folder / f"rank-{rank}.pt", weights_only=False) for rank in range(processes)]


def _main(rank: int, work: Any, folder: str, port: int, processes: int, arguments: Any) -> None:
    torch.set_num_threads(1)
    os.environ |= {
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
