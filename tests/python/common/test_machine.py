"""Processors are those that this process may use, not those that the machine has."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from helip.common.machine import PeakMemory, core_threads, usable_processors, use_threads


def test_there_is_one_processor_at_least_and_no_more_than_the_machine_has() -> None:
    assert 1 <= usable_processors() <= (os.cpu_count() or 1)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this system")
def test_a_process_that_is_bound_to_one_processor_has_one() -> None:
    program = (
        "import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))]);"
        "from helip.common.machine import usable_processors; print(usable_processors())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "1\n", done.stderr


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="the system does not tell")
def test_memory_of_its_own_and_of_mapped_files_are_told_apart(tmp_path: Path) -> None:
    size = 64 << 20
    np.zeros(size, np.uint8).tofile(tmp_path / "f")
    with PeakMemory() as memory:
        own = np.ones(size, np.uint8)
    assert memory.own is not None and memory.mapped is not None
    assert memory.own > 0.9 * size > 0.1 * size > memory.mapped
    del own
    with PeakMemory() as memory:
        assert np.memmap(tmp_path / "f", np.uint8, "r").sum(dtype=np.int64) == 0
        mapped = np.memmap(tmp_path / "f", np.uint8, "r")
        assert not mapped.any()
    assert memory.mapped is not None and memory.own is not None
    assert memory.mapped > 0.9 * size > 0.5 * size > memory.own


def _program(text: str, **environment: str) -> str:
    """What it prints, without what this process was told of OpenMP."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_", "KMP_"))}
    done = subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, env=kept | environment
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


SETS = """
import os
before = dict(os.environ)
import helip
from helip.common.machine import core_threads, use_threads, wait_passively
assert os.environ == before
wait_passively(), use_threads(1)
import torch
print(torch.get_num_threads(), core_threads(), core_threads(3),
      os.environ.get("OMP_WAIT_POLICY"), os.environ.get("GOMP_SPINCOUNT"))
use_threads(2), use_threads(0)
print(torch.get_num_threads(), core_threads(), os.environ["OMP_NUM_THREADS"])
"""


@pytest.mark.parametrize(
    ("given", "waits"),
    [
        ({}, "PASSIVE 1000"),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE None"),
        ({"GOMP_SPINCOUNT": "9"}, "None 9"),
    ],
)
def test_a_program_bounds_all_threads_and_lets_them_wait_as_the_user_says(given, waits) -> None:
    assert _program(SETS, **given) == f"1 1 3 {waits}\n2 2 2\n"


def test_processes_of_torchrun_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("helip.common.machine.usable_processors", lambda: 8)
    assert core_threads() == 0
    use_threads(0)
    for processes, share in ((2, 4), (16, 1)):
        monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
        assert (core_threads(), core_threads(3)) == (share, 3)
