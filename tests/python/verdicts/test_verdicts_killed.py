"""Writers that are killed, and several that write at once: what was said is there."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from helip import HardPairs, Verdicts
from helip.common.errors import StorageError
from helip.common.sqlite_log import _connect
from helip.verdicts import merge, move

ROWS = 50

# Judges pairs one after the other, and says which are written. argv: file, person, number.
WRITER = """
import sys
import numpy as np
from helip import HardPairs, Verdicts

ids = (np.arange(50, dtype=np.int32)[:, None] + 1) % 50
table = HardPairs.from_arrays(ids.astype(np.int32), np.ones((50, 1), np.float32))
with Verdicts.open(sys.argv[1], pairs=table) as verdicts:
    for number in range(int(sys.argv[3])):
        verdicts.add(number % 50, (number + 1) % 50, "keep", person=sys.argv[2])
        print(number, flush=True)
"""


# Dies where a transaction is about to end, or a new file about to appear. argv: file, moment.
DYING = """
import os
import signal
import sys
import numpy as np
from helip import HardPairs, Verdicts
from helip.common import sqlite_log

def die(*arguments, **options):
    os.kill(os.getpid(), signal.SIGKILL)

ids = (np.arange(50, dtype=np.int32)[:, None] + 1) % 50
table = HardPairs.from_arrays(ids.astype(np.int32), np.ones((50, 1), np.float32))
connect = sqlite_log._connect

def watched(*arguments):
    connection = connect(*arguments)
    connection.set_trace_callback(lambda words: die() if words == "COMMIT" else None)
    return connection

if sys.argv[2] == "making":
    sqlite_log._connect = watched
verdicts = Verdicts.open(sys.argv[1], pairs=table)
verdicts.add(0, 1, "keep", person="Ada")
verdicts._connection.set_trace_callback(lambda words: die() if words == "COMMIT" else None)
verdicts.add(0, 1, "false negative", person="Ada")
"""


def writer(path: Path, person: str, number: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(path), person, str(number)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def table() -> HardPairs:
    ids = ((np.arange(ROWS)[:, None] + 1) % ROWS).astype(np.int32)
    return HardPairs.from_arrays(ids, np.ones((ROWS, 1), np.float32))


@pytest.mark.parametrize("lines", [1, 7])
def test_a_kill_in_mid_writing_loses_nothing_that_was_said(tmp_path: Path, lines: int) -> None:
    path = tmp_path / "v"
    process = writer(path, "Ada", 10**9)
    assert process.stdout is not None
    said = [process.stdout.readline() for _ in range(lines)]
    process.send_signal(signal.SIGKILL)
    said += process.stdout.read().splitlines()  # until the pipe is closed by its end
    process.stdout.close()
    assert process.wait() == -signal.SIGKILL
    whole = sum(line.strip().isdigit() for line in said)
    with Verdicts.open(path, pairs=table()) as verdicts:
        found = verdicts.history()
        # The last one may have been written and not been told.
        assert whole <= len(found) <= whole + 1
        assert [j.target for j in found] == [number % ROWS for number in range(len(found))]
        verdicts.add(0, 1, "unsure", person="Bo")
        assert len(verdicts.history()) == len(found) + 1


@pytest.mark.parametrize(("moment", "found"), [("making", []), ("judging", ["keep"])])
def test_a_kill_before_a_verdict_or_a_file_is_whole_leaves_what_was_there(
    tmp_path: Path, moment: str, found: list[str]
) -> None:
    path = tmp_path / "v"
    done = subprocess.run([sys.executable, "-c", DYING, str(path), moment], check=False)
    assert done.returncode == -signal.SIGKILL
    assert (path.stat().st_size > 0) == bool(found)
    with Verdicts.open(path, pairs=table()) as verdicts:
        assert [j.verdict for j in verdicts.history()] == found
        verdicts.add(0, 1, "keep", person="Bo")
    assert [p.name for p in tmp_path.iterdir()] == ["v"]


@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize(
    "again",
    [
        lambda source, out: Verdicts.open(out, pairs=table()).add(0, 1, "keep", person="Ada"),
        lambda source, out: merge([source], out=out).close(),
        lambda source, out: move(source, pairs=table(), keys=list(map(str, range(ROWS))), out=out),
    ],
    ids=["open", "merge", "move"],
)
def test_what_a_kill_left_while_a_file_was_made_is_no_file(
    tmp_path: Path, again: Callable[[Path, Path], object], begun: bool
) -> None:
    source, out = tmp_path / "source", tmp_path / "v"
    with Verdicts.open(source, pairs=table(), keys=list(map(str, range(ROWS)))) as verdicts:
        verdicts.add(0, 1, "keep", person="Ada")
    out.touch()
    if begun:  # pages are in the file already, and its journal says that there were none
        making = _connect(tmp_path / "making", "rwc", 0.0)
        making.execute("PRAGMA cache_size = 1")
        making.execute("BEGIN IMMEDIATE")
        for number in range(50):
            making.execute(f"CREATE TABLE t{number} (value TEXT PRIMARY KEY)")
        for end in ("", "-journal"):
            shutil.copy(tmp_path / f"making{end}", f"{out}{end}")
        making.close()
        assert out.stat().st_size > 0
    else:
        with pytest.raises(StorageError, match="v': the file is empty"):
            Verdicts.open(out)
    again(source, out)
    with Verdicts.open(out, pairs=table()) as verdicts:
        assert [(j.target, j.hard, j.verdict) for j in verdicts.history()] == [(0, 1, "keep")]
    assert not Path(f"{out}-journal").exists()


def test_two_processes_that_make_and_fill_one_file_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "v"
    both = [writer(path, person, 25) for person in ("Ada", "Bo")]
    for process in both:
        out, _ = process.communicate()
        assert process.returncode == 0
        assert len(out.splitlines()) == 25
    with Verdicts.open(path) as verdicts:
        assert verdicts.counts()["people"] == {"Ada": {"keep": 25}, "Bo": {"keep": 25}}
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".tmp-")]
