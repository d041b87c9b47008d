"""The history of benchmarks: lines that later ones can be compared with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Protocol

import pytest


class Modules(Protocol):
    def __call__(self, name: str) -> Any: ...


EXACT = {
    "processor": "some",
    "repeats": 1,
    "cells": [
        {
            "rows": 20000, "dims": [1280, 384], "k": 50,
            "rates_gmacs": {"float32": 90.0},
            "sides": {
                "helip": {"seconds": 1.23456, "seconds_of_repeats": [1.2], "same_ids": 1.0},
                "faiss": {"seconds": 8.0, "extra_mb": 314, "over_helip": {"median": 6.5}},
            },
        }
    ],
    "goals": [{"goal": "some", "value": None}],
}  # fmt: skip


def test_figures_are_named_by_the_cell_and_the_side_that_they_are_of(bench: Modules) -> None:
    assert dict(bench("history").figures(EXACT)) == {
        "20000 1280x384 50 helip seconds": 1.235,
        "20000 1280x384 50 helip same_ids": 1.0,
        "20000 1280x384 50 faiss seconds": 8.0,
        "20000 1280x384 50 faiss extra_mb": 314.0,
    }


def test_each_result_is_a_line_behind_those_that_are_there(
    bench: Modules, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "exact.json").write_text(json.dumps(EXACT))
    (tmp_path / "open_store.json").write_text('{"rows": 7, "milliseconds": 0.9, "kb": 456}')
    out = tmp_path / "history.jsonl"
    out.write_text('{"name": "older"}\n')
    results = [str(tmp_path / name) for name in ("exact.json", "open_store.json")]
    monkeypatch.setattr("sys.argv", ["history.py", *results, "--out", str(out)])
    bench("history").main()
    older, exact, store = map(json.loads, out.read_text().splitlines())
    assert older == {"name": "older"} and exact["name"] == "exact"
    assert exact.keys() == {"commit", "date", "processor", "cores", "name", "figures"}
    assert store["figures"] == {"7 milliseconds": 0.9, "7 kb": 456.0}
