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
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from helip.common.errors import Error, InvalidArgumentError
from helip.common.options import Positive, Seed, Whole, method_keywords, require
from helip.common.processes import summed_counts
from helip.loading.account import EpochCounts
from helip.loading.options import BatchOptions, ReadOptions
from helip.loading.pair_source import PairSource, pools_digest, table_of, table_without
from helip.loading.readers.batch import PlannedBatch, cache_counts_of
from helip.loading.readers.choice import choose_reads
from helip.loading.row_facts import RowFacts
from helip.loading.sampling import Plans, distributed_place, make_sampler, sampler_identity
from helip.loading.state import LoaderState, refuse_another_loader
from helip.loading.strategy import STRATEGIES, hard_pairs_of, with_strategy
from helip.pairs.growing_pairs import GrowingPairs
from helip.pairs.hard_pairs import HardPairs
from helip.pairs.matching import opened_data
from helip.pairs.soft_labels import SoftLabels
from helip.store.embedding_store import EmbeddingStore
from helip.verdicts.verdicts import Source, exclusions_of


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoaderCall(BatchOptions, ReadOptions):
    """What a HardPairLoader is made of."""

    data: Any = dataclasses.field(kw_only=False)
    """A data set: len, keys, fingerprint and data[i], a dict with image (PIL) and text. Anything
    else, such as a path or a torch data set of (image, caption), is opened by `open_dataset`."""
    pairs: PairSource | str | os.PathLike[str] | None = dataclasses.field(kw_only=False)
    """The table mined from that data set, or its path; or a StreamingMiner that the training loop
    gives its batches to. None, with hard_per_target=0, gives plain shuffled batches of batch_size
    targets."""
    seed: Seed = 0
    """Of the order, the draws and the augmentations."""
    epoch: Whole = 0
    """The first epoch."""
    rank: Whole | None = None
    """Of this process; by default torch.distributed's where it is initialised, else 0."""
    world_size: Positive | None = None
    """Number of processes, likewise; else 1."""
    transform: Callable[[Any], Any] | None = None
    """An ImageTransform, which threads of the core apply to the images of tar shards, folders and
    tables; or any callable from a PIL image, called after torch, random and NumPy's global
    generator were seeded from (seed, epoch, row)."""
    tokenizer: Callable[[list[str]], Any] | None = None
    """Called with a list of captions; one that works row by row, as open_clip's do, is asked once
    a row where threads read."""

    store: EmbeddingStore | None = None
    """The embeddings of that data set: each batch gets the rows that belong to it, by which a loss
    tells captions and pictures that are nearly equal (similar_captions, similar_images)."""

    verdicts: Source | None = None
    """What people said of pairs of that data set, or the path of their file: what they took out is
    no hard pair, and ``batch["verdict_group"]`` keeps the losses from pushing it apart where it
    meets by chance."""

    soft_labels: SoftLabels | str | os.PathLike[str] | None = None
    """Soft labels of that data set, or their path, as `label_pairs` writes them."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pairs is None and self.hard_per_target != 0:
            raise InvalidArgumentError(
                f"hard_per_target = {hard_pairs_of(self)} needs a table of hard pairs, but pairs "
                "is None; pass a table, or hard_per_target=0 for plain batches"
            )


class HardPairLoader:
    """Iterates over the batches of one epoch at a time.

    A batch is a dict: ``image`` (Tensor [b, ...] where ``transform`` gives tensors, else a list),
    ``text`` (what ``tokenizer`` gives for the list of captions, else that list[str]), ``index``
    (int64 [b], row of the data set), ``target`` (int64 [b], batch row of the target that a row
    serves; its own row for a target) and ``caption_group`` (int64 [b], the same number for equal
    captions, see `helip.data.captions`). Where the data set knows pictures that stand at several
    rows, ``image_group`` (int64 [b]) says which are the same; with a ``store`` there are
    ``image_embedding`` and, where each row of the batch has one caption, ``caption_embedding``
    (float32 [b, d]): a store has one text embedding a row. With ``verdicts`` there is
    ``verdict_group`` (int64 [b, m]): two rows with one number, not 0, in one column were decided to
    be a false negative or near duplicate of each other. ``soft_labels`` (float32 [b, b]) are those
    that were given: how right each row is for each. Of a row with several captions
    each epoch takes one, and each comes as often as the others.

    With a table and no other wish, batches are made of *communities*, small groups of hard pairs:
    every row of a batch is a target, and ``hard_rows`` (int64 [b, m]) has the batch rows that are
    in its window, -1 where there are fewer than m. ``hard_per_target`` hard pairs, where given, are
    drawn for each target instead (``strategy="uniform"``): ``batch_size // (1 + hard_per_target)``
    targets come first, then hard pairs grouped by target. docs/loader.md has all strategies.

    No row occurs twice in a batch. Every eligible row is a target exactly once an epoch, over all
    ranks, but for those that ``unique`` leaves out; they are spread evenly, so that batches differ
    by one target at most and no row is dropped at the end.

    Epochs: iterating goes through epoch ``epoch``, then the next time through ``epoch + 1``, and
    so on, each in an order of its own. So it does after an iteration that was broken off; what is
    left of that epoch comes after :meth:`load_state_dict`. :meth:`set_epoch` chooses an epoch.
    Batches depend on the seed, the epoch and the options, never on the number of workers.

    Pairs that grow: with a StreamingMiner in place of a table, a batch is drawn from what was found
    when it is planned. With ``workers=0`` that is when it is asked for, so what the batch before
    was mined for is known; else batches are planned ahead (``prefetch``). Either way it depends on
    what the miner was given, not on time, and goes on the same after :meth:`load_state_dict`, with
    the same options and the miner's own state. Every row is a target; one that has no hard pair yet
    is a plain one, and counted. With ``short="skip"`` its places stay empty, so that the batches of
    the first epoch, which sees each row for the first time, hold targets alone; "random" fills
    them.

    Raises:
        MismatchError: the table, or the file of verdicts, belongs to another data set.
        UnsupportedError: verdicts with pairs that grow.
        InvalidArgumentError: an option is outside its bound, or of another strategy; short targets
            under ``short="error"``.

    A row that cannot be read or transformed is left out of its batch and counted under its reason
    (:meth:`stats`); hard pairs of a target that is left out become targets without hard pairs.
    Iterating raises Error when their share exceeds ``max_quarantined``, or when no row of a batch
    is left. Rows that have no hard pair in the table do not count for that: most were not embedded
    either. A batch of nothing else is skipped and counted; with several ranks see
    ``gives_empty_batches``. Not thread-safe; one iteration at a time.
    """

    _epoch: int  # being iterated, or next
    _first: int  # targets of it, over all ranks, before batch 0; not 0 after a resume alone
    _steps: int  # batches of it after those
    _start: int  # the batch at which an iteration of it begins
    _handed: int  # batches before the consumer's place in it
    _counts: EpochCounts
    _start_counts: EpochCounts  # the account up to _start
    _start_plans: Sequence[PlannedBatch]  # from _start on, that were made before

    #: For a Trainer: load_state_dict() takes the state of any rank of any number of ranks.
    resumes_on_other_ranks = True

    #: With several ranks: a batch of nothing but ``unreadable_rows`` is handed over, as ``index``
    #: and ``target`` without a row, for all ranks to pass over theirs; else it ends the run.
    gives_empty_batches = False

    @method_keywords(LoaderCall)
    def __init__(self, call: LoaderCall) -> None:
        data = opened_data(call.data)
        table = table_of(data, call.pairs)
        exclusions = None
        if call.verdicts is not None:
            exclusions = exclusions_of(call.verdicts, len(data), data.fingerprint or "")
        self._exclusions, self._store = exclusions, call.store
        self._soft_labels = SoftLabels.opened(call.soft_labels)
        self._rank, self._world_size = distributed_place(call.rank, call.world_size)
        # What a state may bring.
        self._open = [name for name in ("community_rows", "short") if getattr(call, name) is None]
        call = with_strategy(
            call,
            whole_table=call.pairs is not None and isinstance(table, HardPairs),
            rows=len(data),
            step_rows=call.batch_size * self._world_size,
        )
        self.dataset, self._seed = data, call.seed
        self._verdicts = None if exclusions is None else exclusions.digest
        self._options = BatchOptions.of(call)
        self._take(table, mined=call.pairs is not None)
        self._reads = choose_reads(
            data, call.transform, call.tokenizer, call.seed, ReadOptions.of(call)
        )
        self._max_quarantined = call.max_quarantined
        self._plans: Plans | None = None  # of the iteration that may go on
        self._iteration = 0  # the number of the one iteration that may go on
        self._caches: dict[int, dict[str, int]] = {}  # of worker processes, by their numbers
        self._counts = EpochCounts(call.epoch)
        self._begin(call.epoch)

    def _take(self, table: HardPairs | GrowingPairs, *, mined: bool = True) -> None:
        """Make batches of ``table``; ``mined``: it is no stand-in for none."""
        pool_sizes = np.asarray(table.counts) if mined and isinstance(table, HardPairs) else None
        left_out: dict[str, int] = {}
        if self._exclusions is not None:
            table, left_out = table_without(table, self._exclusions)
        # The first that may refuse it, so before anything is taken.
        self._sampler, self._identity = self._sampler_of(table, self._options)
        self._table, self._left_out = table, left_out
        self._pools_digest: str | None = None  # taken when it is asked for
        self._grows = isinstance(table, GrowingPairs)
        self._pool_sizes = pool_sizes  # of what was mined: by it rows not embedded are told
        gives = STRATEGIES[self._options.strategy].gives_hard_rows
        pools = table if gives else None
        self._row_facts = RowFacts(
            self.dataset, self._store, pools, self._exclusions, self._soft_labels
        )

    def _sampler_of(
        self, table: HardPairs | GrowingPairs, options: BatchOptions
    ) -> tuple[Any, dict[str, Any]]:
        """The sampler with these options, and what states record of it."""
        sampler = make_sampler(
            table,
            self.dataset,
            options,
            seed=self._seed,
            rank=self._rank,
            world_size=self._world_size,
        )
        return sampler, {  # whatever changes the batches; state.py says what may differ
            "seed": self._seed,
            **sampler_identity(options),
            "world_size": self._world_size,
            "fingerprint": self.dataset.fingerprint or "",
            "rows": len(self.dataset),
            "eligible_targets": sampler.eligible_targets,
            "verdicts": self._verdicts,
        }

    def __len__(self) -> int:
        """Batches of a whole epoch, the same on every rank."""
        return int(self._sampler.batches_per_epoch)

    @property
    def batches_left(self) -> int:
        """Batches of the epoch being iterated that are not handed over yet; 0 after the last."""
        return self._steps - self._handed

    @property
    def epoch(self) -> int:
        """The epoch being iterated, or between two iterations the one that comes next."""
        return self._epoch

    @property
    def strategy(self) -> str | None:
        """Which one makes the batches; None where they hold no hard pairs."""
        return self._options.strategy if self._options.hard_per_target else None

    @property
    def hardness(self) -> dict[str, float]:
        """Of the next batch: ``rank_min``, ``rank_max``, ``draw_temperature`` (0: uniform) and
        ``fraction``."""
        return self._hardness_at(*self._position())

    def _hardness_at(self, epoch: int, first: int, batches: int) -> dict[str, float]:
        self._sampler.set_epoch(epoch, first)
        names = ("rank_min", "rank_max", "draw_temperature", "fraction")
        return dict(zip(names, self._sampler.hardness(batches), strict=True))

    def planned_rows(self, epoch: int) -> Iterator[np.ndarray]:
        """The data rows of each batch of ``epoch`` on this rank, int64 [b], without reading them.

        Those that an iteration hands over, but for rows that cannot be read. The place of the
        loader stays as it is. InvalidArgumentError with pairs that grow: what they will hold
        depends on the run.
        """
        require(epoch >= 0, "epoch", epoch, "at least 0")
        if self._grows:
            raise InvalidArgumentError(
                "the loader draws from a StreamingMiner, whose finds depend on the run; plan with "
                "a table, or with pairs=None"
            )
        return (plan.index for plan in Plans(self._sampler, epoch, 0, range(len(self))))

    def set_epoch(self, epoch: int) -> None:
        """Makes ``epoch`` the next one, from its start, and ends a running iteration.

        Does nothing where it is that of a state that was loaded and not gone on with yet: a loop
        that calls this before each of its epochs still resumes in the middle of one.
        """
        require(epoch >= 0, "epoch", epoch, "at least 0")
        if epoch != self._position()[0] or self._handed > self._start:
            self._begin(epoch)
            self._counts = EpochCounts(epoch)
            self._iteration += 1

    def set_pairs(self, pairs: HardPairs | str | os.PathLike[str]) -> None:
        """Takes another table of the same data set, such as one that was mined again, or its path.

        The epoch being iterated, or between two iterations the next one, begins again with it.

        Raises MismatchError for a table of another data set, InvalidArgumentError for one that does
        not fit the options.
        """
        epoch = self._position()[0]
        self._take(table_of(self.dataset, pairs))
        self._begin(epoch)
        self._counts = EpochCounts(epoch)
        self._iteration += 1

    def __iter__(self) -> Iterator[dict[str, Any]]:
        # The consumer broke off, or took the last batch and never asked for more.
        if self._handed > self._start or self._handed >= self._steps:
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
            options=self._with_pairs(self._identity),
            counts=self._counts if under_way else EpochCounts(epoch),
            plans=self._waiting_plans() if under_way else (),
        ).to_dict()

    def _with_pairs(self, identity: dict[str, Any]) -> dict[str, Any]:
        """With the digest of the table, which takes a second for each GB of it."""
        self._pools_digest = self._pools_digest or pools_digest(self._table)
        return {**identity, "pairs": self._pools_digest}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues where ``state`` was taken: the next iteration yields the rest of its epoch.

        With as many ranks and the same batch size and targets per batch, the batches are those of a
        run that was not interrupted. With others, every target that is left comes exactly once,
        over all ranks; with pairs that grow, batches that were planned ahead are planned anew. The
        number of workers may always be another one. ``community_rows`` and ``short`` are those of
        ``state`` where they were not given.

        Counts go on where ``state`` comes from the same rank of as many; else they begin here.

        Raises:
            InvalidArgumentError: ``state`` is not a state of a loader, or too few targets are left
                for every rank to get one.
            MismatchError: seed, data set, table or another option differ; the message names them. A
                state of an older version does not tell its table, and is taken with a warning.
        """
        saved = LoaderState.from_dict(state)
        first, batches = self._go_on_at(saved)
        counts, plans = EpochCounts(saved.epoch), saved.plans
        if saved.rank == self._rank and saved.divides_as(self._identity):
            counts = saved.counts
        else:
            plans = ()  # of other rows
        self._begin(saved.epoch, first, batches, counts, plans)
        self._counts = copy.deepcopy(counts)
        self._iteration += 1

    def _go_on_at(self, saved: LoaderState) -> tuple[int, int]:
        """(targets before batch 0, batches after them) of ``saved``, whose options are taken where
        none were given; nothing is taken of a state that is refused."""
        options, sampler, identity = self._options, self._sampler, self._identity
        if saved.options.get("strategy") == options.strategy:
            theirs = {name: value for name in self._open if (value := saved.options.get(name))}
            options = dataclasses.replace(options, **theirs)
        if options != self._options:
            sampler, identity = self._sampler_of(self._table, options)
        refuse_another_loader(saved.options, self._with_pairs(identity))
        first, batches = saved.place_for(identity, sampler.targets_before)
        steps = sampler.batches_after(first)
        if batches >= steps:
            raise InvalidArgumentError(
                f"a state at epoch {saved.epoch}, batch {batches} is outside an epoch of "
                f"{steps} batches"
            )
        self._options, self._sampler, self._identity = options, sampler, identity
        return first, batches

    def stats(self) -> dict[str, Any]:
        """Counts of the running epoch on this rank, or of the last one between two iterations.

        ``epoch``, ``batches``, ``emitted`` (rows handed over), ``targets``, ``hard_pairs``,
        ``random_fills`` (rows planned, by kind), ``plain_targets`` (those of them with no hard pair
        in the window), ``shared`` (places that a row of the batch filled, without one more),
        ``replaced`` (hard pairs that were in the batch already, so the next one was taken),
        ``unfilled`` (places left empty), ``target_rows`` of ``rows`` (those of the data that are
        planned as targets, on all ranks, whether they can be read or not), ``skipped_targets``
        (short ones that are not), ``equal_targets`` and ``equal_hard_pairs`` (left out by
        ``unique``, as an equal row was in the batch), ``drawn_captions`` (rows whose caption is one
        of several), ``skipped_batches`` (no row of which could be read), ``unreadable_rows``
        (quarantined rows that have no hard pair in the table, and do not count against
        ``max_quarantined``), ``quarantined`` ({reason: rows}) and ``quarantined_rows`` (the first
        100: row, key, reason, message). emitted + quarantined = targets + hard_pairs +
        random_fills. Where data at URLs have a cache on disk, ``cache`` has :meth:`cache_counts`.
        With ``verdicts`` there is ``verdicts``: the ``pairs`` and ``rows`` that people took out,
        how many ``hard_pairs`` of the table that left out, and of how many ``targets``.
        """
        counts: dict[str, Any] = dataclasses.asdict(self._counts)
        counts["rows"] = len(self.dataset)
        counts["target_rows"] = int(self._sampler.eligible_targets)
        counts["skipped_targets"] = int(self._sampler.skipped_targets)
        if self._left_out:
            counts["verdicts"] = dict(self._left_out)
        if cache := self.cache_counts():
            counts["cache"] = cache
        return counts

    def cache_counts(self) -> dict[str, int]:
        """What this process has had of the ``cache`` on disk since it opened the data, and its
        worker processes since they began, up to the batch that was handed over last.

        The names are those of `helip.Dataset.cache_counts`; empty where there is no cache.
        """
        return summed_counts([cache_counts_of(self.dataset), *self._caches.values()])

    def _begin(
        self,
        epoch: int,
        first: int = 0,
        start: int = 0,
        counts: EpochCounts | None = None,
        plans: Sequence[PlannedBatch] = (),
    ) -> None:
        """Places the next iteration at batch ``start`` of those after ``first`` targets.

        stats() stay as they are.
        """
        self._epoch, self._first, self._start, self._handed = epoch, first, start, start
        self._steps = int(self._sampler.batches_after(first))
        self._start_counts = EpochCounts(epoch) if counts is None else counts
        self._start_plans, self._plans = plans, None

    def _window_of_epoch(self) -> tuple[int, int]:
        """Ranks of the pools, end left out, that communities keep to for the whole epoch."""
        hardness = self._hardness_at(self._epoch, self._first, 0)
        return int(hardness["rank_min"]), int(hardness["rank_max"])

    def _unreadable(self, failures: Sequence[Mapping[str, Any]]) -> int:
        """How many of these rows have no hard pair: most were not embedded either."""
        if self._pool_sizes is None or not failures:
            return 0
        return int((self._pool_sizes[[failure["row"] for failure in failures]] == 0).sum())

    def _waiting_plans(self) -> Sequence[PlannedBatch]:
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
        self._plans = plans = Plans(
            self._sampler, self._epoch, self._first, range(self._start, self._steps),
            self._start_plans,
        )  # fmt: skip
        window = self._window_of_epoch()
        with contextlib.closing(self._reads(plans)) as reads:
            for read in reads:
                plans.waiting.popleft()
                unreadable = self._unreadable(read.failures)
                self._counts.add(read, unreadable)
                if read.cache is not None:
                    self._caches.update([read.cache])
                last = read.step + 1 >= self._steps
                batch = self._counts.checked(
                    read,
                    most=self._max_quarantined,
                    epoch_rows=None if last else len(self) * self._options.batch_size,
                    skips=unreadable == len(read.failures)
                    and (self._world_size == 1 or self.gives_empty_batches),
                )
                self._handed += 1
                if batch is not None:
                    yield {**batch, **self._row_facts.of(batch["index"], window, read.drawn)}
                elif self._world_size > 1:  # which go in step
                    nothing = torch.empty(0, dtype=torch.int64)
                    yield {"index": nothing, "target": nothing}
                self._check_current(iteration)
        self._begin(self._epoch + 1)
