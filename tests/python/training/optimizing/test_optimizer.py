"""Optimizers by name: AdamW against the plain formula in float64, states of timm's."""

from __future__ import annotations

import math

import pytest
import torch

from helip.common.errors import InvalidArgumentError
from helip.training.optimizing.optimizer import (
    load_optimizer_tensors,
    make_optimizer,
    optimizer_tensors,
    scheduled_lr,
)
from helip.training.recipe import Recipe
from support.tune_samples import captions, pictures, same, tiny, weights

LR, DECAY, BETAS, EPS = 1e-2, 0.1, (0.9, 0.98), 1e-6


def test_three_steps_are_those_of_the_formula_and_norms_and_biases_do_not_decay() -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(5, 4), torch.nn.LayerNorm(4))
    optimizer = make_optimizer(model, Recipe(lr=LR, weight_decay=DECAY, betas=BETAS, eps=EPS))
    assert optimizer.defaults["fused"] is True
    wanted = {name: value.detach().double() for name, value in model.named_parameters()}
    first = {name: torch.zeros_like(value) for name, value in wanted.items()}
    second = {name: torch.zeros_like(value) for name, value in wanted.items()}
    for step in range(1, 4):
        for name, parameter in model.named_parameters():
            parameter.grad = torch.randn_like(parameter)
            grad = parameter.grad.double()
            if parameter.dim() >= 2:
                wanted[name] = wanted[name] * (1 - LR * DECAY)
            first[name] = BETAS[0] * first[name] + (1 - BETAS[0]) * grad
            second[name] = BETAS[1] * second[name] + (1 - BETAS[1]) * grad**2
            mean = first[name] / (1 - BETAS[0] ** step)
            square = second[name] / (1 - BETAS[1] ** step)
            wanted[name] = wanted[name] - LR * mean / (square.sqrt() + EPS)
        optimizer.step()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.double(), wanted[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["lion", "muon", "lamb", "laprop", "adafactor", "novograd"])
def test_a_resumed_optimizer_of_timm_takes_the_steps_of_one_that_went_on(name) -> None:
    def step(model, optimizer):
        optimizer.zero_grad()
        image, text, _ = model(*inputs)
        (image * text).sum().neg().backward()
        optimizer.step()

    recipe, inputs = Recipe(optimizer=name, lr=1e-3), (pictures(tiny()), captions())
    first, second = tiny().model, tiny().model
    whole = make_optimizer(first, recipe)
    step(first, whole)
    step(first, whole)
    second.load_state_dict(first.state_dict())
    again = make_optimizer(second, recipe)
    state = {
        key: value.clone()
        for key, value in optimizer_tensors(whole, first.named_parameters()).items()
    }
    load_optimizer_tensors(again, second.named_parameters(), state)
    step(first, whole)
    step(second, again)
    assert same(weights(first), weights(second))


def test_muon_is_for_hidden_layers_alone() -> None:
    model = tiny().model
    optimizer = make_optimizer(model, Recipe(optimizer="muon"))
    names = {id(p): name for name, p in model.named_parameters()}
    hidden = {
        names[id(p)] for g in optimizer.param_groups if not g["use_fallback"] for p in g["params"]
    }
    assert "transformer.resblocks.0.mlp.c_fc.weight" in hidden
    assert all("resblocks" in name for name in hidden)


@pytest.mark.parametrize("name", ["adamww", "adahessian", ""])
def test_an_unknown_optimizer_is_refused_with_those_that_are_near(name) -> None:
    with pytest.raises(InvalidArgumentError, match=r"optimizer is .*must be adamw or one of timm"):
        make_optimizer(tiny().model, Recipe(optimizer=name))


def test_other_optimizers_keep_betas_of_their_own_unless_they_are_named() -> None:
    own = make_optimizer(tiny().model, Recipe(optimizer="lion"))
    named = make_optimizer(tiny().model, Recipe(optimizer="lion", betas=(0.8, 0.9)))
    assert own.defaults["betas"] == (0.9, 0.99)
    assert named.defaults["betas"] == (0.8, 0.9)


def rates(total: int = 12, **options) -> list[float]:
    recipe = Recipe(lr=1.0, warmup=2, min_lr=0.2, **options)
    return [scheduled_lr(step, recipe, total) for step in range(total)]


@pytest.mark.parametrize(
    ("name", "height"),
    [
        ("cosine", lambda done: (1 + math.cos(math.pi * done)) / 2),
        ("linear", lambda done: 1 - done),
        ("constant", lambda done: 1.0),
        ("wsd", lambda done: 1.0 if done < 0.7 else (1 - done) / 0.3),
    ],
)
def test_a_rate_warms_up_and_then_is_that_of_its_schedule(name, height):
    expected = [0.5, 1.0] + [0.2 + 0.8 * height(step / 10) for step in range(10)]
    assert rates(lr_schedule=name, cooldown=0.3) == pytest.approx(expected)


def test_without_a_cooldown_wsd_is_constant():
    assert rates(lr_schedule="wsd", cooldown=0.0) == rates(lr_schedule="constant")


def test_an_unknown_schedule_is_refused_with_those_that_there_are():
    with pytest.raises(InvalidArgumentError, match="lr_schedule is 'step', must be one of 'cos"):
        Recipe(lr_schedule="step")
