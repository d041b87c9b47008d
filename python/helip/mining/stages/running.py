"""Running: all stages of a job on this machine or on Ray, and its table."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from helip.common.errors import CancelledError
from helip.common.files import (
    DirectoryLock,
    remove_leftovers,
)
from helip.common.progress import Follower, OnProgress, ProgressBar
from helip.mining.options import JobOptions, MineOptions, StageOptions
from helip.mining.stages.job import (
    StageJob,
    begin_job,
    begin_update,
    has_stages,
    open_job,
    remove_stages,
)
from helip.mining.stages.runners import Runner, runner_of
from helip.mining.stages.steps import Step, current_step
from helip.mining.stages.writing import write_table
from helip.pairs.hard_pairs import HardPairs
from helip.store.embedding_store import EmbeddingStore


def mine_in_stages(
    store: EmbeddingStore,
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
            runner_of(begun, store, job, progress) as run,
        ):
            follow = Follower(bar, on_progress)
            while (now := current_step(begun)) is not None:
                _run_step(begun, *now, run, follow)
        return HardPairs(write_table(begun))


def _begun(
    store: EmbeddingStore, options: MineOptions, stages: StageOptions, out: str, memory: Any
) -> StageJob:
    if has_stages(out) and stages.cluster_rows is None:  # as it was begun
        there = open_job(out)
        overlap = there.overlap if stages.overlap == StageOptions().overlap else stages.overlap
        stages = StageOptions(cluster_rows=there.cluster_rows, overlap=overlap)
    return begin_job(store, options, stages, out, memory)


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
