"""Processors are those that this process may use, not those that the machine has."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from helip.common.machine import usable_processors


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
