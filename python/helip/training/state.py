"""A training run on disk: its checkpoints, from one process or from many."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from helip.common.errors import CorruptError, InvalidArgumentError
from helip.common.processes import Processes
from helip.loading.account import target_rows_of
from helip.loading.strategy import as_recorded_now
from helip.losses.loss import BatchLoss
from helip.models.run_folder import checkpoint_path, list_checkpoints
from helip.training.checkpoints import (
    Checkpoint,
    newest_checkpoint,
    random_states,
    read_checkpoint,
    write_checkpoint,
)
from helip.training.network import Network, parts_like, whole
from helip.training.recipe import refuse_changes
from helip.training.result import BatchLoader, Progress, StepHook
from helip.training.stream import StepMiner

_LOSS = "loss"  # the file of what a loss keeps


@dataclass(kw_only=True)
class RunState:
    """Saves the parts of a run and takes them up again; all processes call it together.

    Rank 0 writes. What differs between processes, the random generators and the loader's account,
    is kept for each. Another number of processes goes on where the loader can: weights, optimizer
    and place in the data are of the whole run, only the random generators begin anew.
    """

    root: Path
    processes: Processes
    network: Network
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler | None
    loader: BatchLoader
    stream: StepMiner | None
    loss: BatchLoss
    hooks: Mapping[str, StepHook]
    options: Mapping[str, Any]  # that must be the same when the run is resumed
    config: Mapping[str, Any] | None  # of the model, so that create_model opens a checkpoint
    keep: int

    def __post_init__(self) -> None:
        self.options = {
            **self.options,
            "processes": self.processes.count,
            "parallel": self.network.parallel,
            "hooks": sorted(self.hooks),
        }

    def save(self, at: Progress) -> Path:
        # After an epoch's last batch the place is the start of the next, whoever asks for it.
        ended = at.step_in_epoch > 0 and self._batches_left(at) <= 0
        mid_epoch = at.step_in_epoch > 0 and not ended
        random = random_states()
        # Between epochs set_epoch says all that there is to say.
        loader = self.loader.state_dict() if mid_epoch else None
        captions = at.captions_at_context_limit
        stats: dict[str, Any] = getattr(self.loader, "stats", dict)()
        state: dict[str, Any] = {
            "options": self.options,
            "progress": {
                "epoch": at.epoch + int(ended),
                "step_in_epoch": at.step_in_epoch if mid_epoch else 0,
                "seconds": at.seconds,
                "captions_at_context_limit": captions,
                "scale_bound": at.scale_bound,
                "validation": at.validation,
                "warm_statistics": at.warm_statistics,
                "guard": at.guard,
            },
            "loader": loader,
            "rows": target_rows_of(stats),  # tables that compare runs say them
            "scaler": self.scaler.state_dict() if self.scaler else None,
        }
        if self.processes.count > 1:
            own = {"random": _to_text(random), "loader": loader, "captions": captions}
            state["other_ranks"] = self.processes.exchange(own)[1:]
        keep = self.processes.leads
        kept = {name: whole(hook.state_dict(), keep=keep) for name, hook in self.hooks.items()}
        if of_loss := self.loss.state_dict():
            kept[_LOSS] = of_loss
        checkpoint = Checkpoint(
            checkpoint_path(self.root, at.step),
            at.step,
            model=self.network.state_dict(),
            optimizer=self.network.optimizer_state(self.optimizer),
            random=random,
            state=state,
            streaming=self.stream.tensors() if self.stream else {},
            hooks=kept,
        )
        self.processes.leader_does(
            lambda: write_checkpoint(checkpoint, config=self.config, keep=self.keep)
        )
        return checkpoint.path

    def _batches_left(self, at: Progress) -> int:
        """Of the epoch. Steps of it are no measure where other ranks took some, whose batches were
        cut otherwise."""
        left: int | None = getattr(self.loader, "batches_left", None)
        return len(self.loader) - at.step_in_epoch if left is None else left

    def find(self, *, resume: bool) -> tuple[Checkpoint | None, list[str]]:
        """The newest whole checkpoint, and what is wrong with newer ones."""
        if not resume:
            found = list_checkpoints(self.root)
            if found:
                raise InvalidArgumentError(
                    f"{self.root.parent} holds checkpoints up to step {found[0][0]} and resume is "
                    "False; pass resume=True to go on, or choose another out"
                )
            return None, []
        if self.processes.count == 1:
            return newest_checkpoint(self.root)
        found_by_leader = self.processes.leader_does(lambda: newest_checkpoint(self.root))
        checkpoint, damage = found_by_leader or (None, [])
        step = self.processes.exchange(checkpoint.step if checkpoint else None)[0]
        if step is not None and checkpoint is None:
            checkpoint = read_checkpoint(checkpoint_path(self.root, step))
        return checkpoint, damage

    def restore(
        self, checkpoint: Checkpoint
    ) -> tuple[Progress, dict[str, Any] | None, dict[str, Any] | None]:
        """Take over a checkpoint; returns the place, and the loader's and generators' states.

        Of another number of processes there are no generators' states.
        """
        state, rank = checkpoint.state, self.processes.rank
        try:
            options, scaler, loader = state["options"], state["scaler"], state["loader"]
            at = Progress(step=checkpoint.step, **state["progress"])
        except (KeyError, TypeError) as error:
            raise CorruptError(f"{checkpoint.path}/state.json lacks a part: {error}") from error
        before, now = as_recorded_now(options), self.options
        any_count = getattr(self.loader, "resumes_on_other_ranks", False)
        others = any_count and before.get("processes") != now["processes"]
        if others:
            now = {**now, **{name: before.get(name) for name in ("processes", "parallel")}}
        refuse_changes(before, now, str(self.root.parent))
        random: dict[str, Any] | None = checkpoint.random
        if others:
            random = None
            at.captions_at_context_limit = _captions(checkpoint) if rank == 0 else 0
        elif rank > 0:
            own = _of_rank(checkpoint, rank)
            loader, at.captions_at_context_limit = own["loader"], own["captions"]
            random = _from_text(own["random"])
        self.network.load_state_dict(checkpoint.model, str(checkpoint.path))
        self.network.load_optimizer_state(self.optimizer, checkpoint.optimizer)
        if self.scaler and scaler:
            self.scaler.load_state_dict(scaler)
        if self.stream:
            self.stream.restore(checkpoint.streaming)
        if _LOSS in checkpoint.hooks:
            self.loss.load_state_dict(checkpoint.hooks[_LOSS])
        for name, hook in self.hooks.items():
            if name not in checkpoint.hooks:
                raise CorruptError(f"{checkpoint.path} lacks the state of the hook {name!r}")
            hook.load_state_dict(parts_like(checkpoint.hooks[name], hook.state_dict()))
        return at, loader, random


def _captions(checkpoint: Checkpoint) -> int:
    """Captions at the context's limit that all ranks met."""
    ranks = range(1, int(checkpoint.state["options"].get("processes", 1)))
    first: int = checkpoint.state["progress"]["captions_at_context_limit"]
    return first + sum(_of_rank(checkpoint, rank)["captions"] for rank in ranks)


def _of_rank(checkpoint: Checkpoint, rank: int) -> dict[str, Any]:
    with contextlib.suppress(KeyError, IndexError, TypeError):
        own = checkpoint.state["other_ranks"][rank - 1]
        return {name: own[name] for name in ("loader", "captions", "random")}
    raise CorruptError(f"{checkpoint.path}/state.json lacks what rank {rank} needs")


def _to_text(states: Mapping[str, Any]) -> dict[str, Any]:
    """Random states as JSON values."""
    return {
        name: {"bytes": bytes(value.tolist()).hex()} if isinstance(value, Tensor) else value
        for name, value in states.items()
    }


def _from_text(states: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return {
            name: torch.frombuffer(bytearray.fromhex(value["bytes"]), dtype=torch.uint8)
            if isinstance(value, dict)
            else value
            for name, value in states.items()
        }
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptError(f"the random states of the checkpoint are damaged: {error}") from error
