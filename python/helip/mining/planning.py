"""What mining, or an update, would cost, before it is done."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from helip import _core
from helip.common.errors import InvalidArgumentError
from helip.common.machine import memory_bound, usable_processors
from helip.common.options import keywords
from helip.common.quantities import bytes_words, duration_words
from helip.common.remote.urls import url_of
from helip.mining.engines.gpu import choose_device
from helip.mining.engines.hnswlib import why_not_graph, why_not_hnswlib
from helip.mining.engines.stages import (
    NEEDS_STORE,
    goes_in_stages,
    why_not_device,
    why_not_method,
)
from helip.mining.inputs import (
    InputOptions,
    checked_store,
    core_options,
    inputs_of,
    require_one_space,
)
from helip.mining.options import (
    ClusterOptions,
    EngineOptions,
    HnswOptions,
    JobOptions,
    MachineOptions,
    MineOptions,
)
from helip.mining.recall import sample_size
from helip.mining.stages.bases import (
    REBUILT,
    changed_rows,
    changes_of_rebuilt,
    is_in,
    mined_with,
)
from helip.mining.stages.job import cut_of, cut_of_update, unit_memory
from helip.mining.stages.steps import FIRST, Step
from helip.pairs.hard_pairs import HardPairs
from helip.store.embedding_store import EmbeddingStore

_ELEMENT = {"float32": 4, "float16": 2, "bfloat16": 2, "int8": 1}  # bytes
_SCALE = 4  # bytes of a row of int8, beside it
_SAMPLE = 65_536  # targets of a table whose pools are looked at
_CODE_BYTES = 2.4  # of codes in memory, a dimension of a row


@dataclass(frozen=True)
class Plan:
    """What a mining job would cost on this machine, from a short measurement of its speed.

    Of a job in stages, of an update and of a graph of hnswlib no time is told: what they take of
    memory and disk follows from rows and dimensions. Of a job in stages ``memory_bytes`` is of the
    unit that takes most, and with ``scratch_bytes`` and ``pairs`` an upper bound where the first
    round of clusters reaches the recall.
    """

    method: str  # "exact", "sample", "hnsw" or "partition", never "auto"
    reason: str  # why this method
    # What exact and sampled mining hold pairs against before they score them: "weight" of image to
    # text, "dimensions" [among high thresholds, of others, of the next filter], "high_share" of the
    # former, and "passed", shares of a sample's pairs (empty where it is too small for one).
    filters: dict[str, Any]
    device: str
    seconds: float | None  # None where nothing was measured
    memory_bytes: int  # buffers beyond the input
    disk_bytes: int  # the saved table
    scratch_bytes: int  # on disk while it runs, where ``memory`` is too small
    pairs: int  # ordered pairs that it decides on
    bands: int  # blocks of targets kept in memory one after another
    stages: dict[str, int] = field(default_factory=dict)  # units of each, in their order
    download_bytes: int = 0  # in stages: what a machine reads of a store at a URL
    # Of an update: rows that were "added", "deleted" and "replaced", and "lost", the share of old
    # rows whose full pool lost a pair.
    update: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        """What it would cost, a line each, as `helip plan` says it; of stages also each one."""
        rows = [
            ("method", f"{self.method} ({self.reason})"),
            ("device", self.device),
            ("time", "not measured" if self.seconds is None else duration_words(self.seconds)),
            ("memory", bytes_words(self.memory_bytes)),
            ("disk", bytes_words(self.disk_bytes)),
            ("scratch", f"{bytes_words(self.scratch_bytes)} on disk while it runs"),
            ("pairs", f"{self.pairs:,}"),
            *((f"update, {name}", f"{value:,.4g}") for name, value in self.update.items()),
            *((f"stage {name}", f"{units:,} units") for name, units in self.stages.items()),
        ]
        width = max(len(name) for name, _ in rows)
        return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)

    def to_dict(self) -> dict[str, Any]:
        """The fields, JSON-able."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class PlanCall(
    MineOptions, HnswOptions, ClusterOptions, EngineOptions, MachineOptions, InputOptions
):
    """What `plan` is asked."""

    update: HardPairs | str | os.PathLike[str] | None = None
    """With a store: plan to bring this table, or that at a path, up to date with it."""


@keywords(PlanCall)
def plan(call: PlanCall) -> Plan:
    """What :func:`mine` would do with these options, and what it would cost, without doing it.

    The time is extrapolated from a tenth of a second of the real work on this machine.

    Where :func:`mine` would go in stages (``method="partition"`` with ``cluster_rows``, or by
    ``engine`` local or ray), ``Plan.stages`` has the units of each, and nothing is measured. Of a
    store at a URL the manifest alone is read.

    With ``update``, a table, it plans what :func:`update` would do with the store as it is now:
    ``Plan.update`` has what changed.

    Raises:
        InvalidArgumentError: neither a store nor arrays, or both; options of mining beside a table.
        MismatchError: the store is no later state of the one that the table was mined from.
        UnsupportedError: more rows than stages take, or an option that they do not know; a table
            that cannot be updated. OutOfMemoryError: a graph of hnswlib above ``memory``.

    Examples:
        >>> import helip, numpy as np
        >>> rows = np.random.default_rng(0).normal(size=(2000, 64)).astype("float32")
        >>> plan = helip.plan(image=rows, text=rows, k=100)
        >>> plan.method, plan.pairs
        ('exact', 3998000)
        >>> plan.disk_bytes // 1_000_000  # of the table, in MB
        1
    """
    if call.update is not None:
        return _update_planned(call, call.update)
    options = core_options(call, call)
    if call.graph != "own":
        return _graph_planned(call)
    if (staged := _in_stages(call)) is not None:
        return staged
    inputs = inputs_of(call.store, call.image, call.text, call.modalities)
    estimate = _core.plan(*inputs.matrices, options)
    device = choose_device(call.device, call, deleted=0)
    if device != "cpu" and estimate["method"] == "exact":
        estimate["reason"] += f"; on {device}, where the time was not measured beforehand"
    estimate["filters"] = json.loads(estimate["filters"])
    return Plan(device=device, **estimate)


def _in_stages(call: PlanCall) -> Plan | None:
    """The plan of a job in stages; None where it does not go in stages."""
    if call.engine == "threads" and call.cluster_rows is None:
        return None
    store: EmbeddingStore | None = None
    if call.store is not None and call.image is None and call.text is None:
        store = checked_store(call.store, stacklevel=5)
        rows = len(store)
    else:
        rows = inputs_of(call.store, call.image, call.text, call.modalities).rows
    if (reason := why_not_method(call)) is not None:
        raise reason
    if not goes_in_stages(call, rows=rows):
        return None
    if store is None:
        raise InvalidArgumentError(NEEDS_STORE)
    if (reason := why_not_device(call.device)) is not None:
        raise reason
    return _stages_planned(call, store)


def _stages_planned(
    call: PlanCall, store: EmbeddingStore, update: dict[str, Any] | None = None
) -> Plan:
    require_one_space(store, call.margin)
    width = {"image": store.image_dim, "text": store.text_dim}
    scale = _SCALE if store.dtype == "int8" else 0
    row_bytes = {name: each * _ELEMENT[store.dtype] + scale for name, each in width.items()}
    rows, kept = len(store), call.k + call.skip
    each = sum(row_bytes[name] for name in call.modalities)
    dimensions = sum(width[name] for name in call.modalities)
    if update is None:
        cut = cut_of(rows, each, call, call, call.memory)
        copies = joined = rows * cut.overlap  # of rows in all clusters, and of those that are new
    else:
        fresh = update["added"] + update["replaced"]
        cut = cut_of_update(rows, fresh, each, call, call, call.memory)
        joined = fresh * min(2 * cut.overlap, cut.clusters)
        copies = rows - fresh + joined
    cluster, pool = copies / cut.clusters, 8 * kept + 4
    codes = _CODE_BYTES * dimensions
    targets = sample_size(rows, call.recall)
    memory = unit_memory(call.engine, call.threads or usable_processors(), call.memory)
    return Plan(
        method="partition",
        reason=f"in stages, {cut.clusters:,} clusters of about {cut.cluster_rows:,} rows",
        filters={}, device="cpu", seconds=None,
        memory_bytes=int(max(
            8 * cut.centre_rows * dimensions,  # of centres: its sample, and as much when it splits
            min(cut.unit_rows, rows) * each * (cut.overlap + 2),  # of certify and route
            min(memory, cluster * (each + 12 * kept + codes)),  # of solve
        )),
        disk_bytes=rows * (8 * call.k + 4),
        scratch_bytes=(
            4 * cut.clusters * dimensions
            + cut.ranges * targets * (12 * kept + 4)  # of certify
            + copies * (each + 12) + rows * 24  # of route
            + copies * (pool + 8) + rows * pool  # of solve and merge
        ),
        pairs=int(joined * cluster * (1 if joined == copies else 2)), bands=1,
        stages={**{stage: Step(stage).units(cut) for stage in FIRST}, "write": 1},
        download_bytes=0 if url_of(store.path) is None else rows * sum(row_bytes.values()),
        update=update or {},
    )  # fmt: skip


def _found_update(table: HardPairs, store: EmbeddingStore) -> dict[str, Any]:
    """`Plan.update` of a table and a later state of its store, and whether it was ``rebuilt``, so
    that its rows have other numbers. Pools that lost a pair are counted in a sample.

    MismatchError where the store is no later state of the one that was mined.
    """
    if (changes := changes_of_rebuilt(table, store)) is not None:
        return {**changes, "lost": 0.0, "rebuilt": True}
    deleted, replaced = changed_rows(len(table), table.fingerprint, store, table.path)
    outdated = np.union1d(deleted, replaced)
    rows = np.arange(len(table))
    if len(rows) > _SAMPLE:
        rows = np.sort(np.random.default_rng(0).choice(len(table), _SAMPLE, replace=False))
    rows = rows[~is_in(rows, outdated)]
    full = table.counts[rows] == table.k
    lost = full & is_in(table.ids[rows], outdated).any(axis=1)
    return {
        "added": len(store) - len(table), "deleted": len(deleted), "replaced": len(replaced),
        "lost": float(lost.mean()) if len(rows) else 0.0, "rebuilt": False,
    }  # fmt: skip


def _update_planned(call: PlanCall, table: HardPairs | str | os.PathLike[str]) -> Plan:
    if call.store is None or call.image is not None or call.text is not None:
        raise InvalidArgumentError(
            f"update is {table!s}, and a table is brought up to date with its store; give the "
            "store that was mined, as it is now, and no arrays"
        )
    given = [
        name
        for each in (MineOptions, HnswOptions, ClusterOptions)
        for name, value in each.of(call).as_dict().items()
        if value != each().as_dict()[name]
    ]
    if given:
        raise InvalidArgumentError(
            f"update is {table!s}, and {', '.join(given)} given as well; a table is updated with "
            "what it was mined with, and the store tells what came and went: drop them"
        )
    table = table if isinstance(table, HardPairs) else HardPairs.open(table)
    options, clusters = mined_with(table)
    store = checked_store(call.store, stacklevel=5)
    own = {**options.as_dict(), **clusters.as_dict()}
    call = replace(call, store=store, update=None, **own)
    update = _found_update(table, store)
    core_options(call, call)
    if (reason := why_not_device(call.device)) is not None:
        raise reason
    if not any(update[name] for name in ("added", "deleted", "replaced", "rebuilt")):
        return Plan(
            method=call.method, reason="the table is up to date, and nothing is done", filters={},
            device="cpu", seconds=0.0, memory_bytes=0, disk_bytes=0, scratch_bytes=0, pairs=0,
            bands=0, update=update,
        )  # fmt: skip
    if update["rebuilt"]:
        return _afresh_planned(call, update, REBUILT)
    if call.method == "partition":
        return _stages_planned(call, store, update)
    if call.engine != "threads":
        raise InvalidArgumentError(
            f"engine is {call.engine!r}, and one process updates a table of method 'exact'; drop "
            "engine=, or plan that of a table of 'partition'"
        )
    return _exact_update_planned(call, store, update)


def _exact_update_planned(call: PlanCall, store: EmbeddingStore, update: dict[str, Any]) -> Plan:
    if call.skip or call.collapse != "none":
        return _afresh_planned(call, update, "skip" if call.skip else "collapse")
    rows = len(store)
    fresh = update["added"] + update["replaced"]
    old = max(rows - fresh - len(store.deleted), 0)
    join = fresh + round(update["lost"] * old)  # rows that meet every row
    if 2 * join > rows:
        return _afresh_planned(call, update, "most rows meet every row")
    dims = {"image": store.image_dim, "text": store.text_dim}
    width = sum(dims[name] for name in call.modalities)
    codes, pools = int(_CODE_BYTES * width) * rows, 12 * call.k * rows
    memory = memory_bound(call.memory)
    return Plan(
        method="exact", reason="an update, in one process", filters={}, device="cpu", seconds=None,
        memory_bytes=min(codes + pools, memory), disk_bytes=rows * (8 * call.k + 4),
        scratch_bytes=codes if codes + pools > memory else 0,
        pairs=join * (rows - join) + join * (join - 1) // 2, bands=1, update=update,
    )  # fmt: skip


def _afresh_planned(call: PlanCall, update: dict[str, Any], why: str) -> Plan:
    afresh = plan(**{**call.as_dict(), "device": "cpu"})
    reason = f"mined afresh, because of {why}; {afresh.reason}"
    return replace(afresh, reason=reason, update=update)


def _graph_planned(call: PlanCall) -> Plan:
    """Of method hnsw with a graph of hnswlib."""
    from helip.mining.hnswlib_graph import first_ef, graph_bytes

    job = JobOptions(engine=call.engine, device=call.device)
    if (reason := why_not_graph(call) or why_not_hnswlib(call, job)) is not None:
        raise reason
    inputs = inputs_of(call.store, call.image, call.text, call.modalities, stacklevel=6)
    rows, width = inputs.rows, sum(each.cols for each in inputs.matrices)
    ef = min(first_ef(call.k + call.skip), rows)
    return Plan(
        method="hnsw", reason=f"a graph of hnswlib, searched with ef {ef:,}", filters={},
        device="cpu", seconds=None, memory_bytes=graph_bytes(rows, width, call.memory),
        disk_bytes=rows * (8 * call.k + 4), scratch_bytes=0, pairs=rows * max(rows - 1, 0), bands=1,
    )  # fmt: skip
