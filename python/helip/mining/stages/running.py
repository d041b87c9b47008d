"""Running: all stages of a job on this machine or on Ray, and its table."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from helip.common.errors import CancelledError, InvalidArgumentError, UnsupportedError
from helip.common.files import (
    DirectoryLock,
    discard_directory,
    make_directory,
    remove_leftovers,
)
from helip.common.machine import memory_bound, usable_processors
from helip.common.progress import Follower, OnProgress, ProgressBar
from helip.mining.options import (
    ClusterOptions,
    HostOptions,
    JobOptions,
    MineOptions,
    StageOptions,
)
from helip.mining.stages.job import (
    StageJob,
    Workplace,
    begin_job,
    begin_update,
    has_stages,
    in_one_cluster,
    open_job,
    stages_folder,
)
from helip.mining.stages.steps import Step, current_step
from helip.mining.stages.units import run_unit
from helip.mining.stages.writing import write_table
from helip.pairs.hard_pairs import HardPairs
from helip.store.embedding_store import EmbeddingStore

NEEDS_STORE = (
    "mining in stages needs a store: bare arrays have no fingerprint by which the files of stages "
    "could be told apart"
)

Done = Callable[[], None]  # called after each unit
Runner = Callable[[Step, list[int], Done], None]  # runs units of a step


def asks_for_stages(method: str, cluster_rows: int | None, engine: str) -> bool:
    """Whether these options mean stages, where there are rows for more than one cluster."""
    return method == "partition" and (cluster_rows is not None or engine != "threads")


def goes_in_stages(call: Any, *, rows: int, out: str) -> bool:
    """Whether a call of mine, with the fields of MineOptions, ClusterOptions and EngineOptions, is
    one in stages: it asks for them, or has begun in them.
    """
    if out and has_stages(out):
        return True
    if call.method == "partition":
        asked = asks_for_stages(call.method, call.cluster_rows, call.engine)
        return asked and not in_one_cluster(rows, ClusterOptions.of(call))
    for name, value in (("cluster_rows", call.cluster_rows), ("engine", call.engine)):
        if value not in (None, "threads", "ray"):
            raise InvalidArgumentError(
                f"{name} is {value!r} and method {call.method!r}; stages are of method "
                f"'partition'; use that, or drop {name}="
            )
    return False


def mine_in_stages(
    store: EmbeddingStore | None,
    options: MineOptions,
    stages: StageOptions,
    job: JobOptions,
    *,
    out: str,
    progress: bool,
    on_progress: OnProgress | None = None,
) -> HardPairs:
    """Runs what is missing of a job in stages, and writes its table.

    Raises StorageError where another process runs the job or the disk refuses, MismatchError where
    a job of something else is there, CancelledError; files of units that are done stay.
    """
    if store is None:
        raise InvalidArgumentError(NEEDS_STORE)
    if not out:
        raise InvalidArgumentError(
            f"mining in stages writes files beside out, as cluster_rows={stages.cluster_rows} and "
            f"engine={job.engine!r} ask for; give out"
        )
    _refuse(options, job)
    begun = _begun(store, options, stages, out, job.memory)
    table = _run(begun, store, job, progress=progress, on_progress=on_progress)
    if not stages.keep_stages:
        remove_stages(out)
    return table


def update_in_stages(
    table: HardPairs,
    store: EmbeddingStore,
    job: JobOptions,
    *,
    out: str,
    keep_stages: bool,
    progress: bool,
) -> HardPairs:
    """Brings a table of method partition up to date with a later state of its store, to ``out``.

    Raises as `begin_update` and `mine_in_stages`.
    """
    refuse_device(job.device)
    begun = begin_update(table, store, out, job.memory)
    table = _run(begun, store, job, progress=progress)
    if not keep_stages:
        remove_stages(out)
    return table


def _run(
    begun: StageJob,
    store: EmbeddingStore,
    job: JobOptions,
    *,
    progress: bool,
    on_progress: OnProgress | None = None,
) -> HardPairs:
    """Runs what is missing of a job, and writes its table."""
    remove_leftovers(Path(tempfile.gettempdir()), f"helip-{begun.digest}")
    own_bar = progress and job.engine != "ray"
    with DirectoryLock(begun.folder):
        with (
            ProgressBar(None, label=begun.verb, unit="units", enabled=own_bar) as bar,
            _runner(begun, store, job, progress) as run,
        ):
            follow = Follower(bar, on_progress)
            while (now := current_step(begun)) is not None:
                _run_step(begun, *now, run, follow)
        return HardPairs(write_table(begun))


def remove_stages(out: str | os.PathLike[str]) -> None:
    """Removes the files of a job whose table is there, and what a killed process left of them."""
    folder = stages_folder(out)
    if has_stages(out):
        discard_directory(folder)
    remove_leftovers(folder.parent, folder.name)
    remove_leftovers(Path(out))  # of the kept sample


def _begun(
    store: EmbeddingStore, options: MineOptions, stages: StageOptions, out: str, memory: Any
) -> StageJob:
    if has_stages(out) and stages.cluster_rows is None:  # as it was begun
        there = open_job(out)
        overlap = there.overlap if stages.overlap == StageOptions().overlap else stages.overlap
        stages = StageOptions(cluster_rows=there.cluster_rows, overlap=overlap)
    return begin_job(store, options, stages, out, memory)


def _refuse(options: MineOptions, job: JobOptions) -> None:
    if options.method not in ("auto", "partition"):
        raise InvalidArgumentError(
            f"method is {options.method!r}, and a job of method 'partition' in stages was begun; "
            "go on with it, or remove its folder"
        )
    if job.parts is not None:
        raise UnsupportedError(
            f"parts is {job.parts}, of methods exact and sample; stages have units of their own"
        )
    refuse_codes(job.codes)
    refuse_device(job.device)


def refuse_codes(codes: str | os.PathLike[str] | None) -> None:
    """UnsupportedError where there are any."""
    if codes is not None:
        raise UnsupportedError(
            f"codes is {os.fspath(codes)!r}, and a job in stages mines each cluster once; drop "
            "codes="
        )


def refuse_device(device: str) -> None:
    """UnsupportedError for what is no CPU."""
    if device not in ("auto", "cpu"):
        raise UnsupportedError(f"device is {device!r}; stages are for CPUs, device='cpu'")


def unit_memory(engine: str, threads: int, memory: int | str | None) -> int:
    """Bytes that one unit may take: the processes of a machine share what the job may take."""
    return max(memory_bound(memory) // (threads if engine == "local" else 1), 1)


def _run_step(job: StageJob, step: Step, missing: list[int], run: Runner, follow: Follower) -> None:
    total = step.units(job)
    count = total - len(missing)

    def tell() -> None:
        if not follow(step.stage, count, total):
            raise CancelledError(
                f"mining was stopped in stage {step.stage}; {count} of its {total} units are done "
                "and stay"
            )

    def done() -> None:
        nonlocal count
        count += 1
        tell()

    tell()
    run(step, missing, done)


@contextlib.contextmanager
def _runner(
    job: StageJob, store: EmbeddingStore, asked: JobOptions, progress: bool
) -> Iterator[Runner]:
    if asked.engine == "ray":
        from helip.mining.stages.on_ray import ray_runner

        with ray_runner(job, store, asked, progress) as run:
            yield run
    elif asked.engine == "local":
        from helip.mining.stages.workers import Workers

        count = asked.threads or usable_processors()
        memory = unit_memory(asked.engine, count, asked.memory)
        with Workers(job, store, count=count, memory=memory) as workers:
            yield workers.run
    else:
        place = Workplace(job, store, HostOptions(threads=asked.threads, memory=asked.memory))

        def here(step: Step, units: list[int], done: Done) -> None:
            make_directory(step.place(job, 0).parent)
            for unit in units:
                run_unit(place, step, unit)
                done()

        yield here
