"""A table with its data and store, which studies are made of."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.view_samples import write_all


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_all(tmp_path_factory.mktemp("study") / "made")
