"""A job of embedding in parts: ranges of rows, each a store of its own until all are there.

Ranges end where batches of a batch_size do, for encoder objects whose rows depend on their batch. A
part is an ordinary store in ``OUT.parts``, committed as it goes; any process that reads the data
can make one. What the job is, ``OUT.parts/job.json`` says, and what computes it ``engines.json``;
the part that begins first writes them.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch

from helip.common.errors import MismatchError
from helip.common.files import publish_once, read_json
from helip.common.parts import JOB, begin_job, checked_part, part_path, parts_folder
from helip.data.dataset import part_of
from helip.encoders.jobs.computing import engines_of, ready_encoders
from helip.encoders.jobs.job import Job
from helip.encoders.jobs.reading import batches_of
from helip.encoders.jobs.request import Work, check_encoders, open_existing
from helip.encoders.registry import ImageEncoder, TextEncoder
from helip.store.data_identity import fingerprint_differences
from helip.store.embedding_store import EmbeddingStore

Encoders = tuple[ImageEncoder, TextEncoder]

_ENGINES = "engines.json"


class Range(NamedTuple):
    """Rows of a job."""

    first: int
    last: int  # exclusive


def begun_parts(work: Work) -> int | None:
    """In how many parts a job for this store was begun; None where none was."""
    path = parts_folder(work.path) / JOB
    return int(read_json(path)["parts"]) if path.exists() else None


def begin_parts(work: Work, count: int) -> list[Range]:
    """Begin the job in ``count`` parts, or go on with the one that was begun; return its ranges.

    Raises MismatchError where another job was begun: of other data, options or number of parts.
    """
    folder, source = parts_folder(work.path), work.request["source"]
    asked = {
        **{name: value for name, value in work.request.items() if name != "source"},
        "dtype": work.call.dtype,
        "parts": count,
        "rows": len(work.data),
        "updates": work.updates,  # the same for all parts
    }
    begun = begin_job(folder, asked, {"source": source, "batch_size": work.batch_size})
    there = begun["source"]  # two processes may know more or less of the same data
    if there["rows"] != source["rows"] or fingerprint_differences(
        there["fingerprint"], source["fingerprint"]
    ):
        raise MismatchError(
            f"{folder} holds a job of other data; go on with those, or remove that folder"
        )
    return _ranges(len(work.data), count, begun["batch_size"], work.call.shard_rows)


def _ranges(rows: int, count: int, batch_size: int, shard_rows: int) -> list[Range]:
    """The rows of each of ``count`` parts, in like numbers of batches; some may be empty."""
    batches = batches_of(0, rows, batch_size, shard_rows)
    bounds = [len(batches) * i // count for i in range(count + 1)]
    starts = [*(batch.start for batch in batches), rows]
    return [Range(starts[a], starts[b]) for a, b in itertools.pairwise(bounds)]


def encoders_of_part(
    work: Work, device: str | torch.device, settled: Mapping[str, Any] | None = None
) -> Encoders:
    """Both encoders, on the engines that the part which was first settled for all.

    ``settled``: the metadata of the store that the parts are going to join, if there is one.
    """
    path = parts_folder(work.path) / _ENGINES
    if settled is None and path.exists():
        settled = read_json(path)
    encoders = ready_encoders(work, device, settled)
    if settled is None:
        own = engines_of(*encoders)
        first = publish_once(path, own)
        if first != own:
            return ready_encoders(work, device, first)
    return encoders


def embed_part(
    work: Work,
    part: tuple[int, int],
    load: Callable[[], Encoders],
    *,
    bar: bool = True,
    threads: int = 0,
) -> EmbeddingStore:
    """Embed the i-th of n parts, or go on with it; return its store.

    ``threads``: of the core's reader where the call names none; 0: one for each core.
    """
    index, count = checked_part(part)
    rows = begin_parts(work, count)[index - 1]
    path = part_path(work.path, index, count)
    request = part_request(work, index, count, rows)
    found = open_existing(path, request, dtype=work.call.dtype, resume=True)
    call = work.call
    if found is not None:
        if found.metadata.get("complete"):
            return found
        if call.reader == "auto":
            call = dataclasses.replace(call, reader=found.metadata["reader"])
    image, text = load()
    if found is not None:
        check_encoders(found, image, text)
    job = Job(
        part_of(work.data, np.arange(rows.first, rows.last)), path, image, text, request, call,
        work.all_rows, first=rows.first, label="embed" if count == 1 else f"embed {index}/{count}",
        bar=bar and call.progress, threads=threads,
    )  # fmt: skip
    return job.run(found)


def part_request(work: Work, index: int, count: int, rows: Range) -> dict[str, Any]:
    """What the metadata of a part's store says of the job."""
    place = {"index": index, "count": count, "first": rows.first, "last": rows.last}
    return {**work.request, "part": place}
