"""The engine of Ray: parts or shares of a mining job as tasks, one each, beside the table.

A part is a range of targets, compared with all rows. A share owns pairs of rows, each of which is
compared once; two steps of shares are the job (helip/shares.h).
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

from helip import _core
from helip.common.errors import Error, InvalidArgumentError, MismatchError, UnsupportedError
from helip.common.files import DirectoryLock, make_directory
from helip.common.parts import part_path, shares_folder
from helip.common.progress import Follower, ProgressBar
from helip.common.ray_parts import (
    PARTS_PER_SLOT,
    import_ray,
    ray_running,
    require_shared,
    see_to_parts,
    slots,
    smallest_cpus,
)
from helip.mining.call import MineJob
from helip.mining.engines.checkpoints import checkpoint_folder, has_checkpoint
from helip.mining.engines.parts import agreed_parts, begun_parts, is_done
from helip.mining.engines.threads import mine_by_core
from helip.mining.inputs import core_options
from helip.mining.options import JobOptions, MineOptions
from helip.mining.stages.job import place_of
from helip.pairs.hard_pairs import HardPairs
from helip.store.embedding_store import EmbeddingStore

_LEAST_ROWS = 4096  # that are worth two steps
_MOST_DIMENSIONS = 65_536  # of a row, that codes are made of


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
        if has_checkpoint(job.path):
            return job.left_behind(checkpoint_folder(job.path))
        return job.left_behind(shares_folder(job.path))

    def run(self, job: MineJob) -> HardPairs:
        """Sees to it that all parts or shares lie beside the table, and puts them together here.

        Method exact is mined in shares; other methods, few rows, and what was begun in parts are
        mined in parts. Without ``parts`` they are as many as the job was begun with, or four for
        each task that runs at a time. ``threads`` and ``memory`` are those of a task, and as many
        CPUs are asked of Ray; None: those of the smallest node.

        Raises:
            UnsupportedError: Ray is not installed. StorageError: another job owns ``out``, a node
                does not share it, or parts do not show up here. Error: a part failed, with the
                reason.
        """
        call, store, out = job.call, job.store, Path(job.path)
        assert store is not None
        parts = agreed_parts(call.parts, out=job.path, method=call.method)
        shared_out = _is_shared_out(job)
        ray = import_ray()
        make_directory(out)
        with DirectoryLock(out, name=".lock"), ray_running(ray):
            require_shared(ray, out / ".lock")
            each = call.threads or smallest_cpus(ray)
            if parts is None:
                parts = max(1, min(job.rows, PARTS_PER_SLOT * slots(ray, each)))
            spread = _spread_shares if shared_out else _spread_parts
            parts = spread(ray, job, each, parts)
        if not shared_out:
            return mine_by_core(job, parts)
        with ProgressBar(None, label="merge", unit="targets", enabled=call.progress) as bar:
            core = _core.merge_shares(
                store._core, parts, core_options(call, call), str(shares_folder(out)), job.path,
                Follower(bar),
            )  # fmt: skip
        return HardPairs(core)


def _is_shared_out(job: MineJob) -> bool:
    return (
        job.call.method in ("auto", "exact")
        and job.rows >= _LEAST_ROWS
        and job.store is not None
        and job.store.image_dim + job.store.text_dim <= _MOST_DIMENSIONS
        and begun_parts(job.path) is None
    )


def _spread_shares(ray: Any, job: MineJob, cpus: int, count: int) -> int:
    """The number of shares: of those that were begun, or ``count``."""
    call, store = job.call, job.store
    assert store is not None
    folder = shares_folder(os.path.abspath(job.path))
    ranges = folder / "ranges"
    if is_done(ranges):  # of this very job, or refused
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            identity = json.loads((ranges / "manifest.json").read_text())["attributes"]["identity"]
            count = int(identity["shares"])
        _core.prepare_shares(store._core, count, core_options(call, call), str(folder))
    path, fingerprint, options, machine = whole = _told(job, cpus)
    most = smallest_cpus(ray)
    prepare = (path, fingerprint, options, {**machine, "threads": most}, count, str(folder))
    see_to_parts(
        ray, _prepare_shares, lambda _: prepare, {1: ranges}, is_done, cpus=most, label="prepare",
        progress=call.progress,
    )  # fmt: skip

    def compare(step: str) -> None:
        places = {i: folder / f"{step}-{i:05}-of-{count:05}" for i in range(1, count + 1)}
        see_to_parts(
            ray, _mine_share, lambda i: (*whole, step == "across", i, count, str(folder)), places,
            is_done, cpus=cpus, label=f"mine {step} ranges", progress=call.progress,
        )  # fmt: skip

    compare("within")
    compare("across")
    return count


def _spread_parts(ray: Any, job: MineJob, cpus: int, parts: int) -> int:
    call, store, out = job.call, job.store, os.path.abspath(job.path)
    assert store is not None
    places = {i: part_path(out, i, parts) for i in range(1, parts + 1)}
    options = core_options(call, call)
    for index, place in places.items():
        if is_done(place):  # of this very job, or refused
            _core.mine_part(store._core, index, parts, options, str(place))
    whole = _told(job, cpus)
    see_to_parts(
        ray, _mine_part, lambda index: (*whole, index, parts, str(places[index])), places,
        is_done, cpus=cpus, label="mine", progress=call.progress,
    )  # fmt: skip
    return parts


def _told(job: MineJob, cpus: int) -> tuple[str, str, dict[str, Any], dict[str, Any]]:
    """What each task is told: the store and its fingerprint, the options, and the machine."""
    call, store = job.call, job.store
    assert store is not None
    machine = {
        "threads": cpus, "memory": call.memory, "keep_codes": call.keep_codes,
        "codes": os.path.abspath(call.codes_path) if call.codes else None,
    }  # fmt: skip
    return place_of(store), store.fingerprint, MineOptions.of(call).as_dict(), machine


def _prepare_shares(
    path: str, fingerprint: str, options: dict[str, Any], machine: dict[str, Any], count: int,
    folder: str,
) -> None:  # fmt: skip
    """What one task does before all others."""
    store = _opened(path, fingerprint)
    asked = core_options(MineOptions(**options), JobOptions(**machine))
    _core.prepare_shares(store._core, count, asked, folder)


def _mine_share(
    path: str, fingerprint: str, options: dict[str, Any], machine: dict[str, Any], across: bool,
    index: int, count: int, folder: str,
) -> None:  # fmt: skip
    """What a task does, on its node."""
    store = _opened(path, fingerprint)
    asked = core_options(MineOptions(**options), JobOptions(**machine))
    _core.mine_share(store._core, across, index, count, asked, folder)


def _mine_part(
    path: str, fingerprint: str, options: dict[str, Any], machine: dict[str, Any], index: int,
    count: int, out: str,
) -> None:  # fmt: skip
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
