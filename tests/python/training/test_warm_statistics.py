"""Moments that an optimizer has before its first step, and all that they leave as it was."""

from __future__ import annotations

import contextlib
import json
import math

import pytest
import torch
from timm.optim import list_optimizers

import helip
from helip.common.errors import (
    CancelledError,
    MismatchError,
    UnsupportedError,
)
from helip.common.processes import Processes
from helip.losses.helip_loss import HelipLoss
from helip.models.bundle import create_model
from helip.training.checkpoints import read_checkpoint, seed_all
from helip.training.checks import SUMMING
from helip.training.metrics import read_metrics
from helip.training.network import Network
from helip.training.optimizing.optimizer import make_optimizer, weights_kept
from helip.training.recipe import Recipe
from helip.training.result import NonFiniteLossError
from helip.training.step import OptimizerStep
from support.loop_samples import BATCHES, FakeLoader, bundle, trainer, weights
from support.train_samples import CONFIG as TOKENS
from support.train_samples import Colours, table
from support.tune_samples import RESNET, same
from support.warm_samples import LR, SEED, Doubles, doubles, recipe

pytestmark = pytest.mark.usefixtures("one_thread")

DECAY, EPS = 0.1, 1e-6
BETAS = (0.9, 0.98)


class Reference:
    """Adam by its formula, in float64; the weights are moved when asked alone."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.model, self.step = model, 0
        zeros = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
        self.first, self.second = zeros, {name: z.clone() for name, z in zeros.items()}

    def take_in(self, batch: dict) -> None:
        self.model.zero_grad()
        image, text, scale = self.model(batch["image"], batch["text"])
        HelipLoss()(image, text, scale, batch["target"])["loss"].backward()
        self.step += 1
        for name, parameter in self.model.named_parameters():
            gradient = parameter.grad
            self.first[name] = BETAS[0] * self.first[name] + (1 - BETAS[0]) * gradient
            self.second[name] = BETAS[1] * self.second[name] + (1 - BETAS[1]) * gradient**2

    @torch.no_grad()
    def move(self, rate: float) -> None:
        for name, parameter in self.model.named_parameters():
            mean = self.first[name] / (1 - BETAS[0] ** self.step)
            square = self.second[name] / (1 - BETAS[1] ** self.step)
            kept = 1 - rate * DECAY if parameter.dim() >= 2 else 1.0
            parameter.copy_(kept * parameter - rate * mean / (square.sqrt() + EPS))
        self.model.logit_scale.clamp_(0, math.log(100))


def test_the_first_step_has_the_moments_of_adams_formula_over_the_batches_before_it(tmp_path):
    result = trainer(
        tmp_path, model=doubles(), loader=Doubles(), steps=1, recipe=recipe(grad_clip=None)
    ).run()
    reference = Reference(doubles().model.train())
    for number in (3, 1):  # three before, then the first of them again, which moves the weights
        seed_all(SEED)
        loader = iter(Doubles())
        for _ in range(number):
            reference.take_in(next(loader))
    reference.move(LR)
    state = read_checkpoint(result.checkpoint)
    for name, parameter in reference.model.named_parameters():
        assert state.tensors["optimizer"][f"{name}|step"] == 4
        for kept, right in (("exp_avg", reference.first), ("exp_avg_sq", reference.second)):
            ours = state.tensors["optimizer"][f"{name}|{kept}"]
            torch.testing.assert_close(ours, right[name], rtol=1e-10, atol=1e-14)
        trained = state.tensors["model"][name]
        torch.testing.assert_close(trained, parameter.detach(), rtol=1e-9, atol=1e-11)


def test_gradients_are_clipped_as_those_of_a_step(tmp_path):
    norms = {}
    for bound in (None, 0.01):
        run = trainer(tmp_path / str(bound), recipe=recipe(grad_clip=bound), should_stop=lambda: 1)
        with pytest.raises(CancelledError):
            run.run()
        states = run.optimizer.state.values()
        norms[bound] = sum(float(s["exp_avg"].square().sum()) for s in states) ** 0.5 / 0.1
    assert norms[0.01] == pytest.approx(0.01, rel=1e-3) and norms[None] > 0.1


def test_weights_keep_their_bits_and_buffers_modes_and_random_states_theirs(tmp_path):
    model = create_model("tiny", config={**TOKENS, "vision_cfg": RESNET}, from_scratch=True, seed=3)
    norm = model.model.visual.bn1
    with torch.no_grad():
        model.model.logit_scale.fill_(-0.5)  # below the bound that a step would clamp it to
        norm.bias.fill_(-0.0)
    loader = Bigger()
    run = trainer(tmp_path, model=model, loader=loader, recipe=recipe(), should_stop=lambda: True)
    before = weights(model)
    with pytest.raises(CancelledError, match=r"batch 1 of 3 of the warm statistics"):
        run.run()
    assert same(before, weights(model))
    assert torch.signbit(norm.bias).all()
    assert norm.num_batches_tracked == 0
    assert not list((tmp_path / "checkpoints").iterdir())


class Bigger(FakeLoader):
    """Pictures that a ResNet takes."""

    def __init__(self) -> None:
        super().__init__()
        self.images = self.images.repeat(1, 1, 2, 2)


def test_the_steps_see_the_batches_and_the_noise_of_a_run_without(tmp_path):
    cold, warm = Doubles(), Doubles()
    trainer(tmp_path / "cold", model=doubles(), loader=cold, recipe=recipe(warm_statistics=0)).run()
    result = trainer(tmp_path / "warm", model=doubles(), loader=warm, recipe=recipe()).run()
    assert warm.given[3:] == cold.given
    assert warm.given[:3] == cold.given[:3]
    rates = [
        [row["lr"] for row in read_metrics(tmp_path / name / "metrics.jsonl") if "lr" in row]
        for name in ("cold", "warm")
    ]
    assert rates[0] == rates[1]
    first = read_metrics(tmp_path / "cold" / "metrics.jsonl")[0]
    assert read_metrics(tmp_path / "warm" / "metrics.jsonl")[1]["loss"] == first["loss"]
    assert result.steps == 2 * BATCHES


def test_the_batches_are_counted_and_said(tmp_path):
    result = trainer(tmp_path, steps=1, recipe=recipe()).run()
    said = result.warm_statistics
    assert (said["batches"], said["rows"], said["left_out"]) == (3, 24, 0)
    assert said["loss"] > 0 and said["seconds"] > 0
    row = read_metrics(tmp_path / "metrics.jsonl")[0]
    assert row == {"step": 0, "event": "warm_statistics", **said}
    assert trainer(tmp_path / "cold", steps=1).run().warm_statistics == {}


def test_more_batches_than_an_epoch_has_go_on_with_the_next(tmp_path):
    loader = Doubles()
    trainer(
        tmp_path,
        model=doubles(),
        loader=loader,
        steps=1,
        recipe=recipe(warm_statistics=BATCHES + 2),
    ).run()
    places = [(epoch, number) for epoch, number, _ in loader.given]
    assert places == [(0, n + 1) for n in range(BATCHES)] + [(1, 1), (1, 2), (0, 1)]


def test_a_resumed_run_ends_with_the_same_bits_and_does_not_do_it_again(tmp_path):
    whole = trainer(tmp_path / "whole", recipe=recipe()).run()
    calls = iter(range(100))
    with pytest.raises(CancelledError, match="stopped after step 4 of 10"):
        trainer(tmp_path / "cut", recipe=recipe(), should_stop=lambda: next(calls) == 6).run()
    loader = Doubles()
    result = trainer(tmp_path / "cut", recipe=recipe()).run()
    assert not loader.given
    assert same(weights(whole.model), weights(result.model))
    ours, theirs = read_checkpoint(whole.checkpoint), read_checkpoint(result.checkpoint)
    assert same(ours.tensors["optimizer"], theirs.tensors["optimizer"])
    assert result.warm_statistics["batches"] == 3
    rows = read_metrics(tmp_path / "cut" / "metrics.jsonl")
    assert [row["step"] for row in rows] == list(range(11))


def test_one_that_was_interrupted_before_its_first_step_begins_anew(tmp_path):
    whole = trainer(tmp_path / "whole", recipe=recipe()).run()
    model, calls = bundle(), iter(range(100))
    with pytest.raises(CancelledError, match=r"after batch 2 of 3 .* the same call begins anew"):
        trainer(
            tmp_path / "cut", model=model, recipe=recipe(), should_stop=lambda: next(calls) == 1
        ).run()
    result = trainer(tmp_path / "cut", model=model, recipe=recipe()).run()
    assert result.resumed_from == 0
    assert same(weights(whole.model), weights(result.model))


def test_a_kill_between_the_batches_and_the_first_checkpoint_leaves_one_line_of_them(tmp_path):
    calls = iter(range(100))

    def fail():
        if next(calls) == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trainer(tmp_path, recipe=recipe(), should_stop=fail).run()
    assert not list((tmp_path / "checkpoints").iterdir())
    trainer(tmp_path, recipe=recipe()).run()
    rows = read_metrics(tmp_path / "metrics.jsonl")
    assert [row["step"] for row in rows] == list(range(11))


def test_a_run_is_not_resumed_with_another_number_of_batches(tmp_path):
    trainer(tmp_path, steps=1, recipe=recipe()).run()
    with pytest.raises(MismatchError, match="warm_statistics was 3, is 0"):
        trainer(tmp_path, steps=1, recipe=recipe(warm_statistics=0)).run()


def test_a_loss_that_is_not_finite_ends_the_run_and_names_the_batch(tmp_path):
    model = bundle()
    before = weights(model)
    run = trainer(tmp_path, model=model, loader=FakeLoader(nan_at=(0, 1)), recipe=recipe())
    with pytest.raises(NonFiniteLossError, match=r"batch 2 of 3 of the warm statistics: loss nan"):
        run.run()
    assert same(before, weights(model))
    assert read_metrics(tmp_path / "metrics.jsonl")[-1]["event"] == "non_finite"


def test_batches_in_parts_give_the_moments_of_whole_ones(tmp_path):
    states = []
    for accumulate in (1, 4):
        result = trainer(
            tmp_path / str(accumulate), model=doubles(), loader=Doubles(), steps=1,
            recipe=recipe(), accumulate=accumulate,
        ).run()  # fmt: skip
        states.append(read_checkpoint(result.checkpoint).tensors["optimizer"])
    for name, value in states[0].items():
        torch.testing.assert_close(states[1][name], value, rtol=1e-9, atol=1e-12, msg=name)


def test_an_average_of_the_weights_begins_at_the_start(tmp_path):
    start = weights(bundle())
    result = trainer(tmp_path, steps=1, recipe=recipe(ema=0.75)).run()
    now = weights(result.model)
    average = read_checkpoint(result.checkpoint).tensors["ema"]
    for name, value in start.items():
        torch.testing.assert_close(average[name], 0.75 * value + 0.25 * now[name])


def test_the_account_of_a_loader_of_hard_pairs_is_that_of_a_run_without(tmp_path):
    data, stats = Colours(), []
    for number in (0, 2, 30):
        result = helip.train(
            model=create_model("tiny", config=TOKENS, from_scratch=True, seed=3),
            data=data, pairs=table(data), out=tmp_path / str(number), batch_size=8, epochs=1,
            warm_statistics=number, device="cpu", progress=False,
        )  # fmt: skip
        assert result.warm_statistics.get("batches", 0) == number
        stats.append(json.dumps(result.loader_stats))
    assert stats[0] == stats[1] == stats[2]


def test_a_streaming_miner_hears_nothing_of_the_batches_before_the_first_step(tmp_path):
    first = []
    for number in (0, 3):
        helip.train(
            model=create_model("tiny", config=TOKENS, from_scratch=True, seed=3), data=Colours(),
            pairs=helip.StreamingMiner(memory=24), out=tmp_path / str(number), batch_size=8,
            steps=1, warm_statistics=number, device="cpu", progress=False,
        )  # fmt: skip
        row = read_metrics(tmp_path / str(number) / "metrics.jsonl")[-1]
        names = ("loss", "known_targets", "mean_pool", "plain_targets")
        first.append({name: row[name] for name in names})
    assert first[0] == first[1]


def known() -> list[str]:
    unfit = ["adahessian", "kron*", "fused*"]
    names = map(str, list_optimizers(exclude_filters=unfit))
    return ["adamw", *(n for n in names if "bnb" not in n and n != "adamw" and n not in SUMMING)]


@pytest.mark.parametrize("name", known())
def test_every_optimizer_of_averages_keeps_the_weights_and_is_where_it_stood(name):
    """It holds the weights' bits, and its first step after is no longer for the batches held."""
    moved = []
    for held in (1, 12):
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(5, 4), torch.nn.LayerNorm(4))
        optimizer = make_optimizer(model, Recipe(optimizer=name, lr=1e-3, weight_decay=0.0))
        start = {key: value.clone() for key, value in model.state_dict().items()}
        gradients = [torch.randn(p.shape) for p in model.parameters()]

        for number in range(held + 1):
            for parameter, gradient in zip(model.parameters(), gradients, strict=True):
                parameter.grad = gradient.clone()
            with weights_kept(optimizer) if number < held else contextlib.nullcontext():
                optimizer.step()
            assert same(start, model.state_dict()) == (number < held)
        assert any(optimizer.state.values())
        ways = [(p.detach() - start[n]).square().sum() for n, p in model.named_parameters()]
        moved.append(float(sum(ways)) ** 0.5)
    # A momentum of 0.9 that is no mean comes to ten gradients in the end, of one at first.
    assert 0 < moved[1] <= 12 * moved[0]


@pytest.mark.parametrize("name", SUMMING)
def test_an_optimizer_that_sums_is_refused(tmp_path, name):
    with pytest.raises(UnsupportedError, match=rf"{name} keeps the sum of all gradients"):
        trainer(tmp_path, recipe=recipe(optimizer=name))


def test_float16_looks_for_its_factor_in_the_batches_before_the_first_step():
    model = torch.nn.Linear(1, 1, bias=False)
    model.weight.data.fill_(1.0)
    cpu, alone = torch.device("cpu"), Processes()
    half = Recipe(lr=LR, precision="float16", warmup=0, grad_clip=None)
    step = OptimizerStep(half, Network(model, cpu, alone), alone, cpu, 1000, 1)
    nothing = dict.fromkeys(("clip", "margin", "violated", "logit_scale"), torch.ones(()))
    rows = []
    for slope in (1e36, 2.0, 4.0):  # at a factor of 65,536 the first is infinite
        losses = lambda *_, a=slope: {**nothing, "loss": (model.weight * a).sum()}  # noqa: E731
        with weights_kept(step.optimizer):
            row, failed = step(0, {}, encode=lambda batch: batch, losses=losses).read()
        assert not failed and model.weight.item() == 1.0
        rows.append(row)
    assert [math.isfinite(row["grad_norm"]) for row in rows] == [False, True, True]
    assert rows[-1]["loss_factor"] == 32768.0
    state = step.optimizer.state[model.weight]
    assert state["step"] == 2
    mean = BETAS[0] * (1 - BETAS[0]) * 2.0 + (1 - BETAS[0]) * 4.0
    assert state["exp_avg"].item() == pytest.approx(mean, rel=1e-6)
