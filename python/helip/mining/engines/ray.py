"""The engine of Ray: parts or shares of a mining job as tasks, one each, beside the table.

A part is a range of targets, compared with all rows. A share owns pairs of rows, each of which is
compared once; steps of shares are the job (helip/shares.h).
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from helip import _core
from helip.common.errors import Error, InvalidArgumentError, MismatchError, UnsupportedError
from helip.common.files import DirectoryLock, make_directory
from helip.common.parts import part_path, shares_folder
from helip.common.progress import Follower, ProgressBar
from helip.common.ray_parts import (
    LAG,
    PARTS_PER_SLOT,
    import_ray,
    on_each_node,
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
from helip.mining.inputs import core_options, opened_same
from helip.mining.options import JobOptions, MineOptions
from helip.mining.stages.job import place_of
from helip.pairs.hard_pairs import HardPairs

_LEAST_ROWS = 4096  # that are worth two steps
_MOST_DIMENSIONS = 65_536  # of a row, that codes are made of


class Ray:
    """Tasks of a Ray cluster, for all but ``partition`` in stages."""

    def is_asked(self, job: MineJob) -> bool:
        call = job.call
        # Few rows of partition are nothing to spread.
        return call.engine == "ray" and (
            call.method != "partition" or (call.cluster_rows is None and job.rows >= _LEAST_ROWS)
        )

    def accepts(self, job: MineJob) -> Error | None:
        call = job.call
        if (reason := job.on_ray_unfollowed()) is not None:
            return reason
        if job.store is None or not job.path:
            return InvalidArgumentError(
                "engine is 'ray', which reads a store and writes to out; give both, by paths that "
                "all nodes share"
            )
        if call.method == "partition" and not _can_be_shared_out(job):
            return UnsupportedError(
                f"rows have {job.inputs.dimensions} dimensions and method is "
                f"'partition', which is shared out up to {_MOST_DIMENSIONS:,}; use engine='threads'"
            )
        if call.device not in ("auto", "cpu"):
            return UnsupportedError(
                f"device is {call.device!r}; engine 'ray' mines on CPUs, device='cpu'"
            )
        if has_checkpoint(job.path):
            if call.method == "partition":
                return MismatchError(
                    f"{checkpoint_folder(job.path)} holds a job that was begun without Ray; go on "
                    "with engine='threads', or remove that folder"
                )
            return job.left_behind(checkpoint_folder(job.path))
        return job.left_behind(shares_folder(job.path))

    def run(self, job: MineJob) -> HardPairs:
        """Sees to it that all parts or shares lie beside the table, and puts them together here.

        Methods exact and partition are mined in shares; other methods, few rows, and what was begun
        in parts are mined in parts. Without ``parts`` they are as many as the job was begun with,
        or four for each task that runs at a time. ``threads`` and ``memory`` are those of a task,
        and as many CPUs are asked of Ray; None: those of the smallest node.

        Raises:
            UnsupportedError: Ray is not installed. StorageError: another job owns ``out``, a node
                does not share it, or parts do not show up here. Error: a part failed, with the
                reason.
        """
        call = job.call
        parts = agreed_parts(call.parts, out=job.path, method=call.method)
        with ray_running(ray := import_ray()):
            each = call.threads or smallest_cpus(ray)
            if parts is None:
                parts = max(1, min(job.rows, PARTS_PER_SLOT * slots(ray, each)))
            if _is_shared_out(job):
                return _Shares(ray, job, each, parts).mined()
            with owned(ray, job.path):
                _spread_parts(ray, job, each, parts)
        return mine_by_core(job, parts)


@contextlib.contextmanager
def owned(ray: Any, out: str) -> Iterator[None]:
    """Of the directory of the table, which all nodes see."""
    make_directory(Path(out))
    with DirectoryLock(Path(out), name=".lock"):
        require_shared(ray, Path(out) / ".lock")
        yield


def _can_be_shared_out(job: MineJob) -> bool:
    return (
        job.rows >= _LEAST_ROWS
        and job.store is not None
        and job.inputs.dimensions <= _MOST_DIMENSIONS
    )


def _is_shared_out(job: MineJob) -> bool:
    if job.call.method == "partition":
        return True
    return (
        job.call.method in ("auto", "exact")
        and _can_be_shared_out(job)
        and begun_parts(job.path) is None
    )


class _Shares:
    """Steps of a job, each of which is shared out."""

    def __init__(self, ray: Any, job: MineJob, cpus: int, count: int) -> None:
        """``cpus`` of a task. ``count`` of shares, where none was begun."""
        assert job.store is not None
        self._ray, self._job, self._store, self._cpus = ray, job, job.store._core, cpus
        self._folder = shares_folder(os.path.abspath(job.path))
        self._options = core_options(job.call, job.call)
        self._count = self._begun_shares() or count

    def mined(self) -> HardPairs:
        if self._job.call.method == "partition":
            _require_kernel(self._ray)
        with owned(self._ray, self._job.path):
            step = self._prepared()
        while True:
            with owned(self._ray, self._job.path):
                self._compare(step)
            with ProgressBar(None, label="merge", unit="targets", enabled=self._progress) as bar:
                table = _core.merge_shares(
                    self._store, self._count, step, self._options, str(self._folder),
                    self._job.path, Follower(bar),
                )  # fmt: skip
            if table is not None:
                return HardPairs(table)
            step += 1

    @property
    def _progress(self) -> bool:
        return self._job.call.progress

    def _beginnings(self) -> list[Path]:
        """What all shares begin with is one of these."""
        return [self._folder / name for name in ("ranges", "rounds")]

    def _begun_shares(self) -> int | None:
        for path in self._beginnings():
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                found = json.loads((path / "manifest.json").read_text())
                return int(found["attributes"]["identity"]["shares"])
        return None

    def _prepared(self) -> int:
        """The step that is to be mined."""
        path, fingerprint, options, machine = _told(self._job, self._cpus)
        most = smallest_cpus(self._ray)
        told = (path, fingerprint, options, {**machine, "threads": most}, self._count)
        see_to_parts(
            self._ray, _prepare_shares, lambda _: (*told, str(self._folder)), {1: self._folder},
            lambda _: any(map(is_done, self._beginnings())), cpus=most, label="prepare",
            progress=self._progress,
        )  # fmt: skip
        # Of this very job, or refused.
        step: int = _core.prepare_shares(self._store, self._count, self._options, str(self._folder))
        return step

    def _compare(self, step: int) -> None:
        count, whole = self._count, _told(self._job, self._cpus)
        places = {
            i: self._folder / f"step-{step:02}-{i:05}-of-{count:05}" for i in range(1, count + 1)
        }
        see_to_parts(
            self._ray, _mine_share, lambda i: (*whole, step, i, count, str(self._folder)), places,
            is_done, cpus=self._cpus, label=f"mine, step {step + 1}", progress=self._progress,
        )  # fmt: skip


def _spread_parts(ray: Any, job: MineJob, cpus: int, parts: int) -> None:
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
    store = opened_same(path, fingerprint)
    asked = core_options(MineOptions(**options), JobOptions(**machine))
    _core.prepare_shares(store._core, count, asked, folder)


def _mine_share(
    path: str, fingerprint: str, options: dict[str, Any], machine: dict[str, Any], step: int,
    index: int, count: int, folder: str,
) -> None:  # fmt: skip
    """What a task does, on its node."""
    store = opened_same(path, fingerprint)
    asked = core_options(MineOptions(**options), JobOptions(**machine))
    deadline = time.monotonic() + LAG
    while True:
        try:
            return _core.mine_share(store._core, step, index, count, asked, folder)
        except MismatchError as error:
            # A shared file system may still show the step before.
            if "and the job is at step" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.5)


def _require_kernel(ray: Any) -> None:
    """UnsupportedError where a node has another kernel: clusters of partition depend on it."""
    own = _core.kernel_name()
    for address, kernel in on_each_node(ray, _kernel).items():
        if kernel != own:
            raise UnsupportedError(
                f"the kernel of the node {address} is {kernel}, and of this process {own}; tables "
                "of 'partition' depend on it: start Ray and this process with a HELIP_KERNEL that "
                "both have (helip doctor), or mine with method='exact'"
            )


def _kernel() -> str:
    """What a task does, on its node."""
    return _core.kernel_name()


def _mine_part(
    path: str, fingerprint: str, options: dict[str, Any], machine: dict[str, Any], index: int,
    count: int, out: str,
) -> None:  # fmt: skip
    """What a task does, on its node."""
    store = opened_same(path, fingerprint)
    asked = core_options(MineOptions(**options), JobOptions(**machine))
    _core.mine_part(store._core, index, count, asked, out)
