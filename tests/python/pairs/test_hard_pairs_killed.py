"""A process that is killed while it writes a CSV: the next one removes what it left."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np

from helip import HardPairs

# Dies in the middle of a CSV, when the core tells of its progress. argv: file.
DYING = """
import os
import signal
import sys
import numpy as np
from helip import HardPairs, _core

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

save_csv = _core.HardPairs.save_csv
_core.HardPairs.save_csv = lambda table, path: save_csv(table, path, progress=die)
HardPairs.from_arrays(np.int32([[1], [0]]), np.float32([[1], [1]])).to_csv(sys.argv[1])
"""


def test_what_a_killed_writer_of_a_csv_left_is_removed_by_the_next(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text("before")
    (tmp_path / ".tmp-others.csv-1").touch()
    for _ in range(2):  # the second one removes what the first one left
        done = subprocess.run([sys.executable, "-c", DYING, str(path)], check=False)
        assert done.returncode == -signal.SIGKILL
        assert path.read_text() == "before"
        halves = [each for each in tmp_path.rglob(".pending-*") if each.is_file()]
        assert len(halves) == 1
    table = HardPairs.from_arrays(np.int32([[1], [0]]), np.float32([[0.5], [0.5]]))
    table.to_csv(path)
    assert path.read_text() == "target,h1\n0,1\n1,0\n"
    assert sorted(each.name for each in tmp_path.iterdir()) == [".tmp-others.csv-1", path.name]
