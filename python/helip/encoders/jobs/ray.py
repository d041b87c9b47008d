"""A job of embedding as Ray tasks, a part each, on the GPUs or the CPUs of a cluster."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

from helip.common.errors import InvalidArgumentError, UnsupportedError
from helip.common.files import DirectoryLock, make_directory
from helip.common.parts import part_path, parts_folder
from helip.common.ray_parts import (
    PARTS_PER_SLOT,
    import_ray,
    ray_running,
    resources,
    see_to_parts,
    slots,
    smallest_cpus,
)
from helip.encoders.jobs.parts import begin_parts, begun_parts, embed_part, encoders_of_part
from helip.encoders.jobs.request import Work
from helip.store.embedding_store import EmbeddingStore


def embed_on_ray(work: Work) -> int:
    """See to it that all parts lie in ``OUT.parts``; return their number.

    A task takes one GPU where the cluster has some and ``device`` is auto or cuda, otherwise the
    CPUs of the smallest node. The data set and the names of the encoders are sent to the tasks;
    files must be where they are here, on all nodes.

    Raises:
        UnsupportedError: Ray is not installed. InvalidArgumentError: an encoder is an object.
        StorageError: another job owns the parts, or they do not show up here.
        Error: a part failed, with the reason.
    """
    for side, encoder in (("image", work.images), ("text", work.texts)):
        if not isinstance(encoder, str):
            raise InvalidArgumentError(
                f"{side}_encoder is an object of {type(encoder).__name__}; with launcher='ray' "
                "each task loads its own: give a spec such as packaged:minilm"
            )
    if work.call.device not in ("auto", "cpu", "cuda"):
        raise InvalidArgumentError(
            f"device is {work.call.device!r}, must be auto, cpu or cuda with launcher='ray', which "
            "gives each task a GPU of its own"
        )
    ray = import_ray()
    folder = parts_folder(work.path)
    make_directory(folder)
    with DirectoryLock(folder, name=".lock"), ray_running(ray):
        gpus = sum(int(node.get("GPU", 0)) for node in resources(ray))
        on_gpus = work.call.device == "cuda" or (work.call.device == "auto" and gpus > 0)
        if on_gpus and not gpus:
            raise UnsupportedError(
                "device is 'cuda', and the Ray cluster has no GPU; use device='cpu', "
                "or start Ray where GPUs are"
            )
        each = max(1, work.call.workers) if on_gpus else smallest_cpus(ray)
        at_once = gpus if on_gpus else slots(ray, each)
        batches = -(-len(work.data) // work.batch_size)
        count = work.call.parts or begun_parts(work)
        count = count or max(1, min(batches, PARTS_PER_SLOT * max(at_once, 1)))
        begin_parts(work, count)
        places = {index: part_path(work.path, index, count) for index in range(1, count + 1)}
        device = "cuda" if on_gpus else "cpu"
        sent = ray.put(work)
        see_to_parts(
            ray, _embed_part, lambda index: (sent, index, count, device, each, os.getcwd()),
            places, _is_done, cpus=each, gpus=int(on_gpus), label="embed",
            progress=work.call.progress,
        )  # fmt: skip
    return count


def _embed_part(work: Any, index: int, count: int, device: str, threads: int, folder: str) -> None:
    """What a task does, on its node."""
    own = os.getcwd()
    os.chdir(folder)  # paths of the data set may be relative
    try:
        load = functools.partial(encoders_of_part, work, device)
        embed_part(work, (index, count), load, bar=False, threads=threads)
    finally:
        os.chdir(own)


def _is_done(part: Path) -> bool:
    if not (part / "manifest.json").exists():
        return False
    return bool(EmbeddingStore.open(part).metadata.get("complete"))
