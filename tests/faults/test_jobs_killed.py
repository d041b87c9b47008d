"""Jobs that are killed before any change of the disk, or in the middle of a write, or interrupted
there: they go on to the same result, no reader sees a part of it, and nothing is left behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import helip
from support.campaign import CAMPAIGN

FOLDER = Path(__file__).parent / "killed"
TESTS = FOLDER.parent.parent
#: The least changes that each makes: fewer would mean that they are not seen.
CHANGES = {
    "embed": 80,
    "mine": 20,
    "stages": 150,
    "a table that is saved": 20,
    "update": 20,
    "filter": 20,
    "reshard": 150,
    "index": 25,
    "train": 60,
    "import": 60,
    "Parquet": 5,
    "export": 15,
}
#: Seconds from an interrupt to the end.
GRACE = 5.0


def every(job: str) -> int:
    """Of the changes each n-th is not made: about four in all, and each of them in a campaign."""
    return 1 if CAMPAIGN else max(CHANGES[job] // 4, 1)


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ends a process before a change of the disk, as a library to be preloaded."""
    compiler = shutil.which("cc")
    if not sys.platform.startswith("linux") or compiler is None:
        pytest.skip("takes Linux and a C compiler")
    library = tmp_path_factory.mktemp("shim") / "disk_changes.so"
    source = FOLDER / "disk_changes.c"
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", library, source], check=True
    )
    return library


def stop(shim: Path, temporary: Path, job: str, step: int, number: int) -> dict[str, float]:
    """How often the job was stopped, and the most seconds that it took to end."""
    package = Path(helip.__file__).parent.parent
    done = subprocess.run(
        [sys.executable, FOLDER / "jobs.py", job, str(step), str(int(number))],
        text=True, capture_output=True,
        env={
            **os.environ,
            "LD_PRELOAD": str(shim),
            "PYTHONPATH": os.pathsep.join([str(package), str(TESTS)]),
            "TMPDIR": str(temporary),
            "OMP_NUM_THREADS": "1",
        },
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("job", CHANGES)
def test_a_job_that_is_killed_goes_on_to_the_same_result(
    shim: Path, tmp_path: Path, job: str
) -> None:
    kills = stop(shim, tmp_path, job, every(job), signal.SIGKILL)["stopped"]
    assert kills >= CHANGES[job] // every(job)
    print(f"\n{job}: kills: {kills}")


@pytest.mark.parametrize("job", CHANGES)
def test_a_job_that_is_interrupted_ends_in_time_and_goes_on(
    shim: Path, tmp_path: Path, job: str
) -> None:
    found = stop(shim, tmp_path, job, every(job), signal.SIGTERM)
    assert found["stopped"] >= 2
    assert found["seconds"] < GRACE
    print(f"\n{job}: interrupts: {found['stopped']}")
