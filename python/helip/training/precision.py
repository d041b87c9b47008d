"""What a run multiplies in where its recipe leaves that open (``precision="auto"``)."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch

from helip.common.devices import multiplies_bfloat16
from helip.common.options import Precision
from helip.common.processes import Processes
from helip.training.checkpoints import recorded_options
from helip.training.recipe import Recipe


def with_precision(
    recipe: Recipe, device: torch.device, processes: Processes, checkpoints: Path | None
) -> Recipe:
    """The recipe with a precision; all processes call it together.

    ``auto`` is what a run began with that is gone on with, else bfloat16 where the devices of all
    processes multiply it themselves, else float32.

    checkpoints: of the run to go on with; None begins one.
    """
    if recipe.precision != "auto":
        return recipe
    processes.must_have_met()
    begun = None if checkpoints is None else recorded_options(checkpoints).get("precision")
    told = processes.exchange([begun, multiplies_bfloat16(device)])
    (first, _), native = told[0], all(multiplies for _, multiplies in told)
    return dataclasses.replace(recipe, precision=first or ("bfloat16" if native else "float32"))


def precision_of(recipe: Recipe) -> Precision:
    """Of a recipe from `with_precision`."""
    assert recipe.precision != "auto"
    return recipe.precision
