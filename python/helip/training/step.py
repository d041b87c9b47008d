"""One optimizer step: gradients of a batch, in chunks if asked, and what was learned of it. Before
it, a batch on its way to the device; after it, what is said of a step that has failed.

A step is queued on the device and not waited for. What must not reach the weights is kept from them
by the device itself, and the host reads of it later.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from helip.common.devices import autocast
from helip.common.errors import InvalidArgumentError, OutOfMemoryError
from helip.common.processes import Processes
from helip.common.quantities import bytes_words
from helip.losses.features import check_hard_rows, check_soft_labels, check_target
from helip.models.run_folder import list_checkpoints
from helip.training.grad_cache import cached_backward
from helip.training.kernels import attention_kernel
from helip.training.metrics import RunLog
from helip.training.network import Network
from helip.training.optimizing.optimizer import (
    MAX_LOGIT_SCALE,
    clamp_logit_scale,
    make_optimizer,
    own_part,
    scheduled_lr,
    set_lr,
    step_unless,
)
from helip.training.precision import precision_of
from helip.training.recipe import Recipe
from helip.training.result import NonFiniteLossError

_FIRST = ("loss", "clip", "margin", "violated", "logit_scale")  # in a line of metrics
# Where float16's loss is not multiplied by more than that, an infinite gradient is the model's own.
_NO_FACTOR = 1.0
_COMPARED = ("hard_similarity", "ordinary_similarity")  # of batches that hold hard pairs


def on_device(
    batch: Mapping[str, Any], device: torch.device, *, channels_last: bool = False
) -> dict[str, Tensor]:
    """Its tensors there, rows first; InvalidArgumentError where what is trained on is none.

    channels_last: in which order of its memory the pictures are; their shape is the same.
    """
    for name, maker in (("image", "transform"), ("text", "tokenizer")):
        if not isinstance(batch[name], Tensor):
            raise InvalidArgumentError(
                f"batch[{name!r}] is a {type(batch[name]).__name__}, must be a tensor; give "
                f"the loader a {maker}"
            )
    check_target(batch["target"], len(batch["index"]))
    if "hard_rows" in batch:
        check_hard_rows(batch["hard_rows"], len(batch["index"]))
    if "soft_labels" in batch:
        check_soft_labels(batch["soft_labels"], len(batch["index"]))
    names = [name for name, value in batch.items() if isinstance(value, Tensor)]
    ready = {name: batch[name].to(device, non_blocking=True) for name in names}
    if channels_last:
        ready["image"] = ready["image"].contiguous(memory_format=torch.channels_last)
    if "views" in ready:
        ready["views"] = ready["views"].transpose(0, 1)
    return ready


def captions_that_fill(text: Tensor, tokenizer: Any) -> Tensor | int:
    """How many captions, int64 [b, context], fill the context, so may be cut."""
    end = getattr(tokenizer, "eot_token_id", None)
    return 0 if end is None else (text[:, -1] == end).sum()


class StepNumbers:
    """What a step came to: names and their values [n], and its learning rate.

    They are copied to the host as soon as the device has them. Making one waits for nothing.
    """

    def __init__(self, names: Sequence[str], values: Tensor, lr: float) -> None:
        self._names, self._lr = tuple(names), lr
        self._host, self._copied = values, None
        if values.is_cuda:
            self._host = torch.empty_like(values, device="cpu", pin_memory=True)
            self._host.copy_(values, non_blocking=True)
            self._copied = torch.cuda.Event()
            self._copied.record()

    def read(self) -> tuple[dict[str, float], bool]:
        """The numbers by their names, and whether the step failed.

        Waits for the work that was queued before this was made.
        """
        if self._copied is not None:
            self._copied.synchronize()
        row = dict(zip(self._names, map(float, self._host.numpy()), strict=True))
        failed = bool(row.pop("failed"))
        row |= {"temperature": 1 / max(row["logit_scale"], 1e-9), "lr": self._lr}
        if not any(row.get(name) for name in _COMPARED):
            for name in _COMPARED:
                row.pop(name, None)
        return row, failed


@dataclass(frozen=True)
class QueuedStep:
    """What the host knows of it."""

    step: int
    epoch: int
    numbers: StepNumbers
    known: dict[str, Any]  # other entries of its line of metrics
    index: Tensor  # data rows of this process's batch
    due: bool  # whether metrics.jsonl gets a line of it
    name: str = ""  # what an error calls it; "" is "step" and its number

    def refuse(
        self, row: Mapping[str, float], log: RunLog, processes: Processes, checkpoints: Path
    ) -> None:
        """Raise NonFiniteLossError; all processes call it together."""
        own = [int(index) for index in self.index]
        rows = [index for part in processes.exchange(own) for index in part]
        log.write(**{**row, "step": self.step, "event": "non_finite", "rows": rows})
        log.sync()
        existing = list_checkpoints(checkpoints)
        last = existing[0][1] if existing else None
        shown = ", ".join(map(str, rows[:8])) + (", ..." if len(rows) > 8 else "")
        factor = f" at a loss factor of {row['loss_factor']}" if "loss_factor" in row else ""
        name = self.name or f"step {self.step}"
        raise NonFiniteLossError(
            f"{name}: loss {row['loss']}, gradient norm {row['grad_norm']}{factor}, must "
            f"be finite; data rows of the batch: {shown} ({len(rows)} in all, listed in "
            f"metrics.jsonl); last good checkpoint: {last or 'none yet'}. Lower lr, or use "
            "precision='float32'",
            step=self.step,
            rows=rows,
            checkpoint=last,
        )


@dataclass
class OptimizerStep:
    """Takes steps on a network, under a recipe's optimizer, precision, schedule and clipping."""

    recipe: Recipe
    network: Network
    processes: Processes
    device: torch.device
    total_steps: int
    accumulate: int  # chunks that a batch is encoded in (``grad_cache``)
    scale_bound: float = MAX_LOGIT_SCALE  # of the temperature's logarithm

    def __post_init__(self) -> None:
        recipe, network = self.recipe, self.network
        half = recipe.precision == "float16"
        self.scaler = torch.amp.GradScaler(self.device.type) if half else None
        self.optimizer = make_optimizer(network.model, recipe)
        network.separate(self.optimizer)
        # Whether some step failed, after which none changes the weights.
        self._failed = torch.zeros((), dtype=torch.bool, device=self.device)
        self._names_agree = self.processes.count == 1

    def __call__(
        self,
        step: int,
        batch: Mapping[str, Tensor],
        *,
        encode: Callable[..., Mapping[str, Tensor]],
        losses: Callable[..., dict[str, Tensor]],
    ) -> StepNumbers:
        """The step that comes after ``step`` others; its numbers, of the batch of all processes.

        A step whose loss or gradient is not finite leaves the weights as they are, and so does
        every step after it: the host may learn of it late. With loss scaling, an infinite gradient
        is the scaler's own way to find its factor; that step alone is left out, unless the factor
        has come down to 1, where it is to blame no more.

        encode: what the model makes of rows of the batch.
        losses: of what it made, and the batch; ``loss`` is trained on.

        Raises OutOfMemoryError where the device has too little memory for it.
        """
        lr = scheduled_lr(step, self.recipe, self.total_steps)
        set_lr(self.optimizer, lr)
        self.optimizer.zero_grad(set_to_none=True)
        with self._out_of_memory_explained(batch):
            out = self._backward(batch, encode, losses)
        if self.scaler:
            self.scaler.unscale_(self.optimizer)
        norm = self.network.gradient_norm()
        if self.recipe.grad_clip is not None:
            self.network.clip_gradients(self.recipe.grad_clip, norm)
        numbers = self._of_all(out, norm)
        infinite = ~torch.isfinite(numbers["grad_norm"])
        to_blame = infinite if self.scaler is None else infinite & (self._factor() <= _NO_FACTOR)
        self._failed = self._failed | ~torch.isfinite(numbers["loss"]) | to_blame
        with self._out_of_memory_explained(batch):
            step_unless(self._failed | infinite, self.optimizer, exactly=self.scaler is not None)
        clamp_logit_scale(self.network.model, self.scale_bound)
        numbers["failed"] = self._failed
        if self.scaler:
            self.scaler.update()
            numbers["loss_factor"] = self._factor()
        values = torch.stack([value.float() for value in numbers.values()])
        return StepNumbers(tuple(numbers), values, lr)

    def _backward(
        self,
        batch: Mapping[str, Tensor],
        encode: Callable[..., Mapping[str, Tensor]],
        losses: Callable[..., dict[str, Tensor]],
    ) -> dict[str, Tensor]:
        """Leaves gradients, averaged over processes; what the losses were."""
        network, precision = self.network, precision_of(self.recipe)
        scale = self.scaler.scale if self.scaler else lambda loss: loss
        out: dict[str, Tensor]
        with attention_kernel(
            network.model, self.device, precision, compiled=network.compiled
        ):  # of both passes
            if self.accumulate == 1:
                with autocast(self.device, precision):
                    out = losses(encode(batch), batch)
                scale(out["loss"]).backward()
            else:
                out = cached_backward(
                    batch,
                    self.accumulate,
                    encode=encode,
                    losses=losses,
                    computing=lambda: autocast(self.device, precision),
                    scale=scale,
                    hold=network.hold,
                )
        network.gradients_are_ready()
        return out

    @contextlib.contextmanager
    def _out_of_memory_explained(self, batch: Mapping[str, Tensor]) -> Iterator[None]:
        try:
            yield
        except torch.OutOfMemoryError as error:
            model = self.network.model
            weights = bytes_words(bytes_of([*model.parameters(), *model.buffers()]))
            states = bytes_words(bytes_of(states_of(self.optimizer)))
            raise OutOfMemoryError(
                f"{self.device} has too little memory for a step of {len(batch['index'])} rows, "
                f"beside {weights} of weights and {states} of the optimizer; lower batch_size, or "
                "raise accumulate or take grad_checkpointing=True"
            ) from error

    def _of_all(self, out: Mapping[str, Tensor], norm: Tensor) -> dict[str, Tensor]:
        """Means over processes, by one collective for all of them."""
        first = [name for name in _FIRST if name in out]
        names = [*first, *sorted(set(out) - set(first))]
        if not self._names_agree:
            _refuse_others(self.processes.exchange(names))
            self._names_agree = True
        parts = [out[name].detach().reshape(()).float() for name in names] + [norm.float()]
        means = self.processes.mean(torch.stack(parts))
        return dict(zip([*names, "grad_norm"], means.unbind(), strict=True))

    def _factor(self) -> Tensor:
        """What float16's loss is multiplied by, without waiting for it as ``get_scale`` does."""
        assert self.scaler is not None
        return self.scaler.scale(torch.ones((), device=self.device))


def _refuse_others(names: list[list[str]]) -> None:
    """Raise InvalidArgumentError unless the losses of all processes have the same names."""
    for rank, others in enumerate(names):
        if differ := sorted({*others} ^ {*names[0]}):
            raise InvalidArgumentError(
                f"the losses of rank 0 are {names[0]} and those of rank {rank} {others}; "
                f"{differ[0]!r} must be on all processes or on none"
            )


def states_of(optimizer: torch.optim.Optimizer) -> list[Any]:
    """What it remembers of the weights so far."""
    return [value for state in optimizer.state.values() for value in state.values()]


def bytes_of(values: Iterable[Any]) -> int:
    """Of the tensors among these, each storage once."""
    storages = [own_part(value).untyped_storage() for value in values if isinstance(value, Tensor)]
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())
