"""Evaluation of a data set as a training run calls it."""

from __future__ import annotations

import helip
from helip.evaluation.evaluating import evaluate
from support.train_samples import CONFIG, Colours


def test_figures_are_those_of_evaluate_by_their_paths():
    bundle = helip.create_model("tiny", config=CONFIG, from_scratch=True, seed=3)
    measure = helip.Validation(Colours(6), device="cpu")
    figures = measure(bundle)
    result = evaluate(bundle, Colours(6), device="cpu", bootstrap=0, progress=False)
    assert figures
    for path, value in figures.items():
        part = result
        for name in path.split("."):
            part = part[name]
        assert part["value"] == value


def test_a_run_is_measured_on_a_data_set(tmp_path):
    result = helip.train(
        model=helip.create_model("tiny", config=CONFIG, from_scratch=True, seed=3),
        data=Colours(24), steps=2,
        out=tmp_path, batch_size=8, hard_per_target=0, device="cpu", progress=False, eval_every=1,
        validate=helip.Validation(Colours(6), device="cpu"),
    )  # fmt: skip
    assert "failures" not in result.validation
    assert result.validation["figure"].startswith("retrieval.")
    assert (tmp_path / "best" / "best.json").exists()
