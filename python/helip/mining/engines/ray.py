"""The engine of Ray: the parts of a mining job as tasks, one part each, beside the table."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from helip import _core
from helip.common.errors import Error, InvalidArgumentError, MismatchError, UnsupportedError
from helip.common.files import DirectoryLock, make_directory
from helip.common.parts import part_path
from helip.common.ray_parts import (
    PARTS_PER_SLOT,
    import_ray,
    ray_running,
    require_shared,
    run_beforehand,
    see_to_parts,
    slots,
    smallest_cpus,
)
from helip.mining.call import MineJob
from helip.mining.engines.checkpoints import checkpoint_folder, has_checkpoint
from helip.mining.engines.parts import agreed_parts, is_done
from helip.mining.engines.threads import mine_by_core
from helip.mining.inputs import core_options
from helip.mining.options import JobOptions, MineOptions
from helip.mining.stages.job import place_of
from helip.pairs.hard_pairs import HardPairs
from helip.store.embedding_store import EmbeddingStore


class Ray:
    """Tasks of a Ray cluster, for all methods but ``partition`` in stages."""

    def is_asked(self, job: MineJob) -> bool:
        # Rows of partition that fit one cluster are nothing to spread.
        return job.call.engine == "ray" and job.call.method != "partition"

    def accepts(self, job: MineJob) -> Error | None:
        call = job.call
        if (reason := job.on_ray_unfollowed()) is not None:
            return reason
        if job.store is None or not job.path:
            return InvalidArgumentError(
                "engine is 'ray', which reads a store and writes to out; give both, by paths that "
                "all nodes share"
            )
        if call.device not in ("auto", "cpu"):
            return UnsupportedError(
                f"device is {call.device!r}; engine 'ray' mines on CPUs, device='cpu'"
            )
        begun = has_checkpoint(job.path)
        return job.left_behind(checkpoint_folder(job.path)) if begun else None

    def run(self, job: MineJob) -> HardPairs:
        """Sees to it that all parts lie beside the table, and puts them together here.

        Without ``parts`` they are as many as the job was begun with, or four for each task that
        runs at a time. ``threads`` and ``memory`` are those of a task, and as many CPUs are asked
        of Ray; None: those of the smallest node.

        Raises:
            UnsupportedError: Ray is not installed. StorageError: another job owns ``out``, a node
                does not share it, or parts do not show up here. Error: a part failed, with the
                reason.
        """
        call, store, out = job.call, job.store, Path(job.path)
        assert store is not None
        parts = agreed_parts(call.parts, out=job.path, method=call.method)
        ray = import_ray()
        make_directory(out)
        with DirectoryLock(out, name=".lock"), ray_running(ray):
            require_shared(ray, out / ".lock")
            each = call.threads or smallest_cpus(ray)
            if parts is None:
                parts = max(1, min(job.rows, PARTS_PER_SLOT * slots(ray, each)))
            places = {i: part_path(os.path.abspath(out), i, parts) for i in range(1, parts + 1)}
            options = core_options(call, call)
            for index, place in places.items():
                if is_done(place):  # of this very job, or refused
                    _core.mine_part(store._core, index, parts, options, str(place))
            codes = os.path.abspath(call.codes_path) if call.codes else None
            machine = {
                "threads": each, "memory": call.memory, "codes": codes,
                "keep_codes": call.keep_codes,
            }  # fmt: skip
            whole = (place_of(store), store.fingerprint, MineOptions.of(call).as_dict(), machine)
            if not all(map(is_done, places.values())):
                cpus = smallest_cpus(ray)
                arguments = (*whole[:3], {**machine, "threads": cpus})
                run_beforehand(ray, _prepare_parts, arguments, cpus=cpus, label="mine")
            see_to_parts(
                ray, _mine_part, lambda index: (*whole, index, parts, str(places[index])), places,
                is_done, cpus=each, label="mine", progress=call.progress,
            )  # fmt: skip
        return mine_by_core(job, parts)


def _prepare_parts(
    path: str, fingerprint: str, options: dict[str, Any], machine: dict[str, Any]
) -> None:
    """On one node: the codes that all parts begin with."""
    store = _opened(path, fingerprint)
    _core.prepare_parts(store._core, core_options(MineOptions(**options), JobOptions(**machine)))


def _mine_part(
    path: str,
    fingerprint: str,
    options: dict[str, Any],
    machine: dict[str, Any],
    index: int,
    count: int,
    out: str,
) -> None:
    """What a task does, on its node."""
    store = _opened(path, fingerprint)
    asked = core_options(MineOptions(**options), JobOptions(**machine))
    _core.mine_part(store._core, index, count, asked, out)


def _opened(path: str, fingerprint: str) -> EmbeddingStore:
    store = EmbeddingStore.open(path)
    if store.fingerprint != fingerprint:
        raise MismatchError(
            f"the store {path} is {store.fingerprint} on this node and {fingerprint} where the job "
            "was started; mine a store that does not change, on a file system that all nodes share"
        )
    return store
