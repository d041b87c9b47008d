"""Progress of long jobs: a bar on a terminal, plain lines for the command line elsewhere.

The library itself prints nothing: without a terminal it stays silent unless the command line has
asked for plain lines. Beginning and end of each job are log records of INFO, its stages of DEBUG,
under the name of the module that does the job.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable
from typing import Any

from helip.common.quantities import bytes_words

#: Called with a stage, what is done of it and all of it. What is false, except None, stops the job.
OnProgress = Callable[[str, int, int], bool | None]

_LINE_SECONDS = 10.0
_MUCH = 10**9  # bytes that a job leaves on a disk
_plain_lines = False


def plain_lines(enabled: bool = True) -> None:
    """Write a line to stderr every ten seconds where there is no terminal (command line only)."""
    global _plain_lines
    _plain_lines = enabled


def tell_of_disk(
    log: logging.Logger, job: str, size: int, *places: str | os.PathLike[str], shown: bool
) -> None:
    """At the start of a ``job`` that leaves a gigabyte or more at ``places``: a record of INFO, and
    where its progress is ``shown`` a line on stderr."""
    if size < _MUCH:
        return
    line = (
        f"{job}: writes about {bytes_words(size)} to {' and '.join(str(each) for each in places)}"
    )
    log.info("%s", line)
    if shown and sys.stderr is not None and (_plain_lines or sys.stderr.isatty()):
        sys.stderr.write(line + "\n")
        sys.stderr.flush()


class ProgressBar:
    """Shows how far a job is, its rate and the time left, on stderr.

    Args:
        total: units of work, or ``None`` when unknown.
        label: what is being done, such as ``"embed"``.
        unit: what is counted, in the plural.
        enabled: ``False`` shows nothing at all.
    """

    def __init__(
        self, total: int | None, *, label: str, unit: str = "rows", enabled: bool = True
    ) -> None:
        self._label = label
        self._unit = unit
        self._total = total
        self._done = 0
        self._before = 0  # done before this run, which says nothing of its rate
        self._notes: dict[str, Any] = {}
        self._started = self._last_line = time.monotonic()
        self._ended = False
        # Of the module that counts, so that a reader of the log may choose by rooms.
        self._log = logging.getLogger(sys._getframe(1).f_globals.get("__name__", __name__))
        self._job = label
        self._begun = self._started
        if total:
            self._log.info("%s: begins, %s %s", label, f"{total:,}", unit)
        terminal = sys.stderr is not None and sys.stderr.isatty()
        self._lines = enabled and not terminal and _plain_lines
        self._bar: Any = None
        if enabled and terminal:
            from tqdm import tqdm

            self._bar = tqdm(
                total=total, desc=label, unit=" " + unit, dynamic_ncols=True, file=sys.stderr
            )

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._end("stopped" if kind else "done")
        self.close()

    def update(self, n: int = 1) -> None:
        """Counts ``n`` more units."""
        self.set(self._done + n)

    def set(self, done: int) -> None:
        """Says that ``done`` units are finished."""
        step, self._done = done - self._done, done
        if self._bar is not None:
            self._bar.update(step)
        elif self._lines and time.monotonic() - self._last_line >= _LINE_SECONDS:
            self._write_line()

    def restart(self, total: int | None, *, label: str, done: int = 0) -> None:
        """Begins another stage of the same job, with its own total and rate.

        ``done`` units of it were finished by an earlier run.
        """
        known = "" if total is None else f" of {total:,}"
        self._log.debug("%s: %s, %s%s %s done", self._job, label, f"{done:,}", known, self._unit)
        self._label, self._total, self._done, self._before = label, total, done, done
        self._started = self._last_line = time.monotonic()
        if self._bar is not None:
            self._bar.set_description(label, refresh=False)
            self._bar.reset(total)
            self._bar.initial = self._bar.n = done

    def note(self, **values: Any) -> None:
        """Shows named values beside the bar, such as the loss."""
        self._notes.update(values)
        if self._bar is not None:
            self._bar.set_postfix(self._notes, refresh=False)

    def close(self) -> None:
        """Ends the display; further calls do nothing."""
        self._end("done")
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        elif self._lines:
            if self._done:
                self._write_line()
            self._lines = False

    def _end(self, how: str) -> None:
        if self._ended:
            return
        self._ended = True
        seconds = time.monotonic() - self._begun
        counted = f", {self._done:,} {self._unit}" if self._done else ""
        self._log.info("%s: %s%s in %.1f s", self._job, how, counted, seconds)

    def _write_line(self) -> None:
        self._last_line = time.monotonic()
        seconds = max(self._last_line - self._started, 1e-9)
        rate = (self._done - self._before) / seconds
        line = f"{self._label}: {self._done:,}"
        if self._total:
            line += f" of {self._total:,} {self._unit}, {_number(rate)}/s"
            if rate > 0:
                line += f", {max(self._total - self._done, 0) / rate:,.0f} s left"
        else:
            line += f" {self._unit}, {_number(rate)}/s"
        line += "".join(f", {name} {value}" for name, value in self._notes.items())
        sys.stderr.write(line + "\n")
        sys.stderr.flush()


class Follower:
    """Turns the core's progress calls into a bar, one bar a stage, and passes them on."""

    def __init__(self, bar: ProgressBar, on_progress: OnProgress | None = None) -> None:
        self._bar = bar
        self._on_progress = on_progress
        self._stage = ""

    def __call__(self, stage: str, done: int, total: int) -> bool:
        if stage != self._stage:
            self._stage = stage
            self._bar.restart(total, label=stage, done=done)
        self._bar.set(done)
        answer = None if self._on_progress is None else self._on_progress(stage, done, total)
        return answer is None or bool(answer)  # NumPy has a False of its own


def _number(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.1f}"
