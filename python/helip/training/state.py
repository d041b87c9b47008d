"""A training run on disk: its checkpoints, from one process or from many."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from helip.common.errors import CorruptError, InvalidArgumentError
from helip.common.processes import Processes
from helip.common.progress import tell_of_disk
from helip.data.dataset import Dataset
from helip.loading.account import target_rows_of
from helip.models.run_folder import TRAINED_ROWS, checkpoint_path, list_checkpoints
from helip.store.data_identity import keep_rows
from helip.training.checkpoints import (
    Checkpoint,
    newest_checkpoint,
    random_states,
    read_checkpoint,
    write_checkpoint,
)
from helip.training.network import Network, parts_like, whole
from helip.training.recipe import refuse_changes
from helip.training.result import BatchLoader, KeepsTensors, Progress

_log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class RunState:
    """Saves the parts of a run and takes them up again; all processes call it together.

    Rank 0 writes. What differs between processes, the random generators and the loader's account,
    is kept for each. Another number of processes goes on where the loader can: weights, optimizer
    and place in the data are of the whole run, only the random generators begin anew.

    kept: what else keeps tensors, by the names of their files: hooks, a loss, a miner.
    """

    root: Path
    processes: Processes
    network: Network
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler | None
    loader: BatchLoader
    kept: Mapping[str, KeepsTensors]
    options: Mapping[str, Any]  # that must be the same when the run is resumed
    config: Mapping[str, Any] | None  # of the model, so that create_model opens a checkpoint
    keep: int
    copies: int  # of the weights that the run keeps beside its checkpoints
    shown: bool  # progress

    def __post_init__(self) -> None:
        self.options = {
            **self.options,
            "processes": self.processes.count,
            "parallel": self.network.parallel,
        }

    def save(self, at: Progress) -> Path:
        # After an epoch's last batch the place is the start of the next, whoever asks for it.
        ended = at.step_in_epoch > 0 and self._batches_left(at) <= 0
        mid_epoch = at.step_in_epoch > 0 and not ended
        # Between epochs set_epoch says all that there is to say.
        loader = self.loader.state_dict() if mid_epoch else None
        progress = dataclasses.asdict(at) | {
            "epoch": at.epoch + int(ended),
            "step_in_epoch": at.step_in_epoch if mid_epoch else 0,
            "captions_at_context_limit": sum(self.processes.exchange(at.captions_at_context_limit)),
        }
        del progress["step"], progress["metrics"]
        stats: dict[str, Any] = getattr(self.loader, "stats", dict)()
        state: dict[str, Any] = {
            "options": self.options,
            "progress": progress,
            "ranks": self.processes.exchange({"random": random_states(), "loader": loader}),
            "rows": target_rows_of(stats),  # tables that compare runs say them
            "scaler": self.scaler.state_dict() if self.scaler else None,
        }
        keep = self.processes.leads
        kept = {name: whole(each.state_dict(), keep=keep) for name, each in self.kept.items()}
        checkpoint = Checkpoint(
            checkpoint_path(self.root, at.step),
            at.step,
            tensors={
                "model": self.network.state_dict(),
                "optimizer": self.network.optimizer_state(self.optimizer),
                **{name: tensors for name, tensors in kept.items() if tensors},
            },
            state=state,
        )
        self.processes.leader_does(
            lambda: write_checkpoint(checkpoint, config=self.config, keep=self.keep)
        )
        return checkpoint.path

    def begin(self, steps: int, every: int | None) -> None:
        """Before the first step, by rank 0: say how much of a disk the run will take, with a
        checkpoint ``every`` so many steps, and keep by what its rows are known again.

        About, since an optimizer has no states yet and is taken for AdamW's, in float32.
        """
        weights = _bytes(self.network.model.parameters())
        learned = (each for group in self.optimizer.param_groups for each in group["params"])
        beside = sum(_bytes(each.state_dict().values()) for each in self.kept.values())
        states = 8 * sum(each.numel() for each in learned)
        checkpoints = -(-steps // max(1, len(self.loader))) + steps // (every or steps + 1)
        size = min(self.keep, checkpoints) * (weights + beside + states) + self.copies * weights
        out = self.root.parent
        tell_of_disk(_log, "train", size, out, shown=self.shown)
        dataset = getattr(self.loader, "dataset", None)
        if isinstance(dataset, Dataset):
            keep_rows(out / TRAINED_ROWS, dataset)

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
        state, tensors = checkpoint.state, checkpoint.tensors
        try:
            before, scaler, ranks = state["options"], state["scaler"], state["ranks"]
            at = Progress(step=checkpoint.step, **state["progress"])
            now, any_count = self.options, getattr(self.loader, "resumes_on_other_ranks", False)
            others = any_count and before.get("processes") != now["processes"]
            if others:
                now = {**now, **{name: before.get(name) for name in ("processes", "parallel")}}
            refuse_changes(before, now, str(self.root.parent))
            own = ranks[0 if others else self.processes.rank]
            loader, random = own["loader"], None if others else own["random"]
            model, optimizer = tensors["model"], tensors["optimizer"]
        except (KeyError, IndexError, TypeError) as error:
            raise CorruptError(f"{checkpoint.path} lacks a part: {error}") from error
        if not self.processes.leads:  # what all ranks had met goes on on the first
            at.captions_at_context_limit = 0
        self.network.load_state_dict(model, str(checkpoint.path))
        self.network.load_optimizer_state(self.optimizer, optimizer)
        if self.scaler and scaler:
            self.scaler.load_state_dict(scaler)
        for name, each in self.kept.items():
            like = each.state_dict()
            if name in tensors:
                each.load_state_dict(parts_like(tensors[name], like))
            elif like:
                raise CorruptError(f"{checkpoint.path} lacks the state of {name!r}")
        return at, loader, random


def _bytes(tensors: Iterable[Any]) -> int:
    return sum(each.numel() * each.element_size() for each in tensors if torch.is_tensor(each))
