"""AdamW for CLIP against the plain formula in float64."""

from __future__ import annotations

import torch

from helip.training.optimizer import make_adamw
from helip.training.recipe import Recipe

LR, DECAY, BETAS, EPS = 1e-2, 0.1, (0.9, 0.98), 1e-6


def test_three_steps_are_those_of_the_formula_and_norms_and_biases_do_not_decay() -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(5, 4), torch.nn.LayerNorm(4))
    optimizer = make_adamw(model, Recipe(lr=LR, weight_decay=DECAY, betas=BETAS, eps=EPS))
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
