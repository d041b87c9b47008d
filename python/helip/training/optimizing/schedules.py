"""The learning rate of each step, by the name of a schedule.

A rate is a function of the step alone, so that a resumed run needs no state of it:

    lr(step) = min_lr + (lr - min_lr) * shape(done)

after a linear warm-up to ``lr``, where ``done`` in [0, 1] is the share of the steps behind it that
are over. ``wsd`` (warm-up, stable, decay; arXiv 2404.06395) is constant but for its last steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from helip.training.recipe import Recipe

_SHAPES: dict[str, Callable[[float, float], float]] = {  # of done and cooldown, from 1 down
    "cosine": lambda done, cooldown: 0.5 * (1.0 + math.cos(math.pi * done)),
    "linear": lambda done, cooldown: 1.0 - done,
    "constant": lambda done, cooldown: 1.0,
    "wsd": lambda done, cooldown: min(1.0, (1.0 - done) / cooldown) if cooldown else 1.0,
}


def scheduled_lr(step: int, recipe: Recipe, total: int) -> float:
    """The rate of ``step`` of ``total``, from 0.

    A ``warmup`` below 1 is a share of all steps, any other a number of steps.
    """
    share = recipe.warmup < 1
    warmup = min(round(recipe.warmup * total) if share else int(recipe.warmup), total)
    if step < warmup:
        return recipe.lr * (step + 1) / warmup
    done = min((step - warmup) / max(total - warmup, 1), 1.0)
    height = _SHAPES[recipe.lr_schedule](done, recipe.cooldown)
    return recipe.min_lr + (recipe.lr - recipe.min_lr) * height
