"""Modules of the benchmarks, which are scripts and no package."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Protocol

import pytest

BENCH = Path(__file__).resolve().parents[1]


class Modules(Protocol):
    """Imports a module of a folder of scripts by its name."""

    def __call__(self, name: str) -> ModuleType: ...


def _modules_of(folder: Path) -> Iterator[Modules]:
    sys.path.insert(0, str(folder))
    try:
        yield importlib.import_module
    finally:
        sys.path.remove(str(folder))


@pytest.fixture(scope="module")
def bench() -> Iterator[Modules]:
    yield from _modules_of(BENCH)


@pytest.fixture(scope="module")
def experiments() -> Iterator[Modules]:
    yield from _modules_of(BENCH / "experiments")
