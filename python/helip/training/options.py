"""Options of a training run beside its recipe: how long, where, and what is kept of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from helip.common.options import DeviceOptions, Options, Positive


@dataclass(frozen=True, kw_only=True)
class RunOptions(DeviceOptions):
    """How a run is carried out."""

    epochs: Positive = 2
    """An epoch has every target once."""
    steps: Positive | None = None
    """Optimizer steps in all; None takes epochs."""
    accumulate: Positive = 1
    """Chunks that a batch is encoded in, to save memory; gradients stay those of the batch."""
    parallel: Literal["ddp", "fsdp"] = "ddp"
    """Each of several processes has a replica of the model, or a part of each weight."""
    grad_checkpointing: bool = False
    """Compute activations again in the backward pass, to save memory."""
    compiled: bool = False
    """Compile the model by torch.compile."""
    resume: bool = True
    """Go on from the newest whole checkpoint in out; False refuses an out that holds any."""
    checkpoint_every: Positive | None = 1000
    """Steps between checkpoints, besides those after each epoch and at the end."""
    keep: Positive = 2
    """Newest checkpoints to keep."""
    eval_every: Positive | None = None
    """Steps between validations and looks of the guard, besides those at the end."""
    watch: str | None = None
    """The figure of a validation that the best weights are chosen by; None: its first."""
    watch_lowest: bool = False
    """Less of that figure is better, as of a loss."""
    patience: Positive | None = None
    """Validations without a better figure after which the run ends; None: never."""
    log_every: Positive = 1
    """Steps between lines of metrics.jsonl."""
    log_to: Sequence[Literal["tensorboard", "wandb"]] = ()
    """Where metrics go besides metrics.jsonl."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "log_to", tuple(self.log_to))
        super().__post_init__()


@dataclass(frozen=True, kw_only=True)
class OwnPoolOptions(Options):
    """Pools that the model itself mines for its run."""

    pools: Literal["own"] | None = None
    """own: no table; the model mines its own hard pairs first."""
    pools_every: Positive | None = None
    """With pools: epochs after which the model, as it is then, mines again; None: never."""
