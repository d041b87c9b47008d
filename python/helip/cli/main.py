"""The ``helip`` command: one subcommand a step of the way from data to a better model.

Exit codes: 0 done, 1 failed, 2 wrong use, 130 after Ctrl-C or SIGTERM. Data goes to stdout,
everything else to stderr.
"""

from __future__ import annotations

import os
import signal
import sys

import cyclopts
from rich.console import Console

from helip.cli.messages import say, shell_line
from helip.cli.registry import ENTRIES
from helip.cli.resuming import INTERRUPTED
from helip.common.errors import CancelledError, Error, InvalidArgumentError

# What keeps work that was interrupted.
_GO_ON = ("eval", "demo", "train", "copy", "stage")
_WIDTH = 112  # of --help, where nothing says how wide the terminal is


def make_app(*, show_all: bool = False, only: str | None = None) -> cyclopts.App:
    """The program; ``show_all``: ``--help`` leaves nothing out.

    With ``only`` it imports that one command, and of the others it knows the first sentence.
    """
    console = Console(width=None if sys.stdout.isatty() else _WIDTH)
    app = cyclopts.App(
        name="helip",
        help="Make a trained CLIP or SLIP model better on the data it already has.",
        help_format="plaintext",
        version=_version,
        console=console,
        result_action="return_value",
        suppress_keyboard_interrupt=False,  # main() says how to go on
    )
    for place, entry in enumerate(ENTRIES):
        if only is None or entry.name == only:
            entry.load().register(app, place, show_all=show_all)
        else:
            words = "" if only else entry.words()  # where the help of all is shown
            app.command(lambda: None, name=entry.name, help=words, sort_key=place)
    return app


def main() -> None:
    """Entry point: turns helip's errors into one line and an exit code."""
    from helip.common.idle_cores import watch_cores
    from helip.common.machine import wait_passively
    from helip.common.progress import plain_lines

    plain_lines()
    watch_cores()
    wait_passively()
    # What Ctrl-C does: a job stops at once and tidily, and says how to go on.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    words = sys.argv[1:]
    show_all = "--help-all" in words
    words = ["--help" if word == "--help-all" else word for word in words]
    try:
        names = {entry.name for entry in ENTRIES}
        first = next((word for word in words if word in names), "")
        app = make_app(show_all=show_all, only=first)
        app(words, exit_on_error=False, print_error=False)
        sys.stdout.flush()
    except BrokenPipeError:  # what reads the output has seen enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except cyclopts.CycloptsError as error:
        say(f"helip: {_message_of(error, words)}")
        sys.exit(2)
    except InvalidArgumentError as error:
        say(f"helip: {error}")
        sys.exit(2)
    except Error as error:
        # Of what the operating system refused the message alone, which names the reason already.
        say(f"helip: {getattr(error, 'strerror', None) or error}")
        sys.exit(INTERRUPTED if isinstance(error, CancelledError) else 1)
    except KeyboardInterrupt:
        goes_on = bool(words) and words[0] in _GO_ON
        say(
            "helip: interrupted; "
            + (
                "what was committed stays, the same command goes on from there"
                if goes_on
                else "the same command begins again"
            )
        )
        sys.exit(INTERRUPTED)


def _message_of(error: cyclopts.CycloptsError, words: list[str]) -> str:
    """What was wrong, with the option and the file that it stands in."""
    if isinstance(error, cyclopts.UnusedCliTokensError):
        left = ", ".join(map(repr, error.unused_tokens or ()))
        files = [word for word in words if word.endswith(".npy")]
        if words[0] == "import" and len(files) == 2:
            given = shell_line("import", "--image", files[0], "--text", files[1], "--out", "STORE")
            return f"{left} is too many: two matrices are named by their sides, {given}"
        return f"{left} is too many; see helip {words[0]} --help"
    argument = getattr(error, "argument", None)
    if argument is None or argument.field_info.name in str(error):
        return str(error)
    sources = {token.source for token in argument.tokens} - {"cli"}
    return f"{argument.name}{' from ' if sources else ''}{', '.join(sources)}: {error}"


def _version() -> str:
    from helip._core import __version__

    return __version__
