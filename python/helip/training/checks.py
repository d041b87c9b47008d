"""What of a run does not fit together: refused before anything is written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from helip.common.errors import InvalidArgumentError, UnsupportedError
from helip.common.processes import Processes
from helip.models.locking import training_batch_norms
from helip.training.checkpoints import check_hook_name
from helip.training.network import is_sharded
from helip.training.options import RunOptions
from helip.training.recipe import Recipe
from helip.training.result import BatchLoader
from helip.training.trainer_call import TrainerCall

# Their state is a sum over all steps that the weights follow from, no average that forgets.
SUMMING = ("madgrad", "madgradw")
# Optimizers that work on each number of a weight alone, so on parts of it.
_OF_PARTS = ("adamw", "lion")


def check_run(
    call: TrainerCall,
    recipe: Recipe,
    hooks: Mapping[str, Any],
    processes: Processes,
    device: torch.device,
) -> None:
    """Raise InvalidArgumentError or UnsupportedError; all processes call it together.

    recipe, hooks: those of the call, completed.
    """
    model = call.model.model
    _check_batches(call.loader, processes)
    _check_precision(recipe, model, device)
    if any(map(is_sharded, model.parameters())):
        raise UnsupportedError(
            "the model is in parts since a run of this process with parallel='fsdp'; make the "
            "model anew, with create_model or its name"
        )
    unfit = {
        f"optimizer={recipe.optimizer!r}": recipe.optimizer not in _OF_PARTS,
        "lora": recipe.lora is not None,
        "precision='float16'": recipe.precision == "float16",
    }
    wrong = [option for option, is_set in unfit.items() if is_set]
    if processes.count > 1 and call.parallel == "fsdp" and wrong:
        raise UnsupportedError(
            f"{', '.join(wrong)} has not been made to work with parallel='fsdp'; leave it out (the "
            f"optimizer is {' or '.join(_OF_PARTS)}), or take parallel='ddp'"
        )
    if recipe.warm_statistics and recipe.optimizer in SUMMING:
        raise UnsupportedError(
            f"warm_statistics is {recipe.warm_statistics}, and {recipe.optimizer} keeps the sum of "
            "all gradients, which its first step would make up for at once; take an optimizer with "
            "averages, such as adamw, or warm_statistics=0"
        )
    for name in hooks:
        check_hook_name(name)
    looks = call.eval_every and call.guard is None
    if call.validate is None and (call.patience or call.watch or looks):
        raise InvalidArgumentError(
            "eval_every, patience or watch is given and nothing to validate by; give validate, "
            "such as helip.Validation(data)"
        )
    if recipe.ema is not None and "ema" in hooks:
        raise InvalidArgumentError(
            "a hook is named 'ema', and so is what the recipe's ema keeps; name the hook otherwise"
        )


def check_chunks(model: nn.Module, run: RunOptions) -> None:
    """Refuse a batch in chunks where the model, tuned as the recipe says, normalises over it."""
    if run.accumulate == 1:
        return
    norms = training_batch_norms(model)
    if norms:
        raise UnsupportedError(
            f"accumulate is {run.accumulate}, and {len(norms)} batch norms of the model train, "
            f"such as {norms[0]!r}: they normalise over the batch, which chunks would change. Use "
            "accumulate=1 (grad_checkpointing=True saves memory, too), or leave them out of "
            "training by lock_image=True, those of a self-supervised head by ssl_scale=0"
        )


def given_again(call: TrainerCall, parallel: str | None) -> str:
    """How the call that goes on with a run differs from the one that began it, in words."""
    needed = [] if call.resume else ["resume=True"]
    if "start" in (call.identity or {}):
        needed.append("the start model")
    elif parallel == "fsdp":
        needed.append("a model made anew")
    return f" with {' and '.join(needed)}" if needed else ""


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


def _check_precision(recipe: Recipe, model: nn.Module, device: torch.device) -> None:
    if recipe.precision == "float16" and device.type != "cuda":
        raise InvalidArgumentError(
            f"precision is 'float16' on {device.type}, must be 'bfloat16' or 'float32' there: loss "
            "scaling needs a CUDA device"
        )
    low = {p.dtype for p in model.parameters()} - {torch.float32, torch.float64}
    if low:
        raise InvalidArgumentError(
            f"the model's weights are {sorted(map(str, low))}, must be float32 for training; make "
            "it with precision='float32' and give precision='bfloat16' to the trainer"
        )
