"""Threads of the core, as a user of mining sees them."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import warnings

import numpy as np
import pytest

import helip

MINE = """
import resource, warnings
import numpy as np
import helip

rng = np.random.default_rng(0)
rows = {"image": rng.standard_normal((400, 16)), "text": rng.standard_normal((400, 16))}
mine = helip.mine  # what that loads, such as torch, is no part of what is bounded
with open("/proc/self/statm") as file:
    size = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + (512 << 20), resource.RLIM_INFINITY))
with warnings.catch_warnings(record=True) as seen:
    warnings.simplefilter("always")
    tables = [mine(**rows, k=5, threads=3, progress=False) for _ in range(2)]
resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
alone = mine(**rows, k=5, threads=1, progress=False)
assert all(np.array_equal(table.ids, alone.ids) for table in tables)
print([(w.category.__name__, str(w.message)) for w in seen])
"""


def test_threads_that_cannot_be_started_are_told_once_and_change_no_table() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_STACK)
    stack = 1 << 30  # of each thread, more than the memory that is left
    if hard != resource.RLIM_INFINITY and hard < stack:
        pytest.skip("the stack of a thread cannot be made so large here")
    done = subprocess.run(
        [sys.executable, "-c", MINE],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_STACK, (stack, hard)),
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("RuntimeWarning") == 1
    assert "only 0 of 2 threads could be started" in done.stdout


def test_a_forked_child_mines_after_its_parent_did() -> None:
    rng = np.random.default_rng(1)
    rows = {"image": rng.standard_normal((300, 16)), "text": rng.standard_normal((300, 16))}
    ids = helip.mine(**rows, k=5, threads=2, progress=False).ids
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of fork beside threads
        child = os.fork()
    if child == 0:
        status = 1
        try:
            again = helip.mine(**rows, k=5, threads=2, progress=False).ids
            status = 0 if np.array_equal(again, ids) else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
