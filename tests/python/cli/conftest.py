"""The ``helip`` command in this process, and a store for it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import helip
from helip.cli import main as cli


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """run("mine", store, …) gives the exit code, the output and the errors."""

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["helip", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
            sys.exit(0)
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return call


@pytest.fixture
def store(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    with helip.EmbeddingStore.create(tmp_path / "s", image_dim=8, text_dim=6) as writer:
        rows = random.normal(size=(60, 14)) + 0.4
        writer.append([f"k{i}" for i in range(60)], rows[:, :8], rows[:, 8:])
        writer.commit({"image_encoder": "a", "text_encoder": "b"})
    return tmp_path / "s"
