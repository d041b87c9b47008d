"""The engine of the package hnswlib: what it does not know of a call of method hnsw."""

from __future__ import annotations

import math
from typing import Any

from helip.common.errors import Error, InvalidArgumentError, MismatchError, UnsupportedError
from helip.common.parts import parts_folder
from helip.mining.call import MineJob
from helip.mining.engines.checkpoints import checkpoint_folder, has_checkpoint
from helip.mining.engines.parts import begun_parts
from helip.mining.engines.stages import why_not_method
from helip.mining.options import JobOptions, MineOptions
from helip.mining.stages.job import has_stages, stages_folder
from helip.pairs.hard_pairs import HardPairs


class Hnswlib:
    """A graph of hnswlib, built and searched by one process."""

    def is_asked(self, job: MineJob) -> bool:
        return job.call.graph == "hnswlib"

    def accepts(self, job: MineJob) -> Error | None:
        call, out = job.call, job.path
        if call.part is not None:
            return _of_one_process("part", call.part)
        for reason in (why_not_graph(call), why_not_hnswlib(call, call), why_not_method(call)):
            if reason is not None:
                return reason
        left = checkpoint_folder(out) if has_checkpoint(out) else None
        left = parts_folder(out) if begun_parts(out) else left
        left = stages_folder(out) if has_stages(out) else left
        if out and left is not None:
            return MismatchError(
                f"{left} holds a job that was begun without graph 'hnswlib'; go on without graph=, "
                "or remove that folder"
            )
        return None

    def run(self, job: MineJob) -> HardPairs:
        from helip.mining.hnswlib_graph import mine_with_hnswlib

        call = job.call
        return mine_with_hnswlib(
            job.inputs, MineOptions.of(call), JobOptions.of(call),
            out=job.path, progress=call.progress, on_progress=call.on_progress,
        )  # fmt: skip


def why_not_graph(call: Any) -> Error | None:
    """A graph of hnswlib goes with method hnsw alone."""
    if call.graph == "own" or call.method == "hnsw":
        return None
    return InvalidArgumentError(
        f"graph is {call.graph!r} and method is {call.method!r}; a graph is of method 'hnsw': use "
        "that, or drop graph="
    )


def why_not_hnswlib(options: MineOptions, job: JobOptions) -> Error | None:
    """What a graph of hnswlib does not know of these options; or that the package is absent."""
    if options.collapse != "none":
        return UnsupportedError(
            f"collapse is {options.collapse!r}, which looks for groups among all rows, and graph "
            "is 'hnswlib'; drop collapse=, or use graph='own'"
        )
    for name, value, known in (
        ("parts", job.parts, (None,)),
        ("engine", job.engine, ("threads",)),
        ("checkpoint", job.checkpoint, (JobOptions().checkpoint, math.inf)),
        ("codes", job.codes, (None,)),
    ):
        if value not in known:
            return _of_one_process(name, value)
    if job.device not in ("auto", "cpu"):
        return UnsupportedError(
            f"device is {job.device!r}; a graph of hnswlib is searched on CPUs, device='cpu'"
        )
    try:
        from helip.mining.hnswlib_graph import library

        library()
    except UnsupportedError as error:
        return error
    return None


def _of_one_process(name: str, value: object) -> Error:
    return UnsupportedError(
        f"{name} is {value!r} and graph 'hnswlib', which one process builds and searches without "
        f"saving it; drop {name}=, or use graph='own' or method 'partition'"
    )
