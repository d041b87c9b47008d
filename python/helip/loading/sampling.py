"""The BatchSampler of the core, which decides what rows make a batch, and the plans it gives."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Sampler

from helip import _core
from helip.common.errors import InvalidArgumentError
from helip.loading.options import BatchOptions
from helip.loading.pair_source import table_of
from helip.loading.readers.batch import PlannedBatch
from helip.loading.strategy import STRATEGIES, hard_pairs_of, with_strategy
from helip.loading.text_columns import TextColumns, opened_rows
from helip.pairs.growing_pairs import GrowingPairs
from helip.pairs.hard_pairs import HardPairs

_log = logging.getLogger(__name__)


def make_sampler(
    table: HardPairs | GrowingPairs,
    data: Any,
    options: BatchOptions,
    *,
    seed: int,
    rank: int,
    world_size: int,
) -> _core.BatchSampler:
    """The core's sampler; None, which Python says for "not given", is 0 there.

    The strategy is one by name, as `with_strategy` gives it: the core's own default draws.
    """
    given = {**BatchOptions.of(options).as_dict(), "hard_per_target": hard_pairs_of(options)}
    if given.pop("unique") == "caption":
        given["group_offsets"], given["groups"] = _groups(data)
    schedule = given.pop("schedule")
    if schedule is not None:
        given["schedule"] = _core.HardnessSchedule(**schedule.as_dict())
    for name in ("rank_max", "targets_per_batch", "draw_temperature"):
        given[name] = given[name] or 0
    if given["community_rows"] is None:  # of another strategy
        del given["community_rows"]
    given["short_policy"] = given.pop("short")
    return _core.BatchSampler(table._core, seed=seed, rank=rank, world_size=world_size, **given)


def table_sampler(
    pairs: Any, data: Any, options: BatchOptions, *, seed: int, world_size: int, rank: int = 0
) -> tuple[HardPairs, _core.BatchSampler, dict[str, Any]]:
    """A table, which may be its path, its sampler, and all by which its batches differ from others.

    data: what `open_dataset` takes or a dict of texts, that must be what was mined; None compares
    nothing.
    """
    if data is not None:
        data = opened_rows(data)
    table: Any
    if data is None or isinstance(data, TextColumns):
        table = pairs._whole() if isinstance(pairs, HardPairs) else HardPairs.open(pairs)
        if data is not None:
            data.require("the table of hard pairs", len(table))
    else:
        table = table_of(data, pairs)
    assert isinstance(table, HardPairs)
    options = with_strategy(
        options, whole_table=True, rows=len(table), step_rows=options.batch_size * world_size
    )
    sampler = make_sampler(table, data, options, seed=seed, rank=rank, world_size=world_size)
    identity = {
        "rows": len(table),
        "data_fingerprint": table.data_fingerprint,
        "store_fingerprint": table.fingerprint,
        "seed": seed,
        **sampler_identity(options),
    }
    if isinstance(data, TextColumns) and options.unique == "caption":
        identity["texts"] = data.digest
    return table, sampler, identity


def _groups(data: Any) -> tuple[np.ndarray, np.ndarray]:
    """The groups of each row's captions, and of its picture where that stands at several rows."""
    if data is None:
        raise InvalidArgumentError(
            "unique is 'caption', which needs all captions, and no data are given; give data=, the "
            "data set that was mined or a dict of columns of text, or leave unique out"
        )
    if not hasattr(data, "caption_groups"):
        raise InvalidArgumentError(
            f"unique is 'caption', which needs all captions, and {type(data).__name__} is no "
            "Dataset; open it with open_dataset, or leave unique out"
        )
    offsets, groups = data.caption_groups()
    if len(groups) == 0:
        raise InvalidArgumentError(
            "unique is 'caption', and no row of the data has a caption; name the column with "
            "open_dataset(…, caption_column=), or give columns of text as a dict, such as "
            "dataset[:]"
        )
    pictures = data.image_groups()
    if pictures is None:
        return offsets, groups
    # Beside those of captions, which are hashes: numbers from 1 on are as good as any others.
    return offsets + np.arange(len(offsets)), np.insert(groups, offsets[:-1], pictures)


def tell_of_equal(left_out: int, epoch: int) -> None:
    """Logs how many rows ``unique`` left out of batches, where it left out any."""
    if left_out:
        _log.warning(
            "batches: %d rows of epoch %d are left out, since a row with an equal caption is in "
            "their batch; of columns of text give those alone that must differ",
            left_out, epoch,
        )  # fmt: skip


def sampler_identity(options: BatchOptions) -> dict[str, Any]:
    """Whatever changes the batches, as plain values; what the strategy does not use is None."""
    others = {name for each in STRATEGIES.values() for name in each.options}
    unused = others - {*STRATEGIES[options.strategy].options}
    if options.order != "blocks":
        unused.add("block")
    named = BatchOptions.of(options).plain()
    return {name: None if name in unused else value for name, value in named.items()}


def distributed_place(rank: int | None, world_size: int | None) -> tuple[int, int]:
    """(rank, world size): what is given, else torch.distributed's, else (0, 1)."""
    own, world = 0, 1
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        own, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
    elif rank is None and world_size is not None and world_size > 1:
        raise InvalidArgumentError(
            f"world_size is {world_size} and rank is not given, nor is torch.distributed "
            f"initialised, which knows it; give rank=, one of 0 .. {world_size - 1}"
        )
    return own if rank is None else rank, world if world_size is None else world_size


class Plans(Sampler[PlannedBatch]):
    """The plans of these steps of an epoch, made in the consumer's process when asked for.

    The steps are those after its ``first`` targets. ``made``: plans of the first steps, where they
    were made before.
    """

    def __init__(
        self, sampler: Any, epoch: int, first: int, steps: range, made: Sequence[PlannedBatch] = ()
    ) -> None:
        self._sampler, self._epoch, self._first, self._steps = sampler, epoch, first, steps
        self.waiting = deque(made)  # whose batches were not handed over yet

    def __iter__(self) -> Iterator[PlannedBatch]:
        made = tuple(self.waiting)
        yield from made
        for step in self._steps[len(made) :]:
            # Another iteration, which ends this one, may have moved the sampler.
            self._sampler.set_epoch(self._epoch, self._first)
            self._sampler.reset_statistics()
            index, target, _ = self._sampler.batch(step)
            plan = PlannedBatch(self._epoch, step, index, target, dict(self._sampler.statistics()))
            self.waiting.append(plan)
            yield plan
