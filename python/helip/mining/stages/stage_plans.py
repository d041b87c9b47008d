"""What each stage of a job would cost, from the numbers of rows and dimensions alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from helip.mining.stages import unit_costs as costs
from helip.mining.stages.centres import sample_rows
from helip.mining.stages.job import Cut
from helip.mining.stages.rows import BLOCK
from helip.mining.stages.steps import CENTRES, CERTIFY, JOINING, MOST_ROUNDS, THREADED, Step

_PAGE = 4096
_FILE = 2 * _PAGE  # that opening a unit's file reads: its header, and the page of its offsets
_NEIGHBOURS = 32  # of a row, whose pools refine looks up
_TARGETS = 512  # that refine looks at together


@dataclass(frozen=True)
class StagePlan:
    """What one stage would cost."""

    name: str  # of its folder in OUT.stages, or "write"
    units: int
    cpu_hours: float  # of all units, on cores as in ``Plan.measured_on``
    memory_bytes: int  # peak of a unit, besides what Python and torch take
    scratch_bytes: int  # written to OUT.stages
    read_bytes: int  # of the store and of OUT.stages
    network_bytes: int  # those of ``read_bytes`` that cross the network
    hours: float  # of wall time, by processors alone
    if_short: bool = False  # only where the measured recall is below the one asked for


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """Who works: processes of one machine, or machines of so many threads."""

    engine: Literal["threads", "local", "ray"]
    machines: int
    threads: int  # of each machine
    memory: int  # bytes of a unit

    def hours(self, stage: str, units: int, seconds: float) -> float:
        """Of wall time, for units that take so many CPU seconds together.

        Stages of one thread have as many units at work as there are cores with ``local`` and
        ``ray``, and one a machine with ``threads``; of the others a unit takes all threads of a
        machine, but with ``local`` one.
        """
        shared = self.engine != "local" and stage in THREADED
        each = self.threads if shared else 1
        return -(-units // self.lanes(shared=shared)) * seconds / units / each / 3600

    def lanes(self, *, shared: bool) -> int:
        """Units at work at a time, where each takes all threads of a machine or one."""
        return self.machines * (1 if shared or self.engine == "threads" else self.threads)


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Rows as they lie in the store, and the pools that are wanted of them."""

    dimensions: int  # of both modalities that count
    row_bytes: int
    kept: int  # k + skip
    targets: int  # whose exact pools tell the recall
    copied: bool  # a store at a URL, which each machine copies to a disk of its own


@dataclass(frozen=True, kw_only=True)
class Changed:
    """What an update meets, of all rows that there are now."""

    fresh: int  # new, or with other values
    gone: int  # deleted, also before the table was mined
    short: int  # old ones whose full pool lost a pair
    known: int  # targets of the sample whose exact pools are kept


def plan_stages(
    cut: Cut, shape: Shape, fleet: Fleet, changed: Changed | None = None
) -> tuple[StagePlan, ...]:
    """The stages of a job in their order, then those that come where the recall falls short:
    one pass of refine, and what one more cluster for each row takes.

    ``changed`` makes it one that brings a table up to date.
    """
    estimate = _Estimate(cut, shape, fleet, changed)
    needed = [CENTRES, CERTIFY, *(Step(stage) for stage in ("route", "solve", "merge", "measure"))]
    more = [Step("refine", 0, 1), *(Step(stage, 1) for stage in ("route", "solve", "merge"))]
    return (
        *(estimate.of(step) for step in needed),
        estimate.row("write", "write", 1, estimate.write()),
        *(estimate.of(step, if_short=True) for step in more),
    )


def mined_exactly(rows: float, kept: int) -> bool:
    """Whether a cluster of so many rows is too small for partition."""
    return rows < costs.EXACT_BELOW * costs.compared_with(kept)


def pairs_of(cut: Cut, kept: int, changed: Changed | None = None) -> int:
    """Ordered pairs of a row and another that ``solve`` compares."""
    routed, joined = _routed(cut, changed)
    rows = routed / cut.clusters
    if changed is not None and joined * JOINING <= routed:
        return int(2 * joined * rows)
    compared = rows - 1 if mined_exactly(rows, kept) else 1.5 * costs.compared_with(kept)
    return int(routed * compared)


def _most(cut: Cut, changed: Changed | None) -> int:
    """Clusters of a row in the first round, at most."""
    return cut.overlap if changed is None else min(2 * cut.overlap, cut.clusters)


def _routed(cut: Cut, changed: Changed | None) -> tuple[int, int]:
    """Copies of rows in all clusters in the first round, and those of rows that join others."""
    if changed is None:
        return cut.rows * cut.overlap, cut.rows * cut.overlap
    joined = changed.fresh * _most(cut, changed)
    return cut.rows - changed.fresh - changed.gone + joined, joined


@dataclass(frozen=True)
class _Cost:
    """Of all units of a stage; memory of one."""

    seconds: float
    memory: float
    written: int = 0
    store: int = 0  # bytes read of the store
    scratch: int = 0  # bytes read of OUT.stages


class _Estimate:
    """The arithmetic of docs/scale.md, a method a stage."""

    def __init__(self, cut: Cut, shape: Shape, fleet: Fleet, changed: Changed | None) -> None:
        self.cut, self.shape, self.fleet, self.changed = cut, shape, fleet, changed
        self.routed, self.joined = _routed(cut, changed)
        self.most = _most(cut, changed)
        self.rows, self.clusters, self.ranges = cut.rows, cut.clusters, cut.ranges
        self.unit = min(cut.unit_rows, cut.rows)
        self.width = shape.dimensions / costs.DIMENSIONS  # as a multiple of what was measured
        self.pools = shape.kept / costs.POOL
        self.targets = shape.targets
        self.pool_bytes = 8 * shape.kept + 4
        self.code_bytes = costs.CODE_BYTES * shape.dimensions
        self.centre_bytes = 4 * cut.clusters * shape.dimensions
        self.slices = self.ranges * cut.clusters  # of clusters, in the files of all ranges

    def of(self, step: Step, *, if_short: bool = False) -> StagePlan:
        costs_of: dict[str, Callable[[int], _Cost]] = {
            "centres": lambda round: self.centres(),
            "certify": lambda round: self.certify(),
            "route": self.route,
            "solve": self.solve,
            "merge": self.merge,
            "measure": lambda round: self.measure(),
            "refine": lambda round: self.refine(),
        }
        cost = costs_of[step.stage](step.round)
        return self.row(step.name, step.stage, step.units(self.cut), cost, if_short=if_short)

    def row(
        self, name: str, stage: str, units: int, cost: _Cost, *, if_short: bool = False
    ) -> StagePlan:
        shared = self.fleet.machines > 1
        crosses = cost.scratch + (0 if self.shape.copied else cost.store)
        return StagePlan(
            name=name, units=units, cpu_hours=cost.seconds / 3600,
            memory_bytes=int(cost.memory), scratch_bytes=cost.written,
            read_bytes=cost.store + cost.scratch, network_bytes=crosses if shared else 0,
            hours=self.fleet.hours(stage, units, cost.seconds), if_short=if_short,
        )  # fmt: skip

    def centres(self) -> _Cost:
        sample = min(self.rows, sample_rows(self.clusters))
        products = sample * self.clusters * self.width
        largest = min(1.0, 2 * self.cut.overlap / self.clusters)  # of the sample, where it splits
        return _Cost(
            seconds=costs.CENTRES + costs.CENTRES_PRODUCT * products,
            memory=4 * sample * self.shape.dimensions * (1 + largest)
            + 5 * self.centre_bytes + 8 * BLOCK * self.clusters,
            written=self.centre_bytes,
            store=sample * self.shape.row_bytes,
        )  # fmt: skip

    def certify(self) -> _Cost:
        each, held = self.shape.row_bytes, self.unit + self.targets
        known = 0 if self.changed is None else self.changed.known
        unknown = self.targets - known
        seconds = self._certified(self.ranges, self.rows, unknown)
        if self.changed is not None:
            if unknown < costs.FEW:  # scored one by one
                seconds = costs.CERTIFY_SCORE * unknown * self.rows * self.width
            if known and self.changed.fresh:  # new rows follow each other
                ranges = -(-self.changed.fresh // self.unit)
                seconds += self._certified(ranges, self.changed.fresh, known)
        return _Cost(
            seconds=seconds,
            memory=2 * held * each + min(self.fleet.memory, held * self.code_bytes),
            written=self.ranges * self.targets * (12 * self.shape.kept + 4),
            store=(self.rows + self.ranges * self.targets) * each,
        )

    def _certified(self, ranges: int, rows: int, targets: int) -> float:
        """Seconds in which so many targets meet rows of so many ranges, by codes."""
        a_row = costs.CERTIFY_ROW + costs.CERTIFY_PAIR * max(targets - costs.TARGETS, 0)
        return costs.CERTIFY_UNIT * ranges + a_row * rows * self.width

    def route(self, round: int) -> _Cost:
        each, most = self.shape.row_bytes, 1 if round else self.most
        copies = self.rows if round else self.routed
        a_row = costs.ROUTE_ROW + costs.ROUTE_PRODUCT * self.clusters
        return _Cost(
            seconds=(a_row * self.rows + costs.ROUTE_COPY * copies) * self.width,
            memory=self.unit * (each + 40 * most) + self.centre_bytes
            + BLOCK * (12 * self.shape.dimensions + 8 * self.clusters),
            written=self.rows * most * 4 + copies * (8 + each)
            + 8 * self.ranges * (self.clusters + 1)
            + (0 if round else 8 * MOST_ROUNDS * self.rows),
            store=self.rows * each,
            scratch=self.ranges * self.centre_bytes,
        )  # fmt: skip

    def solve(self, round: int) -> _Cost:
        routed = self.routed + self.rows * round
        rows, kept = routed / self.clusters, self.shape.kept
        if self.changed is not None and not round and self.joined * JOINING <= self.routed:
            return self._added(rows)
        small = mined_exactly(rows, kept)
        fixed = costs.SOLVE_SMALL_CLUSTER if small else costs.SOLVE_CLUSTER
        a_row = costs.SOLVE_SMALL_ROW if small else costs.SOLVE_ROW
        a_row *= self.width * (1 + costs.SOLVE_PAIR_OF_POOL * (kept - costs.POOL))
        files = self.slices * (1 + round)
        needs = rows * (self.shape.row_bytes + 12 * kept + self.code_bytes)
        return _Cost(
            seconds=fixed * self.clusters + a_row * routed + costs.SLICE * files,
            memory=min(self.fleet.memory, needs),
            written=routed * (8 + self.pool_bytes),
            scratch=routed * (8 + self.shape.row_bytes) + _FILE * files,
        )

    def _added(self, rows: float) -> _Cost:
        """Of solve where few rows join clusters of so many: they alone meet the others."""
        kept = self.shape.kept
        join = costs.JOINED_ROW * self.joined + costs.JOINED_PAIR * self.joined * rows
        seconds = (costs.OLD_ROW * self.routed + join) * self.width if self.joined else 0.0
        needs = rows * (self.shape.row_bytes + 24 * kept + self.code_bytes)
        opened = self._base_bytes(self.clusters)
        return _Cost(
            seconds=seconds + costs.SLICE * self.slices + costs.OPEN_BYTE * opened,
            memory=min(self.fleet.memory, needs),
            written=self._gained() * (8 + self.pool_bytes),
            scratch=self.routed * (8 + self.shape.row_bytes) + _FILE * self.slices + opened,
        )  # fmt: skip

    def _gained(self) -> int:
        """Rows of clusters that solve writes pools of: those that join, and old ones that gain a
        pair, if each place of a pool is as likely a new row's as any.
        """
        assert self.changed is not None
        share = 1 - (1 - self.changed.fresh / self.rows) ** self.shape.kept
        return self.joined + int((self.routed - self.joined) * share)

    def _base_bytes(self, units: int) -> int:
        """Read when a table that is brought up to date is opened: by each task, else process."""
        if self.changed is None:
            return 0
        openings = units if self.fleet.engine == "ray" else self.fleet.lanes(shared=False)
        return min(units, openings) * 4 * self.rows * (self.shape.kept + 1)

    def merge(self, round: int) -> _Cost:
        pools = self.most + round
        before = round > 0 or self.changed is not None
        united = pools + (1 if before else 0)  # with those of the round before, or the old table
        slices = -(-self.unit // BLOCK) * self.slices
        found = 8 * self.shape.kept * self.rows * pools
        seconds, opened = 0.0, 0
        if self.changed is not None and not round:
            if self.joined * JOINING <= self.routed:
                found = 8 * self.shape.kept * self._gained()
            opened = self._base_bytes(self.ranges)
            seconds = costs.FILL_ROW * self.changed.short * self.width * self.pools**2
        return _Cost(
            seconds=costs.MERGE_ROW * self.rows * united / 2 * self.pools + costs.SLICE * slices
            + seconds + costs.OPEN_BYTE * opened,
            memory=40 * BLOCK * united * self.shape.kept + self.unit * self.pool_bytes,
            written=self.rows * self.pool_bytes,
            scratch=found + 8 * self.rows * (pools + (self.shape.kept if before else 0))
            + _FILE * self.slices + opened,
        )  # fmt: skip

    def measure(self) -> _Cost:
        exact = self.ranges * self.targets * (12 * self.shape.kept + 4)
        return _Cost(
            seconds=costs.MEASURE_RANGE * self.ranges * self.pools,
            memory=60 * self.targets * self.shape.kept,
            written=16 * self.targets,
            scratch=exact + self.targets * _PAGE,
        )

    def refine(self) -> _Cost:
        return _Cost(
            seconds=costs.REFINE_ROW * self.rows * self.width,
            memory=_TARGETS * _NEIGHBOURS**2 * 50 + self.unit * self.pool_bytes,
            written=self.rows * self.pool_bytes,
            scratch=self.rows * (self.pool_bytes + _NEIGHBOURS * _PAGE),
        )

    def write(self) -> _Cost:
        return _Cost(
            seconds=costs.WRITE_ROW * self.rows * self.pools,
            memory=24 * BLOCK * self.shape.kept,
            scratch=self.rows * self.pool_bytes,
        )
