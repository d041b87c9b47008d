"""Batches of row numbers for any loader of torch: of a table of hard pairs, or of a plan."""

from __future__ import annotations

import dataclasses
import functools
import logging
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Sampler

from helip.common.errors import InvalidArgumentError, MismatchError
from helip.common.files import read_json
from helip.common.options import Positive, Seed, Whole, method_keywords, require
from helip.loading.batch_plan import FORMAT, BatchPlan
from helip.loading.options import BatchOptions, PairOptions
from helip.loading.pair_source import pools_digest
from helip.loading.row_facts import HardRows
from helip.loading.sampling import distributed_place, table_sampler, tell_of_equal
from helip.loading.state import warn_without_pairs
from helip.loading.text_columns import opened_rows
from helip.pairs.hard_pairs import HardPairs

_log = logging.getLogger(__name__)
_SEVERAL = -1  # steps, whose batches have the same rows in other orders; or none


@dataclasses.dataclass(frozen=True, kw_only=True)
class SamplerCall(PairOptions):
    """What a BatchSampler is made of."""

    source: HardPairs | BatchPlan | str | os.PathLike[str] = dataclasses.field(kw_only=False)
    """A table of hard pairs, or a plan of batches; or the path of one."""
    batch_size: Positive | None = dataclasses.field(default=None, kw_only=False)
    """Rows of a batch, of one rank; must be given for a table, and is that of a plan."""
    seed: Seed | None = None
    """Of the order and the draws: 0 unless given; a plan has its own."""
    epoch: Whole = 0
    """The first epoch."""
    rank: Whole | None = None
    """Of this process; by default torch.distributed's where it is initialised, else 0."""
    world_size: Positive | None = None
    """Number of processes, likewise; else 1."""
    data: Any = None
    """The data set that was mined, or a dict of columns of text: compared with the source. It must
    be given with ``unique="caption"``."""


class BatchSampler(Sampler[list[int]]):
    """The rows of each batch, for ``DataLoader(features, batch_sampler=BatchSampler(pairs, 256))``.

    Needs no pictures and no captions: whatever has a row for each target of the table can be
    trained on. Of a table the batches are those of a `HardPairLoader` with the same options; by
    default they are made of communities, small groups of hard pairs. Of a plan, rank r of n takes
    every n-th batch from the r-th on; batches beyond the last whole step of all ranks are left out
    (``left_out``), and the log says so.

    Iterating goes through epoch ``epoch``, then the next time through the one after it, also where
    the iteration was broken off. :meth:`set_epoch` chooses another one. Not thread-safe.
    After :meth:`load_state_dict` the next iteration gives what is left. It has no attribute
    ``batch_size``: by it Accelerate would take batches that are one row smaller for the last one,
    and pass over them.

    Raises:
        InvalidArgumentError: an option out of its bound, without a batch_size, or given beside a
            plan, which has it. MismatchError: the source belongs to other data than ``data``.
    """

    @method_keywords(SamplerCall)
    def __init__(self, call: SamplerCall) -> None:
        self._rank, self._world_size = distributed_place(call.rank, call.world_size)
        require(self._rank < self._world_size, "rank", self._rank,
                f"below world_size = {self._world_size}; give world_size=")  # fmt: skip
        source: Any = call.source
        if not isinstance(source, (HardPairs, BatchPlan, str, os.PathLike)):
            raise InvalidArgumentError(
                f"source is {type(source).__name__}, must be a HardPairs, a BatchPlan, or a path"
            )
        if isinstance(source, (str, os.PathLike)) and _is_plan(source):
            source = BatchPlan.open(source)
        self._batches: _OfTable | _OfPlan
        if isinstance(source, BatchPlan):
            _refuse_options_beside(source, call)
            self._batches = _OfPlan(source, self._rank, self._world_size)
        else:
            self._batches = _OfTable(source, call, self._rank, self._world_size)
        self._batches.count(call.epoch)  # which refuses one that is not there
        self._epoch, self._start, self._given = call.epoch, 0, 0

    def __len__(self) -> int:
        """Batches of ``epoch`` on this rank; the same on every rank."""
        return self._batches.count(self._epoch)

    @property
    def epoch(self) -> int:
        """The one being iterated, or that was iterated last."""
        return self._epoch

    @property
    def left_out(self) -> int:
        """Batches of a plan's epoch that no rank gets, since they do not make a whole step."""
        return self._batches.left_out(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Makes ``epoch`` the next one, from its start; but from the place of a loaded state where
        it is that state's."""
        require(epoch >= 0, "epoch", epoch, "at least 0")
        self._batches.count(epoch)
        if epoch != self._epoch or self._was_iterated():
            self._epoch, self._start, self._given = epoch, 0, 0

    def __iter__(self) -> Iterator[list[int]]:
        if self._was_iterated():
            self._batches.count(self._epoch + 1)
            self._epoch, self._start = self._epoch + 1, 0
        epoch, start = self._epoch, self._start
        self._given = start
        for step in range(start, self._batches.count(epoch)):
            if epoch != self._epoch:  # set while this iteration was under way
                return
            rows = self._batches.rows(epoch, step, start)
            self._given = step + 1
            yield rows.tolist()

    def _was_iterated(self) -> bool:
        """Whether batches of the epoch were given, or none is left. It stays the current one until
        another begins: workers of a DataLoader ask for batches before their user sees them."""
        return self._given > self._start or self._start >= self._batches.count(self._epoch)

    def hard_rows(self, rows: Any) -> Tensor:
        """int64 [b, m]: which rows of a batch are in the pool of each, as places in the batch, best
        first, -1 where there are fewer than m; what the losses of helip take as ``hard_rows``.

        ``rows``: all rows of one batch of the current epoch, in any order of a table's, in its own
        of a plan's. It need not have been given yet, and may be another rank's of a table.

        Raises InvalidArgumentError for rows that are no such batch, where the window changes from
        batch to batch (``schedule``) or with a plan.
        """
        index = np.asarray(rows, dtype=np.int64)
        return torch.from_numpy(self._batches.hard_rows(self._epoch, index))

    def state_dict(self, batches: int | None = None) -> dict[str, Any]:
        """The place in the epoch; JSON-able.

        Args:
            batches: of the epoch, that were trained on. A DataLoader with workers asks for batches
                ahead, so that only its user knows; None: all that were given.
        """
        given = self._given if batches is None else batches
        require(0 <= given <= len(self), "batches", given, f"in 0 .. {len(self)}")
        return {"epoch": self._epoch, "batches": given, "options": self._identity()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on where ``state`` was taken.

        Raises:
            InvalidArgumentError: it is no state. MismatchError: of another source, other options or
                another number of ranks. A state of an older version does not tell its table, and
                is taken with a warning.
        """
        try:
            epoch, given = int(state["epoch"]), int(state["batches"])
            options = dict(state["options"])
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidArgumentError(
                f"not a state of BatchSampler ({type(error).__name__}: {error}); pass what its "
                "state_dict() returned"
            ) from error
        own = self._identity()
        warn_without_pairs(options, own)
        if "pairs" in own:
            options.setdefault("pairs", own["pairs"])
        if differ := [name for name in own | options if own.get(name) != options.get(name)]:
            told = ", ".join(f"{name} {options.get(name)!r} there, {own.get(name)!r} here"
                             for name in differ)  # fmt: skip
            raise MismatchError(
                f"the state is of another BatchSampler ({told}); make it with the same source, "
                "options and number of ranks, or begin an epoch anew with set_epoch()"
            )
        require(epoch >= 0, "epoch of the state", epoch, "at least 0")
        count = self._batches.count(epoch)
        require(0 <= given <= count, "batches of the state", given, f"in 0 .. {count}")
        self._epoch, self._start, self._given = epoch, given, given
        if self._was_iterated() and epoch + 1 < self._batches.epochs:
            self.set_epoch(epoch + 1)

    def _identity(self) -> dict[str, Any]:
        return {**self._batches.identity, "world_size": self._world_size}


class _OfTable:
    epochs = math.inf

    def __init__(self, source: Any, call: SamplerCall, rank: int, world_size: int) -> None:
        if call.batch_size is None:
            if not isinstance(source, HardPairs):
                HardPairs.open(source)  # of what is no table, that is said first
            raise InvalidArgumentError(
                "batch_size is not given; a table has none: BatchSampler(pairs, 256)"
            )
        self._table, self._sampler, self._identity = table_sampler(
            source, call.data, BatchOptions.of(call), seed=call.seed or 0, rank=rank,
            world_size=world_size,
        )  # fmt: skip
        self._hard_rows = HardRows(self._table)
        self._world_size, self._equal = world_size, 0
        self._steps: dict[bytes, int] = {}  # of the batches of _epoch that are known, by their rows
        self._epoch, self._knows_all = -1, False

    @functools.cached_property
    def identity(self) -> dict[str, Any]:
        return {**self._identity, "pairs": pools_digest(self._table)}

    def count(self, epoch: int) -> int:
        return int(self._sampler.batches_per_epoch)

    def left_out(self, epoch: int) -> int:
        return 0

    def rows(self, epoch: int, step: int, start: int) -> np.ndarray:
        self._sampler.set_epoch(epoch)
        if step == start:
            self._equal = 0
        self._sampler.reset_statistics()
        index: np.ndarray = self._sampler.batch(step)[0]
        self._equal += int(self._sampler.statistics()["equal_targets"])
        if self._window_moves(epoch):
            self._know(epoch, step, index)
        if step + 1 == self.count(epoch):
            tell_of_equal(self._equal, epoch)
        return index

    def hard_rows(self, epoch: int, index: np.ndarray) -> np.ndarray:
        self._sampler.set_epoch(epoch)
        step = self._step_of(epoch, index) if self._window_moves(epoch) and len(index) else 0
        return self._hard_rows.padded(index, *self._window(step))

    def _window(self, step: int) -> tuple[int, int]:
        first, last, _, _ = self._sampler.hardness(step)
        return int(first), int(last)

    def _window_moves(self, epoch: int) -> bool:
        """Whether batches of the epoch, which the sampler is set to, have windows of their own, as
        those of a schedule do, but for communities'."""
        return self._window(0) != self._window(self.count(epoch) - 1)

    def _know(self, epoch: int, step: int, index: np.ndarray) -> None:
        if epoch != self._epoch:
            self._steps, self._epoch, self._knows_all = {}, epoch, False
        in_order, in_any_order = _names_of(index)
        self._steps[in_order] = step
        if self._steps.setdefault(in_any_order, step) != step:
            self._steps[in_any_order] = _SEVERAL

    def _step_of(self, epoch: int, index: np.ndarray) -> int:
        """The step whose batch, on any rank, has these rows; InvalidArgumentError for none."""
        names = _names_of(index)

        def known() -> int:
            steps = self._steps if epoch == self._epoch else {}
            return next((steps[name] for name in names if name in steps), _SEVERAL)

        if known() == _SEVERAL and not (epoch == self._epoch and self._knows_all):
            for step in range(self.count(epoch)):
                for rank in range(self._world_size):
                    self._know(epoch, step, self._sampler.batch(step, rank)[0])
            self._knows_all = True
        if (step := known()) != _SEVERAL:
            return step
        raise InvalidArgumentError(
            f"{len(index)} rows from {index[:1].tolist()} on are no batch of epoch {epoch}, whose "
            "schedule gives each batch a window of its own; give all rows of one of its batches, "
            "in their order where two batches have the same rows, and their epoch "
            "(BatchSampler.set_epoch)"
        )


def _names_of(index: np.ndarray) -> tuple[bytes, bytes]:
    """What tells a batch by its rows: in their order, and in any."""
    return b"=" + index.tobytes(), np.sort(index).tobytes()


class _OfPlan:
    def __init__(self, plan: BatchPlan, rank: int, world_size: int) -> None:
        self._plan, self._rank, self._world_size = plan, rank, world_size
        self.epochs = plan.epochs
        self.identity = {"plan": plan.digest}
        if self.count(0) == 0:
            raise InvalidArgumentError(
                f"{str(plan.path)!r} has {plan.batches_of(0)} batches an epoch, too few for "
                f"{world_size} ranks; plan smaller batches, or use fewer ranks"
            )
        if left_out := self.left_out(0):
            _log.warning(
                "batches: %d of the %d of an epoch are left out, since %d ranks cannot share them; "
                "plan with world_size=%d",
                left_out, plan.batches_of(0), world_size, world_size,
            )  # fmt: skip

    def count(self, epoch: int) -> int:
        return self._plan.batches_of(epoch) // self._world_size

    def left_out(self, epoch: int) -> int:
        return self._plan.batches_of(epoch) % self._world_size

    def rows(self, epoch: int, step: int, _start: int) -> np.ndarray:
        return self._plan.batch_rows(epoch, step * self._world_size + self._rank)

    def hard_rows(self, epoch: int, index: np.ndarray) -> np.ndarray:
        return self._plan.batch(epoch, self._plan.number_of(epoch, index)).hard_rows


def _is_plan(path: str | os.PathLike[str]) -> bool:
    manifest = Path(path) / "manifest.json"
    return manifest.is_file() and read_json(manifest).get("format") == FORMAT


def _refuse_options_beside(plan: BatchPlan, call: SamplerCall) -> None:
    """InvalidArgumentError for what a plan has already, where another value is given."""
    given = {"batch_size": call.batch_size, "seed": call.seed, **PairOptions.of(call).plain()}
    usual = {"batch_size": None, "seed": None, **PairOptions().plain()}
    for name, value in given.items():
        if value != usual[name] and value != plan.options.get(name):
            raise InvalidArgumentError(
                f"{name} is {value!r}, and {str(plan.path)!r} was planned with "
                f"{plan.options.get(name)!r}; leave it out, or plan again"
            )
    if call.data is not None:
        plan.require_data(opened_rows(call.data))
