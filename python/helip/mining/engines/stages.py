"""The engine of stages: ``partition`` in clusters that are mined one by one."""

from __future__ import annotations

import os
from typing import Any

from helip.common.errors import Error, InvalidArgumentError, MismatchError, UnsupportedError
from helip.common.parts import parts_folder
from helip.mining.call import MineJob
from helip.mining.engines.checkpoints import checkpoint_folder, has_checkpoint
from helip.mining.engines.parts import begun_parts
from helip.mining.options import ClusterOptions, JobOptions, MineOptions, StageOptions
from helip.mining.stages.job import (
    begin_mining,
    has_stages,
    in_one_cluster,
    stages_folder,
    why_not_channels,
)
from helip.pairs.hard_pairs import HardPairs

NEEDS_STORE = (
    "mining in stages needs a store: bare arrays have no fingerprint by which the files of stages "
    "could be told apart"
)


class Stages:
    """Units, run by this process, processes of this machine or Ray, with files in OUT.stages."""

    def is_asked(self, job: MineJob) -> bool:
        call = job.call
        if job.path and has_stages(job.path):
            return True
        if call.method != "partition":
            return why_not_method(call) is not None
        return goes_in_stages(call, rows=job.rows)

    def accepts(self, job: MineJob) -> Error | None:
        call, out = job.call, job.path
        for reason in (
            job.on_ray_unfollowed(),
            None if out and has_stages(out) else why_not_method(call),
            job.left_behind(stages_folder(out)) if out else None,
        ):
            if reason is not None:
                return reason
        begun = bool(out) and has_checkpoint(out)
        if begun or (out and begun_parts(out)):
            folder = checkpoint_folder if begun else parts_folder
            return MismatchError(
                f"{folder(out)} holds a job that was begun without stages; go on without "
                "cluster_rows= and engine=, or remove that folder"
            )
        if job.store is None:
            return InvalidArgumentError(NEEDS_STORE)
        if not out:
            return InvalidArgumentError(
                f"mining in stages writes files beside out, as cluster_rows={call.cluster_rows} "
                f"and engine={call.engine!r} ask for; give out"
            )
        if call.method not in ("auto", "partition"):
            return InvalidArgumentError(
                f"method is {call.method!r}, and a job of method 'partition' in stages was begun; "
                "go on with it, or remove its folder"
            )
        if (reason := why_not_channels(call)) is not None:
            return reason
        return why_not_parts(call.parts) or why_not_codes(call.codes) or why_not_device(call.device)

    def run(self, job: MineJob) -> HardPairs:
        from helip.mining.stages.running import run_job

        call, store = job.call, job.store
        assert store is not None
        begun = begin_mining(
            store, MineOptions.of(call), StageOptions.of(call), job.path, call.memory
        )
        return run_job(
            begun, store, JobOptions.of(call), keep_stages=call.keep_stages,
            progress=call.progress, on_progress=call.on_progress,
        )  # fmt: skip


def asks_for_stages(method: str, cluster_rows: int | None, engine: str) -> bool:
    """Whether these options mean stages, where there are rows for more than one cluster."""
    return method == "partition" and (cluster_rows is not None or engine == "local")


def goes_in_stages(call: Any, *, rows: int) -> bool:
    """Whether a call with the fields of MineOptions, ClusterOptions and EngineOptions asks for
    stages, and so many rows fill more than one cluster."""
    if not asks_for_stages(call.method, call.cluster_rows, call.engine):
        return False
    return not in_one_cluster(rows, ClusterOptions.of(call))


def why_not_method(call: Any) -> Error | None:
    """Options of stages go with method partition alone."""
    if call.method == "partition":
        return None
    for name, value in (("cluster_rows", call.cluster_rows), ("engine", call.engine)):
        if value not in (None, "threads", "ray"):
            return InvalidArgumentError(
                f"{name} is {value!r} and method {call.method!r}; stages are of method "
                f"'partition'; use that, or drop {name}="
            )
    return None


def why_not_parts(parts: int | None) -> Error | None:
    """Stages are no parts."""
    if parts is None:
        return None
    return UnsupportedError(
        f"parts is {parts}, of methods exact and sample; stages have units of their own"
    )


def why_not_codes(codes: str | os.PathLike[str] | None) -> Error | None:
    """Stages keep no codes."""
    if codes is None:
        return None
    return UnsupportedError(
        f"codes is {os.fspath(codes)!r}, and a job in stages mines each cluster once; drop codes="
    )


def why_not_device(device: str) -> Error | None:
    """Stages are for CPUs."""
    if device in ("auto", "cpu"):
        return None
    return UnsupportedError(f"device is {device!r}; stages are for CPUs, device='cpu'")
