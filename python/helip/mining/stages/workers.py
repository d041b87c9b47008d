"""Processes of this machine that run units, each with one thread, one unit at a time."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import selectors
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import helip.common.errors as errors
from helip.common.errors import Error, StorageError
from helip.mining.stages.job import StageJob, place_of
from helip.mining.stages.steps import Step
from helip.store.embedding_store import EmbeddingStore

_log = logging.getLogger(__name__)

_TRIES = 3  # of a unit whose process died
_KINDS = {
    kind.code: kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, Error)
}


class Workers:
    """``count`` processes for one job, until the end of the with block.

    A process is told its next unit in a line of its stdin, and answers in a line of stdout; it ends
    when its stdin does, so that none outlives this process for longer than a unit.
    """

    def __init__(self, job: StageJob, store: EmbeddingStore, *, count: int, memory: int) -> None:
        self._job = job
        self._count = count
        said = {"out": os.path.abspath(job.out), "store": place_of(store)}
        self._call = [
            sys.executable, "-m", "helip.mining.stages.worker",
            json.dumps({**said, "memory": memory}),
        ]  # fmt: skip
        package = str(Path(errors.__file__).resolve().parents[2])
        path = os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH"))))
        # One thread each: all of them together take the cores, and products are always the same.
        self._environment = {
            **os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        }  # fmt: skip
        self._idle: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._idle:
            _close(process)

    def run(self, step: Step, units: list[int], done: Callable[[], None]) -> None:
        """Has the units of a step done.

        Raises what a unit raised; Error where the processes of one unit died three times. Units
        that run then are stopped, and those that are done stay.
        """
        waiting = deque(units)
        deaths: dict[int, int] = {}
        busy: dict[subprocess.Popen[bytes], int] = {}
        try:
            with selectors.DefaultSelector() as selector:
                while waiting or busy:
                    while waiting and len(busy) < self._count:
                        process = self._idle.pop() if self._idle else self._start()
                        busy[process] = waiting.popleft()
                        _tell(process, [step.stage, step.round, step.number, busy[process]])
                        assert process.stdout is not None
                        selector.register(process.stdout, selectors.EVENT_READ, process)
                    for key, _ in selector.select():
                        process = key.data
                        selector.unregister(key.fileobj)
                        answer = process.stdout.readline()
                        unit = busy.pop(process)
                        if answer:
                            self._idle.append(process)
                            _raise(json.loads(answer))
                            done()
                            continue
                        code = _close(process)
                        deaths[unit] = deaths.get(unit, 0) + 1
                        words = f"stage {step.stage}, unit {unit + 1} of {step.units(self._job)}"
                        if deaths[unit] >= _TRIES:
                            raise Error(
                                f"{words}: its process ended {_TRIES} times without an answer, "
                                f"last with {code} (-9: killed, as where memory runs out); give "
                                "less memory= or fewer threads=; units that are done stay"
                            )
                        _log.warning("%s: its process ended with %s; again", words, code)
                        waiting.append(unit)
        finally:
            for process in busy:
                process.kill()
                _close(process)

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self._call, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=self._environment
        )


def _tell(process: subprocess.Popen[bytes], message: Any) -> None:
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # it died; its stdout says so as well
        process.stdin.write(json.dumps(message).encode() + b"\n")
        process.stdin.flush()


def _raise(answer: dict[str, Any]) -> None:
    if "error" not in answer:
        return
    kind = _KINDS.get(answer["error"], Error)
    if issubclass(kind, StorageError):
        raise kind(answer["errno"], answer["message"])
    raise kind(answer["message"])


def _close(process: subprocess.Popen[bytes]) -> int:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
    return process.wait()
