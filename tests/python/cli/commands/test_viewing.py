"""The command of the viewer: what it refuses before it serves."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from support.view_samples import write_all

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_all(tmp_path_factory.mktemp("viewing") / "made")


def test_a_missing_extra_is_one_clear_line(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "starlette", None)
    code, _, err = run("view", folder / "pairs", "--data", folder / "pictures", "--quiet")
    assert code == 1
    assert "pip install 'helip[view]'" in err and "Traceback" not in err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--host", "203.0.113.7"], "203.0.113.7"),
        (["--port", "70000"], "65535"),
        (["--view-cache", "1KB"], "16MiB"),
        (["--verdicts", "pictures"], "pictures"),
        (["--model", "a", "--model", "b", "--model", "c"], "3 models"),
        (["--store", "before"], "the one that was mined"),
    ],
    ids=["host", "port", "cache", "verdicts", "models", "store"],
)
def test_what_cannot_be_served_is_said(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], told: str
) -> None:
    uvicorn = pytest.importorskip("uvicorn")
    monkeypatch.setattr(uvicorn.Server, "run", None)  # nothing is served
    monkeypatch.chdir(folder)
    code, _, err = run("view", "pairs", "--data", "pictures", "--quiet", *words)
    assert code in (1, 2) and told in err, err
