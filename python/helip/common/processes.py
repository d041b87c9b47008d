"""The processes of a run under torchrun: who is who, and small collectives between them.

What is exchanged is tensors, or JSON as bytes; nothing is pickled.
"""

from __future__ import annotations

import contextlib
import datetime
import gc
import json
import os
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from helip.common.collectives import gather_blocks, gather_rows
from helip.common.devices import choose_device
from helip.common.errors import Error, InvalidArgumentError


class Processes:
    """The processes that train together; one alone where torch.distributed is not initialised."""

    def __init__(self) -> None:
        self.together = dist.is_available() and dist.is_initialized()
        self.rank = dist.get_rank() if self.together else 0
        self.count = dist.get_world_size() if self.together else 1

    @property
    def leads(self) -> bool:
        """Whether this one writes what is written once."""
        return self.rank == 0

    def must_have_met(self) -> None:
        """Raise InvalidArgumentError where torchrun started several, and each is alone."""
        started = launched_processes()
        if started > 1 and not self.together:
            raise InvalidArgumentError(
                f"torchrun started {started} processes, and they have not met: each would train "
                "alone; go into helip.common.join_processes() first, or call "
                "torch.distributed.init_process_group()"
            )

    def share(self, total: int, name: str) -> int:
        """``total`` over the processes; InvalidArgumentError where that leaves a rest."""
        if total % self.count:
            less = total - total % self.count
            near = f"{less} or {less + self.count}" if less else f"{self.count}"
            raise InvalidArgumentError(
                f"{name} is {total}, must be a multiple of the {self.count} processes; take {near}"
            )
        return total // self.count

    def tell(self, own: Sequence[int]) -> list[list[int]]:
        """The whole numbers [n] of each process; their hosts exchange them, no device waits.

        For every step: one that comes later than torch.distributed waits ends the run.
        """
        if self.count == 1:
            return [list(own)]
        return _told(own, _hosts())

    def gather(self, rows: Tensor, counts: Sequence[int]) -> Tensor:
        """[own rows, ...] of each process as [all rows, ...], without a gradient."""
        if self.count == 1:
            return rows
        flat = gather_rows(rows.detach().flatten(1), counts)
        return flat.unflatten(1, rows.shape[1:])

    def mean(self, numbers: Tensor) -> Tensor:
        """The mean over processes."""
        if self.count == 1:
            return numbers
        dist.all_reduce(numbers)
        return numbers / self.count

    def exchange(self, value: Any) -> list[Any]:
        """The JSON values of all processes, in order of their ranks.

        Error where another has stopped, or comes later than torch.distributed waits.
        """
        return self._exchanged(value, _hosts)

    def _exchanged(self, value: Any, hosts: Callable[[], Any]) -> list[Any]:
        if self.count == 1:
            return [value]
        own, group = bytearray(json.dumps(value).encode()), hosts()
        with _peers_that_work():
            sizes = [size for (size,) in _told([len(own)], group)]
            own.extend(bytes(max(sizes) - len(own)))
            block = torch.frombuffer(own, dtype=torch.uint8)
            parts = gather_blocks(block, group).split(len(block))
        return [
            json.loads(bytes(part[:size].tolist())) for part, size in zip(parts, sizes, strict=True)
        ]

    def summed_here(self, counts: Mapping[str, int]) -> dict[str, int]:
        """Sums of named counts over the processes that run on this machine; all must call it."""
        host = socket.gethostname()
        told = self.exchange([host, dict(counts)])
        return summed_counts(each for place, each in told if place == host)

    def meet(self) -> None:
        """Wait for all, for as long as they work; the first time, all must come at once."""
        self._exchanged(None, _patient_hosts)

    def leave(self) -> None:
        """Have those that wait in `meet` for this process, which has failed, get an Error."""
        if self.count > 1 and (group := _side.pop("patient hosts", None)) is not None:
            dist.destroy_process_group(group)

    def leader_does(self, work: Callable[[], Any]) -> Any:
        """What ``work`` returns on rank 0, None elsewhere; its failure is raised on all.

        It may take hours: the others wait on their hosts, where no limit of torch.distributed or
        NCCL ends them.
        """
        if self.count > 1:
            _patient_hosts()  # made by all together, so before the work
        result = None
        if self.leads:
            try:
                result = work()
            except BaseException as error:  # an interruption, too: the others must hear of it
                words = f"{type(error).__name__}: {error}".rstrip(": ")
                with contextlib.suppress(Exception):  # where others have left, too
                    self._exchanged(
                        str(error) if isinstance(error, Error) else words, _patient_hosts
                    )
                raise
        message = self._exchanged(None, _patient_hosts)[0]
        if message is not None:
            raise Error(f"rank 0 failed: {message}")
        return result


_PATIENCE = datetime.timedelta(days=365)
_side: dict[str, Any] = {}  # groups of the hosts beside that of torch, of this world


def _hosts() -> Any:
    """The group in which tensors of the CPU are exchanged in each step."""
    return None if "cpu" in str(dist.get_backend_config()) else _side_group("hosts", None)


def _patient_hosts() -> Any:
    """The group of the hosts in which one waits for another for as long as that works."""
    return _side_group("patient hosts", _PATIENCE)


def _side_group(name: str, timeout: datetime.timedelta | None) -> Any:
    """Made by all together the first time."""
    if _side.get("world") is not dist.group.WORLD:
        _side.clear()
        _side["world"] = dist.group.WORLD
    if name not in _side:
        _side[name] = dist.new_group(backend="gloo", timeout=timeout)
    return _side[name]


def _told(own: Sequence[int], group: Any) -> list[list[int]]:
    told = gather_blocks(torch.tensor([own], dtype=torch.int64), group).numpy()
    return [[int(number) for number in numbers] for numbers in told]


@contextlib.contextmanager
def _peers_that_work() -> Iterator[None]:
    """Around a collective: Error where another process has left."""
    try:
        yield
    except RuntimeError as error:
        raise Error(
            "another process has stopped; its own message says why. What was committed stays, and "
            "the same call goes on from there"
        ) from error


def launched_processes() -> int:
    """How many processes torchrun started, this one included; 1 without torchrun."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def launched_rank() -> int:
    """The rank that torchrun gave this process; 0 without torchrun."""
    return int(os.environ.get("RANK", "0"))


@contextlib.contextmanager
def join_processes(device: str | torch.device = "auto") -> Iterator[torch.device]:
    """Meet the processes that torchrun started; yields the device of this one.

    Where there is nobody to meet, or where they have met already, only the device is chosen: of
    several GPUs the one with the number of this process on its machine.
    """
    local, launched = int(os.environ.get("LOCAL_RANK", "0")), launched_processes()
    chosen = _device(device, local if launched > 1 else None)
    if launched == 1 or not dist.is_available() or dist.is_initialized():
        yield chosen
        return
    if "MASTER_ADDR" not in os.environ:
        raise InvalidArgumentError(
            f"WORLD_SIZE is {launched}, and MASTER_ADDR is not set, so that processes cannot meet; "
            "start them by torchrun, or unset WORLD_SIZE"
        )
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    dist.init_process_group("cpu:gloo,cuda:nccl" if chosen.type == "cuda" else "gloo")
    try:
        yield chosen
    finally:
        leave_processes()


def leave_processes() -> None:
    """Leave the group, and let go of what would outlive it in a cycle of references.

    A wrapped model in the traceback of an error keeps the group's threads. One that asks for the
    interpreter when it is gone ends the process by SIGABRT, after its work is done.
    """
    _side.clear()
    gc.collect()
    dist.destroy_process_group()


def _device(device: str | torch.device, local: int | None) -> torch.device:
    chosen = choose_device(device)
    if chosen.type != "cuda" or chosen.index is not None or local is None:
        return chosen
    if local >= torch.cuda.device_count():
        raise InvalidArgumentError(
            f"process {local} of this machine has no GPU of its own: there are "
            f"{torch.cuda.device_count()}; start fewer by --nproc-per-node, or pass device='cpu'"
        )
    return torch.device("cuda", local)


def summed_counts(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """The sum of each name over all of ``counts``; names that are zero everywhere stay."""
    total: dict[str, int] = {}
    for each in counts:
        for name, count in each.items():
            total[name] = total.get(name, 0) + count
    return total
