"""Batches of targets and their hard pairs, read and transformed for training.

Which rows make a batch is decided by the BatchSampler of the native core; this module reads them,
in worker processes if asked, and keeps account: of every row that was emitted, replaced or
quarantined, and of the place in the epoch, so that training resumes in the middle of one.
The batch rules are those of HELIP (arXiv 2305.05208).
"""

from __future__ import annotations

import copy
import dataclasses
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler

from helip import _core
from helip.errors import Error, InvalidArgumentError, MismatchError
from helip.pairs import HardPairs
from helip.pairs_growing import GrowingPairs
from helip.reader import BatchPlan, BatchReader, ReadBatch
from helip.streaming import StreamingMiner

__all__ = ["HardPairLoader"]

_LISTED_ROWS = 100  # quarantined rows that stats() names; the others are only counted
_JUDGED_ROWS = 1000  # rows over which the share of quarantined ones is judged, at the least
_STATE_FORMAT = 1
_PLANNED = ("targets", "plain_targets", "hard_pairs", "replaced", "random_fills", "unfilled")


class HardPairLoader:
    """Iterates over the batches of one epoch at a time.

    A batch is a dict: ``image`` (Tensor [b, ...] where ``transform`` gives tensors, else a list),
    ``text`` (what ``tokenizer`` gives for the list of captions, else that list[str]), ``index``
    (int64 [b], row of the data set) and ``target`` (int64 [b], batch row of the target that a row
    serves; its own row for a target). Targets come first, then hard pairs grouped by target; no
    row occurs twice. A batch has at most ``batch_size // (1 + hard_per_target)`` targets. Every
    eligible row is a target exactly once an epoch, over all ranks; they are spread evenly, so that
    batches differ by one target at most and no row is dropped at the end.

    Epochs: iterating goes through epoch ``epoch``, then the next time through ``epoch + 1``, and
    so on, each in an order of its own. An iteration that is broken off starts its epoch again
    the next time. :meth:`set_epoch` chooses another epoch. Batches depend on the seed, the epoch
    and the options, never on the number of workers.

    Pairs that grow: with a StreamingMiner in place of a table, a batch is drawn from what was found
    when it is planned. Without workers that is when it is asked for, so what the batch before was
    mined for is known; n workers have their batches planned 2·n ahead. Either way it depends on
    what the miner was given, not on time, and goes on the same after :meth:`load_state_dict`, with
    as many workers and the miner's own state. Every row is a target; one that has no hard pair yet
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
        short: what becomes of a target with fewer than p hard pairs in the window: "skip" (it is
            no target), "random" (random rows fill in) or "error".
        workers: processes that read; 0 reads in this one.
        transform: called with a PIL image, after ``torch``, ``random`` and NumPy's global generator
            were seeded from (seed, epoch, row), so an augmentation does not depend on the workers.
        tokenizer: called once a batch with the list of captions.
        max_quarantined: the largest share of rows that may fail to be read.

    Raises:
        MismatchError: the table belongs to another data set.
        InvalidArgumentError: an option is outside its bound; short targets under ``short="error"``.

    A row that cannot be read or transformed is left out of its batch and counted under its reason
    (:meth:`stats`); hard pairs of a target that is left out become targets without hard pairs.
    Iterating raises Error when their share exceeds ``max_quarantined``, or when no row of a batch
    is left. Not thread-safe; one iteration at a time.
    """

    _epoch: int  # being iterated, or next
    _start: int  # the batch at which an iteration of it begins
    _handed: int  # batches before the consumer's place in it
    _counts: _Counts
    _start_counts: _Counts  # the account up to _start
    _start_plans: Sequence[BatchPlan]  # from _start on, that were made before

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
        workers: int = 0,
        transform: Callable[[Any], Any] | None = None,
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
        if workers < 0:
            raise InvalidArgumentError(f"workers = {workers} must not be negative")
        if not 0.0 <= max_quarantined <= 1.0:
            raise InvalidArgumentError(f"max_quarantined = {max_quarantined} must lie in 0 .. 1")
        _check_epoch(epoch)
        if isinstance(pairs, StreamingMiner):
            pairs = pairs.collect(len(data))
        _check_same_data(data, pairs)
        own_rank, own_world = _distributed_place()
        self._rank = own_rank if rank is None else rank
        world_size = own_world if world_size is None else world_size
        table = _empty_pairs(len(data)) if pairs is None else pairs
        self._sampler = _core.BatchSampler(
            table._core,
            batch_size=batch_size,
            hard_per_target=hard_per_target,
            seed=seed,
            rank=self._rank,
            world_size=world_size,
            rank_min=rank_min,
            rank_max=rank_max or 0,
            temperature=temperature or 0.0,
            fraction=fraction,
            short_policy=short,
        )
        self._batch_size = batch_size
        self._identity = {  # whatever changes the batches; a state of another identity is refused
            "seed": seed,
            "batch_size": batch_size,
            "hard_per_target": hard_per_target,
            "rank_min": rank_min,
            "rank_max": rank_max,
            "temperature": temperature,
            "fraction": fraction,
            "short": short,
            "world_size": world_size,
            "fingerprint": data.fingerprint or "",
            "rows": len(data),
            "eligible_targets": self._sampler.eligible_targets,
        }
        self._reader = BatchReader(data, transform, tokenizer, seed)
        self._grows = isinstance(pairs, GrowingPairs)
        self._plans: _Plans | None = None  # of the iteration that may go on
        self._workers = workers
        self._max_quarantined = max_quarantined
        self._iteration = 0  # the number of the one iteration that may go on
        self._counts = _Counts(epoch)
        self._begin(epoch)

    def __len__(self) -> int:
        """Batches of a whole epoch, the same on every rank."""
        return int(self._sampler.batches_per_epoch)

    @property
    def epoch(self) -> int:
        """The epoch being iterated, or between two iterations the one that comes next."""
        return self._epoch

    def set_epoch(self, epoch: int) -> None:
        """Makes ``epoch`` the next one, from its start, and ends a running iteration.

        Does nothing when it is the current one already: a loop that calls this before each of its
        epochs still resumes in the middle of one.
        """
        _check_epoch(epoch)
        if epoch != self._position()[0]:
            self._begin(epoch)
            self._counts = _Counts(epoch)
            self._iteration += 1

    def __iter__(self) -> Iterator[dict[str, Any]]:
        if self._handed >= len(self):  # the consumer took the last batch and never asked for more
            self._begin(self._epoch + 1)
        self._iteration += 1
        self._handed, self._plans = self._start, None
        self._counts = copy.deepcopy(self._start_counts)
        return self._batches(self._iteration)

    def state_dict(self) -> dict[str, Any]:
        """The place in the epoch, counted by batches handed to the consumer; JSON-able.

        It serves every rank. Taken at the end of an epoch it stands for the start of the next.
        """
        epoch, batches = self._position()
        counts = self._counts if batches > 0 else _Counts(epoch)
        return {
            "format": _STATE_FORMAT,
            "epoch": epoch,
            "batches": batches,
            "rank": self._rank,
            "options": dict(self._identity),
            "counts": dataclasses.asdict(counts),
            "plans": [_state_of(plan) for plan in self._waiting_plans()] if batches > 0 else [],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues where ``state`` was taken: the next iteration yields the rest of its epoch.

        Counts go on where ``state`` comes from the same rank; else they begin at this place.

        Raises:
            InvalidArgumentError: ``state`` is not a state of a loader.
            MismatchError: seed, options, world size or data set differ; the message names them.
        """
        try:
            form, epoch, batches = state["format"], int(state["epoch"]), int(state["batches"])
            options, rank = dict(state["options"]), int(state["rank"])
            counts = _Counts(**state["counts"]) if rank == self._rank else _Counts(epoch)
            plans = [_plan_of(plan, epoch) for plan in state.get("plans", ())]
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidArgumentError(
                f"not a state of HardPairLoader ({type(error).__name__}: {error}); pass what its "
                "state_dict() returned"
            ) from error
        if form != _STATE_FORMAT:
            raise InvalidArgumentError(
                f"a loader state of format {form} cannot be read here (format {_STATE_FORMAT}); "
                "resume with the version of helip that wrote it"
            )
        differing = [
            f"{name} (state: {options.get(name)!r}, loader: {own!r})"
            for name, own in self._identity.items()
            if options.get(name) != own
        ]
        if differing:
            raise MismatchError(
                "the state belongs to another loader; it differs in "
                + ", ".join(differing)
                + "; make the loader with the options of the state, or start the epoch anew"
            )
        if epoch < 0 or not 0 <= batches < len(self):
            raise InvalidArgumentError(
                f"a state at epoch {epoch}, batch {batches} is outside an epoch of "
                f"{len(self)} batches"
            )
        if rank != self._rank:
            plans = []  # of other rows
        self._begin(epoch, batches, counts, plans)
        self._counts = copy.deepcopy(counts)
        self._iteration += 1

    def stats(self) -> dict[str, Any]:
        """Counts of the running epoch on this rank, or of the last one between two iterations.

        ``epoch``, ``batches``, ``emitted`` (rows handed over), ``targets``, ``hard_pairs``,
        ``random_fills`` (rows planned, by kind), ``plain_targets`` (those of them with no hard pair
        in the window), ``replaced`` (hard pairs that were in the batch already, so the next one was
        taken), ``unfilled`` (places left empty), ``skipped_targets`` (short targets),
        ``quarantined`` ({reason: rows}) and ``quarantined_rows`` (the first 100:
        row, key, reason, message). emitted + quarantined = targets + hard_pairs + random_fills.
        """
        counts: dict[str, Any] = dataclasses.asdict(self._counts)
        counts["skipped_targets"] = int(self._sampler.skipped_targets)
        return counts

    def _begin(
        self,
        epoch: int,
        start: int = 0,
        counts: _Counts | None = None,
        plans: Sequence[BatchPlan] = (),
    ) -> None:
        """Places the next iteration at batch ``start`` of ``epoch``; stats() stay as they are."""
        self._epoch, self._start, self._handed = epoch, start, start
        self._start_counts = _Counts(epoch) if counts is None else counts
        self._start_plans, self._plans = plans, None

    def _waiting_plans(self) -> Sequence[BatchPlan]:
        """Plans that only a growing table's past can repeat: made, but not handed over yet."""
        if not self._grows:
            return ()
        return self._start_plans if self._plans is None else tuple(self._plans.waiting)

    def _position(self) -> tuple[int, int]:
        """(epoch, batches handed), with a whole epoch as the start of the next."""
        if self._handed >= len(self):
            return self._epoch + 1, 0
        return self._epoch, self._handed

    def _batches(self, iteration: int) -> Iterator[dict[str, Any]]:
        self._sampler.set_epoch(self._epoch)
        self._plans = plans = _Plans(
            self._sampler, self._epoch, self._start, len(self), self._start_plans
        )
        # A generator of its own: DataLoader would draw from the caller's random state.
        reads: DataLoader[Any] = DataLoader(
            self._reader,
            sampler=plans,
            batch_size=None,  # one plan in, one batch out
            collate_fn=_unchanged,
            num_workers=self._workers,
            generator=torch.Generator(),
        )
        for read in reads:
            if iteration != self._iteration:
                raise Error(
                    "this iteration was ended by a later one, by set_epoch or by load_state_dict; "
                    "iterate over a loader once at a time, or make another loader"
                )
            plans.waiting.popleft()
            self._counts.add(read)
            self._check_quarantined(read)
            self._handed += 1
            yield read.batch
        if iteration == self._iteration:
            self._begin(self._epoch + 1)

    def _check_quarantined(self, read: ReadBatch) -> None:
        counts = self._counts
        failed = sum(counts.quarantined.values())
        total = counts.emitted + failed
        judged = total
        if read.step + 1 < len(self):  # too few rows say little, unless the epoch has no more
            judged = max(total, min(_JUDGED_ROWS, len(self) * self._batch_size))
        if read.batch is not None and failed <= self._max_quarantined * judged:
            return
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


@dataclasses.dataclass
class _Counts:
    """The account of one epoch on one rank."""

    epoch: int
    batches: int = 0
    emitted: int = 0
    targets: int = 0
    plain_targets: int = 0
    hard_pairs: int = 0
    replaced: int = 0
    random_fills: int = 0
    unfilled: int = 0
    quarantined: dict[str, int] = dataclasses.field(default_factory=dict)
    quarantined_rows: list[dict[str, Any]] = dataclasses.field(default_factory=list)

    def add(self, read: ReadBatch) -> None:
        self.batches += 1
        self.emitted += 0 if read.batch is None else len(read.batch["index"])
        for name in _PLANNED:
            setattr(self, name, getattr(self, name) + int(read.planned[name]))
        reasons = Counter(self.quarantined)
        reasons.update(failure["reason"] for failure in read.failures)
        self.quarantined = dict(reasons)
        free = _LISTED_ROWS - len(self.quarantined_rows)
        self.quarantined_rows.extend(read.failures[: max(free, 0)])


class _Plans(Sampler[BatchPlan]):
    """The plans of an epoch from batch ``start`` on, made in the consumer's process when asked for.

    ``made``: the first of them, where they were made before.
    """

    def __init__(
        self, sampler: Any, epoch: int, start: int, stop: int, made: Sequence[BatchPlan] = ()
    ) -> None:
        self._sampler, self._epoch, self._start, self._stop = sampler, epoch, start, stop
        self.waiting = deque(made)  # whose batches were not handed over yet

    def __len__(self) -> int:
        return self._stop - self._start

    def __iter__(self) -> Iterator[BatchPlan]:
        made = tuple(self.waiting)
        yield from made
        for step in range(self._start + len(made), self._stop):
            self._sampler.reset_statistics()
            index, target = self._sampler.batch(step)
            plan = BatchPlan(self._epoch, step, index, target, dict(self._sampler.statistics()))
            self.waiting.append(plan)
            yield plan


def _state_of(plan: BatchPlan) -> dict[str, Any]:
    rows = {"index": plan.index.tolist(), "target": plan.target.tolist()}
    return {"step": plan.step, **rows, "planned": plan.planned}


def _plan_of(state: Mapping[str, Any], epoch: int) -> BatchPlan:
    index, target = (np.array(state[name], dtype=np.int64) for name in ("index", "target"))
    return BatchPlan(epoch, int(state["step"]), index, target, dict(state["planned"]))


def _unchanged(read: Any) -> Any:
    return read


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
