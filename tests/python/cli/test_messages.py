"""Lines on stderr: what --verbose adds, what --quiet leaves out, colours on a terminal alone."""

from __future__ import annotations

import io
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from helip.cli.messages import remark, shell_line, show_next, telling


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_records_are_shown_by_level_while_a_command_runs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logger = logging.getLogger("helip.room.module")
    shown = {}
    for name, how in (("plain", (False, False)), ("quiet", (True, False)), ("all", (False, True))):
        with telling(quiet=how[0], verbose=how[1]):
            for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
                logger.log(level, "level %d", level)
            remark("a remark")
        shown[name] = [line.split(" ", 1)[-1] for line in capsys.readouterr().err.splitlines()]
    room = "helip.room.module: level"
    assert shown["plain"] == [f"WARNING {room} 30", f"ERROR {room} 40", "remark"]
    assert shown["quiet"] == [f"ERROR {room} 40"]
    assert shown["all"] == [f"INFO {room} 20", *shown["plain"]]


def test_no_handler_and_no_level_stays_after_a_command(run, store: Path, tmp_path: Path) -> None:
    logger = logging.getLogger("helip")
    before, root = [*logger.handlers], [*logging.getLogger().handlers]
    code, out, err = run("mine", store, "-k", 3, "--out", tmp_path / "p", "--verbose", "--json")
    assert code == 0, err
    assert "INFO helip.mining.miner: mine: 60 targets, k 3, method auto\n" in err
    assert out.startswith("{")
    assert logger.handlers == before and logger.level == logging.NOTSET
    assert logging.getLogger().handlers == root
    code, _, err = run("mine", store, "-k", 3, "--out", tmp_path / "q")
    assert code == 0 and "INFO" not in err


def test_the_last_line_is_coloured_on_a_terminal_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    written = {}
    for name, stream in (("file", io.StringIO()), ("terminal", Terminal())):
        monkeypatch.setattr(sys, "stderr", stream)
        show_next(shell_line("mine", "my store", "--out", "PAIRS"))
        written[name] = stream.getvalue()
    assert written["file"] == "next: helip mine 'my store' --out PAIRS\n"
    assert written["terminal"] == "\033[1;36mnext:\033[0m helip mine 'my store' --out PAIRS\n"
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(sys, "stderr", Terminal())
    show_next("done")
    assert sys.stderr.getvalue() == "next: done\n"


def test_version_help_and_wrong_use_have_codes() -> None:
    for words, code in ((["--version"], 0), (["verify", "--help"], 0), (["verify"], 2)):
        done = subprocess.run([sys.executable, "-m", "helip", *words], capture_output=True)
        assert done.returncode == code, words
