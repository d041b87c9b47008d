"""The parts of a mining job as Ray tasks, on the cores of one machine or on a cluster.

A task mines one part and writes it beside the table, on a file system that all nodes share. Ray
starts a task again when its worker dies; what is missing in the end is submitted again. A part is
there whole or not at all, so it does not matter how often its task ran.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from helip import _core
from helip.common.errors import MismatchError
from helip.common.files import DirectoryLock, make_directory
from helip.common.parts import part_path
from helip.common.ray_parts import RETRIES, import_ray, ray_running, require_shared, see_to_parts
from helip.common.remote.urls import url_of
from helip.mining.core_options import core_options
from helip.mining.engines.parts import agreed_parts, is_done, mine_part
from helip.mining.options import JobOptions, MineOptions
from helip.store.embedding_store import EmbeddingStore

_PARTS_PER_SLOT = 4  # of a job that does not say; fewer prepare less often, more lose less


def mine_on_ray(
    store: EmbeddingStore, options: MineOptions, job: JobOptions, *, out: str, progress: bool
) -> int:
    """Sees to it that all parts of the job lie beside ``out``; returns their number.

    Without ``job.parts`` they are as many as the job was begun with, or four for each task that
    runs at a time. ``job.threads`` and ``job.memory`` are those of a task, and as many CPUs are
    asked of Ray; None: those of the smallest node.

    Raises:
        UnsupportedError: Ray is not installed. StorageError: another job owns ``out``, a node does
            not share it, or parts do not show up here. Error: a part failed, with the reason.
    """
    parts = agreed_parts(job.parts, out=out, method=options.method)
    ray = import_ray()
    make_directory(Path(out))
    with DirectoryLock(Path(out), name=".lock"), ray_running(ray):
        require_shared(ray, Path(out) / ".lock")
        nodes = [node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]]
        each = job.threads or int(min((cpus for cpus in nodes if cpus >= 1), default=1))
        if parts is None:
            slots = sum(int(cpus // each) for cpus in nodes)
            parts = max(1, min(len(store), _PARTS_PER_SLOT * slots))
        places = {
            index: part_path(os.path.abspath(out), index, parts) for index in range(1, parts + 1)
        }
        for index, place in places.items():
            if is_done(place):  # of this very job, or refused
                _core.mine_part(store._core, index, parts, core_options(options, job), str(place))
        task = ray.remote(num_cpus=each, max_retries=RETRIES)(_mine_part)
        whole = (
            store.path if url_of(store.path) else os.path.abspath(store.path), store.fingerprint,
            MineOptions.of(options).as_dict(),
            {
                "threads": each,
                "memory": job.memory,
                "codes": os.path.abspath(job.codes_path) if job.codes else None,
            },
            parts,
        )  # fmt: skip
        see_to_parts(
            ray, lambda index, to: task.remote(*whole, index, to), places, is_done,
            label="mine", progress=progress,
        )  # fmt: skip
    return parts


def _mine_part(
    path: str,
    fingerprint: str,
    options: dict[str, Any],
    machine: dict[str, Any],
    count: int,
    index: int,
    out: str,
) -> None:
    """What a task does, on its node."""
    store = EmbeddingStore.open(path)
    if store.fingerprint != fingerprint:
        raise MismatchError(
            f"the store {path} is {store.fingerprint} on this node and {fingerprint} where the job "
            "was started; mine a store that does not change, on a file system that all nodes share"
        )
    mine_part(
        store, (index, count), core_options(MineOptions(**options), JobOptions(**machine)),
        device="cpu", out=out, resume=True, progress=False,
    )  # fmt: skip
