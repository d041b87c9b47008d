"""What mining, or an update, would cost, before it is done."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from helip import _core
from helip.common.errors import InvalidArgumentError, UnsupportedError
from helip.common.machine import memory_bound, usable_processors
from helip.common.options import keywords
from helip.common.quantities import bytes_words, duration_words
from helip.common.remote.urls import url_of
from helip.mining.core_options import core_options
from helip.mining.device_choice import choose_device
from helip.mining.inputs import InputOptions, Inputs, checked_store, inputs_of, require_one_space
from helip.mining.options import (
    ChangeOptions,
    ClusterOptions,
    FleetOptions,
    HnswOptions,
    JobOptions,
    MachineOptions,
    MineOptions,
    ShapeOptions,
)
from helip.mining.planned_updates import (
    PlannedUpdate,
    assumed_update,
    exact_pairs,
    exact_seconds,
    found_update,
    mined_with,
    why_afresh,
)
from helip.mining.recall import sample_size
from helip.mining.stages import unit_costs as costs
from helip.mining.stages.bases import REBUILT
from helip.mining.stages.job import cut_of, cut_of_update
from helip.mining.stages.running import NEEDS_STORE, goes_in_stages, refuse_device, unit_memory
from helip.mining.stages.stage_plans import Fleet, Shape, StagePlan, pairs_of, plan_stages
from helip.mining.stand_in import stand_in_matrices
from helip.pairs.hard_pairs import HardPairs
from helip.store.embedding_store import EmbeddingStore

_ELEMENT = {"float32": 4, "float16": 2, "bfloat16": 2, "int8": 1}  # bytes
_SCALE = 4  # bytes of a row of int8, beside it


@dataclass(frozen=True)
class Plan:
    """What a mining job would cost on this machine, from a short measurement of its speed.

    Of a job in stages, and of its ``machines``, from costs that were measured once: ``stages`` has
    a row for each, ``seconds`` and ``scratch_bytes`` are sums of those that are needed, and
    ``memory_bytes`` is of the unit that takes most.
    """

    method: str  # "exact", "sample", "hnsw" or "partition", never "auto"
    reason: str  # why this method
    # What exact and sampled mining hold pairs against before they score them: "weight" of image to
    # text, "dimensions" [among high thresholds, of others, of the next filter], "high_share" of the
    # former, and "passed", shares of a sample's pairs (empty where it is too small for one).
    filters: dict[str, Any]
    device: str
    seconds: float
    memory_bytes: int  # buffers beyond the input
    disk_bytes: int  # the saved table, in stages with the pools of its sample
    scratch_bytes: int  # on disk while it runs, where ``memory`` is too small
    pairs: int  # ordered pairs that it decides on
    bands: int  # blocks of targets kept in memory one after another
    # Or "random", where there were rows= and dims= alone, and of such in stages "dims".
    rows_from: str = "data"
    stages: tuple[StagePlan, ...] = ()  # in their order, then those that may come
    machines: int = 1
    threads: int | None = None  # of each machine, in stages
    download_bytes: int = 0  # in stages: what all machines together read of a store at a URL
    # Where costs were measured once: what on, and by what.
    measured_on: str = ""
    # Of an update: rows that were "added", "deleted" and "replaced"; the targets "certified_before"
    # that need not meet all rows; and "lost", the share of old rows whose full pool lost a pair.
    update: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        """What it would cost, a line each, as `helip plan` says it; of stages also each one."""
        rows = [
            ("method", f"{self.method} ({self.reason})"),
            ("device", self.device),
            ("time", duration_words(self.seconds)),
            ("memory", bytes_words(self.memory_bytes)),
            ("disk", bytes_words(self.disk_bytes)),
            ("scratch", f"{bytes_words(self.scratch_bytes)} on disk while it runs"),
            ("pairs", f"{self.pairs:,}"),
            *((f"update, {name}", f"{value:,.4g}") for name, value in self.update.items()),
            *(
                (
                    f"stage {each.name}",
                    f"{each.units:,} units, {each.cpu_hours:.2g} CPU hours"
                    + (", if the recall is short" if each.if_short else ""),
                )
                for each in self.stages
            ),
        ]
        width = max(len(name) for name, _ in rows)
        return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)

    def to_dict(self) -> dict[str, Any]:
        """The fields, JSON-able."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class PlanCall(
    MineOptions, HnswOptions, ClusterOptions, FleetOptions, MachineOptions, InputOptions,
    ShapeOptions, ChangeOptions,
):  # fmt: skip
    """What `plan` is asked."""

    update: HardPairs | str | os.PathLike[str] | None = None
    """With a store: plan to bring this table, or that at a path, up to date with it."""


@keywords(PlanCall)
def plan(call: PlanCall) -> Plan:
    """What :func:`mine` would do with these options, and what it would cost, without doing it.

    The time is extrapolated from a tenth of a second of the real work on this machine. With
    ``rows=2_000_000, dims=(512, 768)`` in place of a store or arrays, random rows in groups stand
    for the embeddings: memory and disk are those of the job, the time is a rough guess, since how
    much the filters reject depends on the data.

    Where :func:`mine` would go in stages (``method="partition"`` with ``cluster_rows``, or by
    ``engine`` local or ray), ``Plan.stages`` has a row for each, and nothing is measured: units,
    bytes and memory follow from rows and dimensions, CPU hours from costs that were measured once
    (``Plan.measured_on``), wall time from ``machines`` of ``threads`` each. Of a store at a URL
    the manifest alone is read. ``dims`` stand for float16.

    With ``update``, a table, it plans what :func:`update` would do with the store as it is now, and
    ``added`` or ``deleted`` plan the same of rows that are not there yet: of a table of method
    ``partition`` in stages, of an exact one in one process, from costs that were measured once.
    ``Plan.update`` has what changed. Rows that are deleted before they are there are drawn at
    random from full pools, in which each row is as often as any other.

    Raises:
        InvalidArgumentError: neither a store, arrays nor rows and dims, or more than one of them;
            several machines for a job that does not go in stages, or runs on one alone; options of
            mining beside a table.
        MismatchError: the store is no later state of the one that the table was mined from.
        UnsupportedError: more rows than stages take, or an option that they do not know; a table
            that cannot be updated. OutOfMemoryError: a graph of hnswlib above ``memory``.

    Examples:
        >>> import helip
        >>> plan = helip.plan(rows=20_000, dims=(384, 768), k=100)
        >>> plan.method, plan.pairs
        ('exact', 399980000)
        >>> plan.disk_bytes // 1_000_000  # of the table, in MB
        16
    """
    if call.update is not None or call.added or call.deleted:
        return _update_planned(call)
    options = core_options(call, call)
    _check_source(call)
    if call.graph != "own":
        there = call.rows is None
        inputs = inputs_of(call.store, call.image, call.text, call.modalities) if there else None
        return _graph_planned(call, inputs)
    if (staged := _in_stages(call)) is not None:
        return staged
    if call.rows is None or call.dims is None:
        inputs = inputs_of(call.store, call.image, call.text, call.modalities)
        return _planned(call, _core.plan(*inputs.matrices, options))
    with stand_in_matrices(call.rows, *call.dims) as matrices:
        return _planned(call, _core.plan(*matrices, options), rows_from="random")


def _check_source(call: PlanCall) -> None:
    if call.rows is None and call.dims is None:
        return
    if any(given is not None for given in (call.store, call.image, call.text)):
        raise InvalidArgumentError(
            f"rows is {call.rows} and dims {call.dims}, of data that are not there yet, and there "
            "is a store or an array; give one of both"
        )
    if call.rows is None or call.dims is None:
        raise InvalidArgumentError(
            f"rows is {call.rows} and dims {call.dims}; give both, such as rows=2_000_000 and "
            "dims=(512, 768), or a store"
        )


def _planned(call: PlanCall, estimate: dict[str, Any], **more: Any) -> Plan:
    device = choose_device(call.device, call, deleted=0)
    if device != "cpu" and estimate["method"] == "exact":
        estimate["reason"] += f"; on {device}, where the time was not measured beforehand"
    estimate["filters"] = json.loads(estimate["filters"])
    return Plan(device=device, **estimate, **more)


def _in_stages(call: PlanCall) -> Plan | None:
    """The plan of a job in stages; None where it does not go in stages."""
    if call.engine == "threads" and call.cluster_rows is None and call.machines == 1:
        return None
    store: EmbeddingStore | None = None
    if call.rows is not None:
        rows = call.rows
    elif call.store is not None and call.image is None and call.text is None:
        store = checked_store(call.store, stacklevel=5)
        rows = len(store)
    else:
        rows = inputs_of(call.store, call.image, call.text, call.modalities).rows
    if not goes_in_stages(call, rows=rows, out=""):
        if call.machines > 1:
            raise InvalidArgumentError(_no_machines(call, rows))
        return None
    if store is None and call.dims is None:
        raise InvalidArgumentError(NEEDS_STORE)
    refuse_device(call.device)
    return _stages_planned(call, store, rows)


def _no_machines(call: PlanCall, rows: int) -> str:
    several = f"machines is {call.machines}, and"
    if call.method != "partition":
        return (
            f"{several} method {call.method!r}; several machines are planned for method "
            "'partition' in stages; use that, or plan one machine"
        )
    if call.engine == "threads" and call.cluster_rows is None:
        return f"{several} the job is not one in stages; give engine='ray', or cluster_rows"
    return f"{several} {rows:,} rows fit one cluster; plan one machine, or give fewer cluster_rows"


def _stages_planned(
    call: PlanCall,
    store: EmbeddingStore | None,
    rows: int,
    update: PlannedUpdate | None = None,
) -> Plan:
    if call.engine == "local" and call.machines > 1:
        raise InvalidArgumentError(
            f"machines is {call.machines} and engine 'local', whose processes are of one machine; "
            "use engine='ray', or cluster_rows without an engine for helip stage"
        )
    if store is not None:
        require_one_space(store, call.margin)
    dtype, dims = _dims_of(call, store)
    width = dict(zip(("image", "text"), dims, strict=True))
    scale = _SCALE if dtype == "int8" else 0
    row_bytes = {name: each * _ELEMENT[dtype] + scale for name, each in width.items()}
    at_url = store is not None and url_of(store.path) is not None
    shape = Shape(
        dimensions=sum(width[name] for name in call.modalities),
        row_bytes=sum(row_bytes[name] for name in call.modalities),
        kept=call.k + call.skip, targets=sample_size(rows, call.recall), copied=at_url,
    )  # fmt: skip
    if update is None:
        cut = cut_of(rows, shape.row_bytes, call, call, call.memory)
    else:
        cut = cut_of_update(rows, update.fresh, shape.row_bytes, call, call, call.memory)
    changed = None if update is None else update.changed
    threads = call.threads or usable_processors()
    memory = unit_memory(call.engine, threads, call.memory)
    stages = plan_stages(
        cut, shape,
        Fleet(engine=call.engine, machines=call.machines, threads=threads, memory=memory),
        changed,
    )  # fmt: skip
    needed = [stage for stage in stages if not stage.if_short]
    return Plan(
        method="partition",
        reason=f"in stages, {cut.clusters:,} clusters of about {cut.cluster_rows:,} rows",
        filters={}, device="cpu", seconds=3600 * sum(stage.hours for stage in needed),
        memory_bytes=max(stage.memory_bytes for stage in needed),
        disk_bytes=rows * (8 * call.k + 4) + 12 * shape.targets * (shape.kept + 1),
        scratch_bytes=sum(stage.scratch_bytes for stage in needed),
        pairs=pairs_of(cut, shape.kept, changed), bands=1,
        rows_from="dims" if store is None else "data", stages=stages,
        machines=call.machines, threads=threads,
        download_bytes=call.machines * rows * sum(row_bytes.values()) if at_url else 0,
        measured_on=f"{costs.MEASURED_ON} ({costs.MEASURED_BY})",
        update={} if update is None else update.as_report(),
    )  # fmt: skip


def _dims_of(call: PlanCall, store: EmbeddingStore | None) -> tuple[str, tuple[int, int]]:
    """The dtype of the rows, and their dimensions."""
    if store is not None:
        return store.dtype, (store.image_dim, store.text_dim)
    assert call.dims is not None
    return "float16", call.dims


def _update_planned(call: PlanCall) -> Plan:
    """Of a table and its store, or of rows that are not there yet."""
    store: EmbeddingStore | None = None
    if call.update is not None:
        call, store, update = _found(call)
    else:
        update = _assumed(call)
    core_options(call, call)
    refuse_device(call.device)
    if not (update.added or update.deleted or update.replaced or update.rebuilt):
        return Plan(
            method=call.method, reason="the table is up to date, and nothing is done", filters={},
            device="cpu", seconds=0.0, memory_bytes=0, disk_bytes=0, scratch_bytes=0, pairs=0,
            bands=0, update=update.as_report(),
        )  # fmt: skip
    if update.rebuilt:
        return _afresh_planned(call, update, REBUILT)
    if call.method == "partition":
        for name, value, default in (("skip", call.skip, 0), ("collapse", call.collapse, "none")):
            if value != default:
                raise UnsupportedError(
                    f"{name} is {value!r}, and such tables of partition are mined again; plan that"
                )
        return _stages_planned(call, store, update.rows, update)
    if call.engine != "threads" or call.machines > 1:
        raise InvalidArgumentError(
            f"engine is {call.engine!r} and machines {call.machines}, and one process updates a "
            "table of method 'exact'; drop both, or plan that of a table of 'partition'"
        )
    if why := why_afresh(update, call):
        return _afresh_planned(call, update, why)
    width = _width(call, _dims_of(call, store)[1])
    threads = call.threads or usable_processors()
    memory = memory_bound(call.memory)
    codes, pools = int(costs.CODE_BYTES * width) * update.rows, 12 * call.k * update.rows
    return Plan(
        method="exact", reason="an update, in one process", filters={}, device="cpu",
        seconds=exact_seconds(update, width) / threads,
        memory_bytes=min(codes + pools, memory),
        disk_bytes=update.rows * (8 * call.k + 4),
        scratch_bytes=codes if codes + pools > memory else 0,
        pairs=exact_pairs(update), bands=1, rows_from="dims" if store is None else "data",
        threads=threads, measured_on=f"{costs.MEASURED_ON} (python bench/update.py)",
        update=update.as_report(),
    )  # fmt: skip


def _afresh_planned(call: PlanCall, update: PlannedUpdate, why: str) -> Plan:
    again = {"device": "cpu", "update": None, "added": 0, "deleted": 0}
    afresh = plan(**{**call.as_dict(), **again})
    reason = f"mined afresh, because of {why}; {afresh.reason}"
    return replace(afresh, reason=reason, update=update.as_report())


def _found(call: PlanCall) -> tuple[PlanCall, EmbeddingStore, PlannedUpdate]:
    """What changed between a table and its store, and the call with the table's options."""
    if call.store is None or call.image is not None or call.text is not None:
        raise InvalidArgumentError(
            f"update is {call.update!s}, and a table is brought up to date with its store; give "
            "the store that was mined, as it is now, and no arrays"
        )
    known = (MineOptions, HnswOptions, ClusterOptions, ShapeOptions, ChangeOptions)
    given = [
        name
        for each in known
        for name, value in each.of(call).as_dict().items()
        if value != each().as_dict()[name]
    ]
    if given:
        raise InvalidArgumentError(
            f"update is {call.update!s}, and {', '.join(given)} given as well; a table is updated "
            "with what it was mined with, and the store tells what came and went: drop them"
        )
    assert call.update is not None
    table = call.update if isinstance(call.update, HardPairs) else HardPairs.open(call.update)
    options, clusters = mined_with(table)
    store = checked_store(call.store, stacklevel=6)
    own = {**options.as_dict(), **clusters.as_dict()}
    names = set(MineOptions().as_dict()) | set(ClusterOptions().as_dict())
    own = {name: value for name, value in own.items() if name in names}
    return replace(call, store=store, update=None, **own), store, found_update(table, store)


def _assumed(call: PlanCall) -> PlannedUpdate:
    _check_source(call)
    what = f"added is {call.added} and deleted {call.deleted}"
    if call.rows is None:
        raise InvalidArgumentError(
            f"{what}, of rows that are not there yet; give rows and dims, or update= with a store"
        )
    if call.method not in ("exact", "partition"):
        raise InvalidArgumentError(
            f"{what}, and method {call.method!r}; tables that were mined with method 'exact' or "
            "'partition' are updated: name one of both"
        )
    if call.added + call.deleted >= call.rows:
        raise InvalidArgumentError(
            f"{what}, must be less than rows = {call.rows} together: the rows of the table are the "
            "others and those that were deleted"
        )
    return assumed_update(
        call.rows, call.added, call.deleted,
        kept=call.k + call.skip, recall=call.recall, method=call.method,
    )  # fmt: skip


def _graph_planned(call: PlanCall, inputs: Inputs | None) -> Plan:
    """Of method hnsw with a graph of hnswlib."""
    from helip.mining.hnswlib_graph import first_ef, graph_bytes, refuse_with_hnswlib

    if call.machines > 1:
        raise InvalidArgumentError(_no_machines(call, 0))
    job = JobOptions(engine=call.engine, device=call.device)
    refuse_with_hnswlib(MineOptions.of(call), job, None, "")
    if inputs is not None:
        rows = inputs.rows
        dims = tuple(0 if each is None else each.shape[-1] for each in inputs.arrays)
    else:
        assert call.rows is not None and call.dims is not None
        rows, dims = call.rows, call.dims
    width = _width(call, dims)
    threads = call.threads or usable_processors()
    ef = min(first_ef(call.k + call.skip), rows)
    return Plan(
        method="hnsw", reason=f"a graph of hnswlib, searched with ef {ef:,}", filters={},
        device="cpu", seconds=costs.hnswlib_seconds(rows, width, ef) / threads,
        memory_bytes=graph_bytes(rows, width, call.memory),
        disk_bytes=rows * (8 * call.k + 4), scratch_bytes=0, pairs=rows * max(rows - 1, 0),
        bands=1, rows_from="data" if call.rows is None else "dims", threads=threads,
        measured_on=costs.MEASURED_ON,
    )  # fmt: skip


def _width(call: PlanCall, dims: tuple[int, ...]) -> int:
    """Dimensions of the modalities that count."""
    both = dict(zip(("image", "text"), dims, strict=True))
    return sum(both[name] for name in call.modalities)
