"""The guard of a run: start and end compared, and failures survived."""

from __future__ import annotations

import json

import pytest
import torch

from helip.common.errors import CancelledError, Error, InvalidArgumentError, MismatchError
from helip.models.bundle import create_model
from helip.training.metrics import read_metrics
from support.loop_samples import CONFIG, bundle, trainer, weights
from support.process_group import run
from support.tune_samples import same

pytestmark = pytest.mark.usefixtures("one_thread")

NAME = "text_projection"


class Keeper:
    """Measures one weight's sum, linear along a mixture; lost where it has moved too far."""

    def __init__(self, bound: float = 1e9, *failures: int) -> None:
        self.bound, self.failures, self.measured = bound, failures, []

    def measure(self, model):
        assert not model.model.training
        torch.rand(7)  # what it draws is no business of the run
        self.measured.append(weights(model))
        if len(self.measured) in self.failures:
            raise OSError("the disk is away")
        return {"general": {"sum": float(self.measured[-1][NAME].double().sum())}}

    def compare(self, start, tuned):
        change = tuned["general"]["sum"] - start["general"]["sum"]
        verdict = "lost" if abs(change) > self.bound else "kept"
        sets = {"general": {"change": change}}
        return {"verdict": verdict, "words": f"{verdict}!", "tolerance": 0.01, "sets": sets}


def change_of(result) -> float:
    return abs(float((weights(result.model)[NAME].double() - weights(bundle())[NAME]).sum()))


@pytest.fixture(scope="module")
def plain(tmp_path_factory, one_thread):
    """A run without a guard."""
    return trainer(tmp_path_factory.mktemp("plain")).run()


def test_start_and_end_are_compared_and_the_run_is_as_it_was(plain, tmp_path):
    guard = Keeper()
    result = trainer(tmp_path, guard=guard).run()
    assert same(weights(plain.model), weights(result.model))
    assert len(guard.measured) == 2
    assert same(guard.measured[0], weights(bundle()))
    assert same(guard.measured[1], weights(result.model))
    said = result.guard
    assert (said["verdict"], said["words"], said["step"]) == ("kept", "kept!", 10)
    assert abs(said["sets"]["general"]["change"]) == pytest.approx(change_of(plain), rel=1e-6)
    assert said["looks"] == [{"step": 10, "verdict": "kept"}]
    assert "failures" not in said
    kept = json.loads((tmp_path / "guard" / "statement.json").read_text())
    assert {name: kept[name] for name in said} == said
    rows = [r for r in read_metrics(tmp_path / "metrics.jsonl") if r.get("event") == "guard"]
    assert [(row["step"], row.get("verdict")) for row in rows] == [(0, None), (10, "kept")]


def test_it_looks_after_every_validation_too(tmp_path):
    result = trainer(
        tmp_path, guard=Keeper(), validate=lambda model: {"score": 1.0}, eval_every=4
    ).run()
    assert [look["step"] for look in result.guard["looks"]] == [4, 8, 10]
    assert result.validation["value"] == 1.0
    alone = trainer(tmp_path / "alone", guard=Keeper(), eval_every=5).run()
    assert [look["step"] for look in alone.guard["looks"]] == [5, 10]


def test_a_resumed_run_compares_with_the_figures_that_are_kept(tmp_path):
    whole = trainer(tmp_path / "whole", guard=Keeper(), eval_every=4).run()
    calls = iter(range(100))
    with pytest.raises(CancelledError):
        stop = lambda: next(calls) == 5  # noqa: E731
        trainer(tmp_path / "cut", guard=Keeper(), eval_every=4, should_stop=stop).run()
    guard = Keeper()
    other = create_model("tiny", config=CONFIG, from_scratch=True, seed=99)
    result = trainer(tmp_path / "cut", model=other, guard=guard, eval_every=4).run()
    assert len(guard.measured) == 2  # after steps 8 and 10
    assert result.guard == whole.guard
    again = Keeper()
    lines = (tmp_path / "cut" / "metrics.jsonl").read_text()
    assert trainer(tmp_path / "cut", guard=again, eval_every=4).run().guard == whole.guard
    assert not again.measured
    assert (tmp_path / "cut" / "metrics.jsonl").read_text() == lines


def cut(out, guard):
    with pytest.raises(CancelledError):
        trainer(out, guard=guard, should_stop=lambda: True).run()


def test_damaged_figures_are_measured_again_of_the_start_model_alone(tmp_path):
    for name, seed in (("same", 3), ("other", 99)):
        cut(tmp_path / name, Keeper())
        file = tmp_path / name / "guard" / "start.json"
        file.write_text(file.read_text().replace('"sum": ', '"sum": 9'))
        model = create_model("tiny", config=CONFIG, from_scratch=True, seed=seed)
        result = trainer(tmp_path / name, model=model, guard=Keeper()).run()
        assert result.steps == 10
        if seed == 3:
            assert result.guard["verdict"] == "kept"
            assert abs(result.guard["sets"]["general"]["change"]) < 5
        else:
            assert "verdict" not in result.guard
            (failure,) = result.guard["failures"]
            assert "does not match its own digest" in failure["message"]
            assert "the model given is not the start either" in failure["message"]


def test_a_start_that_cannot_be_measured_ends_the_run_before_its_first_step(tmp_path):
    with pytest.raises(Error, match="could not measure the start model: OSError: the disk is away"):
        trainer(tmp_path, guard=Keeper(1e9, 1)).run()
    assert trainer(tmp_path, guard=Keeper()).run().guard["verdict"] == "kept"


def test_a_look_that_fails_leaves_no_older_verdict_behind(tmp_path):
    result = trainer(tmp_path, guard=Keeper(1e9, 3), eval_every=5).run()
    assert result.guard["looks"] == [{"step": 5, "verdict": "kept"}]
    assert result.guard["failures"] == [{"step": 10, "message": "OSError: the disk is away"}]
    assert "verdict" not in result.guard


def test_a_statement_that_is_no_json_is_a_failure(tmp_path):
    class Odd(Keeper):
        def compare(self, start, tuned):
            return {"verdict": {1, 2}}

    result = trainer(tmp_path, guard=Odd(), steps=1).run()
    assert "TypeError" in result.guard["failures"][0]["message"]


def test_a_run_that_began_without_a_guard_gets_none_later(tmp_path):
    with pytest.raises(CancelledError):
        trainer(tmp_path, should_stop=lambda: True).run()
    with pytest.raises(MismatchError, match="the run began without a guard"):
        trainer(tmp_path, guard=Keeper()).run()


def test_what_is_no_guard_is_refused(tmp_path):
    with pytest.raises(InvalidArgumentError, match=r"guard is a str, .* give helip.Guard\(data\)"):
        trainer(tmp_path, guard="general.csv")
    with pytest.raises(InvalidArgumentError, match=r"patience or watch is given.*give validate"):
        trainer(tmp_path, guard=Keeper(), patience=2)


def two(rank: int, folder) -> list:
    found = []
    for parallel in ("ddp", "fsdp"):
        guard = Keeper(0.0)
        result = trainer(folder / parallel, guard=guard, eval_every=6, parallel=parallel).run()
        assert len(guard.measured) == (0 if rank else 3)
        found.append(result.guard)
    return found


@pytest.mark.slow
def test_rank_0_measures_and_all_know_what_it_said(tmp_path):
    first, second = run(two, tmp_path, tmp_path)
    assert first == second
    for said in first:
        assert [look["step"] for look in said["looks"]] == [6, 10]
