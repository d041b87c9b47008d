"""Progress of jobs: records of their beginning and end, callbacks, and nothing on the root."""

from __future__ import annotations

import logging
import subprocess
import sys

import numpy as np
import pytest

import helip
from helip.common.progress import Follower, ProgressBar

IMAGE, TEXT = np.random.default_rng(0).normal(size=(2, 40, 8)) + 0.4


def test_importing_and_mining_leave_the_root_logger_alone() -> None:
    code = (
        "import logging, numpy as np, helip\n"
        "assert [type(h) for h in logging.getLogger('helip').handlers] == [logging.NullHandler]\n"
        "rows = np.random.default_rng(0).normal(size=(40, 8)) + 0.4\n"
        "helip.mine(image=rows, text=rows[::-1].copy(), k=3)\n"
        "assert logging.getLogger().handlers == []\n"
        "assert len(logging.getLogger('helip').handlers) == 1\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_a_job_logs_its_beginning_and_its_end_under_its_module(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO):
        helip.mine(image=IMAGE, text=TEXT, k=3, progress=False)
    assert caplog.records
    assert [r.name for r in caplog.records] == [
        "helip.mining.miner",
        "helip.mining.engines.threads",
    ]
    said = [record.getMessage() for record in caplog.records]
    assert said[0] == "mine: 40 targets, k 3, method auto"
    assert said[1].startswith("mine: done, 40 units in ")
    assert len(said) == 2


def test_a_job_that_stops_says_how_far_it_was(caplog: pytest.LogCaptureFixture) -> None:
    with (
        caplog.at_level(logging.DEBUG),
        pytest.raises(KeyboardInterrupt),
        ProgressBar(9000, label="embed", enabled=False) as bar,
    ):
        bar.restart(9000, label="embed", done=1000)
        bar.update(500)
        raise KeyboardInterrupt
    said = [record.getMessage() for record in caplog.records]
    assert said[0] == "embed: begins, 9,000 rows"
    assert said[-1].startswith("embed: stopped, 1,500 rows in ")
    bar.close()
    assert len(caplog.records) == len(said)


def test_a_follower_passes_on_what_it_shows_and_what_is_false_stops() -> None:
    seen: list[tuple[str, int, int]] = []
    answers = iter([None, np.bool_(True), True, False, np.bool_(False), 0])

    def on_progress(stage: str, done: int, total: int) -> bool | None:
        seen.append((stage, done, total))
        return next(answers)

    with ProgressBar(None, label="mine", enabled=False) as bar:
        follow = Follower(bar, on_progress)
        assert [follow("mine", done, 6) for done in range(6)] == [True] * 3 + [False] * 3
        assert Follower(bar)("mine", 6, 6)
    assert seen == [("mine", done, 6) for done in range(6)]
