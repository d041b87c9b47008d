"""Validation in mid-run: figures, the best weights, early stop, failures that the run survives."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from helip.common.errors import CancelledError, InvalidArgumentError
from helip.models.bundle import create_model
from helip.models.weights import read_tensors
from helip.training.metrics import read_metrics
from helip.training.recipe import Recipe
from support.loop_samples import bundle, trainer, weights
from support.process_group import run
from support.tune_samples import same

pytestmark = pytest.mark.usefixtures("one_thread")


class Measure:
    """Gives values in turn, and keeps the weights that it was given."""

    def __init__(self, *values: float) -> None:
        self.values, self.seen = list(values), []

    def __call__(self, model):
        assert not model.model.training
        self.seen.append(weights(model))
        torch.rand(5)  # what it draws is no business of the run
        value = self.values[len(self.seen) - 1]
        if isinstance(value, Exception):
            raise value
        return {"score": value, "other": -value}


def test_a_run_is_measured_as_often_as_asked_and_keeps_its_best_weights(tmp_path):
    measure = Measure(0.5, 0.9, 0.7, 0.8)
    plain = trainer(tmp_path / "plain").run()
    result = trainer(tmp_path / "run", validate=measure, eval_every=3).run()
    assert result.validation == {"figure": "score", "value": 0.9, "step": 6, "stale": 2}
    best = create_model(tmp_path / "run" / "best")
    assert same(weights(best), measure.seen[1])
    chosen = json.loads((tmp_path / "run" / "best" / "best.json").read_text())
    assert chosen == {
        "step": 6, "figure": "score", "value": 0.9, "figures": {"score": 0.9, "other": -0.9},
    }  # fmt: skip
    rows = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert [(r["step"], r["score"]) for r in rows if r.get("event") == "validation"] == [
        (3, 0.5), (6, 0.9), (9, 0.7), (10, 0.8),
    ]  # fmt: skip
    # It changes nothing: not a weight, not a number that is drawn.
    assert same(weights(plain.model), weights(result.model))


def test_a_figure_may_be_watched_by_name_and_less_of_it_be_better(tmp_path):
    measure = Measure(0.5, 0.9, 0.7, 0.8)
    options = {"watch": "other", "watch_lowest": True, "eval_every": 3}
    result = trainer(tmp_path, validate=measure, **options).run()
    assert result.validation["figure"] == "other"
    assert result.validation["value"] == -0.9


def test_a_run_that_gets_no_better_ends_early_also_when_it_is_resumed(tmp_path):
    calls = iter(range(1, 99))
    options = {"eval_every": 1, "patience": 2}
    with pytest.raises(CancelledError):
        stop = lambda: next(calls) == 3  # noqa: E731
        trainer(tmp_path, validate=Measure(1, 3, 2), should_stop=stop, **options).run()
    result = trainer(tmp_path, validate=Measure(2, 9), **options).run()
    assert result.resumed_from == 3
    assert result.steps == 4
    assert result.validation == {"figure": "score", "value": 3.0, "step": 2, "stale": 2}
    again = trainer(tmp_path, validate=Measure(), **options).run()
    assert again.steps == 4


def test_a_validation_that_fails_is_told_at_the_end_and_the_run_goes_on(tmp_path):
    measure = Measure(0.5, OSError("the disk is away"), 0.7, 0.6)
    result = trainer(tmp_path, validate=measure, eval_every=3).run()
    assert result.steps == 10
    assert result.validation["value"] == 0.7
    assert result.validation["failures"] == [{"step": 6, "message": "OSError: the disk is away"}]
    events = [r for r in read_metrics(tmp_path / "metrics.jsonl") if "event" in r]
    assert events[1]["event"] == "validation_failed"


def test_a_figure_that_is_not_measured_is_told(tmp_path):
    result = trainer(tmp_path, validate=Measure(1), watch="accuracy", steps=1).run()
    assert "watch is 'accuracy', must be" in result.validation["failures"][0]["message"]
    assert not (tmp_path / "best").exists()


def test_with_an_average_that_is_what_is_measured(tmp_path):
    measure = Measure(1.0)
    result = trainer(tmp_path, validate=measure, recipe=Recipe(lr=1e-2, ema=0.5), steps=3).run()
    average = read_tensors(result.checkpoint / "ema.safetensors")
    assert same(measure.seen[0], average)
    assert not same(measure.seen[0], weights(result.model))


def test_best_weights_that_a_kill_left_beside_their_place_are_put_there(tmp_path):
    trainer(tmp_path, validate=Measure(1.0), steps=2).run()
    (tmp_path / "best").rename(tmp_path / "best-new")  # killed when the old ones were gone
    result = trainer(tmp_path, validate=Measure(), steps=2).run()
    assert result.validation["step"] == 2
    assert json.loads((tmp_path / "best" / "best.json").read_text())["step"] == 2
    assert not (tmp_path / "best-new").exists()


@pytest.mark.parametrize("text", [None, "{", "{}"])
def test_a_run_goes_on_without_what_best_json_says(tmp_path, text):
    def damaged(folder):
        folder.mkdir(exist_ok=True)
        (folder / "best.json").unlink(missing_ok=True)
        if text is not None:
            (folder / "best.json").write_text(text)

    trainer(tmp_path, validate=Measure(1.0), steps=2).run()
    damaged(tmp_path / "best")
    damaged(tmp_path / "best-new")
    with pytest.warns(UserWarning, match=r"best/best\.json.*; the run goes on"):
        result = trainer(tmp_path, validate=Measure(), steps=2).run()
    assert (result.validation["value"], result.validation["step"]) == (1.0, 2)
    assert not (tmp_path / "best-new").exists()


def test_validation_needs_something_to_validate_by(tmp_path):
    with pytest.raises(InvalidArgumentError, match="give validate"):
        trainer(tmp_path, eval_every=2)


def two(rank: int, folder) -> None:
    for parallel in ("ddp", "fsdp"):
        measure = Measure(1.0, 3.0, 2.0, 2.0, 2.0)
        result = trainer(
            folder / parallel, validate=measure, eval_every=1, patience=2, parallel=parallel
        ).run()
        assert result.steps == 4
        assert len(measure.seen) == (0 if rank else 4)


@pytest.mark.slow
def test_rank_0_measures_the_whole_model_and_all_end_together(tmp_path):
    run(two, tmp_path, tmp_path)
    for parallel in ("ddp", "fsdp"):
        assert (
            weights(create_model(tmp_path / parallel / "best")).keys() == weights(bundle()).keys()
        )


class Killed(BaseException):
    """As a kill: nothing tidies up after it but what tidies up in any case."""


@pytest.mark.parametrize("at", range(1, 12))
def test_best_weights_and_their_record_agree_after_a_kill_at_any_rename(tmp_path, at, monkeypatch):
    options = {"steps": 4, "eval_every": 1, "checkpoint_every": 2, "keep": 9}
    rename, calls = Path.rename, iter(range(1, 99))

    def renamed(self, target):
        if next(calls) == at:
            raise Killed
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", renamed)
    with pytest.raises(Killed):
        trainer(tmp_path, validate=Measure(1.0, 3.0, 4.0, 5.0), **options).run()
    monkeypatch.undo()
    # A device that computes otherwise finds the steps that it takes again no better.
    measure = Measure(0.5, 2.0, 2.5, 2.9)
    found = trainer(tmp_path, validate=measure, **options).run().validation
    record = {name: found[name] for name in ("figure", "value", "step")}
    kept = json.loads((tmp_path / "best" / "best.json").read_text())
    assert {name: kept[name] for name in record} == record
    assert not (tmp_path / "best-new").exists()
