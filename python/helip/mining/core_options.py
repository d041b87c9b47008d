"""The options of the C++ miner, from those of Python."""

from __future__ import annotations

from typing import Any

from helip import _core
from helip.common.sizes import parse_bytes
from helip.mining.options import JobOptions, MachineOptions, MineOptions, ScoreRules


def core_options(
    rules: ScoreRules, machine: MachineOptions | None = None, *, parts: int = 1
) -> _core.MineOptions:
    """``rules`` without a method of their own are mined exactly; ``machine`` may be a whole job."""
    machine = machine or MachineOptions()
    group = MineOptions if isinstance(rules, MineOptions) else ScoreRules
    named: dict[str, Any] = {"method": "exact", **group.of(rules).as_dict()}
    named["signed_products"] = named.pop("signed")
    named["candidates"] = named.get("candidates") or 0
    if isinstance(machine, JobOptions):
        named["checkpoint"] = machine.checkpoint
        named["codes"] = machine.codes_path
    return _core.MineOptions(
        **named, threads=machine.threads or 0, memory=parse_bytes(machine.memory), parts=parts
    )
