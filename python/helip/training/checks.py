"""What of a run does not fit together: refused before anything is written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from helip.common.errors import InvalidArgumentError, UnsupportedError
from helip.common.processes import Processes
from helip.models.bundle import ModelBundle
from helip.training.checkpoints import check_hook_name
from helip.training.objective import SslTerm
from helip.training.options import RunOptions
from helip.training.recipe import Recipe
from helip.training.result import BatchLoader


def check_run(
    recipe: Recipe,
    run: RunOptions,
    bundle: ModelBundle,
    loader: BatchLoader,
    hooks: Mapping[str, Any],
    processes: Processes,
    device: torch.device,
    *,
    mines: bool,
    own_compute_loss: bool,
) -> None:
    """Raise InvalidArgumentError or UnsupportedError; all processes call it together.

    mines: whether a StreamingMiner is given the batches. own_compute_loss: whether compute_loss of
    the Trainer was overridden.
    """
    _check_batches(loader, processes)
    _check_precision(recipe, run, bundle, processes, device)
    if processes.count > 1 and mines:
        raise UnsupportedError(
            f"a StreamingMiner mines in one process, and there are {processes.count}; mine a table "
            "before training, or train in one process"
        )
    if run.accumulate > 1 and own_compute_loss:
        raise UnsupportedError(
            f"accumulate is {run.accumulate}, and compute_loss is overridden, which sees the batch "
            "whole; override encode and losses instead"
        )
    if run.accumulate > 1 and SslTerm.of(bundle.model, recipe):
        raise UnsupportedError(
            f"accumulate is {run.accumulate}, and the self-supervised head normalises over the "
            "batch, which chunks would change; use accumulate=1, or ssl_scale=0"
        )
    if processes.count > 1 and run.parallel == "fsdp" and recipe.lora is not None:
        raise UnsupportedError(
            "lora has not been made to work with parallel='fsdp'; take parallel='ddp', which keeps "
            "no optimizer state of what is frozen"
        )
    for name in hooks:
        check_hook_name(name)
    if recipe.ema is not None and "ema" in hooks:
        raise InvalidArgumentError(
            "a hook is named 'ema', and so is what the recipe's ema keeps; name the hook otherwise"
        )


def _check_batches(loader: BatchLoader, processes: Processes) -> None:
    processes.must_have_met()
    if len(loader) == 0:
        raise InvalidArgumentError(
            "the loader has 0 batches an epoch, must have at least 1; lower batch_size"
        )
    lengths = processes.exchange(len(loader))
    if len(set(lengths)) > 1:
        raise InvalidArgumentError(
            f"the loaders of the processes have {lengths} batches an epoch, must have as many"
        )


def _check_precision(
    recipe: Recipe,
    run: RunOptions,
    bundle: ModelBundle,
    processes: Processes,
    device: torch.device,
) -> None:
    half = recipe.precision == "float16"
    if half and device.type != "cuda":
        raise InvalidArgumentError(
            f"precision is 'float16' on {device.type}, must be 'bfloat16' or 'float32' there: loss "
            "scaling needs a CUDA device"
        )
    if half and processes.count > 1 and run.parallel == "fsdp":
        raise UnsupportedError(
            "precision='float16' has not been made to work with parallel='fsdp'; take 'bfloat16', "
            "or parallel='ddp'"
        )
    low = {p.dtype for p in bundle.model.parameters()} - {torch.float32, torch.float64}
    if low:
        raise InvalidArgumentError(
            f"the model's weights are {sorted(map(str, low))}, must be float32 for training; make "
            "it with precision='float32' and give precision='bfloat16' to the trainer"
        )
