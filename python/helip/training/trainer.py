"""The training loop: a recipe, a model and a loader of batches with hard pairs.

The loader is any object that yields dicts of ``image`` [b, 3, H, W], ``text`` int64 [b, context],
``index`` int64 [b] (row of the data set) and ``target`` int64 [b] (batch row of the target that
each row serves); ``hard_rows`` int64 [b, m], where it is there, has the hard rows of every row, and
``caption_group`` int64 [b] says which captions are equal.

A run lives in one directory: ``metrics.jsonl`` and ``checkpoints/step-XXXXXX``. A killed run goes
on from its newest whole checkpoint, also in mid-epoch; on a CPU, and with a loader whose batches
depend on its state and the global random generators alone, the weights are those of a run that was
never interrupted, bit for bit.

Under torchrun the loader of each process gives its part of the batch; negatives come from all of
them, and every process takes the same steps on the same weights. Rank 0 writes.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import time
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from helip.common.devices import choose_device
from helip.common.errors import CancelledError, Error, InvalidArgumentError
from helip.common.files import DirectoryLock, make_directory, remove_leftovers
from helip.common.idle_cores import look_again
from helip.common.options import method_keywords
from helip.common.processes import Processes
from helip.common.progress import ProgressBar
from helip.losses.loss import BatchLoss
from helip.models.locking import train_mode
from helip.models.run_folder import CHECKPOINTS
from helip.training.checkpoints import random_states, restore_random_states, seed_all
from helip.training.checks import check_chunks, check_run, given_again
from helip.training.kernels import takes_channels_last
from helip.training.measuring.measuring import Measuring
from helip.training.metrics import Meter, RunLog, open_log
from helip.training.network import Network, named_outputs, whole
from helip.training.optimizing.optimizer import logit_scale_bound, weights_kept
from helip.training.optimizing.weight_average import WeightAverage
from helip.training.options import RunOptions
from helip.training.precision import precision_of, with_precision
from helip.training.recipe import Recipe
from helip.training.result import Progress, TrainResult
from helip.training.state import RunState
from helip.training.step import OptimizerStep, QueuedStep, captions_that_fill, on_device
from helip.training.stream import StepMiner
from helip.training.terms import Distillation, SslTerm, with_distill
from helip.training.trainer_call import TrainerCall
from helip.training.tuning import ModelTuning
from helip.training.warm_statistics import first_batches, nothing_learned


class Trainer:
    """Runs a recipe on a model and a loader. Changes the model in place. Not thread-safe.

    A run that has finished returns at once. Another number of processes goes on where the loader
    says ``resumes_on_other_ranks``, as a HardPairLoader does, with as many rows a batch in all;
    else it is refused. :meth:`stop`, from a signal handler, ends the run after a step.

    To train with another loss, give it to the recipe; to add a term, override `losses`.
    """

    @method_keywords(TrainerCall)
    def __init__(self, call: TrainerCall) -> None:
        if hasattr(self, "compute_loss"):
            raise InvalidArgumentError(
                f"{type(self).__name__} has compute_loss, which is not called; override losses, or "
                "give a loss of your own to the recipe"
            )
        if call.embed is not None and call.miner is None:
            raise InvalidArgumentError(
                "embed makes what a miner is given, and there is none; pass a StreamingMiner, or "
                "leave embed out"
            )
        model, loader = call.model, call.loader
        self.bundle = model
        self.loader = loader
        self.out = Path(call.out)
        self.processes = Processes()
        self.total_steps = call.steps if call.steps is not None else call.epochs * len(loader)
        self.device = choose_device(call.device)
        self.hooks = dict(call.hooks or {})
        self.options = RunOptions.of(call)
        self.recipe = with_precision(
            with_distill(call.recipe or Recipe()),
            self.device,
            self.processes,
            self.checkpoints if call.resume else None,
        )
        self._stream: StepMiner | None = None
        if call.miner is not None:
            self._stream = StepMiner(call.miner, call.embed, self.processes, self.device)
        self._show_progress = call.progress and self.processes.leads
        self._should_stop = call.should_stop
        self._stop_requested = False
        self._ssl = SslTerm.of(model.model, self.recipe)
        check_run(call, self.recipe, self.hooks, self.processes, self.device)
        self._loss = BatchLoss(
            self.recipe.loss, self.recipe, gather=self.processes.count > 1, device=self.device
        )
        self.loss = self._loss.loss
        self._distillation = Distillation.of(
            model, self.recipe, call.teacher, self.processes, self.device,
            chunks=call.accumulate, out=self.out, resume=call.resume,
        )  # fmt: skip
        self._measuring = Measuring(call, model, self.out, self.processes)
        scale_bound = logit_scale_bound(model.model)
        self._tuning = ModelTuning(model, self.recipe)
        with self._tuning.given_back(whole=True):
            check_chunks(model.model, call)
            self._measuring.follow(self.device)
            self.network = Network(model.model, self.device, self.processes, self.options)
            self.model = self.network.model
            self._channels_last = takes_channels_last(self.model, self.device)
            if self.recipe.ema is not None:
                self.hooks["ema"] = WeightAverage(self.model, self.recipe.ema)
            self._optimizer_step = OptimizerStep(
                self.recipe,
                self.network,
                self.processes,
                self.device,
                total_steps=self.total_steps,
                accumulate=call.accumulate,
            )
        self.optimizer = self._optimizer_step.optimizer
        self._at = Progress(scale_bound=scale_bound)
        self._resumed_from = 0
        self._rank_rows = [0]
        self._queued: QueuedStep | None = None
        self._full = torch.zeros((), dtype=torch.int64)  # captions that fill the context, new ones
        self._asked = self._all_asked = False  # whether to stop: this process, all of them
        self._identity = {
            **dict(call.identity or {}),
            **self.recipe.plain(),
            **self._loss.identity(),
            "steps": self.total_steps,
            "model": model.name,
            "streaming": self._stream.options() if self._stream else None,
            "accumulate": call.accumulate,
            "compiled": call.compiled,
            **({"teacher": self._distillation.teacher.digest} if self._distillation else {}),
        }
        self._again = given_again(call, self.network.parallel)
        self._state = RunState(
            root=self.checkpoints,
            processes=self.processes,
            network=self.network,
            optimizer=self.optimizer,
            scaler=self._optimizer_step.scaler,
            loader=loader,
            kept={
                **self.hooks,
                "loss": self._loss,
                **({"streaming": self._stream} if self._stream else {}),
            },
            options={**self._identity, "hooks": sorted(self.hooks)},
            config={"name": model.name, **model.config} if model.config else None,
            keep=call.keep,
            copies=bool(self._distillation) + (call.validate is not None),
            shown=self._show_progress,
        )

    @property
    def checkpoints(self) -> Path:
        return self.out / CHECKPOINTS

    def stop(self) -> None:
        """Ask the run to end after the step it is in. Safe in a signal handler."""
        self._stop_requested = True

    def run(self) -> TrainResult:
        """Train to the last step and return; see the class for what can end it earlier."""
        if self._tuning.failed:
            raise Error(
                "the run of this trainer has ended, and its model was given back; make another, "
                "which goes on from the newest checkpoint"
            )
        callers = random_states()
        with contextlib.ExitStack() as stack, self._tuning.given_back():
            try:
                self.processes.leader_does(lambda: self._take_place(stack))
                result = self._result(self._loop(*self._begin(stack)))
                self._tuning.finish()
                return result
            finally:
                restore_random_states(callers)

    def encode(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What the model makes of rows of a batch on the device, under autocast.

        Entries of two and more dimensions have a row for each of the batch's; others, such as the
        temperature, do not depend on the rows.
        """
        views = (self._ssl.views(batch),) if self._ssl else ()
        return named_outputs(self.network(batch["image"], batch["text"], *views))

    def losses(
        self, encoded: Mapping[str, Tensor], batch: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """The losses of a batch on the device, of which ``loss`` is trained on; scalars."""
        if self._stream:
            self._stream.keep(encoded["image_features"], encoded["text_features"])
        out = self._loss(encoded, batch, self._rank_rows)
        out["logit_scale"] = encoded["logit_scale"].detach()
        if self._distillation:
            out = self._distillation.add(out, encoded, batch, self._rank_rows)
        return self._ssl.add(out, encoded, self._rank_rows) if self._ssl else out

    def _take_place(self, stack: contextlib.ExitStack) -> None:
        make_directory(self.checkpoints)
        stack.enter_context(DirectoryLock(self.out))
        remove_leftovers(self.checkpoints)

    def _begin(
        self, stack: contextlib.ExitStack
    ) -> tuple[RunLog, dict[str, Any] | None, dict[str, Any] | None]:
        """Take up the newest checkpoint, or make ready for the first step; what `_loop` takes."""
        checkpoint, damage = self._state.find(resume=self.options.resume)
        # Dropout differs between processes; the loader draws from its own seed.
        seed_all(self.recipe.seed + self.processes.rank)
        loader_state, states = None, None
        if checkpoint:
            self._at, loader_state, states = self._state.restore(checkpoint)
            if states is None:
                place = [self.recipe.seed, self.processes.rank, checkpoint.step]
                seed_all(int(np.random.SeedSequence(place).generate_state(1)[0]))
        self._optimizer_step.scale_bound = self._at.scale_bound
        self._resumed_from = self._at.step
        log = stack.enter_context(
            open_log(
                self.out,
                keep_to=self._at.step if checkpoint else -1,  # what came before a first step, too
                sinks=self.options.log_to,
                options=self._identity,
                leads=self.processes.leads,
            )
        )
        self._at.metrics = log.last
        for message in damage:
            log.write(step=self._at.step, event="warning", message=message)
        for line in self._measuring.begin(self._at, resumed=checkpoint is not None):
            log.write(**line)
        if checkpoint is None:
            every = self.options.checkpoint_every
            self.processes.leader_does(lambda: self._state.begin(self.total_steps, every))
            if self._distillation:
                self.processes.leader_does(self._distillation.teacher.keep)
            if self.recipe.warm_statistics:
                self._warm_statistics(log)
        return log, loader_state, states

    def _result(self, checkpoint: Path) -> TrainResult:
        """What has come out."""
        at = self._at
        stats: dict[str, Any] = getattr(self.loader, "stats", dict)()
        return TrainResult(
            steps=at.step,
            seconds=at.seconds,
            metrics=at.metrics,
            checkpoint=checkpoint,
            precision=precision_of(self.recipe),
            loader_stats=dict(stats),
            cache=self.processes.summed_here(stats.get("cache", {})),
            model=self.bundle,
            resumed_from=self._resumed_from,
            strategy=getattr(self.loader, "strategy", None),
            validation=dict(at.validation),
            warm_statistics=dict(at.warm_statistics),
            guard=dict(at.guard),
            captions_at_context_limit=sum(self.processes.exchange(at.captions_at_context_limit)),
        )

    def _loop(
        self, log: RunLog, loader_state: dict[str, Any] | None, states: dict[str, Any] | None
    ) -> Path:
        """Train to the last step, from the states of the loader and the generators where given."""
        at, meter = self._at, Meter()
        train_mode(self.model)
        with ProgressBar(
            self.total_steps, label="train", unit="steps", enabled=self._show_progress
        ) as bar:
            bar.set(at.step)
            while not self._over():
                with contextlib.closing(
                    self._batches(log, meter, at.epoch, loader_state, states)
                ) as batches:
                    loader_state = states = None
                    for batch in itertools.islice(batches, self.total_steps - at.step):
                        self._train_on(batch, log, meter)
                        bar.update(1)
                        if at.metrics:
                            bar.note(loss=round(at.metrics["loss"], 4))
                        self._stop_or_save(log)
                        if self._over():
                            break
                if self._over():
                    break
                if at.step_in_epoch == 0:
                    raise InvalidArgumentError(
                        f"the loader gave 0 batches in epoch {at.epoch}, must give at least 1; "
                        "lower batch_size or look at loader.stats()"
                    )
                at.epoch += 1
                at.step_in_epoch = 0
                self._save(log)
        return self._save(log)

    def _prepare(self, epoch: int, log: RunLog, *, midway: bool) -> None:
        """What a subclass does before the batches of an epoch come, or those left of it."""

    def _warm_statistics(self, log: RunLog) -> None:
        """Let the optimizer take its moments from the first batches, which the steps see again."""
        self._prepare(0, log, midway=False)  # whose time is not that of these batches
        wanted, full, began = self.recipe.warm_statistics, self._full, time.perf_counter()
        losses: list[float] = []
        rows = left_out = 0
        train_mode(self.model)
        with (
            nothing_learned(self.model, self._loss),
            contextlib.closing(
                first_batches(wanted, lambda epoch: self._batches(log, Meter(), epoch))
            ) as batches,
            ProgressBar(
                wanted, label="warm statistics", unit="batches", enabled=self._show_progress
            ) as bar,
        ):
            for batch in batches:
                ready, step = self._ready(batch), self._optimizer_step
                with weights_kept(self.optimizer):
                    numbers = step(0, ready, encode=self.encode, losses=self.losses)
                row, failed = numbers.read()
                losses.append(row["loss"])
                name = f"batch {len(losses)} of {wanted} of the warm statistics"
                if failed:
                    queued = QueuedStep(0, 0, numbers, {}, batch["index"], False, name)
                    queued.refuse(row, log, self.processes, self.checkpoints)
                rows += sum(self._rank_rows)
                left_out += not math.isfinite(row["grad_norm"])  # float16's factor is looked for
                bar.update(1)
                if self._shall_stop():
                    raise CancelledError(
                        f"stopped after {name}, before the first step; the same call begins anew"
                    )
        self._full = full
        seconds, mean = time.perf_counter() - began, sum(losses) / max(len(losses), 1)
        self._at.seconds += seconds
        self._at.warm_statistics = {
            "batches": len(losses), "rows": rows, "left_out": left_out, "loss": mean,
            "seconds": seconds,
        }  # fmt: skip
        log.write(step=0, event="warm_statistics", **self._at.warm_statistics)

    def _batches(
        self,
        log: RunLog,
        meter: Meter,
        epoch: int,
        loader_state: dict[str, Any] | None = None,
        states: dict[str, Any] | None = None,
    ) -> Generator[dict[str, Any]]:
        """What is left of the epoch, with the random generators as they were at this place."""
        began = time.perf_counter()
        self._prepare(epoch, log, midway=loader_state is not None)
        meter.began += time.perf_counter() - began
        self.loader.set_epoch(epoch)
        if states is not None and loader_state is None:
            restore_random_states(states)
        if loader_state is not None:
            self.loader.load_state_dict(loader_state)
        iterator = iter(self.loader)
        if states is not None and loader_state is not None:
            # In mid-epoch after iter: what it draws, the first session drew when the epoch began.
            restore_random_states(states)
        try:
            while True:
                meter.wait_begins()
                batch = next(iterator, None)
                meter.wait_ends()
                if not self._all_have_rows(batch):
                    return
                if batch and 0 not in self._rank_rows:  # else all processes pass over theirs
                    yield batch
        finally:  # a loader's workers end with the run
            getattr(iterator, "close", lambda: None)()

    def _train_on(self, batch: Mapping[str, Any], log: RunLog, meter: Meter) -> None:
        """Queue a step, and what is done after it; then look at the step before."""
        look_again()
        at = self._at
        ready = self._ready(batch)
        numbers = self._optimizer_step(at.step, ready, encode=self.encode, losses=self.losses)
        known: dict[str, Any] = {}
        if self._stream:
            known |= self._stream.feed({**batch, **ready}, self._rank_rows)
            stats: dict[str, Any] = getattr(self.loader, "stats", dict)()
            if "plain_targets" in stats:  # of this epoch so far
                known["plain_targets"] = stats["plain_targets"]
        at.step += 1
        at.step_in_epoch += 1
        for hook in self.hooks.values():
            known |= hook.after_step(self.model, at.step) or {}
        at.seconds += meter.step_ends(sum(self._rank_rows))
        known |= meter.rates()
        due = at.step == self.total_steps or at.step % self.options.log_every == 0
        if due:
            meter.restart()
        before = self._queued
        self._queued = QueuedStep(at.step, at.epoch, numbers, known, batch["index"], due)
        self._settle(before, log)

    def _settle_all(self, log: RunLog) -> None:
        queued, self._queued = self._queued, None
        self._settle(queued, log)

    def _settle(self, queued: QueuedStep | None, log: RunLog) -> None:
        """Wait for a step, refuse it where it failed, and write its line where one is due."""
        if queued is None:
            return
        row, failed = queued.numbers.read()
        if failed:
            self._queued = None
            queued.refuse(row, log, self.processes, self.checkpoints)
        place = {"step": queued.step, "epoch": queued.epoch}
        self._at.metrics = {**place, **row, **queued.known}
        if queued.due:
            log.write(**self._at.metrics)

    def _stop_or_save(self, log: RunLog) -> None:
        """A checkpoint where one is due, and CancelledError after it where the run shall end."""
        at, every = self._at, self.options.checkpoint_every
        stop = self._shall_stop()
        if self._measuring.due(at.step, self.total_steps):
            self._settle_all(log)
            for line in self._measuring.measure(at, self._weights):
                log.write(**line)
        if stop and not self._over():
            raise CancelledError(
                f"stopped after step {at.step} of {self.total_steps}; the same call{self._again} "
                f"goes on from {self._save(log)}"
            )
        if every and at.step % every == 0:
            self._save(log)

    def _shall_stop(self) -> bool:
        """Whether to end; of several processes, what all knew of when they began this step."""
        self._asked |= self._stop_requested or bool(self._should_stop and self._should_stop())
        return self._asked if self.processes.count == 1 else self._all_asked

    def _weights(self) -> Mapping[str, Tensor]:
        """The whole weights, or their averages where they are kept; a collective."""
        average = self.hooks.get("ema")
        if isinstance(average, WeightAverage):
            return whole(average.state_dict())
        return self.network.state_dict()

    def _over(self) -> bool:
        """Whether the last step is done, or validation has ended the run."""
        return self._at.step >= self.total_steps or self._measuring.exhausted(self._at)

    def _all_have_rows(self, batch: Mapping[str, Any] | None) -> bool:
        """Whether there is a batch, on which all processes agree; one exchange on their hosts."""
        own = [-1 if batch is None else len(batch["index"]), int(self._asked)]
        told = self.processes.tell(own)
        self._rank_rows = [rows for rows, _ in told]
        self._all_asked = any(asked for _, asked in told)
        ended = [rows < 0 for rows in self._rank_rows]
        if any(ended) and not all(ended):
            raise Error(
                f"of the loaders, those of ranks {[r for r, e in enumerate(ended) if e]} end after "
                f"{self._at.step_in_epoch} batches of epoch {self._at.epoch}, and the others do "
                "not; give the processes loaders of one length"
            )
        return not any(ended)

    def _ready(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """The batch on the device, with what the teacher makes of it."""
        ready = on_device(batch, self.device, channels_last=self._channels_last)
        self._full = self._full + captions_that_fill(batch["text"], self.bundle.tokenizer)
        if self._distillation:
            ready |= self._distillation.teach(batch["index"], ready)
        return ready

    def _save(self, log: RunLog) -> Path:
        """A checkpoint of a step that is known to be good."""
        self._settle_all(log)
        self._at.captions_at_context_limit += int(self._full)
        self._full = torch.zeros((), dtype=torch.int64)
        log.sync()
        path = self._state.save(self._at)
        self.processes.leader_does(self._measuring.publish)
        return path
