"""The learning rate of each step."""

from __future__ import annotations

import math

import pytest

from helip.common.errors import InvalidArgumentError
from helip.training.optimizing.schedules import scheduled_lr
from helip.training.recipe import Recipe


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
