"""A job in stages: what is mined, how it is cut into units, and the folder of their files."""

from __future__ import annotations

import hashlib
import json
import math
import os
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from helip import _core
from helip.common.errors import (
    CorruptError,
    InvalidArgumentError,
    MismatchError,
    StorageError,
    UnsupportedError,
)
from helip.common.files import (
    discard_directory,
    read_json,
    remove_leftovers,
)
from helip.common.machine import memory_bound
from helip.common.parts import JOB, begin_job
from helip.common.remote.urls import url_of
from helip.mining.inputs import core_options, require_one_space
from helip.mining.options import (
    ClusterOptions,
    HostOptions,
    MachineOptions,
    MineOptions,
    StageOptions,
)
from helip.mining.recall import MOST_TARGETS, draw_targets, most_shown, sample_size
from helip.mining.stages.bases import Base, Changes, mined_with
from helip.mining.stages.rows import BLOCK, columns_of, row_bytes, views_of
from helip.pairs.hard_pairs import HardPairs
from helip.store.data_identity import short
from helip.store.embedding_store import EmbeddingStore

_FORMAT = 4
CLUSTER_ROWS = 1_000_000
_MOST_ROWS = 2**31 - 1  # of the core
_CENTRE_ROWS, _LEAST_CENTRE_ROWS = 256, 16_384  # of their sample: for each cluster, at least
_MOST_CENTRE_ROWS = 262_144  # whatever the memory is, on which no byte depends
_UNITS = 16  # of a job of few rows: certify takes a second for a range however small it is
_UNIT_BYTES = 1 << 30  # that a unit of rows holds at most, whatever memory there is
_STREAM = 0x73616D706C65  # draws of the recall's targets, apart from others of the seed


@dataclass(frozen=True, kw_only=True)
class Cut:
    """How a job is cut into units."""

    rows: int
    cluster_rows: int
    overlap: int
    clusters: int
    unit_rows: int  # of the units that are ranges of rows

    @property
    def ranges(self) -> int:
        """Units of a stage that goes through the rows."""
        return -(-self.rows // self.unit_rows)

    @property
    def centre_rows(self) -> int:
        """Rows of the sample that the clusters' centres are the means of."""
        wanted = max(_CENTRE_ROWS * self.clusters, _LEAST_CENTRE_ROWS)
        return min(self.rows, wanted, _MOST_CENTRE_ROWS)

    def rows_of(self, unit: int) -> tuple[int, int]:
        """First and last + 1 of such a unit."""
        return unit * self.unit_rows, min((unit + 1) * self.unit_rows, self.rows)


@dataclass(frozen=True, kw_only=True)
class StageJob(Cut):
    """What job.json says. Its units depend on these alone."""

    out: str
    folder: Path
    store: str  # where the store lay when the job was begun
    fingerprint: str
    data_fingerprint: str
    options: MineOptions
    targets: int  # of the sample
    base: Base | None  # None: all rows are mined
    digest: str  # of all this but the places, in each unit's file

    @cached_property
    def sample(self) -> np.ndarray:
        """int64, random targets whose exact pools tell the recall, ascending."""
        draw = np.random.default_rng([self.options.seed, _STREAM])
        return draw_targets(draw, self.rows, self.targets)

    @property
    def kept(self) -> int:
        """Pairs of a pool before the best ``skip`` are passed over."""
        return self.options.k + self.options.skip

    def clusters_of(self, fresh: bool) -> int:
        """Clusters that a row goes to at first."""
        if self.base is None:
            return self.overlap
        # A new row meets an old one in any of its clusters. So the old ones, which are many, need
        # be in one cluster alone where the new ones are in twice as many.
        return min(2 * self.overlap, self.clusters) if fresh else 1

    def most_clusters(self, round: int) -> int:
        """Clusters that any row is in after so many further rounds."""
        return min(self.clusters_of(True) + round, self.clusters)


class Workplace:
    """A job with its store and what of this machine a unit may take."""

    def __init__(self, job: StageJob, store: EmbeddingStore, host: HostOptions) -> None:
        if store.fingerprint != job.fingerprint:
            raise MismatchError(
                f"the store {store.path} is {short(store.fingerprint)}, and {job.folder} holds a "
                f"job of the store {short(job.fingerprint)}; give the store as it was when the job "
                "was begun, or remove that folder"
            )
        self.job, self.store, self.host = job, store, host
        self.memory = memory_bound(host.memory)
        # What changed since the base was mined; None where there is none.
        self.changes = None if job.base is None else Changes(job.base, store)
        self.columns = columns_of(store, job.options.modalities)
        self.dtype = store.dtype

    @property
    def views(self) -> tuple[_core.MatrixView, _core.MatrixView]:
        """The whole store, as the core takes it."""
        views = self.store.matrices
        if self.job.options.modality == "both":
            return views
        empty = views_of({}, self.dtype)[0]
        return (views[0], empty) if self.job.options.modality == "image" else (empty, views[1])

    def core_options(self, method: str, *, used: int = 0) -> _core.MineOptions:
        """For pools of ``kept`` pairs, from which nothing is passed over yet.

        ``used`` bytes of the memory are taken, at most half of it.
        """
        options = {**self.job.options.as_dict(), "method": method, "k": self.job.kept, "skip": 0}
        left = max(self.memory - used, 1)
        machine = MachineOptions(threads=self.host.threads, memory=left)
        return core_options(MineOptions(**options), machine)


def stages_folder(out: str | os.PathLike[str]) -> Path:
    """Where a job in stages keeps the files of its units, until its table is there."""
    return Path(os.fspath(out).rstrip("/") + ".stages")


def has_stages(out: str | os.PathLike[str]) -> bool:
    """Whether there is a job in stages to go on with."""
    return (stages_folder(out) / JOB).exists()


def remove_stages(out: str | os.PathLike[str]) -> None:
    """Removes the files of a job whose table is there, and what a killed process left of them."""
    folder = stages_folder(out)
    if has_stages(out):
        discard_directory(folder)
    remove_leftovers(folder.parent, folder.name)


def begin_mining(
    store: EmbeddingStore, options: MineOptions, stages: StageOptions, out: str, memory: Any = None
) -> StageJob:
    """Writes job.json, or takes up what it says; nothing is mined yet.

    ``memory`` bounds the units of rows. Where a job was begun, its units stay as they are, and so
    do its clusters where ``stages`` names none.

    Raises:
        MismatchError: a job of another store, option or version is there, with what differs.
        InvalidArgumentError: rows that fit one cluster; a recall that no sample shows.
        UnsupportedError: collapse, or more rows than the core takes.
    """
    require_one_space(store, options.margin)
    if has_stages(out) and stages.cluster_rows is None:
        there = open_job(out)
        overlap = there.overlap if stages.overlap == StageOptions().overlap else stages.overlap
        stages = replace(stages, cluster_rows=there.cluster_rows, overlap=overlap)
    each = row_bytes(columns_of(store, options.modalities))
    cut = cut_of(len(store), each, options, stages, memory)
    return _begun(store, options, stages, out, cut)


def begin_update(table: HardPairs, store: EmbeddingStore, out: str, memory: Any = None) -> StageJob:
    """`begin_mining` of one that brings a table, which lies in a directory, up to date.

    Raises MismatchError also where the store is no later state of the one that was mined, and
    UnsupportedError where the table's pools are no basis for others.
    """
    options, clusters = mined_with(table)
    if options.method != "partition":
        raise UnsupportedError(
            f"the table {table.path} was mined with method {options.method!r}, must be 'partition' "
            "for an update in stages; mine it again"
        )
    base = Base.of(table, store)
    stages = StageOptions(**clusters.as_dict())
    fresh = len(store) - base.rows + base.replaced
    each = row_bytes(columns_of(store, options.modalities))
    cut = cut_of_update(len(store), fresh, each, options, stages, memory)
    return _begun(store, options, stages, out, cut, base)


def _begun(
    store: EmbeddingStore,
    options: MineOptions,
    stages: StageOptions,
    out: str,
    cut: Cut,
    base: Base | None = None,
) -> StageJob:
    chosen = {
        "clusters": cut.clusters, "unit_rows": cut.unit_rows,
        "targets": sample_size(cut.rows, options.recall), "path": place_of(store),
        "base": None if base is None else asdict(base),
    }  # fmt: skip
    asked = {
        **identity_of(store, options, stages),
        "update_of": None if base is None else base.checksum,
    }
    folder = stages_folder(out)
    if not has_stages(out) or read_json(folder / JOB).get("format") == _FORMAT:
        begin_job(folder, {**asked, "format": _FORMAT}, chosen)
    return open_job(out)


def _digest(said: dict[str, Any]) -> str:
    """Of a job, wherever its store and its base lie."""
    whole = {name: value for name, value in said.items() if name not in ("path", "base")}
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()[:16]


def open_job(out: str | os.PathLike[str]) -> StageJob:
    """The job that was begun for ``out``. StorageError where there is none."""
    folder = stages_folder(out)
    if not has_stages(out):
        raise StorageError(None, f"there is no job in stages at {folder}; begin it with its store")
    said = read_json(folder / JOB)
    for name, own in (("format", _FORMAT), ("version", _core.__version__)):
        if said.get(name) != own:
            raise UnsupportedError(
                f"{folder} has {name} {said.get(name)}, this helip has {own}; go on with the helip "
                "that began it, or remove that folder"
            )
    try:
        named = {name: said[name] for name in MineOptions().as_dict()}
        cut = {name: said[name] for name in Cut.__dataclass_fields__}
        return StageJob(
            out=os.fspath(out), folder=folder, store=said["path"], fingerprint=said["store"],
            data_fingerprint=said["data"], options=MineOptions(**named), targets=said["targets"],
            base=None if said["base"] is None else Base(**said["base"]), digest=_digest(said),
            **cut,
        )  # fmt: skip
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptError(f"{folder / JOB} is damaged: {error}; remove the folder") from error


def place_of(store: EmbeddingStore) -> str:
    """What other processes open a store by: its URL, or its path whatever their folder is."""
    return store.path if url_of(store.path) else os.path.abspath(store.path)


def unit_memory(engine: str, threads: int, memory: int | str | None) -> int:
    """Bytes that one unit may take: the processes of a machine share what the job may take."""
    return max(memory_bound(memory) // (threads if engine == "local" else 1), 1)


def in_one_cluster(rows: int, stages: ClusterOptions) -> bool:
    """Whether all rows fit one cluster, so that there is nothing to spread."""
    return rows <= (stages.cluster_rows or CLUSTER_ROWS)


def identity_of(
    store: EmbeddingStore, options: MineOptions, stages: StageOptions
) -> dict[str, Any]:
    """What must agree where a job is gone on with."""
    return {
        "store": store.fingerprint, "data": store.data_fingerprint, "rows": len(store),
        **{**options.as_dict(), "method": "partition"},
        "cluster_rows": stages.cluster_rows or CLUSTER_ROWS, "overlap": stages.overlap,
        "version": _core.__version__,
    }  # fmt: skip


def cut_of(rows: int, each: int, options: MineOptions, stages: ClusterOptions, memory: Any) -> Cut:
    """Of so many rows of ``each`` bytes; ``memory`` bounds the units of rows.

    Raises UnsupportedError and InvalidArgumentError for what cannot be mined in stages.
    """
    _refuse(rows, options)
    if in_one_cluster(rows, stages):
        raise InvalidArgumentError(
            f"cluster_rows is {stages.cluster_rows or CLUSTER_ROWS:,}, and {rows:,} rows fit one "
            "cluster; mine without stages, or give fewer cluster_rows"
        )
    return _cut(rows, each, stages, memory)


def cut_of_update(
    rows: int, fresh: int, each: int, options: MineOptions, stages: ClusterOptions, memory: Any
) -> Cut:
    """The same of an update, of whose rows ``fresh`` are new or have other values.

    Raises as `cut_of`, but that rows may fit one cluster.
    """
    _refuse(rows, options)
    cut = _cut(rows, each, stages, memory)
    copies = rows - fresh + 2 * stages.overlap * fresh  # of rows, in all clusters
    return replace(cut, clusters=max(-(-copies // cut.cluster_rows), 1))


def _cut(rows: int, each: int, stages: ClusterOptions, memory: Any) -> Cut:
    cluster_rows = stages.cluster_rows or CLUSTER_ROWS
    # Whole blocks, so that a row is multiplied in the same block whatever the units are.
    fits = min(memory_bound(memory) // 2, _UNIT_BYTES) // max(each * (stages.overlap + 2), 1)
    wanted = min(-(-rows // _UNITS), fits)
    return Cut(
        rows=rows, cluster_rows=cluster_rows, overlap=stages.overlap,
        clusters=-(-rows * stages.overlap // cluster_rows),
        unit_rows=max(-(-wanted // BLOCK) * BLOCK, BLOCK),
    )  # fmt: skip


def why_not_channels(options: MineOptions) -> UnsupportedError | None:
    """Stages are of image and text."""
    if options.channels is None:
        return None
    return UnsupportedError(
        f"channels is {options.channels}, and stages are of image and text; leave out "
        "cluster_rows= and engine='local'"
    )


def _refuse(rows: int, options: MineOptions) -> None:
    if (reason := why_not_channels(options)) is not None:
        raise reason
    if options.collapse != "none":
        raise UnsupportedError(
            f"collapse is {options.collapse!r}, which looks for groups among all rows; mine in "
            "stages without it, or without cluster_rows= and engine="
        )
    if rows > _MOST_ROWS:
        raise UnsupportedError(f"there are {rows:,} rows, must be at most {_MOST_ROWS:,}")
    if options.recall > most_shown(rows):
        shown = math.floor(1e5 * most_shown(rows)) / 1e5
        raise InvalidArgumentError(
            f"recall is {options.recall}, must be at most {shown} in stages: that is the lower "
            f"limit where {MOST_TARGETS:,} targets, the largest sample, miss nothing; ask "
            "for less, or mine exactly, in parts"
        )
