"""What each stage of a job takes of memory and disk, from the numbers of rows and dimensions."""

from __future__ import annotations

from dataclasses import dataclass

from helip.mining.stages.job import Cut
from helip.mining.stages.rows import BLOCK
from helip.mining.stages.steps import CENTRES, CERTIFY, MOST_ROUNDS, Step

_PAGE = 4096
_FILE = 2 * _PAGE  # that opening a unit's file reads: its header, and the page of its offsets
_NEIGHBOURS = 32  # of a row, whose pools refine looks up
_TARGETS = 512  # that refine looks at together
_CODE_BYTES = 2.4  # of codes in memory, a dimension of a row
_COMPARED = 1024  # rows that partition compares a row with at least
_EXACT_BELOW = 24  # a cluster is mined exactly below so many times what a row is compared with


@dataclass(frozen=True)
class StagePlan:
    """What one stage would take."""

    name: str  # of its folder in OUT.stages, or "write"
    units: int
    memory_bytes: int  # peak of a unit, besides what Python and torch take
    scratch_bytes: int  # written to OUT.stages
    read_bytes: int  # of the store and of OUT.stages
    if_short: bool = False  # only where the measured recall is below the one asked for


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Rows as they lie in the store, and the pools that are wanted of them."""

    dimensions: int  # of both modalities that count
    row_bytes: int
    kept: int  # k + skip
    targets: int  # whose exact pools tell the recall


def plan_stages(cut: Cut, shape: Shape, memory: int) -> tuple[StagePlan, ...]:
    """The stages of a job in their order, then those that come where the recall falls short:
    one pass of refine, and what one more cluster for each row takes.

    A unit may take ``memory`` bytes.
    """
    sizes = _Sizes(cut, shape, memory)
    needed = [CENTRES, CERTIFY, *(Step(stage) for stage in ("route", "solve", "merge", "measure"))]
    more = [Step("refine", 0, 1), *(Step(stage, 1) for stage in ("route", "solve", "merge"))]
    return (
        *(sizes.of(step) for step in needed),
        sizes.write(),
        *(sizes.of(step, if_short=True) for step in more),
    )


def pairs_of(cut: Cut, kept: int) -> int:
    """Ordered pairs of a row and another that ``solve`` compares."""
    routed = cut.rows * cut.overlap
    rows = routed / cut.clusters
    compared = max(_COMPARED, 8 * kept)
    mined_exactly = rows < _EXACT_BELOW * compared
    return int(routed * (rows - 1 if mined_exactly else 1.5 * compared))


@dataclass(frozen=True)
class _Size:
    """Bytes of a stage; memory of one unit."""

    memory: float
    written: int = 0
    read: int = 0


class _Sizes:
    """The arithmetic of docs/scale.md, a method a stage."""

    def __init__(self, cut: Cut, shape: Shape, memory: int) -> None:
        self.cut, self.shape, self.memory = cut, shape, memory
        self.routed = cut.rows * cut.overlap  # copies of rows in all clusters in the first round
        self.rows, self.clusters, self.ranges = cut.rows, cut.clusters, cut.ranges
        self.unit = min(cut.unit_rows, cut.rows)
        self.pool_bytes = 8 * shape.kept + 4
        self.code_bytes = _CODE_BYTES * shape.dimensions
        self.centre_bytes = 4 * cut.clusters * shape.dimensions
        self.slices = self.ranges * cut.clusters  # of clusters, in the files of all ranges

    def of(self, step: Step, *, if_short: bool = False) -> StagePlan:
        size: _Size = getattr(self, f"_{step.stage}")(step.round)
        return StagePlan(
            name=step.name, units=step.units(self.cut), memory_bytes=int(size.memory),
            scratch_bytes=size.written, read_bytes=size.read, if_short=if_short,
        )  # fmt: skip

    def write(self) -> StagePlan:
        return StagePlan(
            name="write", units=1, memory_bytes=24 * BLOCK * self.shape.kept, scratch_bytes=0,
            read_bytes=self.rows * self.pool_bytes,
        )  # fmt: skip

    def _centres(self, round: int) -> _Size:
        sample = self.cut.centre_rows
        largest = min(1.0, 2 * self.cut.overlap / self.clusters)  # of the sample, where it splits
        return _Size(
            memory=4 * sample * self.shape.dimensions * (1 + largest)
            + 5 * self.centre_bytes + 8 * BLOCK * self.clusters,
            written=self.centre_bytes,
            read=sample * self.shape.row_bytes,
        )  # fmt: skip

    def _certify(self, round: int) -> _Size:
        each, targets = self.shape.row_bytes, self.shape.targets
        held = self.unit + targets
        return _Size(
            memory=2 * held * each + min(self.memory, held * self.code_bytes),
            written=self.ranges * targets * (12 * self.shape.kept + 4),
            read=(self.rows + self.ranges * targets) * each,
        )

    def _route(self, round: int) -> _Size:
        each, most = self.shape.row_bytes, 1 if round else self.cut.overlap
        copies = self.rows if round else self.routed
        return _Size(
            memory=self.unit * (each + 40 * most) + self.centre_bytes
            + BLOCK * (12 * self.shape.dimensions + 8 * self.clusters),
            written=self.rows * most * 4 + copies * (8 + each)
            + 8 * self.ranges * (self.clusters + 1)
            + (0 if round else 8 * MOST_ROUNDS * self.rows),
            read=self.rows * each + self.ranges * self.centre_bytes,
        )  # fmt: skip

    def _solve(self, round: int) -> _Size:
        routed, kept = self.routed + self.rows * round, self.shape.kept
        needs = routed / self.clusters * (self.shape.row_bytes + 12 * kept + self.code_bytes)
        return _Size(
            memory=min(self.memory, needs),
            written=routed * (8 + self.pool_bytes),
            read=routed * (8 + self.shape.row_bytes) + _FILE * self.slices * (1 + round),
        )

    def _merge(self, round: int) -> _Size:
        pools, kept = self.cut.overlap + round, self.shape.kept
        united = pools + (1 if round else 0)  # with those of the round before
        return _Size(
            memory=40 * BLOCK * united * kept + self.unit * self.pool_bytes,
            written=self.rows * self.pool_bytes,
            read=8 * self.rows * (pools * (kept + 1) + (kept if round else 0))
            + _FILE * self.slices,
        )  # fmt: skip

    def _measure(self, round: int) -> _Size:
        targets, kept = self.shape.targets, self.shape.kept
        exact = self.ranges * targets * (12 * kept + 4)
        return _Size(memory=60 * targets * kept, written=16 * targets, read=exact + targets * _PAGE)

    def _refine(self, round: int) -> _Size:
        return _Size(
            memory=_TARGETS * _NEIGHBOURS**2 * 50 + self.unit * self.pool_bytes,
            written=self.rows * self.pool_bytes,
            read=self.rows * (self.pool_bytes + _NEIGHBOURS * _PAGE),
        )
