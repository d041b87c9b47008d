"""Learning curves as a picture."""

from __future__ import annotations

import sys

import pytest

from helip.common.errors import InvalidArgumentError, StorageError, UnsupportedError
from helip.training.logs.curves import PANELS, _points, draw_curves

ROWS = [
    {
        "step": step,
        "clip": 5 / step,
        "margin": 1 / step,
        "violated": 0.4,
        "hard_similarity": 0.5,
        "ordinary_similarity": 0.2,
        "temperature": 0.05,
        "data_wait_seconds": 0.01,
    }
    for step in range(1, 30)
]
CONTROL = [{"step": step, "clip": 4 / step, "margin": 0.0, "violated": 0.0} for step in range(1, 9)]


def test_runs_are_drawn_into_one_picture_always_the_same(tmp_path):
    pytest.importorskip("matplotlib")
    runs = {"HELIP": ROWS, "control": CONTROL}
    first = draw_curves(runs, tmp_path / "a.png")
    second = draw_curves(runs, tmp_path / "b.png")
    assert first.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert first.read_bytes() == second.read_bytes()
    assert first.read_bytes() != draw_curves({"HELIP": ROWS}, second).read_bytes()


def test_every_quantity_that_is_drawn_is_one_that_training_logs():
    columns = {column for columns in PANELS.values() for column in columns}
    assert columns == set(ROWS[0]) - {"step"}


def test_events_and_missing_numbers_are_left_out_and_long_runs_are_averaged():
    rows = [
        {"step": 1, "clip": 2.0},
        {"step": 1, "event": "warning", "clip": 9.0},
        {"step": 2, "clip": None},
        {"step": 3, "clip": 4.0},
    ]
    steps, values = _points(rows, "clip")
    assert steps.tolist() == [1, 3]
    assert values.tolist() == [2, 4]
    steps, values = _points([{"step": s, "clip": float(s)} for s in range(2000)], "clip")
    assert len(steps) == 500
    assert values[0] == 1.5


def test_what_cannot_be_drawn_is_refused(tmp_path, monkeypatch):
    with pytest.raises(InvalidArgumentError, match="runs is empty"):
        draw_curves({}, tmp_path / "a.png")
    pytest.importorskip("matplotlib")
    with pytest.raises(StorageError, match="cannot write"):
        draw_curves({"run": ROWS}, tmp_path / "absent" / "a.png")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(UnsupportedError, match="pip install matplotlib"):
        draw_curves({"run": ROWS}, tmp_path / "a.png")
