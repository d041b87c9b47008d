"""What a training run would take, before it is done: steps, rows, bytes, memory and time."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import itertools
import os
import time
import weakref
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from helip.common.errors import InvalidArgumentError, UnsupportedError
from helip.common.options import keywords
from helip.common.processes import join_processes, launched_processes
from helip.data.dataset import Dataset
from helip.data.opening import open_dataset
from helip.loading.loader import HardPairLoader
from helip.mining.streaming import StreamingMiner
from helip.models.locking import train_mode
from helip.training.checkpoints import random_states, restore_random_states
from helip.training.fine_tuning import TrainCall, bundle_of, make_trainer
from helip.training.named_recipes import with_recipe
from helip.training.optimizing.weight_average import WeightAverage
from helip.training.step import bytes_of, states_of
from helip.training.trainer import Trainer

# Rows that are planned one by one; of a longer run the first epoch stands for the others.
_PLANNED_ROWS = 200_000_000
_BLOCK = 65_536  # rows whose sizes are asked for together
_TIMED_BATCHES = 6


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
    """What a run of one process would take. Bytes of pictures are those that lie on the disk,
    compressed as they are; of captions, which come beside, none are counted."""

    steps: int
    steps_per_epoch: int
    warm_batches: int  # before the first step, of warm_statistics
    rows: int  # of the steps, targets and hard pairs; fewer where some cannot be read
    rows_per_epoch: int  # of the first epoch
    distinct_rows: int  # of the data, that come at least once
    data_rows: int
    # "planned": every batch was; "first epoch": it stands for the others; "at most": a
    # StreamingMiner finds what fills the batches, so all are taken as full.
    rows_from: str
    read_bytes: int  # of pictures, those before the first step too
    read_bytes_per_epoch: int  # of the first epoch
    unknown_sizes: int  # rows of the data whose picture's size is not known without reading it
    parameters: int
    trained_parameters: int
    memory: StepMemory
    host_bytes: int  # beside it on the host: batches read ahead, copies for validation and mixtures
    checkpoint_bytes: int  # of one; ``keep`` of them stay
    device: str
    step_seconds: float | None  # measured with time_step alone
    read_seconds: float | None  # of a batch, with nothing else to do; measured likewise
    seconds: float | None  # of all batches, by the slower of the two: reading goes on beside

    def to_dict(self) -> dict[str, Any]:
        """The fields, JSON-able."""
        return dataclasses.asdict(self)


@dataclass(frozen=True, kw_only=True)
class PlanTrainingCall(TrainCall):
    """What `plan_training` is asked."""

    out: str | os.PathLike[str] | None = None  # type: ignore[assignment]
    """As train takes it; nothing is written there."""
    time_step: bool = False
    """Also take a third step, and time it, and the reading of batches."""


@keywords(PlanTrainingCall, complete=with_recipe)
def plan_training(call: PlanTrainingCall) -> TrainingPlan:
    """What :func:`train` with these arguments would take, without doing it.

    Steps are exact, and so are rows and bytes of pictures, but for samples that cannot be read.
    Memory is that of two real steps on the first batch, its rows repeated up to those of the
    largest, on the device and in the precision of the run, but not compiled. They are taken on a
    copy of the model, and of a loss that is an object, which stay as they are.

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
    data = call.data if isinstance(call.data, Dataset) else open_dataset(call.data)
    # What only watches a run, or keeps copies of it, is counted rather than made.
    bare = dataclasses.replace(
        call, data=data, out=call.out or "plan", loss=copy.deepcopy(call.loss), compiled=False,
        progress=False, hooks=None, validate=None, eval_every=None, patience=None, watch=None,
        guard=None, when_lost="report", wise_ft=None,
    )  # fmt: skip
    trainer, _ = make_trainer(bare, bundle, _Steps)
    assert isinstance(trainer, _Steps) and isinstance(trainer.loader, HardPairLoader)
    loader, steps, warm = trainer.loader, trainer.total_steps, call.warm_statistics
    grows = isinstance(call.pairs, StreamingMiner) and not call.control
    reads = _Reads(data)
    count = reads.full_batches if grows else reads.planned_batches
    largest = count(loader, call.batch_size, steps, warm)
    batch, read_seconds = _full_batch(loader, largest, timed=call.time_step)
    memory = trainer.step_memory(batch)
    step_seconds = trainer.step_seconds(batch) if call.time_step else None
    parameters = list(trainer.model.parameters())
    averages = 0 if call.ema is None else memory.weights
    return TrainingPlan(
        steps=steps,
        steps_per_epoch=len(loader),
        warm_batches=warm,
        **reads.counts(),
        parameters=sum(p.numel() for p in parameters),
        trained_parameters=sum(p.numel() for p in parameters if p.requires_grad),
        memory=memory,
        host_bytes=_host_bytes(call, memory),
        checkpoint_bytes=memory.weights + memory.optimizer + averages,
        device=str(trainer.device),
        step_seconds=step_seconds,
        read_seconds=read_seconds,
        seconds=(
            None
            if step_seconds is None or read_seconds is None
            else (steps + warm) * max(step_seconds, read_seconds)
        ),
    )


class _Steps(Trainer):
    """Takes steps of no run, which change its own model alone."""

    def step_seconds(self, batch: Mapping[str, Any]) -> float:
        """Of a step on this batch, after those that `step_memory` takes."""
        began = time.perf_counter()
        self._take(self._ready(batch))
        return time.perf_counter() - began

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
        copies += self._distillation.nbytes if self._distillation else 0
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


class _Reads:
    """Counts rows and bytes of the batches that a run reads."""

    def __init__(self, data: Dataset) -> None:
        rows = len(data)
        self._sizes = np.concatenate(
            [
                data.picture_bytes(np.arange(begin, min(begin + _BLOCK, rows)))
                for begin in range(0, rows, _BLOCK)
            ]
        )
        self._seen = np.zeros(rows, dtype=np.bool_)
        self._found: dict[str, Any] = {}

    def counts(self) -> dict[str, Any]:
        """The fields of a plan."""
        return {
            **self._found,
            "distinct_rows": int(self._seen.sum()),
            "data_rows": len(self._seen),
            "unknown_sizes": int((self._sizes == 0).sum()),
        }

    def planned_batches(
        self, loader: HardPairLoader, batch_size: int, steps: int, warm: int
    ) -> int:
        """Of every batch, or of the first epoch where they are too many.

        Returns the rows of the largest.
        """
        length = len(loader)
        whole = (steps + warm) * batch_size <= _PLANNED_ROWS
        epochs = -(-max(steps, warm) // length) if whole else 1
        rows = read = epoch_rows = epoch_read = largest = 0
        for epoch in range(epochs):
            for number, index in enumerate(loader.planned_rows(epoch), start=epoch * length):
                size = int(self._sizes[index].sum())
                if epoch == 0:
                    epoch_rows, epoch_read = epoch_rows + len(index), epoch_read + size
                times = (number < steps) + (number < warm)
                rows += len(index) * (number < steps)
                read += size * times
                if times:
                    self._seen[index] = True
                    largest = max(largest, len(index))
        if not whole:
            share = steps / length
            rows = round(share * epoch_rows)
            read = round((share + warm / length) * epoch_read)
        self._note(rows, read, epoch_rows, epoch_read, "planned" if whole else "first epoch")
        return largest

    def full_batches(self, loader: HardPairLoader, batch_size: int, steps: int, warm: int) -> int:
        """As if each batch were full, of pictures of mean size; the rows of one."""
        self._seen[:] = True
        mean = float(self._sizes.mean())
        rows, epoch_rows = steps * batch_size, len(loader) * batch_size
        read = round(mean * (rows + warm * batch_size))
        self._note(rows, read, epoch_rows, round(mean * epoch_rows), "at most")
        return batch_size

    def _note(self, rows: int, read: int, epoch_rows: int, epoch_read: int, origin: str) -> None:
        self._found = {
            "rows": rows,
            "rows_per_epoch": epoch_rows,
            "rows_from": origin,
            "read_bytes": read,
            "read_bytes_per_epoch": epoch_read,
        }


def _full_batch(
    loader: HardPairLoader, largest: int, *, timed: bool
) -> tuple[dict[str, Any], float | None]:
    """The first batch that has rows, repeated up to ``largest`` rows; ``timed``: and the seconds
    that reading so many takes, by the first few batches of an iteration."""
    with contextlib.closing(iter(loader)) as batches:  # type: ignore[type-var]
        first = next((batch for batch in batches if len(batch["index"])), None)
    if first is None:
        raise InvalidArgumentError(
            "no row of the first epoch can be read, so there is no step to plan; mend the data"
        )
    rows = torch.arange(largest) % len(first["index"])
    batch = {
        name: (value[:, rows] if name == "views" else value[rows])
        for name, value in first.items()
        if isinstance(value, Tensor)
    }
    if not timed:
        return batch, None
    began = time.perf_counter()
    with contextlib.closing(iter(loader)) as batches:  # type: ignore[type-var]
        taken = sum(len(batch["index"]) for batch in itertools.islice(batches, _TIMED_BATCHES))
    return batch, (time.perf_counter() - began) / max(taken, 1) * largest


def _host_bytes(call: PlanTrainingCall, memory: StepMemory) -> int:
    """What lies on the host beside the step: batches read ahead, and whole copies."""
    ahead = 0 if call.workers == 0 else call.prefetch
    copies = (
        (call.validate is not None or call.guard is not None)
        + (call.wise_ft is not None)
        + (call.when_lost == "interpolate")
    )
    return ahead * memory.batch + copies * memory.weights
