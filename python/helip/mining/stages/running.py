"""Running a job in stages: its units, by this process, processes of this machine or Ray."""

from __future__ import annotations

import contextlib
import functools
import logging
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
import types
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from helip.common.errors import CancelledError, Error, StorageError, UnsupportedError
from helip.common.files import DirectoryLock, make_directory, remove_leftovers
from helip.common.machine import usable_processors
from helip.common.progress import Follower, OnProgress, ProgressBar
from helip.common.ray_parts import (
    import_ray,
    ray_running,
    require_shared,
    see_to_parts,
    smallest_cpus,
)
from helip.mining.options import HostOptions, JobOptions
from helip.mining.stages.centres import make_centres
from helip.mining.stages.certifying import certify, measure
from helip.mining.stages.job import (
    StageJob,
    Workplace,
    open_job,
    place_of,
    remove_stages,
    unit_memory,
)
from helip.mining.stages.merging import merge
from helip.mining.stages.refining import refine
from helip.mining.stages.routing import route
from helip.mining.stages.rows import one_torch_thread
from helip.mining.stages.solving import solve
from helip.mining.stages.steps import THREADED, Step, current_step, step_named
from helip.mining.stages.unit_files import full_disk, open_unit_file
from helip.mining.stages.writing import write_table
from helip.pairs.hard_pairs import HardPairs
from helip.store.embedding_store import EmbeddingStore

_log = logging.getLogger(__name__)

Done = Callable[[], None]  # called after each unit
Runner = Callable[[Step, list[int], Done], None]  # runs units of a step

_WORK: dict[str, Callable[[Workplace, Step, int], None]] = {
    "centres": make_centres,
    "certify": certify,
    "route": route,
    "solve": solve,
    "merge": merge,
    "measure": measure,
    "refine": refine,
}
_DEATHS = 3  # of processes, with no unit done between them
# One thread each: all processes together take the cores, and products are always the same.
_ONE_THREAD = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def run_job(
    job: StageJob,
    store: EmbeddingStore,
    asked: JobOptions,
    *,
    keep_stages: bool,
    progress: bool,
    on_progress: OnProgress | None = None,
) -> HardPairs:
    """Runs what is missing of a job that was begun, and writes its table.

    Raises StorageError where another process runs the job or the disk refuses, CancelledError;
    files of units that are done stay.
    """
    remove_leftovers(Path(tempfile.gettempdir()), f"helip-{job.digest}")
    verb = "mine" if job.base is None else "update"
    own_bar = progress and asked.engine != "ray"
    with DirectoryLock(job.folder):
        with (
            ProgressBar(None, label=verb, unit="units", enabled=own_bar) as bar,
            _runner_of(job, store, asked, progress) as run,
        ):
            follow = Follower(bar, on_progress)
            while (now := current_step(job)) is not None:
                _run_step(job, *now, run, follow)
        table = HardPairs(write_table(job))
    if not keep_stages:
        remove_stages(job.out)
    return table


def _run_step(job: StageJob, step: Step, missing: list[int], run: Runner, follow: Follower) -> None:
    total = step.units(job)
    count = total - len(missing) - 1

    def done() -> None:
        nonlocal count
        count += 1
        if not follow(step.stage, count, total):
            raise CancelledError(
                f"mining was stopped in stage {step.stage}; {count} of its {total} units are done "
                "and stay"
            )

    done()
    run(step, missing, done)


def run_unit(place: Workplace, step: Step, unit: int) -> None:
    """Does one unit of a step, unless its file is there; what it waits for must be done.

    Any may run again, in any order, on any machine that shares the folder. Raises MismatchError
    where the file belongs to another job, StorageError with the stage, the unit and how to go on.
    """
    path = step.place(place.job, unit)
    words = f"stage {step.stage}, unit {unit + 1} of {step.units(place.job)}"
    begun = time.monotonic()
    try:
        if path.exists():
            open_unit_file(path, job=place.job.digest)
            return
        make_directory(path.parent)
        with one_torch_thread():
            _WORK[step.stage](place, step, unit)
    except StorageError as error:
        raise full_disk(error, words) from error
    _log.info("%s: done in %.1f s", words, time.monotonic() - begun)


@contextlib.contextmanager
def _runner_of(
    job: StageJob, store: EmbeddingStore, asked: JobOptions, progress: bool
) -> Iterator[Runner]:
    """The runner of the engine that is asked for, until the end of the with block."""
    if asked.engine == "ray":
        ray = import_ray()
        with ray_running(ray):
            # This process must have locked the folder.
            require_shared(ray, job.folder / "lock")
            yield functools.partial(_run_on_ray, ray, job, store, asked, progress)
    elif asked.engine == "local":
        count = asked.threads or usable_processors()
        memory = unit_memory(asked.engine, count, asked.memory)
        with _Processes(job, store, count=count, memory=memory) as processes:
            yield processes.run
    else:
        host = HostOptions(threads=asked.threads, memory=asked.memory)
        yield functools.partial(_run_here, Workplace(job, store, host))


def _run_here(place: Workplace, step: Step, units: list[int], done: Done) -> None:
    for unit in units:
        run_unit(place, step, unit)
        done()


def _run_on_ray(
    ray: Any, job: StageJob, store: EmbeddingStore, asked: JobOptions, progress: bool,
    step: Step, units: list[int], done: Done,
) -> None:  # fmt: skip
    """``threads`` and ``memory`` are those of a task; a stage of one thread asks for one CPU."""
    threads = 1
    if step.stage in THREADED:
        threads = asked.threads or smallest_cpus(ray)
    place = (os.path.abspath(job.out), job.digest, place_of(store), threads, asked.memory)
    see_to_parts(
        ray, _run_elsewhere, lambda index: (*place, *step.key, index - 1),
        {unit + 1: step.place(job, unit).absolute() for unit in units}, Path.exists,
        cpus=threads, label=step.stage, progress=progress,
    )  # fmt: skip


def _run_elsewhere(
    out: str, digest: str, store: str, threads: int, memory: int | str | None,
    stage: str, round: int, number: int, unit: int,
) -> None:  # fmt: skip
    """What a task of Ray or a process does."""
    place = _workplace(out, digest, store, threads, memory)
    run_unit(place, step_named(place.job, stage, round, number), unit)


@functools.lru_cache(maxsize=1)
def _workplace(
    out: str, digest: str, store: str, threads: int, memory: int | str | None
) -> Workplace:
    """Kept from unit to unit; ``digest`` since another job may have been at ``out`` before."""
    host = HostOptions(threads=threads, memory=memory)
    return Workplace(open_job(out), EmbeddingStore.open(store), host)


class _Processes:
    """``count`` processes of one thread each, a unit at a time, until the end of the with block.

    Where a process died, the units that ran do so again: each is there whole, or not at all. All
    watch a pipe that this one holds open, so that none outlives it, however it ends.
    """

    def __init__(self, job: StageJob, store: EmbeddingStore, *, count: int, memory: int) -> None:
        if multiprocessing.current_process().daemon:
            raise UnsupportedError(
                "engine is 'local', and this process is daemonic, so that it may have no children; "
                "use engine='threads'"
            )
        self._job, self._count = job, count
        self._place = (os.path.abspath(job.out), job.digest, place_of(store), 1, memory)
        self._begin()

    def _begin(self) -> None:
        context = multiprocessing.get_context("spawn")
        watched, self._held = context.Pipe(duplex=False)
        self._pool = ProcessPoolExecutor(self._count, context, _watch, (watched,))

    def __enter__(self) -> _Processes:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._held.close()  # which ends what runs
        self._pool.shutdown()
        self._held.close()

    def run(self, step: Step, units: list[int], done: Done) -> None:
        """Has the units of a step done.

        Raises what a unit raised; Error where processes died three times with no unit done between.
        """
        waiting, deaths = deque(units), 0
        running: dict[Future[None], int] = {}
        while waiting or running:
            try:
                while waiting and len(running) < self._count:
                    call = (*self._place, *step.key, waiting[0])
                    with _fit_to_start():
                        future = self._pool.submit(_run_elsewhere, *call)
                    running[future] = waiting.popleft()
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    future.result()
                    del running[future]
                    deaths = 0
                    done()
            except BrokenProcessPool as error:
                self._held.close()
                self._pool.shutdown()
                deaths += 1
                if deaths == _DEATHS:
                    raise self._too_many(step, sorted(running.values())) from error
                _log.warning("stage %s: a process ended; what was running runs again", step.stage)
                waiting.extendleft(running.values())
                running.clear()
                self._begin()

    def _too_many(self, step: Step, running: list[int]) -> Error:
        units = ", ".join(str(unit + 1) for unit in running)
        which = f"one of the units {units}" if len(running) > 1 else f"unit {units}"
        return Error(
            f"stage {step.stage}, {which} of {step.units(self._job)}: a process ended {_DEATHS} "
            "times and no unit was done, as where memory runs out and the system kills one; give "
            "less memory= or fewer threads=; units that are done stay"
        )


def _watch(held: Any) -> None:
    """Begins a process, which is to end as soon as nobody holds the other side of the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that started this one decides

    def end() -> None:
        with contextlib.suppress(EOFError, OSError):
            held.recv_bytes()
        os._exit(1)

    threading.Thread(target=end, daemon=True).start()


@contextlib.contextmanager
def _fit_to_start() -> Iterator[None]:
    """A process that starts within takes one thread for each library.

    It does not import the program's main module, which it does not need, and which would mine again
    where it lacks ``if __name__ == "__main__"``.
    """
    main, before = sys.modules["__main__"], {name: os.environ.get(name) for name in _ONE_THREAD}
    sys.modules["__main__"] = types.ModuleType("__main__")
    os.environ.update(dict.fromkeys(_ONE_THREAD, "1"))
    try:
        yield
    finally:
        sys.modules["__main__"] = main
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
