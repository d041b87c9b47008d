"""Steps of a trainer by other means: precision, saved memory, compilation, SigLIP's loss, hooks."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from helip.common.errors import InvalidArgumentError, MismatchError, UnsupportedError
from helip.losses.helip_loss import HelipLoss
from helip.models.bundle import create_model
from helip.training.metrics import read_metrics
from helip.training.recipe import Recipe
from helip.training.trainer import Trainer
from support.loop_samples import CONFIG, RECIPE, FakeLoader, bundle, trainer, weights

pytestmark = pytest.mark.usefixtures("one_thread")

HALF = Recipe(lr=1e-2, warmup=2, seed=5, precision="bfloat16")


def rows_of(out, **options):
    trainer(out, **options).run()
    return read_metrics(out / "metrics.jsonl")


@pytest.mark.parametrize("recipe", [RECIPE, HALF])
def test_activations_computed_again_change_nothing(tmp_path, recipe):
    plain, saving = (
        trainer(tmp_path / str(flag), steps=3, recipe=recipe, grad_checkpointing=flag).run()
        for flag in (False, True)
    )
    expected = weights(plain.model)
    assert all(torch.equal(value, expected[name]) for name, value in weights(saving.model).items())


def test_batches_in_parts_train_under_autocast(tmp_path):
    whole = rows_of(tmp_path / "whole", recipe=HALF)
    parts = rows_of(tmp_path / "parts", recipe=HALF, accumulate=3, grad_checkpointing=True)
    assert parts[-1]["clip"] < parts[0]["clip"]
    for ours, theirs in zip(parts[:3], whole[:3], strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=2e-2)
        assert ours["grad_norm"] == pytest.approx(theirs["grad_norm"], rel=5e-2)


def test_a_run_is_not_resumed_in_other_parts(tmp_path):
    trainer(tmp_path, steps=1).run()
    with pytest.raises(MismatchError, match="accumulate was 1, is 2"):
        trainer(tmp_path, steps=1, accumulate=2).run()


class Both(nn.Module):
    """A model and its loss, as one function of a batch."""

    def __init__(self) -> None:
        super().__init__()
        self.model, self.loss = bundle().model, HelipLoss(gamma=0.7)

    def forward(self, batch):
        image, text, scale = self.model(batch["image"], batch["text"])
        return self.loss(image, text, scale, batch["target"])["loss"]


def test_model_and_loss_compile_without_a_graph_break():
    batch = next(iter(FakeLoader()))
    whole = Both()
    expected = whole(batch)
    expected.backward()
    right = {name: p.grad.clone() for name, p in whole.named_parameters()}
    whole.zero_grad()
    compiled = torch.compile(whole, backend="aot_eager", fullgraph=True)
    loss = compiled(batch)
    loss.backward()
    torch.testing.assert_close(loss, expected)
    for name, parameter in whole.named_parameters():
        torch.testing.assert_close(parameter.grad, right[name], rtol=1e-4, atol=1e-5)


def test_a_compiled_model_keeps_its_names(tmp_path, monkeypatch):
    used = []
    compile_module = nn.Module.compile

    def by_eager(self, *arguments, **options):
        used.append(type(self).__name__)
        return compile_module(self, *arguments, backend="eager", **options)

    monkeypatch.setattr(nn.Module, "compile", by_eager)
    result = trainer(tmp_path, steps=2, compiled=True).run()
    assert used == ["CLIP"]
    assert weights(create_model(result.checkpoint)).keys() == weights(bundle()).keys()
    torch._dynamo.reset()


def with_bias():
    config = {**CONFIG, "init_logit_bias": -5.0, "init_logit_scale": math.log(10)}
    return create_model("tiny", config=config, from_scratch=True, seed=3)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_model_with_a_bias_learns_it_by_siglips_loss(tmp_path, accumulate):
    model = with_bias()
    rows = rows_of(
        tmp_path,
        model=model,
        recipe=Recipe(lr=1e-2, warmup=2, seed=5, loss="siglip"),
        accumulate=accumulate,
    )
    assert rows[-1]["clip"] < rows[0]["clip"]
    assert model.model.logit_bias.item() != -5.0


def test_the_bias_stays_as_it_is_under_the_clip_loss(tmp_path):
    model = with_bias()
    trainer(tmp_path, model=model, steps=3).run()
    assert model.model.logit_bias.item() == -5.0


class Weighted(Trainer):
    """Adds a term by the two halves of a step."""

    def losses(self, encoded, batch):
        out = super().losses(encoded, batch)
        extra = encoded["image_features"].square().mean()
        return {**out, "loss": out["loss"] + extra, "extra": extra.detach()}


def test_a_term_of_ones_own_is_trained_on_and_logged_also_in_parts(tmp_path):
    rows = {}
    for accumulate in (1, 2):
        out = tmp_path / str(accumulate)
        options = {"recipe": HALF, "device": "cpu", "progress": False, "steps": 2}
        Weighted(bundle(), FakeLoader(), out=out, accumulate=accumulate, **options).run()
        rows[accumulate] = read_metrics(out / "metrics.jsonl")
    for whole, parts in zip(rows[1], rows[2], strict=True):
        assert whole["extra"] == pytest.approx(1 / 16, rel=1e-2)
        assert parts["extra"] == pytest.approx(whole["extra"], rel=1e-2)


@pytest.mark.parametrize("name", ["model", "loss", "Ema", "a/b", ""])
def test_a_hook_is_named_like_a_file_of_its_own(tmp_path, name):
    with pytest.raises(InvalidArgumentError, match="a hook is named"):
        trainer(tmp_path, hooks={name: object()})


def test_activations_of_a_model_that_cannot_do_it_are_not_promised(tmp_path):
    model = bundle()
    model.model.set_grad_checkpointing = None
    with pytest.raises(UnsupportedError, match=r"with set_grad_checkpointing\(\).*CLIP has none"):
        trainer(tmp_path, model=model, grad_checkpointing=True)


def test_similarities_are_logged_only_where_there_are_hard_pairs(tmp_path):
    class Plain(FakeLoader):
        def _batches(self):
            for batch in super()._batches():
                yield {**batch, "target": torch.arange(8)}

    hard, plain = rows_of(tmp_path / "hard"), rows_of(tmp_path / "plain", loader=Plain())
    assert all(-1 <= row["hard_similarity"] <= 1 for row in hard)
    assert not any("hard_similarity" in row for row in plain)
    assert hard[0]["temperature"] == pytest.approx(1 / hard[0]["logit_scale"])
