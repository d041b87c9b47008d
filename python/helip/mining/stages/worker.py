"""A process that runs units: reads one a line from stdin, and answers each in a line of stdout."""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any

from helip.common.errors import Error
from helip.mining.options import HostOptions
from helip.mining.stages.job import Workplace, open_job
from helip.mining.stages.steps import step_named
from helip.mining.stages.units import run_unit
from helip.store.embedding_store import EmbeddingStore


def main(said: dict[str, Any]) -> None:
    """Serves until stdin ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that started this one decides
    # What a library prints must not be taken for an answer.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    place: Workplace | None = None
    for line in sys.stdin:
        try:
            stage, round, number, unit = json.loads(line)
            if place is None:
                host = HostOptions(threads=1, memory=said["memory"])
                place = Workplace(open_job(said["out"]), EmbeddingStore.open(said["store"]), host)
            run_unit(place, step_named(place.job, stage, round, number), unit)
            answer: dict[str, Any] = {}
        except Error as error:
            words, number = str(error), getattr(error, "errno", None)
            answer = {"error": error.code, "message": _message(error, words), "errno": number}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _message(error: Error, words: str) -> str:
    """Without the errno that an OSError puts before its text."""
    return error.args[1] if len(error.args) == 2 else words


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
