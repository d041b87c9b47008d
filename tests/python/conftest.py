"""What many test modules share without importing it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

if TYPE_CHECKING:
    from support.s3_server import S3Server


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


@pytest.fixture(autouse=True)
def threads_of_a_command_end_with_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """`--threads` bounds the process of a program, which here goes on with other tests."""
    monkeypatch.setattr("helip.common.machine._bound", 0)


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Tiny models gain nothing from threads, and wait for each other on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[S3Server]:
    """A bucket on loopback, given up on soon, with a cache of its own."""
    from support.s3_server import serving_s3  # moto takes a second to load

    monkeypatch.setenv("HELIP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("helip.common.remote.client.RETRIES", 1)
    with serving_s3(monkeypatch) as server:
        yield server
