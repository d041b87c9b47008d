"""Batches of targets and their hard pairs, read and transformed for training.

Which rows make a batch is decided by the BatchSampler of the native core; rows are read by threads
of the core, or in worker processes. This module joins the two and keeps account: of every row that
was emitted, replaced or quarantined, and of the place in the epoch, so that training resumes in the
middle of one.
The batch rules are those of HELIP (arXiv 2305.05208).
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Sampler

from helip import _core
from helip.common.errors import Error, InvalidArgumentError, MismatchError
from helip.data.image_transform import ImageTransform
from helip.loading.hardness_schedule import HardnessSchedule
from helip.loading.readers.batch import BatchPlan, ReadBatch
from helip.loading.readers.choice import choose_reads
from helip.loading.state import EpochCounts, LoaderState, refuse_another_loader
from helip.mining.streaming import StreamingMiner
from helip.pairs.growing_pairs import GrowingPairs
from helip.pairs.hard_pairs import HardPairs

__all__ = ["HardPairLoader"]

_JUDGED_ROWS = 1000  # rows over which the share of quarantined ones is judged, at the least


class HardPairLoader:
    """Iterates over the batches of one epoch at a time.

    A batch is a dict: ``image`` (Tensor [b, ...] where ``transform`` gives tensors, else a list),
    ``text`` (what ``tokenizer`` gives for the list of captions, else that list[str]), ``index``
    (int64 [b], row of the data set) and ``target`` (int64 [b], batch row of the target that a row
    serves; its own row for a target). Targets come first, then hard pairs grouped by target; no
    row occurs twice. A batch has at most ``batch_size // (1 + hard_per_target)`` targets, or
    ``targets_per_batch``. Every eligible row is a target exactly once an epoch, over all ranks;
    they are spread evenly, so that batches differ by one target at most and no row is dropped at
    the end. docs/loader.md says when to use which strategy.

    Epochs: iterating goes through epoch ``epoch``, then the next time through ``epoch + 1``, and
    so on, each in an order of its own. An iteration that is broken off starts its epoch again
    the next time. :meth:`set_epoch` chooses another epoch. Batches depend on the seed, the epoch
    and the options, never on the number of workers.

    Pairs that grow: with a StreamingMiner in place of a table, a batch is drawn from what was found
    when it is planned. With ``workers=0`` that is when it is asked for, so what the batch before
    was mined for is known; else batches are planned ahead (``prefetch``). Either way it depends on
    what the miner was given, not on time, and goes on the same after :meth:`load_state_dict`, with
    the same options and the miner's own state. Every row is a target; one that has no hard pair yet
    is a plain one, and counted. With ``short="skip"`` its places stay empty, so that the batches of
    the first epoch, which sees each row for the first time, hold targets alone; "random" fills
    them.

    Args:
        data: a data set: ``len``, ``keys``, ``fingerprint`` and ``data[i]``, a dict with
            ``image`` (PIL) and ``text``.
        pairs: the table mined from that data set, or a StreamingMiner that the training loop gives
            its batches to (or the GrowingPairs of one). None, with ``hard_per_target=0``, gives
            plain shuffled batches of ``batch_size`` targets.
        batch_size: rows of a batch on this rank, targets and hard pairs together.
        hard_per_target: hard pairs drawn for each target (p).
        seed: of the order, the draws and the augmentations; 0 .. 2**64 - 1.
        rank, world_size: of this process; by default torch.distributed's where it is initialised,
            else 0 and 1.
        rank_min, rank_max: the window of pool ranks drawn from, ``rank_max`` excluded; None is k.
        temperature: draws in proportion to exp(score / temperature); None draws uniformly.
        fraction: share of the targets that get hard pairs. With 0.0 the targets of every batch are
            the same as with 1.0, alone: a control of as many steps.
        strategy: "uniform" or "temperature" (each target draws its own hard pairs), "scheduled"
            (the window or the temperature follow ``schedule``), "shared" (a row of the batch counts
            for every target that it is a hard pair of) or "walk" (batches of targets that are each
            other's hard pairs). "auto" is the first three, as ``temperature`` and ``schedule`` are
            given. With "shared" and "walk" a target that is a hard pair of another one of the batch
            serves that one: ``target`` is not its own row then, though it is a target.
        schedule: a HardnessSchedule, or its fields as a mapping.
        targets_per_batch: of "shared" and "walk". None: batch_size // (1 + hard_per_target) with
            "shared", ``batch_size`` with "walk".
        order: of the targets: "rows" (any after any other) or "blocks" (blocks of ``block``
            neighbouring rows in a random order, rows mixed among four blocks), for data that is
            read best in its own order.
        walk_rows, restart: targets that one walk collects, and the probability that a step leads
            back to its first row.
        short: what becomes of a target with fewer than p hard pairs in the window: "skip" (it is
            no target), "random" (random rows fill in) or "error".
        transform: an ImageTransform, which threads of the core apply to the pictures of tar shards,
            folders and tables; or any callable from a PIL image, called after ``torch``,
            ``random`` and NumPy's global generator were seeded from (seed, epoch, row). Either way
            an augmentation does not depend on the workers.
        views: more ImageTransforms. ``batch["views"]`` [v, b, ...] has their pictures of the same
            rows, as the second loss of SLIP needs them.
        tokenizer: called with a list of captions. One that works row by row, as open_clip's do, is
            asked once a row where threads read.
        workers: threads of the core, or where it cannot read this data or do this transform,
            processes. None takes a thread for each processor, but no process. 0 reads nothing
            ahead: a batch is made when it is asked for.
        prefetch: batches that threads begin ahead; that each process makes ahead.
        pin_memory: whether threads write pictures to page-locked memory, from which a GPU copies
            without waiting.
        max_quarantined: the largest share of rows that may fail to be read.

    Raises:
        MismatchError: the table belongs to another data set.
        InvalidArgumentError: an option is outside its bound, or of another strategy; short targets
            under ``short="error"``.

    A row that cannot be read or transformed is left out of its batch and counted under its reason
    (:meth:`stats`); hard pairs of a target that is left out become targets without hard pairs.
    Iterating raises Error when their share exceeds ``max_quarantined``, or when no row of a batch
    is left. Not thread-safe; one iteration at a time.
    """

    _epoch: int  # being iterated, or next
    _first: int  # targets of it, over all ranks, before batch 0; not 0 after a resume alone
    _steps: int  # batches of it after those
    _start: int  # the batch at which an iteration of it begins
    _handed: int  # batches before the consumer's place in it
    _counts: EpochCounts
    _start_counts: EpochCounts  # the account up to _start
    _start_plans: Sequence[BatchPlan]  # from _start on, that were made before

    #: For a Trainer: load_state_dict() takes the state of any rank of any number of ranks.
    resumes_on_other_ranks = True

    def __init__(
        self,
        data: Any,
        pairs: HardPairs | StreamingMiner | GrowingPairs | None,
        *,
        batch_size: int = 256,
        hard_per_target: int = 1,
        seed: int = 0,
        epoch: int = 0,
        rank: int | None = None,
        world_size: int | None = None,
        rank_min: int = 0,
        rank_max: int | None = None,
        temperature: float | None = None,
        fraction: float = 1.0,
        short: str = "skip",
        strategy: str = "auto",
        schedule: HardnessSchedule | Mapping[str, Any] | None = None,
        targets_per_batch: int | None = None,
        order: str = "rows",
        block: int = 1024,
        walk_rows: int = 256,
        restart: float = 0.1,
        workers: int | None = None,
        prefetch: int = 2,
        pin_memory: bool = False,
        transform: Callable[[Any], Any] | None = None,
        views: Sequence[ImageTransform] = (),
        tokenizer: Callable[[list[str]], Any] | None = None,
        max_quarantined: float = 0.1,
    ) -> None:
        if pairs is None and hard_per_target != 0:
            raise InvalidArgumentError(
                f"hard_per_target = {hard_per_target} needs a table of hard pairs, but pairs is "
                "None; pass a table, or hard_per_target=0 for plain batches"
            )
        if not 0 <= seed < 2**64:
            raise InvalidArgumentError(f"seed = {seed} must lie in 0 .. 2**64 - 1")
        if rank_max is not None and rank_max < 1:
            raise InvalidArgumentError(
                f"rank_max = {rank_max} must be at least 1; None means the pool size"
            )
        if temperature is not None and not temperature > 0:
            raise InvalidArgumentError(
                f"temperature = {temperature} must be positive; None draws uniformly, and "
                "rank_max=hard_per_target takes the hardest pairs alone"
            )
        if targets_per_batch is not None and targets_per_batch < 1:
            raise InvalidArgumentError(
                f"targets_per_batch = {targets_per_batch} must be at least 1; None means the "
                "strategy's own number"
            )
        schedule = HardnessSchedule.of(schedule)
        if workers is not None and workers < 0:
            raise InvalidArgumentError(f"workers = {workers} must not be negative")
        if prefetch < 1:
            raise InvalidArgumentError(
                f"prefetch = {prefetch} must be at least 1; workers=0 reads nothing ahead"
            )
        if not 0.0 <= max_quarantined <= 1.0:
            raise InvalidArgumentError(f"max_quarantined = {max_quarantined} must lie in 0 .. 1")
        _check_epoch(epoch)
        if isinstance(pairs, StreamingMiner):
            pairs = pairs.collect(len(data))
        _check_same_data(data, pairs)
        own_rank, own_world = _distributed_place()
        self._rank = own_rank if rank is None else rank
        world_size = own_world if world_size is None else world_size
        self._table = _empty_pairs(len(data)) if pairs is None else pairs
        self._options: dict[str, Any] = {
            "batch_size": batch_size,
            "hard_per_target": hard_per_target,
            "seed": seed,
            "rank": self._rank,
            "world_size": world_size,
            "rank_min": rank_min,
            "rank_max": rank_max or 0,
            "temperature": temperature or 0.0,
            "fraction": fraction,
            "short_policy": short,
            "strategy": strategy,
            "targets_per_batch": targets_per_batch or 0,
            "order": order,
            "block": block,
            "walk_rows": walk_rows,
            "restart": restart,
            **({} if schedule is None else {"schedule": schedule._core}),
        }
        self._sampler = _core.BatchSampler(self._table._core, **self._options)
        self._batch_size = batch_size
        walks = self._sampler.strategy == "walk"
        self._identity = {  # whatever changes the batches; loader_state says what may differ
            "seed": seed,
            "batch_size": batch_size,
            "hard_per_target": hard_per_target,
            "rank_min": rank_min,
            "rank_max": rank_max,
            "temperature": temperature,
            "fraction": fraction,
            "short": short,
            "strategy": self._sampler.strategy,
            "schedule": None if schedule is None else dataclasses.asdict(schedule),
            "targets_per_batch": targets_per_batch,
            "order": order,
            "block": block if order == "blocks" else None,
            "walk_rows": walk_rows if walks else None,
            "restart": restart if walks else None,
            "world_size": world_size,
            "fingerprint": data.fingerprint or "",
            "rows": len(data),
            "eligible_targets": self._sampler.eligible_targets,
        }
        self._reads = choose_reads(
            data, transform, views, tokenizer, seed, workers, prefetch, pin_memory
        )
        self._grows = isinstance(pairs, GrowingPairs)
        self._plans: _Plans | None = None  # of the iteration that may go on
        self._max_quarantined = max_quarantined
        self._iteration = 0  # the number of the one iteration that may go on
        self._counts = EpochCounts(epoch)
        self._begin(epoch)

    def __len__(self) -> int:
        """Batches of a whole epoch, the same on every rank."""
        return int(self._sampler.batches_per_epoch)

    @property
    def epoch(self) -> int:
        """The epoch being iterated, or between two iterations the one that comes next."""
        return self._epoch

    @property
    def hardness(self) -> dict[str, float]:
        """``rank_min``, ``rank_max`` and ``temperature`` (0: uniform) of the batch that is next."""
        epoch, first, batches = self._position()
        self._sampler.set_epoch(epoch, first)
        names = ("rank_min", "rank_max", "temperature")
        return dict(zip(names, self._sampler.hardness(batches), strict=True))

    def set_epoch(self, epoch: int) -> None:
        """Makes ``epoch`` the next one, from its start, and ends a running iteration.

        Does nothing when it is the current one already: a loop that calls this before each of its
        epochs still resumes in the middle of one.
        """
        _check_epoch(epoch)
        if epoch != self._position()[0]:
            self._begin(epoch)
            self._counts = EpochCounts(epoch)
            self._iteration += 1

    def __iter__(self) -> Iterator[dict[str, Any]]:
        if self._handed >= self._steps:  # the consumer took the last batch and never asked for more
            self._begin(self._epoch + 1)
        self._iteration += 1
        self._handed, self._plans = self._start, None
        self._counts = copy.deepcopy(self._start_counts)
        return self._batches(self._iteration)

    def state_dict(self) -> dict[str, Any]:
        """The place in the epoch, counted by batches handed to the consumer; JSON-able.

        It serves every rank, also of a run with more or fewer of them. Taken at the end of an epoch
        it stands for the start of the next.
        """
        epoch, first, batches = self._position()
        under_way = (first, batches) != (0, 0)
        return LoaderState(
            epoch=epoch,
            begin=first,
            batches=batches,
            targets=self._sampler.targets_before(batches, first),
            rank=self._rank,
            options=self._identity,
            counts=self._counts if under_way else EpochCounts(epoch),
            plans=self._waiting_plans() if under_way else (),
        ).to_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues where ``state`` was taken: the next iteration yields the rest of its epoch.

        With as many ranks and the same batch size and targets per batch, the batches are those of a
        run that was not interrupted. With others, every target that is left comes exactly once,
        over all ranks; with pairs that grow, batches that were planned ahead are planned anew. The
        number of workers may always be another one.

        Counts go on where ``state`` comes from the same rank of as many; else they begin here.

        Raises:
            InvalidArgumentError: ``state`` is not a state of a loader, or too few targets are left
                for every rank to get one.
            MismatchError: seed, data set or another option differ; the message names them.
        """
        saved = LoaderState.from_dict(state)
        refuse_another_loader(saved.options, self._identity)

        def targets_of_format_1() -> int:
            division = {name: saved.options[name] for name in ("batch_size", "world_size")}
            options = {**self._options, **division, "rank": 0}
            sampler = _core.BatchSampler(self._table._core, **options)
            return sampler.targets_before(saved.batches)

        first, batches = saved.place_for(
            self._identity, self._sampler.targets_before, targets_of_format_1
        )
        steps = self._sampler.batches_after(first)
        if batches >= steps:
            raise InvalidArgumentError(
                f"a state at epoch {saved.epoch}, batch {batches} is outside an epoch of "
                f"{steps} batches"
            )
        counts, plans = EpochCounts(saved.epoch), saved.plans
        if saved.rank == self._rank and saved.divides_as(self._identity):
            counts = saved.counts
        else:
            plans = ()  # of other rows
        self._begin(saved.epoch, first, batches, counts, plans)
        self._counts = copy.deepcopy(counts)
        self._iteration += 1

    def stats(self) -> dict[str, Any]:
        """Counts of the running epoch on this rank, or of the last one between two iterations.

        ``epoch``, ``batches``, ``emitted`` (rows handed over), ``targets``, ``hard_pairs``,
        ``random_fills`` (rows planned, by kind), ``plain_targets`` (those of them with no hard pair
        in the window), ``shared`` (places that a row of the batch filled, without one more),
        ``replaced`` (hard pairs that were in the batch already, so the next one was taken),
        ``unfilled`` (places left empty), ``skipped_targets`` (short targets),
        ``quarantined`` ({reason: rows}) and ``quarantined_rows`` (the first 100:
        row, key, reason, message). emitted + quarantined = targets + hard_pairs + random_fills.
        """
        counts: dict[str, Any] = dataclasses.asdict(self._counts)
        counts["skipped_targets"] = int(self._sampler.skipped_targets)
        return counts

    def _begin(
        self,
        epoch: int,
        first: int = 0,
        start: int = 0,
        counts: EpochCounts | None = None,
        plans: Sequence[BatchPlan] = (),
    ) -> None:
        """Places the next iteration at batch ``start`` of those after ``first`` targets.

        stats() stay as they are.
        """
        self._epoch, self._first, self._start, self._handed = epoch, first, start, start
        self._steps = int(self._sampler.batches_after(first))
        self._start_counts = EpochCounts(epoch) if counts is None else counts
        self._start_plans, self._plans = plans, None

    def _waiting_plans(self) -> Sequence[BatchPlan]:
        """Plans that only a growing table's past can repeat: made, but not handed over yet."""
        if not self._grows:
            return ()
        return self._start_plans if self._plans is None else tuple(self._plans.waiting)

    def _position(self) -> tuple[int, int, int]:
        """(epoch, targets before batch 0, batches handed); after the last, those of the next."""
        if self._handed >= self._steps:
            return self._epoch + 1, 0, 0
        return self._epoch, self._first, self._handed

    def _check_current(self, iteration: int) -> None:
        if iteration != self._iteration:
            raise Error(
                "this iteration was ended by a later one, by set_epoch or by load_state_dict; "
                "iterate over a loader once at a time, or make another loader"
            )

    def _batches(self, iteration: int) -> Iterator[dict[str, Any]]:
        self._check_current(iteration)
        self._plans = plans = _Plans(
            self._sampler, self._epoch, self._first, range(self._start, self._steps),
            self._start_plans,
        )  # fmt: skip
        with contextlib.closing(self._reads(plans)) as reads:
            for read in reads:
                plans.waiting.popleft()
                self._counts.add(read)
                batch = self._checked(read)
                self._handed += 1
                yield batch
                self._check_current(iteration)
        self._begin(self._epoch + 1)

    def _checked(self, read: ReadBatch) -> dict[str, Any]:
        """The batch, unless too many rows have failed by now."""
        counts = self._counts
        failed = sum(counts.quarantined.values())
        total = counts.emitted + failed
        judged = total
        if read.step + 1 < self._steps:  # too few rows say little, unless the epoch has no more
            judged = max(total, min(_JUDGED_ROWS, len(self) * self._batch_size))
        if read.batch is not None and failed <= self._max_quarantined * judged:
            return read.batch
        reasons = ", ".join(f"{reason}: {n}" for reason, n in sorted(counts.quarantined.items()))
        first = counts.quarantined_rows[0]
        account = (
            f"{failed} of {total} rows of epoch {counts.epoch} could not be read ({reasons}); the "
            f"first was row {first['row']}, key {first['key']!r}: {first['message']}"
        )
        if read.batch is None:
            raise Error(
                f"no row of batch {read.step} could be read, and a batch must not be empty: "
                f"{account}. Mend the data or raise batch_size"
            )
        raise Error(
            f"max_quarantined = {self._max_quarantined:g} is exceeded: {account}. Mend the data, "
            "or raise max_quarantined to train without these rows"
        )


class _Plans(Sampler[BatchPlan]):
    """The plans of these steps of an epoch, made in the consumer's process when asked for.

    The steps are those after its ``first`` targets. ``made``: plans of the first steps, where they
    were made before.
    """

    def __init__(
        self, sampler: Any, epoch: int, first: int, steps: range, made: Sequence[BatchPlan] = ()
    ) -> None:
        self._sampler, self._epoch, self._first, self._steps = sampler, epoch, first, steps
        self.waiting = deque(made)  # whose batches were not handed over yet

    def __len__(self) -> int:
        return len(self._steps)

    def __iter__(self) -> Iterator[BatchPlan]:
        made = tuple(self.waiting)
        yield from made
        for step in self._steps[len(made) :]:
            # Another iteration, which ends this one, may have moved the sampler.
            self._sampler.set_epoch(self._epoch, self._first)
            self._sampler.reset_statistics()
            index, target = self._sampler.batch(step)
            plan = BatchPlan(self._epoch, step, index, target, dict(self._sampler.statistics()))
            self.waiting.append(plan)
            yield plan


def _check_epoch(epoch: int) -> None:
    if epoch < 0:
        raise InvalidArgumentError(f"epoch = {epoch} must not be negative")


def _check_same_data(data: Any, pairs: HardPairs | GrowingPairs | None) -> None:
    if pairs is None:
        return
    table, own = getattr(pairs, "keys_fingerprint", ""), data.fingerprint or ""
    if len(pairs) == len(data) and (not table or not own or table == own):
        return
    raise MismatchError(
        f"the table of hard pairs ({len(pairs)} rows, keys fingerprint {table or 'none'}) belongs "
        f"to another data set than this one ({len(data)} rows, fingerprint {own or 'none'}); open "
        "the data set it was mined from, or mine this one"
    )


def _empty_pairs(rows: int) -> HardPairs:
    """A table in which no row has a hard pair."""
    return HardPairs.from_arrays(
        np.full((rows, 1), -1, dtype=np.int32),
        np.zeros((rows, 1), dtype=np.float32),
        np.zeros(rows, dtype=np.int32),
    )


def _distributed_place() -> tuple[int, int]:
    """(rank, world size) of torch.distributed where it is initialised, else (0, 1)."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1
