"""The guard as a training run asks it."""

from __future__ import annotations

import json

import pytest

import helip
from helip.common.errors import InvalidArgumentError
from helip.evaluation.evaluating import evaluate
from helip.evaluation.statistics.forgetting import retention
from support.train_samples import CONFIG, Colours

pytestmark = pytest.mark.usefixtures("one_thread")


def model(seed=3):
    return helip.create_model("tiny", config=CONFIG, from_scratch=True, seed=seed)


def test_it_measures_what_evaluate_does_and_judges_as_retention_does():
    guard = helip.Guard({"first": Colours(12), "second": Colours(8)}, device="cpu", bootstrap=50)
    start, tuned = guard.measure(model()), guard.measure(model(4))
    right = evaluate(
        model(), Colours(8), device="cpu", bootstrap=50, keep_ranks=True, progress=False
    )
    assert start["second"] == right
    said = guard.compare(start, tuned)
    assert said == retention(start, tuned)
    assert list(said["sets"]) == ["first", "second"]
    assert json.loads(json.dumps(said)) == said


def test_one_set_has_a_name_too():
    assert list(helip.Guard(Colours(8)).sets) == ["general"]
    assert list(helip.Guard("general.csv").sets) == ["general.csv"]


def test_a_guard_without_resamples_or_with_an_odd_tolerance_is_refused():
    with pytest.raises(InvalidArgumentError, match="bootstrap is 0, must be at least 1"):
        helip.Guard(Colours(8), bootstrap=0)
    with pytest.raises(InvalidArgumentError, match="tolerance is -1"):
        helip.Guard(Colours(8), tolerance=-1)


@pytest.mark.slow
def test_a_run_that_ruins_its_model_is_told_of_it(tmp_path):
    """First it learns twelve colours by heart; then a rate far too high destroys that."""
    data = Colours(12)
    options = {"data": data, "batch_size": 12, "hard_per_target": 0, "device": "cpu"}
    options |= {"progress": False, "precision": "float32", "weight_decay": 0.0}
    taught = helip.train(model=model(), out=tmp_path / "taught", lr=1e-2, steps=120, **options)
    guard = helip.Guard({"seen": data}, device="cpu", bootstrap=200)
    known = guard.measure(taught.model)["seen"]["retrieval"]["image_to_text"]["recall@1"]["value"]
    assert known == 1.0
    ruined = helip.train(
        model=taught.model, out=tmp_path / "ruined", lr=0.3, lr_schedule="constant", warmup=0.0,
        steps=3, guard=guard, **options,
    )  # fmt: skip
    assert ruined.guard["verdict"] == "lost", ruined.guard
