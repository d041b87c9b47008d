"""What mining would cost, before it is done."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from helip import _core
from helip.common.errors import InvalidArgumentError
from helip.common.options import keywords
from helip.mining.core_options import core_options
from helip.mining.device_choice import choose_device
from helip.mining.inputs import InputOptions, inputs_of
from helip.mining.options import MachineOptions, MineOptions, ShapeOptions
from helip.mining.stand_in import stand_in_matrices


@dataclass(frozen=True)
class Plan:
    """What a mining job would cost on this machine, from a short measurement of its speed."""

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
    rows_from: str = "data"  # or "random", where there were rows= and dims= alone

    def to_dict(self) -> dict[str, Any]:
        """The fields, JSON-able."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class PlanCall(MineOptions, MachineOptions, InputOptions, ShapeOptions):
    """What `plan` is asked."""


@keywords(PlanCall)
def plan(call: PlanCall) -> Plan:
    """What :func:`mine` would do with these options, and what it would cost, without doing it.

    The time is extrapolated from a tenth of a second of the real work on this machine. With
    ``rows=2_000_000, dims=(512, 768)`` in place of a store or arrays, random rows in groups stand
    for the embeddings: memory and disk are those of the job, the time is a rough guess, since how
    much the filters reject depends on the data.

    Raises:
        InvalidArgumentError: neither a store, arrays nor rows and dims, or more than one of them.
    """
    options = core_options(call, call)
    if call.rows is None and call.dims is None:
        inputs = inputs_of(call.store, call.image, call.text, call.modalities)
        return _planned(call, _core.plan(*inputs.matrices, options))
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
    with stand_in_matrices(call.rows, *call.dims) as matrices:
        return _planned(call, _core.plan(*matrices, options), rows_from="random")


def _planned(call: PlanCall, estimate: dict[str, Any], **more: Any) -> Plan:
    device = choose_device(call.device, call, deleted=0)
    if device != "cpu" and estimate["method"] == "exact":
        estimate["reason"] += f"; on {device}, where the time was not measured beforehand"
    estimate["filters"] = json.loads(estimate["filters"])
    return Plan(device=device, **estimate, **more)
