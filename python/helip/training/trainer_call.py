"""What a training loop and a Trainer are given."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from helip.common.options import ProgressOptions
from helip.mining.streaming import StreamingMiner
from helip.models.bundle import ModelBundle
from helip.training.measuring.start_comparison import Guard
from helip.training.measuring.validator import Validate
from helip.training.options import RunOptions
from helip.training.recipe import Recipe
from helip.training.result import BatchLoader, StepHook
from helip.training.stream import Embed
from helip.training.terms import Teacher


@dataclass(frozen=True, kw_only=True)
class LoopOptions(RunOptions, ProgressOptions):
    """What a training loop is given beside its options, wherever its batches come from."""

    out: str | os.PathLike[str]
    """The directory of the run: checkpoints and metrics."""
    embed: Embed | None = None
    """Called with the batch, its tensors on the device, for what a StreamingMiner mines of frozen
    encoders: image [b, d_image] and text [b, d_text]. None: the features of the model itself."""
    teacher: Teacher | None = None
    """With distill: a store of this data by the dual encoder that teaches, or its path. None: a
    frozen copy of the start model."""
    hooks: Mapping[str, StepHook] | None = None
    """Name to StepHook, called after each step in this order. What a hook keeps is part of a
    checkpoint, as NAME.safetensors."""
    validate: Validate | None = None
    """Called with a copy of the model, a ModelBundle, after eval_every steps and at the end, for
    figures by their names; with ema the copy has the averages. helip.Validation makes one of a
    data set. The best weights stay in OUT/best."""
    guard: Guard | None = None
    """Measures the start model and the tuned one and says whether something is lost, as
    helip.Guard(data) does; its statement goes to OUT/guard and into the result."""
    should_stop: Callable[[], bool] | None = None
    """Asked after each step; True ends the run with a checkpoint and CancelledError."""


@dataclass(frozen=True, kw_only=True)
class TrainerCall(LoopOptions):
    """What a Trainer is made of."""

    model: ModelBundle = field(kw_only=False)
    """The model with its transforms and tokenizer; trained in place."""
    loader: BatchLoader = field(kw_only=False)
    """Gives the batches."""
    recipe: Recipe | None = None
    """Every number that decides what is computed; None takes the defaults."""
    miner: StreamingMiner | None = None
    """Given each batch after its step, with the features [b, d] that the model made of it; usually
    the one that the loader draws from. Its state is part of a checkpoint."""
    identity: Mapping[str, Any] | None = None
    """Other plain values that must be the same when the run is resumed."""
