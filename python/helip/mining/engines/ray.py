"""The parts of a mining job as Ray tasks, on the cores of one machine or on a cluster.

A task mines one part and writes it beside the table, on a file system that all nodes share. Ray
starts a task again when its worker dies; what is missing in the end is submitted again. A part is
there whole or not at all, so it does not matter how often its task ran.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from helip import _core
from helip.common.errors import Error, MismatchError, StorageError, needed
from helip.common.files import DirectoryLock, make_directory
from helip.common.progress import ProgressBar
from helip.mining.core_options import core_options
from helip.mining.engines.parts import agreed_parts, mine_part, part_path
from helip.mining.options import JobOptions, MachineOptions, MineOptions
from helip.store.embedding_store import EmbeddingStore

_RETRIES = 3  # of a task by Ray, when its worker dies
_ROUNDS = 3  # of submissions of a part whose task Ray has given up
_PARTS_PER_SLOT = 4  # of a job that does not say; fewer prepare less often, more lose less


def mine_on_ray(
    store: EmbeddingStore, options: MineOptions, job: JobOptions, *, out: str, progress: bool
) -> int:
    """Sees to it that all parts of the job lie beside ``out``; returns their number.

    Without ``job.parts`` they are as many as the job was begun with, or four for each task that
    runs at a time. ``job.threads`` and ``job.memory`` are those of a task, and as many CPUs are
    asked of Ray; None: those of the smallest node.

    Raises:
        UnsupportedError: Ray is not installed. StorageError: another job owns ``out``, or parts do
            not show up here. Error: a part failed, with the reason.
    """
    parts = agreed_parts(job.parts, out=out, method=options.method)
    with needed("engine ray needs Ray", "'helip[ray]'"):
        import ray
    make_directory(Path(out))
    with DirectoryLock(Path(out), name=".lock"), _running(ray):
        nodes = [node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]]
        each = job.threads or int(min((cpus for cpus in nodes if cpus >= 1), default=1))
        if parts is None:
            slots = sum(int(cpus // each) for cpus in nodes)
            parts = max(1, min(len(store), _PARTS_PER_SLOT * slots))
        places = {
            index: part_path(os.path.abspath(out), index, parts) for index in range(1, parts + 1)
        }
        for index, place in places.items():
            if _there(place):  # of this very job, or refused
                _core.mine_part(store._core, index, parts, core_options(options, job), str(place))
        task = ray.remote(num_cpus=each, max_retries=_RETRIES)(_mine_part)
        whole = (
            os.path.abspath(store.path), store.fingerprint,
            MineOptions.of(options).as_dict(), {"threads": each, "memory": job.memory}, parts,
        )  # fmt: skip
        _mine_missing(ray, lambda index, to: task.remote(*whole, index, to), places, progress)
    return parts


def _mine_part(
    path: str,
    fingerprint: str,
    options: dict[str, Any],
    machine: dict[str, Any],
    count: int,
    index: int,
    out: str,
) -> None:
    """What a task does, on its node."""
    store = EmbeddingStore.open(path)
    if store.fingerprint != fingerprint:
        raise MismatchError(
            f"the store {path} is {store.fingerprint} on this node and {fingerprint} where the job "
            "was started; mine a store that does not change, on a file system that all nodes share"
        )
    mine_part(
        store, (index, count), core_options(MineOptions(**options), MachineOptions(**machine)),
        device="cpu", out=out, resume=True, progress=False,
    )  # fmt: skip


def _mine_missing(ray: Any, submit: Any, places: dict[int, Path], progress: bool) -> None:
    count = len(places)
    missing = {index for index, place in places.items() if not _there(place)}
    failures: dict[int, int] = dict.fromkeys(missing, 0)
    running: dict[Any, int] = {}
    with ProgressBar(count, label="mine", unit="parts", enabled=progress) as bar:
        bar.restart(count, label="mine", done=count - len(missing))
        try:
            for index in sorted(missing):
                running[submit(index, str(places[index]))] = index
            while running:
                for reference in ray.wait(list(running), num_returns=1, timeout=1.0)[0]:
                    index = running.pop(reference)
                    reason = _reason_of_failure(ray, reference)
                    if reason is None and _there(places[index]):
                        bar.update()
                        continue
                    if reason is None:
                        reason = StorageError(
                            f"its task is done, but {places[index]} is not there: all nodes must "
                            "share the file system of out"
                        )
                    failures[index] += 1
                    if failures[index] >= _ROUNDS:
                        raise StorageError(
                            f"part {index} of {count} failed {failures[index]} times on Ray: "
                            f"{reason}; parts that are done stay, the same call goes on from there"
                        ) from reason
                    running[submit(index, str(places[index]))] = index
        finally:
            for reference in running:
                ray.cancel(reference, force=True)


def _reason_of_failure(ray: Any, reference: Any) -> Exception | None:
    """None for a task that is done; raises what would fail again."""
    try:
        ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        # The disk, or another attempt at the same part that is still running.
        if isinstance(cause, StorageError):
            return cause
        raise cause if isinstance(cause, Error) else error from None
    except ray.exceptions.RayError as error:
        return error
    return None


def _there(place: Path) -> bool:
    return (place / "manifest.json").exists()


@contextlib.contextmanager
def _running(ray: Any) -> Iterator[None]:
    """Within a cluster: the one that this process has joined, that there is, or one of its own."""
    if ray.is_initialized():
        yield
        return
    in_main_thread = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGTERM)
    ray.init(include_dashboard=False, log_to_driver=False, logging_level="error")
    if in_main_thread and handler is not None:  # Ray has put its own in the place of the caller's
        signal.signal(signal.SIGTERM, handler)
    try:
        yield
    finally:
        ray.shutdown()
