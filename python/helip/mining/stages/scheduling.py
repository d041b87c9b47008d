"""Stages for any scheduler: one call begins a job, others run slices of a stage's units."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

from helip.common.errors import Error, InvalidArgumentError, MismatchError
from helip.common.files import DirectoryLock, read_json
from helip.common.parts import checked_part, differences
from helip.mining.options import HostOptions, MineOptions, StageOptions
from helip.mining.report_words import shortfall_words
from helip.mining.stages.job import (
    StageJob,
    Workplace,
    begin_mining,
    begin_update,
    has_stages,
    identity_of,
    open_job,
    remove_stages,
)
from helip.mining.stages.running import run_unit
from helip.mining.stages.steps import CERTIFY, STAGES, Step, current_step, done_steps
from helip.mining.stages.writing import write_table
from helip.pairs.hard_pairs import HardPairs
from helip.store.embedding_store import EmbeddingStore

WRITE, DONE = "write", "done"
_SHOWN = 6  # missing units in a message


def begin_stages(
    store: EmbeddingStore,
    options: MineOptions,
    stages: StageOptions,
    out: str | os.PathLike[str],
    memory: int | str | None = None,
) -> None:
    """Begins a job, unless it is begun or its table is there already.

    Raises MismatchError where a job or a table of something else is. Others as `begin_mining`.
    """
    if not has_manifest(out):
        begin_mining(store, options, stages, os.fspath(out), memory)
        return
    table = HardPairs.open(out)
    found = {**table.options, "store": table.fingerprint}
    ours = {name: x for name, x in identity_of(store, options, stages).items() if name in found}
    ours["candidates"] = found.get("candidates")  # of another method
    if differ := differences({name: found[name] for name in ours}, ours):
        raise MismatchError(f"{out} holds a table that differs: {differ}; choose another out")


def begin_update_stages(
    table: HardPairs,
    store: EmbeddingStore,
    out: str | os.PathLike[str],
    memory: int | str | None = None,
) -> None:
    """Begins a job that brings a table up to date, unless it is begun or the table at ``out`` is.

    Raises MismatchError where a job or a table of something else is. Others as `begin_update`.
    """
    if has_manifest(out):
        there = HardPairs.open(out)
        if there.options == table.options and there.fingerprint == store.fingerprint:
            return
        if os.path.realpath(out) != os.path.realpath(table.path):
            raise MismatchError(f"{out} holds another table; choose another out")
    begin_update(table, store, os.fspath(out), memory)


def has_manifest(out: str | os.PathLike[str]) -> bool:
    """Whether a table is there."""
    return os.path.exists(os.path.join(out, "manifest.json"))


def _has_table(out: str | os.PathLike[str]) -> bool:
    """Whether the table of the job is there; the one that it brings up to date may be before."""
    if not has_manifest(out):
        return False
    if not has_stages(out) or (job := open_job(out)).base is None:
        return True
    attributes = read_json(Path(out) / "manifest.json").get("attributes", {})
    return bool(attributes.get("fingerprint") == job.fingerprint)


def stage_status(out: str | os.PathLike[str]) -> dict[str, Any]:
    """What is done of a job, and what comes next, as JSON-able values.

    ``next`` is a stage, ``write`` when the table can be written, ``done`` when it is there;
    ``units`` are those of that stage, and ``missing`` the numbers, from 1, of those not done.
    """
    if _has_table(out):
        return {"next": DONE, "units": 0, "missing": []}
    job = open_job(out)
    facts = {
        "store": job.store, "rows": job.rows, "clusters": job.clusters,
        "done": [{"stage": s.name, "units": s.units(job)} for s in done_steps(job)],
    }  # fmt: skip
    if (now := current_step(job)) is None:
        return {**facts, "next": WRITE, "units": 1, "missing": [1]}
    step, missing = now
    numbers = [unit + 1 for unit in missing]
    return {**facts, "next": step.stage, "units": step.units(job), "missing": numbers}


def run_slice(
    out: str | os.PathLike[str],
    stage: str,
    part: tuple[int, int],
    host: HostOptions,
    store: EmbeddingStore | None = None,
) -> int:
    """Runs each n-th unit of a stage, from the i-th on, of ``part`` (i, n); returns how many.

    Those that are done are passed over, and so is all of a stage that is done already.

    Raises:
        Error: the stage before is not done, with what is missing of it. Others as `run_unit`.
    """
    index, count = checked_part(part, "unit")
    job = open_job(out)
    step = CERTIFY if stage == CERTIFY.stage else _due(job, stage)
    if step is None:
        return 0
    place = Workplace(job, store or EmbeddingStore.open(job.store), host)
    units = range(index - 1, step.units(job), count)
    for unit in units:
        run_unit(place, step, unit)
    return len(units)


def write_staged(out: str | os.PathLike[str], *, keep: bool = False) -> HardPairs:
    """Writes the table of a job whose stages are done, and removes their files unless ``keep``.

    Warns where the recall was not reached. Raises Error with what is missing; where the table is
    there, it is returned.
    """
    if _has_table(out):
        table = HardPairs.open(out)
    else:
        job = open_job(out)
        _due(job, WRITE)
        with DirectoryLock(job.folder):
            table = HardPairs(write_table(job))
        if words := shortfall_words(table.report, job.options.recall):
            warnings.warn(words, stacklevel=2)
    if not keep:
        remove_stages(out)
    return table


def _due(job: StageJob, stage: str) -> Step | None:
    """The current step where it is one of this stage; None where it is behind."""
    order = [*STAGES, WRITE]
    if stage not in order:
        raise InvalidArgumentError(f"stage is {stage!r}, must be one of {', '.join(order)}")
    now = current_step(job)
    if now is None:
        return None
    step, missing = now
    if step.stage == stage:
        return step
    before = done_steps(job)[-1:]
    late = any(each.stage == stage for each in before)  # a slice after others have ended the stage
    if late or order.index(stage) < order.index(step.stage):
        return None
    units = ", ".join(str(unit + 1) for unit in missing[:_SHOWN])
    more = "" if len(missing) <= _SHOWN else f" and {len(missing) - _SHOWN} more"
    raise Error(
        f"stage {stage} waits for {step.stage}: of its {step.units(job)} units {units}{more} "
        f"{'is' if len(missing) == 1 else 'are'} missing; run --stage {step.stage}"
    )
