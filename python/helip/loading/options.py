"""Options of a loader: what makes a batch, and how its rows are read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal

from annotated_types import Gt

from helip.common.errors import InvalidArgumentError
from helip.common.options import Options, Positive, Seed, Share, Whole, require


@dataclass(frozen=True, kw_only=True)
class HardnessSchedule(Options):
    """Where a loader's window of ranks, ``draw_temperature`` and ``fraction`` go while it trains.

    They start at the loader's own values and arrive at these after ``epochs`` epochs, where they
    stay; one that is None here stays all the time. A value depends on the epoch and the share of
    its targets that came before, so it is the same on every rank and after a resume; with
    communities, which are made for a whole epoch, on the epoch alone.
    """

    label = "schedule"

    epochs: Annotated[float, Gt(0)]
    """How long it takes; 0.5 is half an epoch."""
    rank_min: Whole | None = None
    """First rank of the window at the end."""
    rank_max: Positive | None = None
    """One past the last rank of the window at the end; None leaves it as it is."""
    draw_temperature: float | None = None
    """At the end; the loader must have one to start from."""
    fraction: Share | None = None
    """Share of the targets that get hard pairs, or are in a community, at the end."""
    shape: Literal["linear", "cosine"] = "linear"
    """cosine is slow at both ends."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.epochs < float("inf"), "epochs", self.epochs, "finite: how long it takes")

    @classmethod
    def of(cls, other: Any) -> Any:
        """``other`` itself, or the schedule that a mapping or its text describes; None for None."""
        if other is None or isinstance(other, cls):
            return other
        if isinstance(other, str):
            return cls.parse(other)
        names = [field.name for field in fields(cls)]
        if not isinstance(other, Mapping) or not {"epochs"} <= set(other) <= set(names):
            raise InvalidArgumentError(
                f"schedule = {other!r} must be a HardnessSchedule, or a mapping with epochs and "
                f"any of {', '.join(names[1:])}"
            )
        return cls(**other)


@dataclass(frozen=True, kw_only=True)
class PairOptions(Options):
    """Which hard pairs get into a batch."""

    hard_per_target: Whole | None = None
    """Hard pairs drawn for each target (p); None is 1, where they are drawn."""
    rank_min: Whole = 0
    """First rank of the pool that is drawn from."""
    rank_max: Positive | None = None
    """One past the last rank that is drawn from; None for the whole pool."""
    draw_temperature: Annotated[float, Gt(0)] | None = None
    """Draw in proportion to exp(score / draw_temperature); None draws uniformly."""
    fraction: Share = 1.0
    """Share of the targets that get hard pairs, or are in a community; 0 leaves plain batches."""
    short: Literal["keep", "skip", "random", "error"] | None = None
    """A target with too few hard pairs: comes with those that it has, is no target, gets random
    rows, or is an error. None: keep in communities and walks, skip where hard pairs are drawn."""
    strategy: Literal[
        "auto", "uniform", "temperature", "scheduled", "shared", "walk", "communities"
    ] = "auto"
    """What makes a batch; auto is communities where possible."""
    schedule: HardnessSchedule | Mapping[str, Any] | str | None = None
    """Where ranks and draw_temperature go: a HardnessSchedule, or epochs=2,rank_max=10."""
    targets_per_batch: Positive | None = None
    """shared: None is batch_size // (1 + hard_per_target); walk, communities: batch_size."""
    unique: Literal["caption", "none"] = "none"
    """caption: a batch holds at most one of the rows with an equal caption, or one picture; all
    captions are read when the loader is made."""
    order: Literal["rows", "blocks"] = "rows"
    """Of targets: any after any, or blocks of neighbouring rows in a random order."""
    block: Positive = 1024
    """Rows of such a block; rows are mixed among four of them."""
    walk_rows: Positive = 256
    """walk: targets that one walk collects."""
    restart: float = 0.1
    """walk: probability that a step leads back to the walk's first row."""
    community_rows: Positive | None = None
    """communities: targets of a community, before rows without one join it. None: 8; 16 or 32
    where an epoch has many steps."""

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "schedule", HardnessSchedule.of(self.schedule))


@dataclass(frozen=True, kw_only=True)
class BatchOptions(PairOptions):
    """Which rows make a batch."""

    batch_size: Positive = 256
    """Rows of a batch, targets and hard pairs together."""


@dataclass(frozen=True, kw_only=True)
class PlanOptions(BatchOptions):
    """Of which epochs a plan of batches is."""

    epochs: Positive = 1
    """Epochs to plan, from 0 on."""
    seed: Seed = 0
    """Of the order and the draws."""
    world_size: Positive = 1
    """Ranks that share each epoch: batch i of the plan is that of rank i modulo world_size."""


@dataclass(frozen=True, kw_only=True)
class ReadOptions(Options):
    """How the rows of batches are read."""

    workers: Whole | None = None
    """Threads of the core, or processes where it cannot read; 0 reads nothing ahead."""
    prefetch: Positive = 2
    """Batches that threads begin ahead; that each process makes ahead."""
    pin_memory: bool | None = None
    """Page-locked memory, from which a GPU copies without waiting; None: if trained on a GPU."""
    max_quarantined: Share = 0.1
    """Largest share of rows that may fail to be read; those without a hard pair do not count."""
