"""What mining would cost, before it is done."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from helip import _core
from helip.common.errors import InvalidArgumentError
from helip.common.machine import usable_processors
from helip.common.options import keywords
from helip.common.remote.urls import url_of
from helip.mining.core_options import core_options
from helip.mining.device_choice import choose_device
from helip.mining.inputs import InputOptions, checked_store, inputs_of, require_one_space
from helip.mining.options import (
    ClusterOptions,
    FleetOptions,
    MachineOptions,
    MineOptions,
    ShapeOptions,
)
from helip.mining.recall import sample_size
from helip.mining.stages.job import cut_of
from helip.mining.stages.running import NEEDS_STORE, goes_in_stages, refuse_device, unit_memory
from helip.mining.stages.stage_plans import Fleet, Shape, StagePlan, pairs_of, plan_stages
from helip.mining.stages.unit_costs import MEASURED_BY, MEASURED_ON
from helip.mining.stand_in import stand_in_matrices
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
    disk_bytes: int  # the saved table
    scratch_bytes: int  # on disk while it runs, where ``memory`` is too small
    pairs: int  # ordered pairs that it decides on
    bands: int  # blocks of targets kept in memory one after another
    # Or "random", where there were rows= and dims= alone, and of such in stages "dims".
    rows_from: str = "data"
    stages: tuple[StagePlan, ...] = ()  # in their order, then those that may come
    machines: int = 1
    threads: int | None = None  # of each machine, in stages
    download_bytes: int = 0  # in stages: what all machines together read of a store at a URL
    measured_on: str = ""  # in stages: what the costs were measured on, and by what

    def to_dict(self) -> dict[str, Any]:
        """The fields, JSON-able."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class PlanCall(
    MineOptions, ClusterOptions, FleetOptions, MachineOptions, InputOptions, ShapeOptions
):
    """What `plan` is asked."""


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

    Raises:
        InvalidArgumentError: neither a store, arrays nor rows and dims, or more than one of them;
            several machines for a job that does not go in stages, or runs on one alone.
        UnsupportedError: more rows than stages take, or an option that they do not know.

    Examples:
        >>> import helip
        >>> plan = helip.plan(rows=20_000, dims=(384, 768), k=100)
        >>> plan.method, plan.pairs
        ('exact', 399980000)
        >>> plan.disk_bytes // 1_000_000  # of the table, in MB
        16
    """
    options = core_options(call, call)
    _check_source(call)
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
    if call.engine == "local" and call.machines > 1:
        raise InvalidArgumentError(
            f"machines is {call.machines} and engine 'local', whose processes are of one machine; "
            "use engine='ray', or cluster_rows without an engine for helip stage"
        )
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


def _stages_planned(call: PlanCall, store: EmbeddingStore | None, rows: int) -> Plan:
    if store is None:
        assert call.dims is not None
        dtype, dims = "float16", call.dims
    else:
        require_one_space(store, call.margin)
        dtype, dims = store.dtype, (store.image_dim, store.text_dim)
    width = dict(zip(("image", "text"), dims, strict=True))
    scale = _SCALE if dtype == "int8" else 0
    row_bytes = {name: each * _ELEMENT[dtype] + scale for name, each in width.items()}
    at_url = store is not None and url_of(store.path) is not None
    shape = Shape(
        dimensions=sum(width[name] for name in call.modalities),
        row_bytes=sum(row_bytes[name] for name in call.modalities),
        kept=call.k + call.skip, targets=sample_size(rows, call.recall), copied=at_url,
    )  # fmt: skip
    cut = cut_of(rows, shape.row_bytes, call, call, call.memory)
    threads = call.threads or usable_processors()
    memory = unit_memory(call.engine, threads, call.memory)
    stages = plan_stages(
        cut, shape,
        Fleet(engine=call.engine, machines=call.machines, threads=threads, memory=memory),
    )  # fmt: skip
    needed = [stage for stage in stages if not stage.if_short]
    return Plan(
        method="partition",
        reason=f"in stages, {cut.clusters:,} clusters of about {cut.cluster_rows:,} rows",
        filters={}, device="cpu", seconds=3600 * sum(stage.hours for stage in needed),
        memory_bytes=max(stage.memory_bytes for stage in needed),
        disk_bytes=rows * (8 * call.k + 4),
        scratch_bytes=sum(stage.scratch_bytes for stage in needed),
        pairs=pairs_of(cut, shape.kept), bands=1,
        rows_from="dims" if store is None else "data", stages=stages,
        machines=call.machines, threads=threads,
        download_bytes=call.machines * rows * sum(row_bytes.values()) if at_url else 0,
        measured_on=f"{MEASURED_ON} ({MEASURED_BY})",
    )  # fmt: skip
