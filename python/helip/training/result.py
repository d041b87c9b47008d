"""What a training run is given, where it stands, and what it hands back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn

from helip.common.errors import Error
from helip.common.options import Precision, method_keywords
from helip.models.bundle import ModelBundle
from helip.models.pretrained import (
    PushModelCall,
    SavePretrainedCall,
    push_model,
    save_pretrained,
)
from helip.training.checkpoints import facts_of
from helip.training.optimizing.optimizer import MAX_LOGIT_SCALE


class BatchLoader(Protocol):
    """What a trainer asks of a loader; state_dict holds plain JSON values.

    One whose state of rank 0 serves any rank of any number of ranks has an attribute
    ``resumes_on_other_ranks`` that is True; where such a change may cut what is left of an epoch
    into another number of batches, ``batches_left`` says how many are not handed over yet.
    A batch whose ``index`` has no row is passed over, by all processes together.
    """

    def __iter__(self) -> Iterator[dict[str, Any]]: ...
    def __len__(self) -> int: ...
    def set_epoch(self, epoch: int) -> None: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class KeepsTensors(Protocol):
    """Something whose state is a file of each checkpoint, but where it is empty."""

    def state_dict(self) -> Mapping[str, Tensor]: ...
    def load_state_dict(self, state: Mapping[str, Tensor], /) -> None: ...


class StepHook(KeepsTensors, Protocol):
    """Something done after each optimizer step, such as averaging weights; part of checkpoints."""

    def after_step(self, model: nn.Module, step: int) -> Mapping[str, float] | None:
        """``step`` steps are done. What is returned goes into the metrics."""


class NonFiniteLossError(Error):
    """The loss or its gradient became NaN or infinite; the weights were not touched by it."""

    def __init__(self, message: str, *, step: int, rows: list[int], checkpoint: Path | None):
        super().__init__(message)
        self.step = step
        self.rows = rows  # data-set rows of the batch, those of all processes
        self.checkpoint = checkpoint  # the last good one


@dataclass
class TrainResult:
    """What a finished run hands back."""

    steps: int
    seconds: float  # of all sessions that worked on the run
    metrics: dict[str, Any]  # the last line of metrics.jsonl
    checkpoint: Path
    precision: Precision  # that was computed in
    loader_stats: dict[str, Any] = field(repr=False)  # of this process
    model: ModelBundle  # the model that was passed in, trained, in eval mode
    resumed_from: int = 0  # step
    strategy: str | None = None  # of the batches, where the loader names one
    captions_at_context_limit: int = 0  # rows whose caption fills the context, so may be cut
    # What the processes of this machine, and their workers, had of the cache of remote shards.
    cache: dict[str, int] = field(default_factory=dict)
    # Of the best weights: figure, value, step; stale: measurements since; failures: step, message.
    validation: dict[str, Any] = field(default_factory=dict)
    # Of the batches before the first step: batches, rows of all processes, left_out, loss, seconds.
    warm_statistics: dict[str, Any] = field(default_factory=dict)
    # With pools="own", of each mining: mining (its number), plain_targets (rows for which it found
    # no hard pair), encode_seconds and mine_seconds, which `seconds` does not contain.
    pools: list[dict[str, Any]] = field(default_factory=list)
    # What the guard says: verdict, words, tolerance, sets, step; looks: step and verdict of each;
    # failures: step, message.
    guard: dict[str, Any] = field(default_factory=dict)

    @method_keywords(SavePretrainedCall)
    def save_pretrained(self, call: SavePretrainedCall) -> Path:
        """`ModelBundle.save_pretrained` of the model, with a card that says how it was trained."""
        return save_pretrained(self.model, call, facts_of(self.checkpoint))

    @method_keywords(PushModelCall)
    def push_to_hub(self, call: PushModelCall) -> str:
        """`ModelBundle.push_to_hub` of the model, with a card that says how it was trained."""
        return push_model(self.model, call, facts_of(self.checkpoint))


@dataclass
class Progress:
    """Where a run stands; goes into each checkpoint."""

    step: int = 0
    epoch: int = 0
    step_in_epoch: int = 0
    seconds: float = 0.0
    captions_at_context_limit: int = 0  # of this process
    scale_bound: float = MAX_LOGIT_SCALE  # of the temperature's logarithm, by where the run began
    validation: dict[str, Any] = field(default_factory=dict)
    warm_statistics: dict[str, Any] = field(default_factory=dict)
    guard: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
