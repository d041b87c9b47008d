"""What batches of hard pairs gain on rows that were not trained on, tried out on small heads.

The heads stand on frozen features, such as those of the store that was mined. From one start of
plain batches they are trained on twice for as many steps: on plain batches, and on the default
batches of hard pairs. What either finds of held-out pairs says whether hard pairs can be told apart
on new data, which no measure of training rows does. A seed is a draw of held-out rows, a start and
an order of batches, so that the interval over seeds covers all three.
"""

from __future__ import annotations

import copy
import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
import torch
from annotated_types import Ge, Gt, Le

from helip.common.errors import InvalidArgumentError
from helip.common.options import Positive, check
from helip.common.progress import ProgressBar
from helip.diagnosis.draws import Ints
from helip.diagnosis.features import pools_and_groups, whole_numbers
from helip.diagnosis.heads import FrozenFeatures, Heads, embedded_rows, found_of, train_heads
from helip.diagnosis.options import DiagnoseOptions
from helip.loading.options import BatchOptions
from helip.loading.sampling import Plans, make_sampler
from helip.loading.strategy import with_strategy
from helip.mining.stages.rows import one_torch_thread
from helip.pairs.hard_pairs import HardPairs

#: Held out is one row in so many, and no more than HELD_OUT.
PART = 5
HELD_OUT = 2000
LEAST_ROWS = 500
#: Of Student's distribution, two-sided, 95 %, of 1, 2, ... degrees of freedom.
STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)


@dataclass(frozen=True)
class ProbeFigure:
    """A figure of held-out pairs, 0 to 1: the mean of both directions and of all seeds."""

    candidates: int  # rows that a pair is sought among
    control: float  # of plain batches
    hard_pairs: float  # of the default batches of hard pairs
    difference: float
    low: float  # 95 % interval of the difference over seeds, by Student's t
    high: float
    share: float | None  # the difference as a share of the control's; None where that is 0


@dataclass(frozen=True)
class ProbeGain:
    """What hard pairs gained for small heads on frozen features."""

    rows: int  # that were trained on, by the first seed
    held_out: int  # by the first seed; others differ by a few, since equal rows go together
    batch_size: int
    window: int
    community_rows: int
    seeds: int
    start_steps: int  # of plain batches, before both sides
    steps: int  # of each side
    recall: ProbeFigure  # at 1, among held-out and training rows
    recall_held_out: ProbeFigure  # at 1, among held-out rows alone
    reciprocal_rank: ProbeFigure  # among held-out and training rows: what the gain is told by
    seconds: float = field(compare=False)


def probe_gain(
    image: Any,
    text: Any,
    pools: Any,
    groups: Any = None,
    *,
    batch_size: int = 256,
    window: int = 50,
    community_rows: int | None = None,
    seeds: int = 5,
    held_out: Any = None,
    epochs: float = 8.0,
    rows_seen: int = 250_000,
    candidates: int = 50_000,
    seed: int = 0,
    progress: bool = False,
) -> ProbeGain:
    """Train small heads with and without hard pairs, and compare them on rows held out.

    The same arguments give the same figures. One thread works, through seeds x (2 x epochs + 1) x N
    rows, or what ``rows_seen`` leaves of them.

    Args:
        image, text: [N, d] and [N, e] arrays or tensors of any float dtype, such as the columns of
            a store; the length of rows does not matter. Rows of zeros are left out, as they were
            not embedded.
        pools: int [N, k], such as HardPairs.ids: hard pairs of each row, best first, -1 for none.
            Held-out rows are taken out of them, and later ranks move up.
        groups: int64 [N] or [N, m]; the same number in a column for equal rows, 0 for none. Equal
            rows are held out together or not at all, and are masked in the loss.
        batch_size: of the batches that the model shall train on.
        window: ranks from the first, of what is left of a pool.
        community_rows: of a community; None for the loader's default.
        seeds: 2 to 10.
        held_out: int [h], rows not to be trained on; None for a fifth of the rows, at most 2,000,
            drawn anew by each seed. With rows of one's own the interval leaves out that they are a
            sample.
        epochs: of each side, over the rows that are trained on.
        rows_seen: by each side at most.
        candidates: rows that held-out pairs are sought among at most: those held out, their hard
            pairs, then random rows.
        seed: of the first seed.

    Raises:
        InvalidArgumentError: shapes or dtypes that disagree, rows outside 0 .. N - 1, NaN or
            infinity, too few rows, no hard pair.
    """
    began = time.perf_counter()
    DiagnoseOptions(batch_size=batch_size, window=window, seed=seed)  # bounds
    check("seeds", seeds, Annotated[int, Ge(2), Le(10)])
    check("epochs", epochs, Annotated[float, Gt(0)])
    check("rows_seen", rows_seen, Positive)
    check("candidates", candidates, Positive)
    image, text = (side if hasattr(side, "shape") else np.asarray(side) for side in (image, text))
    rows = embedded_rows(image, text)
    pools, groups = pools_and_groups(pools, groups, len(image))
    features = FrozenFeatures(image, text, torch.from_numpy(groups))
    given = None
    if held_out is not None:
        given = np.intersect1d(whole_numbers(held_out, "held_out", len(pools), least=0), rows)
    splits = [_split(rows, groups, given, batch_size, [seed, each]) for each in range(seeds)]
    held, train = splits[0]
    options = with_strategy(
        BatchOptions(
            batch_size=batch_size, rank_max=min(window, pools.shape[1]), strategy="communities",
            community_rows=community_rows,
        ),
        whole_table=True, rows=len(train), step_rows=batch_size,
    )  # fmt: skip
    start = max(1, min(len(train), rows_seen) // batch_size)
    steps = max(1, min(round(epochs * len(train)), rows_seen) // batch_size)
    found, count = [], seeds * (start + 2 * steps)
    with one_torch_thread(), ProgressBar(
        count, label="probe", unit="steps", enabled=progress
    ) as bar:  # fmt: skip
        for number, split in enumerate(splits):
            draw = np.random.default_rng([seed, number, 4])
            others = _others(pools, *split, window, candidates, draw)
            sides = _sides(features, pools, split[1], options, start, steps, seed + number, bar)
            found.append([found_of(heads, features, split[0], others) for heads in sides])
    sought = len(held) + min(len(train), max(0, candidates - len(held)))

    def figure(name: str, among: int) -> ProbeFigure:
        return _summary(np.array([[getattr(side, name) for side in each] for each in found]), among)

    return ProbeGain(
        rows=len(train), held_out=len(held), batch_size=batch_size, window=options.rank_max or 0,
        community_rows=options.community_rows or 0, seeds=seeds, start_steps=start, steps=steps,
        recall=figure("recall", sought), recall_held_out=figure("recall_held_out", len(held)),
        reciprocal_rank=figure("reciprocal_rank", sought), seconds=time.perf_counter() - began,
    )  # fmt: skip


def _split(
    rows: Ints, groups: Ints, given: Ints | None, batch_size: int, seed: list[int]
) -> tuple[Ints, Ints]:
    """Of the embedded ``rows`` those that are held out and those that are trained on, ascending."""
    if given is None and len(rows) < LEAST_ROWS:
        raise InvalidArgumentError(
            f"{len(rows):,} rows are embedded, of which a probe holds out a fifth; that needs at "
            f"least {LEAST_ROWS}"
        )
    held = rows[_held_out(groups[rows], seed)] if given is None else given
    train = np.setdiff1d(rows, held)
    if not len(held) or len(train) < 2 * batch_size:
        raise InvalidArgumentError(
            f"of {len(rows):,} embedded rows a probe can hold out {len(held):,} and train on "
            f"{len(train):,}; it needs at least 1 and two batches of {batch_size:,}"
        )
    return held, train


def _held_out(groups: Ints, seed: list[int]) -> Ints:
    """Random places of ``groups`` [n, m], those that are equal together or not at all.

    Where more than five are equal, and than a fifth of what is held out, they are trained on.
    """
    most = min(HELD_OUT, len(groups) // PART)
    _, family, sizes = np.unique(_families(groups), return_inverse=True, return_counts=True)
    order = np.random.default_rng([*seed, 3]).permutation(len(sizes))
    order = order[sizes[order] <= max(5, most // PART)]
    taken = order[np.cumsum(sizes[order]) <= most]
    return np.flatnonzero(np.isin(family, taken))


def _families(groups: Ints) -> Ints:
    """int64 [n]: the same number for rows that are equal, or that equal ones connect."""
    family = np.arange(len(groups))
    while True:
        before = family.copy()
        for column in groups.T:
            known = np.flatnonzero(column)
            names, name = np.unique(column[known], return_inverse=True)
            least = np.full(len(names), len(groups))
            np.minimum.at(least, name, family[known])
            family[known] = least[name]
        if (family == before).all():
            return family


def _others(
    pools: Ints, held: Ints, train: Ints, window: int, most: int, draw: np.random.Generator
) -> Ints:
    """Rows that were trained on and held-out pairs are sought among: all, or first their hard
    pairs."""
    hard = np.intersect1d(pools[held, :window], train)
    order = [draw.permutation(part) for part in (hard, np.setdiff1d(train, hard))]
    return np.sort(np.concatenate(order)[: max(0, most - len(held))])


def _sides(
    features: FrozenFeatures,
    pools: Ints,
    train: Ints,
    options: BatchOptions,
    start: int,
    steps: int,
    seed: int,
    bar: ProgressBar,
) -> tuple[Heads, Heads]:
    """The control and the heads of hard pairs, from the same start."""
    table = _table(pools, train)
    plain = with_strategy(
        BatchOptions(batch_size=options.batch_size, hard_per_target=0),
        whole_table=True, rows=len(train), step_rows=options.batch_size,
    )  # fmt: skip
    coming = _batches(table, train, plain, seed)  # the control goes on where the start ends
    hard = _batches(table, train, options, seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        control = Heads(features.image.shape[1], features.text.shape[1])
        train_heads(control, features, itertools.islice(coming, start), start, bar)
        tuned = copy.deepcopy(control)
        train_heads(control, features, itertools.islice(coming, steps), steps, bar)
        train_heads(tuned, features, itertools.islice(hard, steps), steps, bar)
    return control, tuned


def _table(pools: Ints, train: Ints) -> HardPairs:
    """The table of the rows that are trained on, as if they alone had been mined."""
    home = np.full(len(pools), -1)
    home[train] = np.arange(len(train))
    found = np.where(pools[train] >= 0, home[pools[train]], -1)
    found = np.take_along_axis(found, np.argsort(found < 0, axis=1, kind="stable"), 1)
    if (found < 0).all():
        raise InvalidArgumentError("no row to train on has a hard pair; there is nothing to probe")
    order = np.linspace(1.0, 0.5, pools.shape[1])  # no more than this is known of scores
    return HardPairs.from_arrays(found, np.where(found < 0, 0.0, order))


def _batches(table: HardPairs, train: Ints, options: BatchOptions, seed: int) -> Iterator[Ints]:
    """Rows of the data batch by batch, for ever, as a loader gives them."""
    sampler = make_sampler(table, None, options, seed=seed, rank=0, world_size=1)
    for epoch in itertools.count():
        for plan in Plans(sampler, epoch, 0, range(int(sampler.batches_per_epoch))):
            yield train[np.asarray(plan.index)]


def _summary(found: Any, candidates: int) -> ProbeFigure:
    """Of what both sides found, float64 [seeds, 2]."""
    differences = found[:, 1] - found[:, 0]
    mean = float(differences.mean())
    half = STUDENT[len(found) - 2] * float(differences.std(ddof=1)) / len(found) ** 0.5
    control, hard_pairs = found.mean(axis=0).tolist()
    return ProbeFigure(
        candidates=candidates, control=control, hard_pairs=hard_pairs, difference=mean,
        low=mean - half, high=mean + half, share=mean / control if control > 0 else None,
    )  # fmt: skip
