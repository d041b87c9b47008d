"""Runs that distil: from a copy of the start model, and from a store of embeddings."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from helip.common.errors import (
    CancelledError,
    InvalidArgumentError,
    MismatchError,
    UnsupportedError,
)
from helip.models.weights import read_tensors
from helip.store.embedding_store import EmbeddingStore
from helip.training.fine_tuning import train
from helip.training.metrics import read_metrics
from helip.training.recipe import Recipe
from support.loop_samples import trainer as loop
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


def stored(path, image, text, data=None) -> EmbeddingStore:
    widths = {"image_dim": image.shape[1], "text_dim": text.shape[1]}
    with EmbeddingStore.create(path, **widths) as writer:
        writer.append(list((data or Colours()).keys), image, text)
    return EmbeddingStore.open(path)


@pytest.fixture(params=["copy", "store"])
def teacher(request, tmp_path):
    """What a run takes as its teacher: nothing, or the path of a store of another model."""
    if request.param == "copy":
        return None
    stored(tmp_path / "store", *encoded(tiny(seed=8), Colours()))
    return tmp_path / "store"


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


def test_an_interrupted_run_ends_with_the_same_bits(tmp_path, teacher):
    whole = run(tmp_path / "whole", teacher=teacher)
    calls = iter(range(1, 100))
    model = tiny()
    with pytest.raises(CancelledError):
        run(tmp_path / "cut", model, should_stop=lambda: next(calls) == 3, teacher=teacher)
    resumed = run(tmp_path / "cut", teacher=teacher)
    assert resumed.resumed_from == 3
    assert same(weights(whole.model.model), weights(resumed.model.model))


def cut(out, **options):
    """A run stopped after its third step; the model as that has left it."""
    calls, model = iter(range(1, 100)), tiny()
    with pytest.raises(CancelledError, match="the same call goes on from"):
        run(out, model, should_stop=lambda: next(calls) == 3, **options)
    return model


@pytest.mark.parametrize("lora", [None, 2])
def test_a_run_goes_on_with_its_own_teacher_whatever_the_model_has_become(tmp_path, lora):
    if lora:
        pytest.importorskip("peft")
    whole = run(tmp_path / "whole", lora=lora)
    for name, trained_since in (("trained", True), ("other", False)):
        model = cut(tmp_path / name, lora=lora)
        resumed = run(tmp_path / name, model if trained_since else tiny(seed=9), lora=lora)
        assert resumed.resumed_from == 3
        assert same(weights(whole.model.model), weights(resumed.model.model))
        assert run(tmp_path / name, resumed.model, lora=lora).resumed_from == 6


@pytest.mark.parametrize("damage", [lambda file: file.unlink(), lambda file: file.write_text("?")])
def test_where_the_kept_teacher_is_gone_the_start_model_is_asked_for(tmp_path, damage):
    model = cut(tmp_path)
    damage(tmp_path / "teacher.safetensors")
    with pytest.raises(MismatchError, match=r"teacher was .*the model as it was at the start"):
        run(tmp_path, model)
    assert run(tmp_path).resumed_from == 3


def test_a_run_that_begins_anew_in_a_folder_takes_the_model_that_is_given(tmp_path):
    run(tmp_path / "first", steps=1)
    (tmp_path / "again").mkdir()
    kept = tmp_path / "again" / "teacher.safetensors"
    kept.write_bytes((tmp_path / "first" / "teacher.safetensors").read_bytes())
    run(tmp_path / "again", tiny(seed=9), steps=1)
    assert same(read_tensors(kept), weights(tiny(seed=9).model))


def test_a_model_that_cannot_be_copied_cannot_teach(tmp_path):
    model = tiny()
    model.model.latest = model.model.logit_scale * 2  # has a graph, which deepcopy refuses
    with pytest.raises(UnsupportedError, match=r"cannot be copied.*give distill=0"):
        run(tmp_path / "run", model)
    assert not (tmp_path / "run").exists()


def test_a_run_wants_the_teacher_and_the_weight_that_it_began_with(tmp_path):
    cut(tmp_path / "run")
    store = stored(tmp_path / "store", *encoded(tiny(), Colours()))
    with pytest.raises(MismatchError, match="teacher was"):
        run(tmp_path / "run", teacher=store)
    with pytest.raises(MismatchError, match=r"distill was 2\.0, is 1\.0"):
        run(tmp_path / "run", distill=1.0)


def test_a_store_of_the_start_model_teaches_what_its_copy_does(tmp_path):
    copied = run(tmp_path / "copied")
    store = stored(tmp_path / "store", *encoded(tiny(), Colours()))
    read = run(tmp_path / "read", teacher=store)
    ours, theirs = weights(read.model.model), weights(copied.model.model)
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, rtol=1e-4, atol=1e-5, msg=name)
    assert read.metrics["distill"] == pytest.approx(copied.metrics["distill"], rel=1e-3)


def test_chunks_train_the_weights_of_the_whole_batch(tmp_path, teacher):
    whole = run(tmp_path / "1", steps=2, teacher=teacher)
    parts = run(tmp_path / "3", steps=2, accumulate=3, teacher=teacher)
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


@pytest.mark.parametrize("widths", [(12, 12), (16, 8)])
def test_a_teacher_of_another_width_is_refused(tmp_path, widths):
    rows = [np.ones((24, width), dtype=np.float32) for width in widths]
    store = stored(tmp_path / "store", *rows)
    with pytest.raises(InvalidArgumentError, match=rf"{widths[1]}\).*a teacher of that width"):
        run(tmp_path / "run", teacher=store)


class SeveralCaptions(Colours):
    def _read_captions(self, row):
        return [f"colour number {row}", f"shade {row}"]


def test_a_store_that_does_not_belong_to_the_data_is_refused_before_anything_is_written(tmp_path):
    features = encoded(tiny(), Colours())
    others = stored(tmp_path / "others", *features, Colours(prefix="other"))
    with pytest.raises(MismatchError, match="belongs to other data"):
        run(tmp_path / "run", teacher=others)
    good = stored(tmp_path / "good", *features)
    with pytest.raises(InvalidArgumentError, match=r"distill is 0\.0, which has no teacher"):
        run(tmp_path / "run", teacher=good, distill=0.0)
    with pytest.raises(InvalidArgumentError, match="24 rows of the data have several captions"):
        run(tmp_path / "run", teacher=good, data=SeveralCaptions())
    assert not (tmp_path / "run").exists()


def test_a_row_without_a_teacher_is_refused(tmp_path):
    image, text = encoded(tiny(), Colours())
    good = stored(tmp_path / "good", image, text)
    blank = stored(tmp_path / "blank", torch.zeros_like(image), text)
    with pytest.raises(MismatchError, match="no features in the teacher's store of 24 rows"):
        run(tmp_path / "a", teacher=blank)
    recipe = Recipe(lr=1e-2, distill=1.0)
    with pytest.raises(MismatchError, match=r"row \d+ has no features in the teacher's store"):
        loop(tmp_path / "b", recipe=recipe, teacher=good).run()  # its loader has 40 rows
