"""What a training run would take, before it is done: steps, rows and memory."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import itertools
import os
import weakref
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from helip.common.errors import InvalidArgumentError, UnsupportedError
from helip.common.options import keywords
from helip.common.processes import join_processes, launched_processes
from helip.loading.loader import HardPairLoader
from helip.mining.streaming import StreamingMiner
from helip.models.locking import train_mode
from helip.training.checkpoints import random_states, restore_random_states
from helip.training.fine_tuning import TrainCall, bundle_of, make_trainer
from helip.training.named_recipes import with_recipe
from helip.training.optimizing.weight_average import WeightAverage
from helip.training.own_pools import minings
from helip.training.step import bytes_of, states_of
from helip.training.trainer import Trainer

# Rows that are planned one by one; of a longer run the first epoch stands for the others.
_PLANNED_ROWS = 200_000_000


@dataclass(frozen=True)
class StepMemory:
    """Bytes of tensors on the device: what lies there between steps, and ``peak``, the most at one
    time in the second of two steps on a batch of the most rows, all of the former included."""

    weights: int  # and buffers
    optimizer: int  # what it remembers
    copies: int  # averages, a teacher
    batch: int  # one, with what a teacher says of it
    peak: int


@dataclass(frozen=True)
class TrainingPlan:
    """What a run of one process would take."""

    steps: int
    steps_per_epoch: int
    rows: int  # of the steps, targets and hard pairs; fewer where some cannot be read
    parameters: int
    trained_parameters: int
    memory: StepMemory
    checkpoint_bytes: int  # of one; ``keep`` of them stay
    device: str
    minings: int = 0  # with pools="own": how often the data are encoded and mined, on top of it all

    def to_dict(self) -> dict[str, Any]:
        """The fields, JSON-able."""
        return dataclasses.asdict(self)


@dataclass(frozen=True, kw_only=True)
class PlanTrainingCall(TrainCall):
    """What `plan_training` is asked."""

    out: str | os.PathLike[str] | None = None  # type: ignore[assignment]
    """As train takes it; nothing is written there."""


@keywords(PlanTrainingCall, complete=with_recipe)
def plan_training(call: PlanTrainingCall) -> TrainingPlan:
    """What :func:`train` with these arguments would take, without doing it.

    Steps are exact, and so are rows up to 200 million, but for samples that cannot be read; with a
    StreamingMiner batches are taken as full. Memory is that of two real steps on the first batch,
    its rows repeated up to those of the largest, on the device and in the precision of the run, but
    not compiled. They are taken on a copy of the model, and of a loss that is an object, which stay
    as they are.

    Raises UnsupportedError under torchrun: it plans one process. OutOfMemoryError where a step does
    not fit on the device, as the run would.
    """
    if launched_processes() > 1:
        raise UnsupportedError(
            f"plan_training plans one process, and torchrun started {launched_processes()}; "
            "call it without torchrun, with the rows that one process has as batch_size"
        )
    callers = random_states()
    try:
        with join_processes(call.device) as device:
            return _planned(dataclasses.replace(call, device=str(device)))
    finally:
        restore_random_states(callers)


def _planned(call: PlanTrainingCall) -> TrainingPlan:
    bundle = bundle_of(call)
    if not isinstance(call.model, (str, os.PathLike, Mapping)):
        bundle = dataclasses.replace(
            bundle, model=copy.deepcopy(bundle.model), config=copy.deepcopy(bundle.config)
        )
    # What only watches a run, or keeps copies of it, is not made.
    bare = dataclasses.replace(
        call, out=call.out or "plan", loss=copy.deepcopy(call.loss), compiled=False,
        progress=False, hooks=None, validate=None, eval_every=None, patience=None, watch=None,
        guard=None, wise_ft=None,
    )  # fmt: skip
    trainer, _ = make_trainer(bare, bundle, _Steps)
    assert isinstance(trainer, _Steps) and isinstance(trainer.loader, HardPairLoader)
    loader, steps = trainer.loader, trainer.total_steps
    if isinstance(call.pairs, StreamingMiner) and not call.control:
        rows, largest = steps * call.batch_size, call.batch_size
    else:
        rows, largest = _planned_rows(loader, call.batch_size, steps)
    memory = trainer.step_memory(_full_batch(loader, largest))
    parameters = list(trainer.model.parameters())
    averages = 0 if call.ema is None else memory.weights
    return TrainingPlan(
        steps=steps,
        steps_per_epoch=len(loader),
        rows=rows,
        parameters=sum(p.numel() for p in parameters),
        trained_parameters=sum(p.numel() for p in parameters if p.requires_grad),
        memory=memory,
        checkpoint_bytes=memory.weights + memory.optimizer + averages,
        device=str(trainer.device),
        minings=0 if call.pools is None else minings(call.pools_every, steps, len(loader)),
    )


class _Steps(Trainer):
    """Takes steps of no run, which change its own model alone."""

    def step_memory(self, batch: Mapping[str, Any]) -> StepMemory:
        """Of two steps on this batch; of the second, since the first makes the optimizer's part."""
        train_mode(self.model)
        ready = self._ready(batch)
        self._take(ready)
        self.optimizer.zero_grad(set_to_none=True)
        states = states_of(self.optimizer)
        weights = [*self.model.parameters(), *self.model.buffers()]
        known = [v for v in (*weights, *states, *ready.values()) if isinstance(v, Tensor)]
        with LiveBytes(known) as seen:
            self._take(ready)
        average = self.hooks.get("ema")
        copies = average.nbytes if isinstance(average, WeightAverage) else 0
        copies += self._distillation.teacher.nbytes if self._distillation else 0
        kept = {
            "weights": bytes_of(weights),
            "optimizer": bytes_of(states),
            "copies": copies,
            "batch": bytes_of(ready.values()),
        }
        return StepMemory(**kept, peak=sum(kept.values()) + max(seen.curve))

    def _take(self, ready: Mapping[str, Tensor]) -> None:
        """The first step of a run, on a batch that is on the device; waits for it."""
        self._rank_rows = [len(ready["index"])]
        self._optimizer_step(0, ready, encode=self.encode, losses=self.losses).read()


class LiveBytes(TorchDispatchMode):
    """Inside, ``curve`` gets the bytes alive after each operation of torch; ``known`` tensors are
    not counted. What an operation needs inside itself, and an allocator keeps back, is not seen."""

    def __init__(self, known: Iterable[Tensor] = ()) -> None:
        super().__init__()
        self.live, self.curve = 0, [0]
        self._seen: dict[int, Any] = {}
        for tensor in known:
            self._watch(tensor, count=False)

    def __torch_dispatch__(
        self, work: Any, types: Any, arguments: Any = (), options: Any = None
    ) -> Any:
        made = work(*arguments, **(options or {}))
        tree_map_only(Tensor, self._watch, made)
        self.curve.append(self.live)
        return made

    def _watch(self, tensor: Tensor, count: bool = True) -> Tensor:
        storage = tensor.untyped_storage()
        key = id(storage)
        if key not in self._seen:
            size = storage.nbytes() if count else 0
            self.live += size
            self._seen[key] = weakref.finalize(storage, self._gone, key, size)
        return tensor

    def _gone(self, key: int, size: int) -> None:
        self.live -= size
        self._seen.pop(key, None)


def _planned_rows(loader: HardPairLoader, batch_size: int, steps: int) -> tuple[int, int]:
    """Of all steps, and of the largest batch."""
    epochs = -(-steps // len(loader)) if steps * batch_size <= _PLANNED_ROWS else 1
    batches = itertools.chain.from_iterable(map(loader.planned_rows, range(epochs)))
    sizes = [len(index) for index in itertools.islice(batches, steps)]
    return round(steps * sum(sizes) / len(sizes)), max(sizes)


def _full_batch(loader: HardPairLoader, largest: int) -> dict[str, Any]:
    """The first batch that has rows, repeated up to ``largest`` rows."""
    with contextlib.closing(iter(loader)) as batches:  # type: ignore[type-var]
        first = next((batch for batch in batches if len(batch["index"])), None)
    if first is None:
        raise InvalidArgumentError(
            "no row of the first epoch can be read, so there is no step to plan; mend the data"
        )
    rows = torch.arange(largest) % len(first["index"])
    if "soft_labels" in first:
        first["soft_labels"] = first["soft_labels"][:, rows]
    return {
        name: (value[:, rows] if name == "views" else value[rows])
        for name, value in first.items()
        if isinstance(value, Tensor)
    }
