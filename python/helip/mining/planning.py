"""What mining would cost, before it is done."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from helip.common.errors import InvalidArgumentError
from helip.common.machine import usable_processors
from helip.common.options import keywords
from helip.common.quantities import bytes_words, duration_words
from helip.common.remote.urls import url_of
from helip.mining.engines.gpu import choose_device
from helip.mining.engines.parts import usual_parts, why_not_parts
from helip.mining.engines.stages import (
    NEEDS_STORE,
    goes_in_stages,
    why_not_device,
    why_not_method,
)
from helip.mining.engines.stages import why_not_parts as parts_of_stages
from helip.mining.inputs import (
    InputOptions,
    Inputs,
    checked_store,
    core_options,
    inputs_of_call,
    planned,
    require_one_space,
)
from helip.mining.options import (
    ClusterOptions,
    EngineOptions,
    MachineOptions,
    MineOptions,
    PartsOptions,
)
from helip.mining.recall import sample_size
from helip.mining.stages.job import cut_of, unit_memory, why_not_channels
from helip.mining.stages.steps import FIRST, Step
from helip.store.embedding_store import EmbeddingStore

_ELEMENT = {  # bytes
    "float64": 8, "float32": 4, "float16": 2, "bfloat16": 2, "int8": 1, "int32": 4, "int64": 8,
}  # fmt: skip
_SCALE = 4  # bytes of a row of int8, beside it
_CODE_BYTES = 2.4  # of codes in memory, a dimension of a row


@dataclass(frozen=True)
class Plan:
    """What a mining job would cost on this machine, from a short measurement of its speed.

    Of a job in stages no time is told: what it takes of memory and disk follows from rows and
    dimensions. ``memory_bytes`` is then of the unit that takes most, and ``scratch_bytes`` and
    ``pairs`` are those where the first round of clusters reaches the recall; lists of dropped pairs
    come on top on disk.
    """

    method: str  # "exact", "sample", "hnsw" or "partition", never "auto"
    reason: str  # why this method
    # What exact and sampled mining hold pairs against before they score them: "weight" of image to
    # text, "dimensions" [among high thresholds, of others, of the next filter], "high_share" of the
    # former, and "passed", shares of a sample's pairs (empty where it is too small for one).
    filters: dict[str, Any]
    device: str
    seconds: float | None  # None where nothing was measured
    memory_bytes: int  # buffers, which ``memory`` bounds
    disk_bytes: int  # the saved table, in stages with the pools of its sample
    scratch_bytes: int  # on disk while it runs, where ``memory`` is too small
    pairs: int  # ordered pairs that it decides on
    bands: int  # blocks of targets kept in memory one after another
    # In which a job of a store is committed to ``out``; None: by engine ray, which has as many as
    # suit its cluster.
    parts: int | None = 1
    # Of files whose pages are mapped, input and scratch, beside ``memory_bytes``: as much as there
    # is room for, since the system can drop them.
    mapped_bytes: int = 0
    stages: dict[str, int] = field(default_factory=dict)  # units of each, in their order
    download_bytes: int = 0  # in stages: what a machine reads of a store at a URL

    def __str__(self) -> str:
        """What it would cost, a line each, as `helip plan` says it; of stages also each one."""
        rows = [
            ("method", f"{self.method} ({self.reason})"),
            ("device", self.device),
            ("time", "not measured" if self.seconds is None else duration_words(self.seconds)),
            (
                "memory",
                f"{bytes_words(self.memory_bytes)}, and {bytes_words(self.mapped_bytes)} of "
                "mapped files",
            ),
            ("disk", bytes_words(self.disk_bytes)),
            ("scratch", f"{bytes_words(self.scratch_bytes)} on disk while it runs"),
            ("pairs", f"{self.pairs:,}"),
            *([("parts", f"{self.parts:,}, one after another")] if (self.parts or 1) > 1 else []),
            *(
                (f"stage {name}", f"{units:,} unit{'s' * (units != 1)}")
                for name, units in self.stages.items()
            ),
        ]
        width = max(len(name) for name, _ in rows)
        return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)

    def to_dict(self) -> dict[str, Any]:
        """The fields, JSON-able."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class PlanCall(
    MineOptions, ClusterOptions, EngineOptions, PartsOptions, MachineOptions, InputOptions
):
    """What `plan` is asked."""


@keywords(PlanCall)
def plan(call: PlanCall) -> Plan:
    """What :func:`mine` would do with these options, and what it would cost, without doing it.

    The time is extrapolated from a tenth of a second of the real work on this machine. It is that
    of a job in ``parts``, which take up to twice as long: as many as asked for, or as :func:`mine`
    of a store with ``out`` commits a job that would take more than an hour.

    Where :func:`mine` would go in stages (``method="partition"`` with ``cluster_rows``, or by
    ``engine`` local or ray), ``Plan.stages`` has the units of each, and nothing is measured. Of a
    store at a URL the manifest alone is read.

    Raises:
        InvalidArgumentError: neither a store nor arrays, or both.
        UnsupportedError: more rows than stages take, or an option that they do not know.

    Examples:
        >>> import helip, numpy as np
        >>> rows = np.random.default_rng(0).normal(size=(2000, 64)).astype("float32")
        >>> plan = helip.plan(image=rows, text=rows, k=100)
        >>> plan.method, plan.pairs
        ('exact', 3998000)
        >>> plan.disk_bytes // 1_000_000  # of the table, in MB
        1
    """
    if (staged := _in_stages(call)) is not None:
        return staged
    inputs = inputs_of_call(call)
    device = choose_device(
        call.device, call, rows=inputs.rows, deleted=inputs.deleted, parts=call.parts
    )
    of_store = inputs.store is not None
    if reason := why_not_parts(call.parts, method=call.method, of_store=of_store):
        raise reason
    estimate = planned(inputs, core_options(call, call, parts=call.parts or 1))
    parts = call.parts
    if parts is None and call.engine != "ray":
        rows = inputs.rows if of_store and device == "cpu" else 0
        parts = usual_parts(call.method, rows, lambda: estimate)
        if parts > 1:
            estimate = planned(inputs, core_options(call, call, parts=parts))
    mapped = _input_bytes(call, inputs) + estimate["scratch_bytes"]
    if (parts or 1) > 1:  # which lie there until the table does
        estimate["scratch_bytes"] += estimate["disk_bytes"]
    if device != "cpu" and estimate["method"] == "exact":
        estimate["reason"] += f"; on {device}, where the time was not measured beforehand"
    estimate["filters"] = json.loads(estimate["filters"])
    return Plan(device=device, parts=parts, mapped_bytes=mapped, **estimate)


def _input_bytes(call: PlanCall, inputs: Inputs) -> int:
    """Of rows that are read from files."""
    files = inputs.store is not None
    views = list(inputs.channels if files else ())
    for name, view, array in zip(("image", "text"), inputs.matrices, inputs.arrays, strict=True):
        if not inputs.channels and name in call.modalities:
            views += [view] * (files or isinstance(array, np.memmap))
    return sum(view.rows * view.cols * _ELEMENT[view.dtype] for view in views)


def _in_stages(call: PlanCall) -> Plan | None:
    """The plan of a job in stages; None where it does not go in stages."""
    if call.engine == "threads" and call.cluster_rows is None:
        return None
    store: EmbeddingStore | None = None
    if call.store is not None and call.image is None and call.text is None:
        store = checked_store(call.store, stacklevel=5)
        rows = len(store)
    else:
        rows = inputs_of_call(call).rows
    if (reason := why_not_method(call)) is not None:
        raise reason
    if not goes_in_stages(call, rows=rows):
        return None
    if store is None:
        raise InvalidArgumentError(NEEDS_STORE)
    for reason in (
        why_not_channels(call), parts_of_stages(call.parts), why_not_device(call.device),
    ):  # fmt: skip
        if reason is not None:
            raise reason
    return _stages_planned(call, store)


def _stages_planned(call: PlanCall, store: EmbeddingStore) -> Plan:
    require_one_space(store, call.margin)
    width = {"image": store.image_dim, "text": store.text_dim}
    scale = _SCALE if store.dtype == "int8" else 0
    row_bytes = {name: each * _ELEMENT[store.dtype] + scale for name, each in width.items()}
    rows, kept = len(store), call.k + call.skip
    each = sum(row_bytes[name] for name in call.modalities)
    dimensions = sum(width[name] for name in call.modalities)
    cut = cut_of(rows, each, call, call, call.memory)
    copies = rows * cut.overlap  # of rows in all clusters
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
        disk_bytes=rows * (8 * call.k + 4) + 12 * targets * (kept + 1),
        mapped_bytes=rows * each,
        scratch_bytes=(
            4 * cut.clusters * dimensions
            + cut.ranges * targets * (12 * kept + 4)  # of certify
            + copies * (each + 12) + rows * 24  # of route
            + copies * (pool + 8) + rows * pool  # of solve and merge
        ),
        pairs=int(copies * cluster), bands=1,
        stages={**{stage: Step(stage).units(cut) for stage in FIRST}, "write": 1},
        download_bytes=0 if url_of(store.path) is None else rows * sum(row_bytes.values()),
    )  # fmt: skip
