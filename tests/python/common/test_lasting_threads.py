"""Threads that live with an object, and signals."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading

import pytest

from helip.common.lasting_threads import LastingThreads

NAME = "tried"
# A signal that comes in while a thread starts raises behind the start itself.
INTERRUPTED = """
    import threading
    from helip.common.lasting_threads import LastingThreads

    start = threading.Thread.start
    def interrupted(thread):
        start(thread)
        if thread.name.startswith("tried"):
            raise KeyboardInterrupt
    threading.Thread.start = interrupted
    threads = LastingThreads(1, "tried")
    threads.submit(print, "done")
"""


def test_a_program_ends_that_is_interrupted_in_the_start_of_a_thread() -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(INTERRUPTED)],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode != 0
    assert done.stderr.endswith("KeyboardInterrupt\n")
    assert done.stdout == "done\n"


def test_work_goes_on_after_an_interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    start, started = threading.Thread.start, []

    def interrupted(thread: threading.Thread) -> None:
        start(thread)
        if thread.name.startswith(NAME):
            started.append(thread)
            raise KeyboardInterrupt

    threads, ran = LastingThreads(2, NAME), threading.Event()
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", interrupted)
        with pytest.raises(KeyboardInterrupt):
            threads.submit(ran.set)
    assert ran.wait(30)
    started[0].join(30)
    assert not started[0].is_alive()
    assert threads.submit(sum, [1, 2]).result(30) == 3
