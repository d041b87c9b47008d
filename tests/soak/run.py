"""Runs random jobs of each kind against references in float64, and shrinks those that fail.

    python tests/soak/run.py --minutes 60
    python tests/soak/run.py --jobs 500 --kinds mining losses --seed 7 --processes 2

A kind is a module here. ``draw(random)`` makes a job of plain options; ``check(job)`` raises where
it goes wrong, and returns counts of what it covered. ``PLAIN`` has the simplest value of an option,
``LEAST`` the least of a size. ``over_all(counts)``, if there is one, tells what is wrong with the
counts of all jobs. A job depends on its kind and seed alone.
"""

from __future__ import annotations

import argparse
import faulthandler
import importlib
import multiprocessing
import os
import subprocess
import sys
import time
import traceback
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import numpy as np
from dice import Dice

HERE = Path(__file__).resolve().parent
SCRIPTS = Path("build/soak")
KINDS = (
    "mining", "channels", "negatives", "batches", "losses", "evaluation", "streaming", "threads",
)  # fmt: skip
HANGS = 300  # seconds after which a job counts as hanging
SHRINKING = 60  # seconds at most

Job = dict[str, Any]


def job_of(kind: str, seed: int) -> Job:
    random = np.random.default_rng([zlib.crc32(kind.encode()), seed])
    job: Job = importlib.import_module(kind).draw(Dice(random))
    return job


def features_of(kind: str, job: Job) -> Counter[str]:
    """What the options of a job add to what is covered."""
    plain = importlib.import_module(kind).PLAIN
    named = [f"{name} {value}" for name, value in job.items() if isinstance(value, str)]
    others = [name for name, value in plain.items() if job[name] != value]
    return Counter([*named, *(name for name in others if not isinstance(plain[name], str))])


def failure_of(kind: str, job: Job) -> str | None:
    """What goes wrong with a job; None for nothing."""
    try:
        importlib.import_module(kind).check(job)
    except Exception as error:
        return f"{type(error).__name__}: {error}".strip()
    return None


def shrunk(kind: str, job: Job, fails: Callable[[Job], bool]) -> Job:
    """The smallest job that was found to fail: options are dropped and sizes made smaller."""
    module = importlib.import_module(kind)
    ends = time.monotonic() + SHRINKING

    def smaller(job: Job) -> Iterator[Job]:
        for name, plain in module.PLAIN.items():
            if name in job and job[name] != plain:
                yield {**job, name: plain}
        for name, least in module.LEAST.items():
            now = job.get(name) or least
            for value in sorted({least, (now + least) // 2, now - now // 8, now - 1}):
                if least <= value < now:
                    yield {**job, name: value}
        for name, value in job.items():
            if isinstance(value, list):
                yield from ({**job, name: value[:i] + value[i + 1 :]} for i in range(len(value)))

    found = True
    while found:
        found = False
        for each in smaller(job):
            if time.monotonic() > ends:
                return job
            if fails(each):
                job, found = each, True
                break
    return job


def script_of(kind: str, job: Job, said: str) -> str:
    """A few lines that fail as the job does."""
    options = ",\n    ".join(f"{name!r}: {value!r}" for name, value in job.items())
    comment = "\n".join(f"# {line}" for line in said.splitlines()[:12])
    return (
        f"{comment}\nimport sys\n\nsys.path.insert(0, {str(HERE)!r})\nimport {kind}\n\n"
        f"{kind}.check({{\n    {options},\n}})\n"
    )


def ends_process(kind: str, job: Job) -> bool:
    """Whether a job ends the process that it runs in, or hangs."""
    script = [sys.executable, "-c", script_of(kind, job, "")]
    try:
        done = subprocess.run(script, capture_output=True, timeout=SHRINKING / 4)
    except subprocess.TimeoutExpired:
        return True
    return done.returncode not in (0, 1)


def outcome_of(kind: str, seed: int) -> Any:
    """The counts of a job that goes well, or the script of one that does not."""
    faulthandler.dump_traceback_later(HANGS, exit=True)
    job = job_of(kind, seed)
    try:
        return features_of(kind, job) + importlib.import_module(kind).check(job)
    except Exception as error:
        said = traceback.format_exc()
        faulthandler.cancel_dump_traceback_later()
        name = type(error).__name__  # a simpler job may be no job, which is another error
        job = shrunk(kind, job, lambda each: (failure_of(kind, each) or "").startswith(name))
        return script_of(kind, job, failure_of(kind, job) or said)
    finally:
        faulthandler.cancel_dump_traceback_later()


def work(pipe: Connection) -> None:
    """Runs the jobs that come through the pipe, until it is closed."""
    while True:
        try:
            kind, seed = pipe.recv()
        except EOFError:
            return
        pipe.send(outcome_of(kind, seed))


class Worker:
    """A process that runs jobs, and the job that it is at. Another takes its place if it dies."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=work, args=(theirs,), daemon=False)
        self.process.start()
        theirs.close()

    def give(self, job: tuple[str, int]) -> None:
        self.job = job
        self.pipe.send(job)

    def answer(self) -> dict[str, float] | str:
        """The counts of a job that went well, or the script of one that did not."""
        try:
            return self.pipe.recv()
        except (EOFError, ConnectionResetError):
            self.process.join()
            kind, seed = self.job
            said = f"the process ended with code {self.process.exitcode}, or hung"
            self.begin()
            job = shrunk(kind, job_of(kind, seed), lambda each: ends_process(kind, each))
            return script_of(kind, job, said)


def run(
    kinds: tuple[str, ...], *, jobs: int | None, minutes: float | None, seed: int, processes: int
) -> int:
    """Runs the jobs of seeds from ``seed`` on, kind by kind in turn; returns how many failed."""
    began = said = time.monotonic()
    counts: dict[str, Counter[str]] = {kind: Counter() for kind in kinds}
    spent: Counter[str] = Counter()
    todo = ((kind, seed + i) for i in range(jobs if jobs is not None else 2**62) for kind in kinds)
    ends = None if minutes is None else began + 60 * minutes

    def more() -> tuple[str, int] | None:
        return None if ends is not None and time.monotonic() >= ends else next(todo, None)

    workers, failed = [Worker() for _ in range(processes)], 0
    busy: dict[Connection, tuple[Worker, float]] = {}
    try:
        for worker in workers:
            if job := more():
                worker.give(job)
                busy[worker.pipe] = worker, time.monotonic()
        while busy:
            for pipe in wait(list(busy)):
                worker, since = busy.pop(pipe)  # type: ignore[call-overload]
                found, (kind, number) = worker.answer(), worker.job
                spent[kind] += time.monotonic() - since  # type: ignore[assignment]
                counts[kind]["jobs"] += 1
                if isinstance(found, str):
                    counts[kind]["failed"] += 1
                    failed += 1
                    tell(kind, number, found)
                else:
                    counts[kind].update(found)
                if job := more():
                    worker.give(job)
                    busy[worker.pipe] = worker, time.monotonic()
            if time.monotonic() - said > 60:
                said = time.monotonic()
                print(
                    f"{(said - began) / 60:.0f} min:",
                    *(f"{k} {c['jobs']:,}" for k, c in counts.items()),
                    f"failed {failed}",
                    flush=True,
                )
    finally:
        for worker in workers:
            worker.pipe.close()
    for kind in kinds:
        failed += report(kind, counts[kind], spent[kind])
    return failed


def tell(kind: str, seed: int, script: str) -> None:
    """Keeps the script of a job that failed, and shows it."""
    SCRIPTS.mkdir(parents=True, exist_ok=True)
    path = SCRIPTS / f"{kind}-{seed}.py"
    path.write_text(script, encoding="utf-8")
    print(f"\n{kind}, seed {seed}, fails; {path} has\n\n{script}", flush=True)


def report(kind: str, counts: Counter[str], spent: float) -> int:
    """Prints what was covered; returns the faults that only all jobs together show."""
    jobs = counts.pop("jobs", 0)
    print(
        f"\n{kind}: {jobs:,} jobs, {counts.pop('failed', 0)} failed, "
        f"{jobs / max(spent, 1e-9):.0f} a second"
    )
    for name, number in sorted(counts.items()):
        print(f"  {name:32} {number:,.12g}")
    over_all = getattr(importlib.import_module(kind), "over_all", None)
    faults = [] if over_all is None else over_all(counts)
    for fault in faults:
        print(f"  all {kind} jobs together: {fault}")
    return len(faults)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, help="until so many minutes have gone")
    parser.add_argument("--jobs", type=int, help="so many of each kind")
    parser.add_argument("--kinds", nargs="+", default=KINDS, help=f"of {', '.join(KINDS)}")
    parser.add_argument("--seed", type=int, help="of the first job of each kind; else a random one")
    parser.add_argument("--processes", type=int, default=1)
    given = parser.parse_args()
    if given.minutes is None and given.jobs is None:
        parser.error("give --minutes or --jobs")
    sys.path.insert(0, str(HERE))
    seed = int.from_bytes(os.urandom(4), "little") if given.seed is None else given.seed
    for kind in given.kinds:
        importlib.import_module(kind)
    print(f"soak: --seed {seed} --kinds {' '.join(given.kinds)}", flush=True)
    failed = run(tuple(given.kinds), jobs=given.jobs, minutes=given.minutes, seed=seed,
                 processes=given.processes)  # fmt: skip
    print(f"soak: {failed} failed" if failed else "soak: nothing failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
