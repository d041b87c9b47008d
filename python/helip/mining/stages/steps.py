"""The order of stages: what each waits for, and which of its units are missing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helip.mining.stages.job import Cut, StageJob
from helip.mining.stages.unit_files import open_unit_file

#: In order; from route on there may be several rounds.
STAGES = ("centres", "certify", "route", "solve", "merge", "measure", "refine")
#: Those that every job has.
FIRST = STAGES[:-1]
#: Most rounds in which rows go to one cluster more.
MOST_ROUNDS = 3
#: Where more than one row in so many joins a cluster, solve mines all of it.
JOINING = 4
#: Those whose units the threads of the core share; a unit of any other takes one thread.
THREADED = ("certify", "solve")


@dataclass(frozen=True)
class Step:
    """One stage of one round, and for refine and measure of one pass."""

    stage: str
    round: int = 0
    number: int = 0  # of the pass
    pools: Step | None = None  # that wrote the pools which this one reads
    margin: float | None = None  # of route in later rounds: up to which rows are widened

    @property
    def name(self) -> str:
        if self.stage in ("centres", "certify"):
            return self.stage
        passes = f"-{self.number}" if self.stage in ("measure", "refine") else ""
        return f"{self.stage}-{self.round}{passes}"

    @property
    def key(self) -> tuple[str, int, int]:
        """What `step_named` finds it by."""
        return self.stage, self.round, self.number

    def units(self, job: Cut) -> int:
        """How many it has."""
        if self.stage in ("centres", "measure"):
            return 1
        return job.clusters if self.stage == "solve" else job.ranges

    def place(self, job: StageJob, unit: int) -> Path:
        """The file of a unit."""
        return job.folder / self.name / f"{unit:06}.safetensors"

    def missing(self, job: StageJob) -> list[int]:
        """Units that are not done."""
        units = range(self.units(job))
        return [unit for unit in units if not self.place(job, unit).exists()]


CENTRES, CERTIFY = Step("centres"), Step("certify")


def verdict(job: StageJob, measure: Step) -> dict[str, Any]:
    """What a measure found, with "next": refine, widen or write."""
    return open_unit_file(measure.place(job, 0), job=job.digest).notes


def steps(job: StageJob) -> Iterator[Step]:
    """All steps so far known, each once what it waits for has been given.

    Ask for the one after a measure only when that measure is done: it says what comes then.
    """
    yield CENTRES
    yield CERTIFY
    pools: Step | None = None
    margin: float | None = None
    round = 0
    while True:
        yield Step("route", round, pools=pools, margin=margin)
        yield Step("solve", round, pools=pools)
        pools = Step("merge", round, pools=pools)
        yield pools
        number = 0
        while True:
            measure = Step("measure", round, number, pools)
            yield measure
            found = verdict(job, measure)
            if (then := found["next"]) != "refine":
                break
            number += 1
            pools = Step("refine", round, number, pools)
            yield pools
        if then == "write":
            return
        margin = found["margin"]
        round += 1


def current_step(job: StageJob) -> tuple[Step, list[int]] | None:
    """The first step that has missing units, with these; None where the table can be written."""
    for step in steps(job):
        if missing := step.missing(job):
            return step, missing
    return None


def done_steps(job: StageJob) -> list[Step]:
    """The steps before the current one."""
    done = []
    for step in steps(job):
        if step.missing(job):
            break
        done.append(step)
    return done


def step_named(job: StageJob, stage: str, round: int, number: int) -> Step:
    """One of the steps so far, or the current one."""
    for step in steps(job):
        if step.key == (stage, round, number):
            return step
    raise ValueError(f"no step {stage} {round} {number}")
