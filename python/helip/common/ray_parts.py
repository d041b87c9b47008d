"""Parts of a job as Ray tasks, on the cores of one machine or on a cluster.

A task does one part and writes it beside the result, on a file system that all nodes share. Ray
starts a task again when its worker dies; what is missing in the end is submitted again. A part is
there whole or not at all, so it does not matter how often its task ran.
"""

from __future__ import annotations

import contextlib
import logging
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from helip.common.errors import Error, StorageError, needed
from helip.common.files import own_cache
from helip.common.progress import ProgressBar

_log = logging.getLogger(__name__)

PARTS_PER_SLOT = 4  # of a job that does not say; fewer prepare less often, more lose less
_RETRIES = 3  # of a task by Ray, when its worker dies
LAG = 15.0  # seconds after which a node must see a file that another one has written
_ROUNDS = 3  # of submissions of a part whose task Ray has given up


def import_ray() -> Any:
    """The module; UnsupportedError where Ray is not installed."""
    with needed("engine and launcher ray need Ray", "'helip[ray]'"):
        import ray
    return ray


def quoted_python() -> dict[str, str]:
    """``runtime_env`` by which workers start where the path of Python has a space: Ray writes the
    path into a command of a shell as it is. Empty where it has none."""
    quoted = shlex.quote(sys.executable)
    return {} if quoted == sys.executable else {"py_executable": quoted}


@contextlib.contextmanager
def ray_running(ray: Any) -> Iterator[None]:
    """Within a cluster: the one that this process has joined, that there is, or one of its own."""
    if ray.is_initialized():
        yield
        return
    in_main_thread = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGTERM)
    ray.init(
        include_dashboard=False, log_to_driver=False, logging_level="error",
        runtime_env=quoted_python(),
    )  # fmt: skip
    if in_main_thread and handler is not None:  # Ray has put its own in the place of the caller's
        signal.signal(signal.SIGTERM, handler)
    try:
        yield
    finally:
        ray.shutdown()


def resources(ray: Any) -> list[dict[str, float]]:
    """What each node has: CPU, GPU."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def smallest_cpus(ray: Any) -> int:
    """CPUs of the smallest node that has one, which a task may take where a call names none."""
    cpus = (node.get("CPU", 0) for node in resources(ray))
    return int(min((each for each in cpus if each >= 1), default=1))


def slots(ray: Any, cpus: int) -> int:
    """Tasks of so many CPUs that run at a time."""
    return sum(int(node.get("CPU", 0) // cpus) for node in resources(ray))


def require_shared(ray: Any, lock: Path) -> None:
    """StorageError where a node does not see the file by which this process owns an output.

    The file names this process, so that another file of the same path is not taken for it.
    """
    if not lock.exists():  # systems without flock have no such file
        return
    for address, sees in on_each_node(ray, _sees, str(lock.absolute()), lock.read_bytes()).items():
        if not sees:
            raise StorageError(
                f"the node {address} does not see {lock.parent}, which all nodes of the cluster "
                "must share; " + _mend(lock)
            )


def on_each_node(ray: Any, work: Callable[..., Any], *arguments: Any) -> dict[str, Any]:
    """Address → what ``work`` gives there; empty where there is one node alone."""
    nodes = [node for node in ray.nodes() if node["Alive"]]
    if len(nodes) < 2:
        return {}
    on_node = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
    task = ray.remote(num_cpus=0)(work)
    asked = {
        node.get("NodeManagerAddress", node["NodeID"]): task.options(
            scheduling_strategy=on_node(node["NodeID"], soft=True)
        ).remote(*arguments)
        for node in nodes
    }
    return {address: ray.get(answer) for address, answer in asked.items()}


def _mend(lock: Path) -> str:
    if lock.absolute().is_relative_to(own_cache().absolute()):
        return (
            "out is a URL, and what goes there is first written to the folder of HELIP_CACHE: set "
            "HELIP_CACHE to one on a file system that all nodes share, under the same path"
        )
    return "let out be on a file system that they share, under the same path"


def _sees(lock: str, contents: bytes) -> bool:
    """What a task does, on its node; a shared file system may lag behind."""
    deadline = time.monotonic() + LAG
    while True:
        with contextlib.suppress(OSError):
            if Path(lock).read_bytes() == contents:
                return True
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)


def see_to_parts(
    ray: Any,
    work: Callable[..., None],
    arguments: Callable[[int], tuple[Any, ...]],
    places: Mapping[int, Path],
    is_done: Callable[[Path], bool],
    *,
    cpus: int,
    gpus: int = 0,
    label: str,
    progress: bool,
) -> None:
    """Submit the parts that are not done, and again those that fail, until all are.

    Args:
        work: what a task does, on its node.
        arguments: index of a part → what ``work`` is called with.
        places: index → where each part is to lie.
        is_done: whether the part at such a place is whole.
        cpus, gpus: of a task.
        label: of the progress bar, which counts parts.

    Raises StorageError (a part failed three times, or does not show up here), and what a task
    raised that would fail again.
    """
    task = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=_RETRIES)(work)
    count = len(places)
    missing = {index for index, place in places.items() if not is_done(place)}
    failures: dict[int, int] = dict.fromkeys(missing, 0)
    running: dict[Any, int] = {}
    with ProgressBar(count, label=label, unit="parts", enabled=progress) as bar:
        bar.restart(count, label=label, done=count - len(missing))
        try:
            for index in sorted(missing):
                running[task.remote(*arguments(index))] = index
            while running:
                for reference in ray.wait(list(running), num_returns=1, timeout=1.0)[0]:
                    index = running.pop(reference)
                    reason = _reason_of_failure(ray, reference)
                    if reason is None and is_done(places[index]):
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
                    _log.warning(
                        "%s: part %d of %d failed and is tried again: %s",
                        label,
                        index,
                        count,
                        reason,
                    )
                    running[task.remote(*arguments(index))] = index
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
