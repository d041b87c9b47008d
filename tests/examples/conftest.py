"""The sample that all examples and notebooks run on, made once."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
Run = Callable[..., str]


def shared(factory: pytest.TempPathFactory) -> Path:
    """A folder of all workers of this run."""
    base = factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Of a program: nothing is fetched, and exported graphs are kept for all of them."""
    cache = shared(tmp_path_factory) / "cache"
    return {
        **os.environ,
        "HELIP_CACHE": str(cache),
        "HF_HUB_OFFLINE": "1",
        "PYTHON": sys.executable,
    }


@pytest.fixture(scope="session")
def sample_folder(tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str]) -> Path:
    """Pictures, embeddings, hard pairs and start model of `helip_demo.sample`."""
    folder = shared(tmp_path_factory) / "openmoji-sample"
    make = "import sys; from helip_demo.sample import sample; sample(sys.argv[1])"
    with open(folder.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one worker makes it, and the others find it
        subprocess.run([sys.executable, "-c", make, folder], env=environment, check=True)
    return folder


@pytest.fixture
def run_example(sample_folder: Path, environment: dict[str, str], tmp_path: Path) -> Run:
    """Run an example by its name, and return what it prints."""

    def run(name: str, *arguments: str | Path, launcher: tuple[str, ...] = ()) -> str:
        path = str(EXAMPLES / name)
        command = [path] if path.endswith(".sh") else [sys.executable, *launcher, path]
        done = subprocess.run(
            [*command, str(sample_folder), *map(str, arguments)],
            cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run
