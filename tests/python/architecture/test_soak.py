"""`make soak` finds a wrong table, and shrinks the job to a script of a few lines."""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

SOAK = Path(__file__).resolve().parents[2] / "soak"


@pytest.fixture
def soak(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, ModuleType]]:
    """The modules that run and check jobs of mining, which are imported from their own folder."""
    monkeypatch.syspath_prepend(str(SOAK))
    before = set(sys.modules)
    yield {name: importlib.import_module(name) for name in ("run", "mining", "rows")}
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(SOAK)):
            del sys.modules[name]


def test_a_job_that_goes_wrong_is_shrunk(
    soak: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, rows = soak["run"], soak["rows"]
    jobs = {seed: run.job_of("mining", seed) for seed in range(60)}
    seeds = [n for n, job in jobs.items() if job["method"] == "exact" and not job["store"]]
    with monkeypatch.context() as wrong:
        wrong.setattr(rows, "cosines", lambda a, b, right=rows.cosines: right(a, b) * 0.999)
        found = (run.outcome_of("mining", seed) for seed in seeds)
        script = next(each for each in found if isinstance(each, str))
        assert script.startswith("# AssertionError: a score is wrong")
        call = ast.parse(script).body[-1].value
        job = ast.literal_eval(call.args[0])
        assert job["rows"] <= 4
        assert all(job[name] == value for name, value in soak["mining"].PLAIN.items())
        with pytest.raises(AssertionError, match="a score is wrong"):
            exec(script, {})
    exec(script, {})  # it was the reference that was wrong
