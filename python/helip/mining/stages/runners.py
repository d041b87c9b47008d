"""Who runs the units of a step: this process, processes of this machine, or tasks of Ray."""

from __future__ import annotations

import contextlib
import functools
import logging
import multiprocessing
import os
import signal
import sys
import threading
import types
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from helip.common.errors import Error, UnsupportedError
from helip.common.files import make_directory
from helip.common.machine import usable_processors
from helip.common.ray_parts import (
    import_ray,
    ray_running,
    require_shared,
    see_to_parts,
    smallest_cpus,
)
from helip.mining.options import HostOptions, JobOptions
from helip.mining.stages.job import StageJob, Workplace, open_job, place_of, unit_memory
from helip.mining.stages.steps import THREADED, Step, step_named
from helip.mining.stages.units import run_unit
from helip.store.embedding_store import EmbeddingStore

_log = logging.getLogger(__name__)

Done = Callable[[], None]  # called after each unit
Runner = Callable[[Step, list[int], Done], None]  # runs units of a step

_DEATHS = 3  # of processes, with no unit done between them
# One thread each: all processes together take the cores, and products are always the same.
_ONE_THREAD = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@contextlib.contextmanager
def runner_of(
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
        place = Workplace(job, store, HostOptions(threads=asked.threads, memory=asked.memory))
        yield functools.partial(_run_here, place)


def _run_here(place: Workplace, step: Step, units: list[int], done: Done) -> None:
    make_directory(step.place(place.job, 0).parent)
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
    place = (os.path.abspath(job.out), place_of(store), threads, asked.memory)
    named = (step.stage, step.round, step.number)
    see_to_parts(
        ray, _run_task, lambda index: (*place, *named, index - 1),
        {unit + 1: step.place(job, unit).absolute() for unit in units}, Path.exists,
        cpus=threads, label=step.stage, progress=progress,
    )  # fmt: skip


def _run_task(
    out: str, store: str, threads: int, memory: int | str | None,
    stage: str, round: int, number: int, unit: int,
) -> None:  # fmt: skip
    """What a task does, on its node, where another job may have been at ``out`` before."""
    place = _workplace(out, store, threads, memory)
    run_unit(place, step_named(place.job, stage, round, number), unit)


def _run_in_process(
    out: str, store: str, threads: int, memory: int | str | None,
    stage: str, round: int, number: int, unit: int,
) -> None:  # fmt: skip
    """What a process of one job does."""
    place = _kept_workplace(out, store, threads, memory)
    run_unit(place, step_named(place.job, stage, round, number), unit)


def _workplace(out: str, store: str, threads: int, memory: int | str | None) -> Workplace:
    host = HostOptions(threads=threads, memory=memory)
    return Workplace(open_job(out), EmbeddingStore.open(store), host)


_kept_workplace = functools.lru_cache(maxsize=1)(_workplace)


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
        self._place = (os.path.abspath(job.out), place_of(store), 1, memory)
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
        named = (step.stage, step.round, step.number)
        waiting, deaths = deque(units), 0
        running: dict[Future[None], int] = {}
        while waiting or running:
            try:
                while waiting and len(running) < self._count:
                    call = (*self._place, *named, waiting[0])
                    with _fit_to_start():
                        future = self._pool.submit(_run_in_process, *call)
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
