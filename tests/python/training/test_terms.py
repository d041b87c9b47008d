"""Runs that distil from a copy of the start model."""

from __future__ import annotations

import pytest
import torch

from helip.common.errors import CancelledError, MismatchError
from helip.training.fine_tuning import train
from helip.training.metrics import read_metrics
from support.train_samples import Colours
from support.tune_samples import same, table, tiny, weights

pytestmark = pytest.mark.usefixtures("one_thread")


def run(out, model=None, data=None, **options):
    data = data or Colours()
    model = model or tiny()
    options = {
        "batch_size": 8, "device": "cpu", "lr": 1e-3, "steps": 6, "distill": 2.0,
        "transform": model.eval_transform,
    } | options  # fmt: skip
    return train(model=model, data=data, pairs=table(data), out=out, progress=False, **options)


def encoded(bundle, data) -> tuple[torch.Tensor, torch.Tensor]:
    rows = range(len(data))
    with torch.no_grad():
        images = bundle.encode_image([data.image(row) for row in rows])
        return images, bundle.encode_text([data.caption(row) for row in rows])


def distance_to_start(model) -> float:
    data = Colours()
    ours, start = encoded(model, data), encoded(tiny(), data)
    return float(sum((1 - (a * b).sum(dim=1)).mean() for a, b in zip(ours, start, strict=True)))


def test_the_loss_is_the_sum_of_its_terms_and_the_first_step_is_at_no_distance(tmp_path):
    run(tmp_path, gamma=0.5)
    rows = read_metrics(tmp_path / "metrics.jsonl")
    for row in rows:
        total = row["clip"] + 0.5 * row["margin"] + 2.0 * row["distill"]
        assert row["loss"] == pytest.approx(total, rel=1e-5)
    assert rows[0]["distill"] == pytest.approx(0, abs=1e-6)
    assert min(row["distill"] for row in rows[2:]) > 1e-6


def test_the_tuned_model_keeps_the_start_features(tmp_path):
    free = run(tmp_path / "free", distill=0.0)
    held = run(tmp_path / "held", distill=100.0)
    assert "distill" not in free.metrics
    assert distance_to_start(held.model) < 0.5 * distance_to_start(free.model)


def test_an_interrupted_run_ends_with_the_same_bits(tmp_path):
    whole = run(tmp_path / "whole")
    calls = iter(range(1, 100))
    model = tiny()
    with pytest.raises(CancelledError):
        run(tmp_path / "cut", model, should_stop=lambda: next(calls) == 3)
    resumed = run(tmp_path / "cut")
    assert resumed.resumed_from == 3
    assert same(weights(whole.model.model), weights(resumed.model.model))


def test_a_run_wants_the_teacher_that_it_began_with(tmp_path):
    calls = iter(range(1, 100))
    model = tiny()
    with pytest.raises(CancelledError):
        run(tmp_path / "run", model, should_stop=lambda: next(calls) == 3)
    trained_since = model
    for other in (trained_since, tiny(seed=9)):
        with pytest.raises(MismatchError, match="teacher was"):
            run(tmp_path / "run", other)
    with pytest.raises(MismatchError, match=r"distill was 2\.0, is 1\.0"):
        run(tmp_path / "run", distill=1.0)


def test_chunks_train_the_weights_of_the_whole_batch(tmp_path):
    whole = run(tmp_path / "1", steps=2)
    parts = run(tmp_path / "3", steps=2, accumulate=3)
    ours = read_metrics(tmp_path / "3" / "metrics.jsonl")
    theirs = read_metrics(tmp_path / "1" / "metrics.jsonl")
    for mine, right in zip(ours, theirs, strict=True):
        for name in ("loss", "distill", "grad_norm"):
            assert mine[name] == pytest.approx(right[name], rel=1e-4, abs=1e-6)
    for name, value in weights(whole.model.model).items():
        torch.testing.assert_close(
            weights(parts.model.model)[name], value, rtol=1e-3, atol=1e-4, msg=name
        )


@pytest.mark.parametrize("option", [{"lora": 2}, {"lock_image": True}])
def test_the_teacher_is_the_model_before_it_is_adapted_or_locked(tmp_path, option):
    if "lora" in option:
        pytest.importorskip("peft")
    run(tmp_path, **option)
    rows = read_metrics(tmp_path / "metrics.jsonl")
    assert rows[0]["distill"] == pytest.approx(0, abs=1e-6)
    assert rows[-1]["distill"] > 1e-7
