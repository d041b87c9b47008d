"""Units as Ray tasks, on the cores of one machine or on a cluster that shares the folder."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from helip.common.ray_parts import RETRIES, import_ray, ray_running, require_shared, see_to_parts
from helip.mining.options import HostOptions, JobOptions
from helip.mining.stages.job import StageJob, Workplace, open_job, place_of
from helip.mining.stages.steps import THREADED, Step, step_named
from helip.mining.stages.units import run_unit
from helip.store.embedding_store import EmbeddingStore


@contextlib.contextmanager
def ray_runner(
    job: StageJob, store: EmbeddingStore, asked: JobOptions, progress: bool
) -> Iterator[Callable[[Step, list[int], Callable[[], None]], None]]:
    """Runs the units of a step as tasks; ``threads`` and ``memory`` are those of a task.

    None: the CPUs of the smallest node. Stages of one thread ask for one CPU. StorageError where a
    node does not share the folder of the job, which this process must have locked.
    """
    ray = import_ray()
    with ray_running(ray):
        require_shared(ray, job.folder / "lock")
        nodes = [node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]]
        each = asked.threads or int(min((cpus for cpus in nodes if cpus >= 1), default=1))
        out, path = os.path.abspath(job.out), place_of(store)

        def run(step: Step, units: list[int], done: Callable[[], None]) -> None:
            threads = each if step.stage in THREADED else 1
            task = ray.remote(num_cpus=threads, max_retries=RETRIES)(_run_unit)
            places = {unit + 1: step.place(job, unit).absolute() for unit in units}
            see_to_parts(
                ray,
                lambda index, to: task.remote(
                    out, path, step.stage, step.round, step.number, index - 1, threads, asked.memory
                ),
                places, Path.exists, label=step.stage, progress=progress,
            )  # fmt: skip

        yield run


def _run_unit(
    out: str, store: str, stage: str, round: int, number: int, unit: int, threads: int,
    memory: int | str | None,
) -> None:  # fmt: skip
    """What a task does, on its node."""
    host = HostOptions(threads=threads, memory=memory)
    place = Workplace(open_job(out), EmbeddingStore.open(store), host)
    run_unit(place, step_named(place.job, stage, round, number), unit)
