"""Metrics to JSON lines always, and to TensorBoard and Weights & Biases when asked."""

from __future__ import annotations

import math
import sys
import types

import pytest

from helip.common.errors import UnsupportedError
from helip.training.metrics import open_log, read_metrics

ROW = {"step": 3, "epoch": 0, "loss": 2.5, "clip": math.inf}


def test_tensorboard_gets_the_finite_numbers_of_each_step(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with open_log(tmp_path, keep_to=0, sinks=["tensorboard"]) as log:
        log.write(**ROW)
        log.write(step=3, event="warning", message="x")
        log.write(step=4, epoch=0, loss=2.0)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert set(events.Tags()["scalars"]) == {"train/loss", "train/epoch"}
    found = [(event.step, event.value) for event in events.Scalars("train/loss")]
    assert found == [(3, 2.5), (4, 2.0)]
    assert len(read_metrics(tmp_path / "metrics.jsonl")) == 3


class FakeRun:
    def __init__(self, **options):
        self.options, self.logged, self.finished = options, [], False

    def log(self, numbers, step):
        self.logged.append((step, numbers))

    def finish(self):
        self.finished = True


def test_wandb_gets_them_too_with_the_options_of_the_run(tmp_path, monkeypatch):
    runs = []

    def init(**options):
        runs.append(FakeRun(**options))
        return runs[-1]

    monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(init=init))
    out = tmp_path / "a-run"
    out.mkdir()
    with open_log(out, keep_to=0, sinks=["wandb"], options={"lr": 1e-5}) as log:
        log.write(**ROW)
    (run,) = runs
    assert run.options["name"] == "a-run"
    assert run.options["dir"] == str(out)
    assert run.options["config"] == {"lr": 1e-5}
    assert run.logged == [(3, {"train/epoch": 0.0, "train/loss": 2.5})]
    assert run.finished


def test_the_log_goes_on_where_a_run_was_left(tmp_path):
    with open_log(tmp_path, keep_to=0) as log:
        for step in (1, 2, 3):
            log.write(step=step, loss=1.0)
    with open_log(tmp_path, keep_to=2) as log:
        assert log.last == {"step": 2, "loss": 1.0}
    assert [row["step"] for row in read_metrics(tmp_path / "metrics.jsonl")] == [1, 2]


def test_a_process_that_does_not_lead_writes_nothing(tmp_path):
    with open_log(tmp_path, keep_to=0, sinks=["tensorboard"], leads=False) as log:
        log.write(**ROW)
        log.sync()
    assert not list(tmp_path.iterdir())


def test_an_absent_sink_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with (
        pytest.raises(UnsupportedError, match="pip install wandb"),
        open_log(tmp_path, keep_to=0, sinks=["wandb"]),
    ):
        pass
