"""The training loop: a recipe, a model and a loader of batches with hard pairs.

The loader is any object that yields dicts of ``image`` [b, 3, H, W], ``text`` int64 [b, context],
``index`` int64 [b] (row of the data set) and ``target`` int64 [b] (batch row of the target that
each row serves).

A run lives in one directory: ``metrics.jsonl`` and ``checkpoints/step-XXXXXX``. A killed run goes
on from its newest whole checkpoint, also in mid-epoch; on a CPU, and with a loader whose batches
depend on its state and the global random generators alone, the weights are those of a run that was
never interrupted, bit for bit.
"""

from __future__ import annotations

import contextlib
import math
import os
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from helip.checkpoint import (
    Checkpoint,
    list_checkpoints,
    newest_checkpoint,
    random_states,
    restore_random_states,
    write_checkpoint,
)
from helip.errors import CancelledError, CorruptError, Error, InvalidArgumentError
from helip.loss import check_target
from helip.metrics import Meter, MetricsLog
from helip.models import ModelBundle
from helip.optim import (
    clamp_logit_scale,
    load_optimizer_tensors,
    make_adamw,
    optimizer_tensors,
    scheduled_lr,
    warmup_steps,
)
from helip.progress import ProgressBar
from helip.publish import DirectoryLock, make_directory, remove_leftovers
from helip.recipe import Recipe, refuse_changes
from helip.streaming import StreamingMiner
from helip.trainer_stream import Embed, StepMiner
from helip.weights import fit_state_dict

__all__ = ["BatchLoader", "Embed", "NonFiniteLossError", "TrainResult", "Trainer"]


class BatchLoader(Protocol):
    """What a trainer asks of a loader; state_dict holds plain JSON values."""

    def __iter__(self) -> Iterator[dict[str, Any]]: ...
    def __len__(self) -> int: ...
    def set_epoch(self, epoch: int) -> None: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class NonFiniteLossError(Error):
    """The loss or its gradient became NaN or infinite; the weights were not touched by it."""

    def __init__(self, message: str, *, step: int, rows: list[int], checkpoint: Path | None):
        super().__init__(message)
        self.step = step
        self.rows = rows  # data-set rows of the batch
        self.checkpoint = checkpoint  # the last good one


@dataclass
class TrainResult:
    """What a finished run hands back."""

    steps: int
    seconds: float  # of all sessions that worked on the run
    metrics: dict[str, Any]  # the last line of metrics.jsonl
    checkpoint: Path
    loader_stats: dict[str, Any]
    model: ModelBundle  # the model that was passed in, trained, in eval mode
    resumed_from: int = 0  # step
    captions_at_context_limit: int = 0  # rows whose caption fills the context, so may be cut


@dataclass
class _Progress:
    """Where a run stands; goes into each checkpoint."""

    step: int = 0
    epoch: int = 0
    step_in_epoch: int = 0
    seconds: float = 0.0
    captions_at_context_limit: int = 0
    metrics: dict[str, Any] = field(default_factory=dict)


class Trainer:
    """Runs a recipe on a model and a loader. Changes the model in place. Not thread-safe.

    steps: optimizer steps in all; None takes ``epochs * len(loader)``. The loader begins another
        epoch whenever it runs out.
    miner: is given each batch after its step, with the features [b, d] that the model made of it;
        usually the one that the loader draws from. Its state is part of a checkpoint.
    embed: called with the batch, its tensors on the device, for embeddings of frozen encoders to be
        mined in place of the model's: image [b, d_image] and text [b, d_text].
    identity: other plain values that must be the same when the run is resumed.
    resume: go on from the newest whole checkpoint in ``out``; False refuses an ``out`` that holds
        any. A run that has finished returns at once.
    checkpoint_every: steps between checkpoints, besides those after each epoch and at the end.
    keep: newest checkpoints to keep, at least 1.
    should_stop: asked after each step; True, or `stop()` from a signal handler, ends the run with
        a checkpoint and CancelledError.
    """

    def __init__(
        self,
        model: ModelBundle,
        loader: BatchLoader,
        *,
        out: str | os.PathLike[str],
        recipe: Recipe | None = None,
        epochs: int = 2,
        steps: int | None = None,
        miner: StreamingMiner | None = None,
        embed: Embed | None = None,
        identity: Mapping[str, Any] | None = None,
        device: str | torch.device = "auto",
        resume: bool = True,
        checkpoint_every: int | None = 1000,
        keep: int = 2,
        log_every: int = 1,
        progress: bool = True,
        should_stop: Callable[[], bool] | None = None,
    ) -> None:
        for name, value in (
            ("epochs", epochs),
            ("steps", steps),
            ("checkpoint_every", checkpoint_every),
            ("keep", keep),
            ("log_every", log_every),
        ):
            if value is not None and value < 1:
                raise InvalidArgumentError(f"{name} is {value}, must be at least 1")
        if embed is not None and miner is None:
            raise InvalidArgumentError(
                "embed makes what a miner is given, but there is none; pass miner="
            )
        self.recipe = recipe or Recipe()
        self.bundle = model
        self.loader = loader
        self.out = Path(out)
        self.total_steps = steps if steps is not None else epochs * len(loader)
        if self.total_steps == 0:
            raise InvalidArgumentError(
                "the loader has 0 batches an epoch, must have at least 1; lower batch_size"
            )
        self.device = _device(device)
        self._stream = None if miner is None else StepMiner(miner, embed)
        self._identity = dict(identity or {})
        self._resume = resume
        self._checkpoint_every = checkpoint_every
        self._keep = keep
        self._log_every = log_every
        self._show_progress = progress
        self._should_stop = should_stop
        self._stop_requested = False
        self._check_model()
        self.loss = self.recipe.make_loss()
        self.model = model.model.to(self.device)
        self._autocast = self.recipe.autocast_dtype
        if self._autocast == torch.float16 and self.device.type != "cuda":
            raise InvalidArgumentError(
                f"precision is 'float16' on {self.device.type}, must be 'bfloat16' or 'float32' "
                "there: loss scaling needs a CUDA device"
            )
        self._scaler = torch.amp.GradScaler("cuda") if self._autocast == torch.float16 else None
        self.optimizer = make_adamw(
            self.model,
            lr=self.recipe.lr,
            weight_decay=self.recipe.weight_decay,
            betas=self.recipe.betas,
            eps=self.recipe.eps,
        )
        self._warmup = warmup_steps(self.recipe.warmup, self.total_steps)
        self._at = _Progress()

    @property
    def checkpoints(self) -> Path:
        return self.out / "checkpoints"

    def stop(self) -> None:
        """Ask the run to end after the step it is in. Safe in a signal handler."""
        self._stop_requested = True

    def run(self) -> TrainResult:
        """Train to the last step and return; see the class for what can end it earlier."""
        make_directory(self.checkpoints)
        callers = random_states()
        with DirectoryLock(self.out):
            try:
                return self._run()
            finally:
                restore_random_states(callers)
                self.model.eval()

    def _wants_to_stop(self) -> bool:
        asked = self._stop_requested or bool(self._should_stop and self._should_stop())
        return asked and self._at.step < self.total_steps

    def compute_loss(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """The losses of a batch on the device, under autocast. The place to add another term."""
        image, text, scale = _features(self.model(batch["image"], batch["text"]))
        if self._stream:
            self._stream.keep(image, text)
        return {**self.loss(image, text, scale, batch["target"]), "logit_scale": scale.detach()}

    def _run(self) -> TrainResult:
        remove_leftovers(self.checkpoints)
        checkpoint, damage = self._find_checkpoint()
        _seed_all(self.recipe.seed)
        loader_state, states = self._restore(checkpoint) if checkpoint else (None, None)
        resumed_from = self._at.step
        log = MetricsLog(self.out / "metrics.jsonl", keep_to=self._at.step)
        try:
            self._at.metrics = log.last
            for message in damage:
                log.write(step=self._at.step, event="warning", message=message)
            path = self._loop(log, loader_state, states)
        finally:
            log.close()
        stats: dict[str, Any] = getattr(self.loader, "stats", dict)()
        return TrainResult(
            steps=self._at.step,
            seconds=self._at.seconds,
            metrics=self._at.metrics,
            checkpoint=path,
            loader_stats=dict(stats),
            model=self.bundle,
            resumed_from=resumed_from,
            captions_at_context_limit=self._at.captions_at_context_limit,
        )

    def _loop(
        self, log: MetricsLog, loader_state: dict[str, Any] | None, states: dict[str, Any] | None
    ) -> Path:
        at = self._at
        self.model.train()
        path: Path | None = None
        with ProgressBar(
            self.total_steps, label="train", unit="steps", enabled=self._show_progress
        ) as bar:
            bar.set(at.step)
            meter = Meter()
            while at.step < self.total_steps:
                iterator = self._batches(loader_state, states)
                loader_state = states = None
                with contextlib.closing(_Closable(iterator)):
                    while at.step < self.total_steps:
                        meter.wait_begins()
                        batch = next(iterator, None)
                        meter.wait_ends()
                        if batch is None:
                            break
                        row = self._step(batch, log)
                        at.step += 1
                        at.step_in_epoch += 1
                        at.seconds += meter.step_ends(len(batch["index"]))
                        at.metrics = {"step": at.step, "epoch": at.epoch, **row, **meter.rates()}
                        if at.step % self._log_every == 0 or at.step == self.total_steps:
                            log.write(**at.metrics)
                            meter.restart()
                        bar.update(1)
                        bar.note(loss=round(row["loss"], 4))
                        if self._wants_to_stop():
                            path = self._save(log)
                            raise CancelledError(
                                f"stopped after step {at.step} of {self.total_steps}; the same "
                                f"call with resume=True goes on from {path}"
                            )
                        if self._checkpoint_every and at.step % self._checkpoint_every == 0:
                            path = self._save(log)
                    else:
                        break  # all steps are done
                if at.step_in_epoch == 0:
                    raise InvalidArgumentError(
                        f"the loader gave 0 batches in epoch {at.epoch}, must give at least 1; "
                        "lower batch_size or look at loader.stats()"
                    )
                at.epoch += 1
                at.step_in_epoch = 0
                path = self._save(log)
        return self._save(log)

    def _batches(
        self, loader_state: dict[str, Any] | None, states: dict[str, Any] | None
    ) -> Iterator[dict[str, Any]]:
        """What is left of the epoch, with the random generators as they were at this place."""
        self.loader.set_epoch(self._at.epoch)
        if states is not None and loader_state is None:
            restore_random_states(states)
        if loader_state is not None:
            self.loader.load_state_dict(loader_state)
        iterator = iter(self.loader)
        if states is not None and loader_state is not None:
            # In mid-epoch after iter: what it draws, the first session drew when the epoch began.
            restore_random_states(states)
        return iterator

    def _step(self, batch: Mapping[str, Any], log: MetricsLog) -> dict[str, float]:
        """One optimizer step; the numbers of it."""
        ready = self._to_device(batch)
        lr = scheduled_lr(
            self._at.step,
            lr=self.recipe.lr,
            min_lr=self.recipe.min_lr,
            warmup=self._warmup,
            total=self.total_steps,
        )
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(
            self.device.type, dtype=self._autocast, enabled=self._autocast is not None
        ):
            out = self.compute_loss(ready)
        scaler = self._scaler
        (scaler.scale(out["loss"]) if scaler else out["loss"]).backward()
        if scaler:
            scaler.unscale_(self.optimizer)
        parameters = [p for p in self.model.parameters() if p.grad is not None]
        norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        if self.recipe.grad_clip is not None:
            nn.utils.clip_grads_with_norm_(parameters, self.recipe.grad_clip, norm)
        names = ["loss", "clip", "margin", "violated", "logit_scale"]
        names += sorted(set(out) - set(names))
        # One copy from the device for all of them.
        numbers = torch.stack([out[name].detach().reshape(()).float() for name in names] + [norm])
        row = dict(zip([*names, "grad_norm"], numbers.tolist(), strict=True))
        row["lr"] = lr
        # With loss scaling, an infinite gradient is the scaler's own way to find its factor.
        if not math.isfinite(row["loss"]) or not (scaler or math.isfinite(row["grad_norm"])):
            self._refuse_non_finite(batch, row, log)
        if scaler:
            scaler.step(self.optimizer)
            scaler.update()
            row["loss_factor"] = scaler.get_scale()
        else:
            self.optimizer.step()
        clamp_logit_scale(self.model)
        if self._stream:
            row |= self._stream.feed({**batch, **ready})
            stats: dict[str, Any] = getattr(self.loader, "stats", dict)()
            if "plain_targets" in stats:  # of this epoch so far
                row["plain_targets"] = stats["plain_targets"]
        return row

    def _to_device(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        for name, maker in (("image", "transform"), ("text", "tokenizer")):
            if not isinstance(batch[name], Tensor):
                raise InvalidArgumentError(
                    f"batch[{name!r}] is a {type(batch[name]).__name__}, must be a tensor; give "
                    f"the loader a {maker}"
                )
        check_target(batch["target"], len(batch["index"]))
        end = getattr(self.bundle.tokenizer, "eot_token_id", None)
        if end is not None:
            full = int((batch["text"][:, -1] == end).sum())
            self._at.captions_at_context_limit += full
        names = [name for name, value in batch.items() if isinstance(value, Tensor)]
        return {name: batch[name].to(self.device, non_blocking=True) for name in names}

    def _refuse_non_finite(
        self, batch: Mapping[str, Any], row: Mapping[str, float], log: MetricsLog
    ) -> None:
        step = self._at.step + 1
        rows = [int(index) for index in batch["index"]]
        log.write(**{**row, "step": step, "event": "non_finite", "rows": rows})
        log.sync()
        existing = list_checkpoints(self.checkpoints)
        last = existing[0][1] if existing else None
        shown = ", ".join(map(str, rows[:8])) + (", ..." if len(rows) > 8 else "")
        raise NonFiniteLossError(
            f"step {step}: loss {row['loss']}, gradient norm {row['grad_norm']}, must be finite; "
            f"data rows of the batch: {shown} ({len(rows)} in all, listed in metrics.jsonl); last "
            f"good checkpoint: {last or 'none yet'}. Lower lr, or use precision='float32'",
            step=step,
            rows=rows,
            checkpoint=last,
        )

    def _save(self, log: MetricsLog) -> Path:
        log.sync()
        at = self._at
        # After an epoch's last batch the place is the start of the next, whoever asks for it.
        ended = at.step_in_epoch >= len(self.loader)
        mid_epoch = at.step_in_epoch > 0 and not ended
        config = {"name": self.bundle.name, **self.bundle.config} if self.bundle.config else None
        return write_checkpoint(
            self.checkpoints,
            step=at.step,
            model=self.model.state_dict(),
            optimizer=optimizer_tensors(self.optimizer, self.model.named_parameters()),
            random=random_states(),
            state={
                "options": self._options(),
                "progress": {
                    "epoch": at.epoch + int(ended),
                    "step_in_epoch": at.step_in_epoch if mid_epoch else 0,
                    "seconds": at.seconds,
                    "captions_at_context_limit": at.captions_at_context_limit,
                },
                # Between epochs set_epoch says all that there is to say.
                "loader": self.loader.state_dict() if mid_epoch else None,
                "scaler": self._scaler.state_dict() if self._scaler else None,
            },
            streaming=self._stream.tensors() if self._stream else None,
            config=config,
            keep=self._keep,
        )

    def _find_checkpoint(self) -> tuple[Checkpoint | None, list[str]]:
        if self._resume:
            return newest_checkpoint(self.checkpoints)
        found = list_checkpoints(self.checkpoints)
        if found:
            raise InvalidArgumentError(
                f"{self.out} holds checkpoints up to step {found[0][0]} and resume is False; pass "
                "resume=True to go on, or choose another out"
            )
        return None, []

    def _restore(
        self, checkpoint: Checkpoint
    ) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
        """Take over a checkpoint; returns the loader's and the random generators' states."""
        state = checkpoint.state
        try:
            options, scaler, loader = state["options"], state["scaler"], state["loader"]
            self._at = _Progress(step=checkpoint.step, **state["progress"])
        except (KeyError, TypeError) as error:
            raise CorruptError(f"{checkpoint.path}/state.json lacks a part: {error}") from error
        refuse_changes(options, self._options(), str(self.out))
        fit_state_dict(self.model, checkpoint.model, str(checkpoint.path))
        load_optimizer_tensors(self.optimizer, self.model.named_parameters(), checkpoint.optimizer)
        if self._scaler and scaler:
            self._scaler.load_state_dict(scaler)
        if self._stream:
            self._stream.restore(checkpoint.streaming)
        return loader, checkpoint.random

    def _options(self) -> dict[str, Any]:
        return {
            **self._identity,
            **self.recipe.as_dict(),
            "steps": self.total_steps,
            "model": self.bundle.name,
            "streaming": self._stream.options() if self._stream else None,
        }

    def _check_model(self) -> None:
        low = {p.dtype for p in self.bundle.model.parameters()} - {torch.float32, torch.float64}
        if low:
            raise InvalidArgumentError(
                f"the model's weights are {sorted(map(str, low))}, must be float32 for training; "
                "make it with precision='float32' and give precision='bfloat16' to the trainer"
            )


class _Closable:
    """Closes an iterator that can be closed, so that a loader's workers end with the run."""

    def __init__(self, iterator: Iterator[Any]) -> None:
        self._iterator = iterator

    def close(self) -> None:
        getattr(self._iterator, "close", lambda: None)()


def _features(out: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Image features, text features and logit scale of either form of open_clip's output."""
    if isinstance(out, dict):
        return out["image_features"], out["text_features"], out["logit_scale"]
    return out[0], out[1], out[2]


def _seed_all(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def _device(device: str | torch.device) -> torch.device:
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(device)
