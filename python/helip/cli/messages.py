"""Lines for people on stderr: messages, remarks that --quiet leaves out, records, what is next.

The library logs under ``helip``. Only here is a handler put there, while a command runs.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from helip.common.remote.urls import shown

_quiet = False
_LINE = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def say(text: str) -> None:
    """A line that is always shown."""
    print(text, file=sys.stderr)


def remark(text: str) -> None:
    """A line about what happens, which ``--quiet`` leaves out."""
    if not _quiet:
        say(text)


def show_next(text: str) -> None:
    """The last line of a command: what to do next. In colour on a terminal only."""
    terminal = sys.stderr is not None and sys.stderr.isatty()
    coloured = terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    remark(f"\033[1;36mnext:\033[0m {text}" if coloured else f"next: {text}")


def shell_line(*words: str | os.PathLike[str]) -> str:
    """A command line of helip, quoted as a shell wants it."""
    return shlex.join(["helip", *map(shown, words)])


@contextlib.contextmanager
def telling(*, quiet: bool, verbose: bool, words: Callable[[str], str] = str) -> Iterator[None]:
    """Within: remarks unless ``quiet``, and log records from INFO on where ``verbose``.

    Records of warnings are shown by default, and errors alone with ``quiet``. What the library
    warns of is a line in the ``words`` of the shell, without the place in the code.
    """
    global _quiet
    logger, handler = logging.getLogger("helip"), _Lines()
    before, level_before = _quiet, logger.level
    handler.setFormatter(logging.Formatter(_LINE, "%H:%M:%S"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO if verbose else logging.ERROR if quiet else logging.WARNING)
    _quiet = quiet
    usual = warnings.showwarning

    def show(message: Any, category: type[Warning], *place: Any, **more: Any) -> None:
        if category in (UserWarning, RuntimeWarning):
            say(f"helip: warning: {words(str(message))}")
        else:
            usual(message, category, *place, **more)

    warnings.showwarning = show
    try:
        yield
    finally:
        warnings.showwarning = usual
        _quiet = before
        logger.setLevel(level_before)
        logger.removeHandler(handler)


class _Lines(logging.Handler):
    """Records as lines on stderr, above the bars that are there."""

    def emit(self, record: logging.LogRecord) -> None:
        line = self.format(record)
        if "tqdm" in sys.modules:  # where a bar may be, which a plain line would cut
            from tqdm import tqdm

            tqdm.write(line, file=sys.stderr)
        else:
            say(line)
