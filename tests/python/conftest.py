"""What many test modules share without importing it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def graphs_of_the_tests(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Exported graphs are kept for all workers of this run, and not in the user's folder."""
    folder: Path = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    os.environ["HELIP_CACHE"] = str(folder / "cache")


@pytest.fixture(autouse=True)
def trains_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run with precision="auto" computes the same whichever processor the tests meet."""
    monkeypatch.setattr("helip.training.precision.multiplies_bfloat16", lambda device: False)


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Tiny models gain nothing from threads, and wait for each other on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
