"""Embedding a data set: pictures and captions become the rows of an EmbeddingStore.

Row i of the store is row i of the data set. Of a row with several captions the store has the mean
of the embeddings of all, each of length 1, unless the first alone is asked for. A sample that
cannot be read becomes a zero row in both modalities, so that the numbering stays and mining treats
it as an outlier; it is listed in ``quarantine.jsonl`` beside the store's files and counted in the
store's metadata.

The store is committed at every shard boundary, which no batch crosses, and after a minute of
work: a job that was killed goes on after its last commit, to the rows of one that was not. One
that is interrupted, or finds the disk full, commits what is whole.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch

from helip.common.devices import choose_device
from helip.common.errors import InvalidArgumentError, MismatchError, UnsupportedError
from helip.common.options import keywords
from helip.common.parts import checked_part, part_path, parts_folder
from helip.common.processes import launched_processes
from helip.common.remote.outputs import written_to
from helip.common.remote.urls import local_path, url_of
from helip.data.dataset import Dataset, part_of
from helip.data.opening import open_dataset
from helip.encoders.jobs.computing import ready_encoders
from helip.encoders.jobs.job import Job
from helip.encoders.jobs.joining import embed_by_processes, finish_joining, join_parts
from helip.encoders.jobs.parts import begun_parts, embed_part, encoders_of_part
from helip.encoders.jobs.ray import embed_on_ray
from helip.encoders.jobs.request import (
    SIDES,
    EmbedCall,
    Kept,
    Work,
    change_since,
    check_encoders,
    name_of,
    open_existing,
    source_of,
)
from helip.encoders.loading import files_stamp
from helip.encoders.network_encoder import Side
from helip.encoders.registry import PRESETS, ImageEncoder, TextEncoder
from helip.encoders.spec import FAMILIES
from helip.store.data_identity import DataChange
from helip.store.embedding_store import EmbeddingStore

_DEFAULT_PRESET = "paper"


@keywords(EmbedCall)
def embed(call: EmbedCall) -> EmbeddingStore:
    """Embed ``data`` with two unimodal encoders into the store ``out``; return the store.

    The store's metadata: ``image_encoder``, ``text_encoder``, ``image_weights`` and
    ``text_weights`` {digest, files} where known, ``image_engine`` and ``text_engine`` {engine,
    precision, why, lowest_cosine …}, ``reader``, ``captions``, ``shard_rows``, ``source``
    {fingerprint, rows}, ``quarantined`` {reason: count} and ``complete``.

    A job can be split over processes and machines that share a file system: by ``part`` (any
    scheduler), ``launcher="torchrun"`` (all processes call it) or ``launcher="ray"``. The store has
    the bytes of one process's, as far as the encoders give the same numbers on each machine.

    Raises InvalidArgumentError (an option, an encoder's spec), MismatchError (``out`` holds a store
    of another request, or of other weights under the same name; parts that are not finished),
    StorageError, UnsupportedError (a package that is not installed), and Error when more samples
    than ``max_quarantined`` cannot be read or an encoder gives NaN or infinity.
    Whatever is raised, what was committed before stays, and the same call goes on from there.
    """
    _check_launcher(call)
    if (url := url_of(call.out)) is not None:
        if call.part is not None or call.launcher != "local":
            raise UnsupportedError(
                f"out is {url}, and a job in parts needs a directory that all its processes share; "
                "embed to one, then helip.copy it there"
            )
        return written_to(
            url, lambda path: embed(**{**call.as_dict(), "out": path}), EmbeddingStore.open,
            resumes=True, progress=call.progress,
        )  # fmt: skip
    call = dataclasses.replace(call, out=local_path(call.out))
    path = Path(call.out)
    there = EmbeddingStore.open(path) if (path / "manifest.json").exists() else None
    old = there if call.update else None
    if call.captions is None:
        # A store of an earlier version says nothing, and has the first.
        kept: Any = "mean" if there is None else there.metadata.get("captions", "first")
        call = dataclasses.replace(call, captions=kept)
    dtype: Any = call.dtype or ("float16" if old is None else old.dtype)
    call = dataclasses.replace(call, dtype=dtype)
    images = _encoder_of(call, old, "image")
    texts = _encoder_of(call, old, "text")
    data = call.data if isinstance(call.data, Dataset) else open_dataset(call.data)
    request = {
        "image_encoder": name_of(images),
        "text_encoder": name_of(texts),
        "captions": call.captions,
        "shard_rows": call.shard_rows,
        "source": source_of(data),
    }
    for name in ("engine", "precision", "reader"):
        if getattr(call, name) != "auto":
            request[name] = getattr(call, name)
    objects = [not isinstance(each, str) for each in (images, texts)]
    if all(objects) and (call.engine, call.precision) != ("auto", "auto"):
        raise InvalidArgumentError(
            f"engine is {call.engine!r} and precision {call.precision!r}, and both encoders are "
            "objects, which compute in their own way; leave both at 'auto', or give specs"
        )
    existing = open_existing(path, request, dtype=call.dtype, resume=call.resume)
    if existing is not None and call.reader == "auto":
        # Two readers differ in the last digits; a store is of one of them.
        call = dataclasses.replace(call, reader=existing.metadata.get("reader", "auto"))
    if existing is not None and existing.metadata.get("complete"):
        finish_joining(existing)
    work = Work(data, request, images, texts, call)
    change = None if existing is None else change_since(existing, data, update=call.update)
    if existing is not None and change is not None and not call.update:
        raise MismatchError(
            f"{path} holds {'a store' if existing.metadata.get('complete') else 'the beginning'} "
            f"of other data: {change}. Give update=True to embed again what changed, then bring "
            "tables up to date with helip.update; or choose another out"
        )
    if existing is not None and change is not None and existing.metadata.get("complete"):
        _check_removed(existing, change, call.max_removed)
    if existing is not None and change is None and existing.metadata.get("complete"):
        return _unchanged_store(existing, work)
    return _embed(
        work, existing, None if existing is None or change is None else (existing, change)
    )


def _encoder_of(call: EmbedCall, old: EmbeddingStore | None, side: Side) -> Any:
    """What the call names for a side, or else a spec: of an update that of the store."""
    given = getattr(call, f"{side}_encoder")
    if given is not None:
        return given
    if call.preset is not None or old is None:
        return PRESETS[call.preset or _DEFAULT_PRESET][SIDES.index(side)]
    name = str(old.metadata.get(f"{side}_encoder", ""))
    if name.partition(":")[0] not in FAMILIES:
        made = f"by {name}, an object of Python" if name else "by what it does not say"
        raise InvalidArgumentError(
            f"{side} rows of {old.path} were made {made}; give {side}_encoder, so that new rows "
            "are made by the same"
        )
    return name


def _check_launcher(call: EmbedCall) -> None:
    if call.part is not None:
        checked_part(call.part)
        if not call.resume and part_path(call.out, *call.part).exists():
            raise InvalidArgumentError(
                f"{part_path(call.out, *call.part)} is there and resume is False: remove it, or "
                "pass resume=True to continue it"
            )
    if call.launcher == "ray" and launched_processes() > 1:
        raise InvalidArgumentError(
            f"launcher is 'ray' and torchrun started {launched_processes()} processes, each of "
            "which would begin the job; start one process, or give launcher='torchrun'"
        )
    if call.part is not None and call.launcher != "local":
        raise InvalidArgumentError(
            f"part is {call.part}, one part of a job, and launcher is {call.launcher!r}, for a "
            "whole one; give one of the two"
        )
    if call.parts is not None and call.launcher != "ray":
        raise InvalidArgumentError(
            f"parts is {call.parts} and launcher is {call.launcher!r}; parts says how "
            "launcher='ray' cuts a job. For other schedulers give part=(i, n)"
        )


def _check_removed(store: EmbeddingStore, change: DataChange, most: float) -> None:
    """A list of rows that was cut short by mistake must not cost the embeddings of the others."""
    allowed = int(most * len(store))
    if change.removed > allowed:
        raise MismatchError(
            f"{change.removed:,} of the {len(store):,} rows of {store.path} are gone from the "
            f"data; max_removed={most:g} lets an update drop {allowed:,}: check that the data are "
            "whole, allow a larger share, or choose another out"
        )


def _unchanged_store(store: EmbeddingStore, work: Work) -> EmbeddingStore:
    """A store of this very data, where its encoders are still the ones that made it."""
    for side, encoder in zip(SIDES, (work.images, work.texts), strict=True):
        then = (store.metadata.get(f"{side}_weights") or {}).get("files", "")
        now = files_stamp(encoder)
        if then and now and now != then:
            # Touched or copied files are no other weights; loading them tells.
            check_encoders(store, *_load(work, store))
            break
    return store


def _embed(work: Work, existing: EmbeddingStore | None, kept: Kept | None) -> EmbeddingStore:
    """Embed the rows that are not there yet, by whom the call says."""
    call = work.call
    begun = begun_parts(work)
    in_parts = call.part is not None or call.launcher != "local" or begun is not None
    if existing is not None and kept is None and in_parts:
        raise MismatchError(
            f"{work.path} holds {len(existing):,} of {len(work.data):,} rows of a job that one "
            "process began; finish it there, or remove it, before the job is done in parts"
            + (f" ({parts_folder(work.path)} holds some)" if begun else "")
        )
    if kept is not None:
        lacking = part_of(work.data, np.flatnonzero(kept[1].reused < 0))
        work = dataclasses.replace(work, data=lacking, updates=kept[0].fingerprint)
    old = None if kept is None else kept[0]
    if call.part is not None:
        return embed_part(work, call.part, lambda: _load(work, old))
    if call.launcher == "torchrun":
        embed_by_processes(work, kept, lambda device: _load(work, old, device))
        return EmbeddingStore.open(work.path)
    if call.launcher == "ray":
        path = os.path.abspath(work.path)
        on_ray = dataclasses.replace(work, call=dataclasses.replace(call, out=path))
        return join_parts(on_ray, embed_on_ray(on_ray), kept)
    if kept is None and begun is None:
        image, text = _load(work, existing)
        job = Job(
            work.data, work.path, image, text, work.request, call, work.all_rows, bar=call.progress
        )
        return job.run(existing)
    if begun in (None, 1):
        embed_part(work, (1, 1), lambda: _load(work, old))
        begun = 1
    return join_parts(work, begun, kept)


def _load(
    work: Work, old: EmbeddingStore | None, device: torch.device | None = None
) -> tuple[ImageEncoder, TextEncoder]:
    """Both encoders, refused where the store that is there was made by other weights."""
    place = device or choose_device(work.call.device)
    settled = None if old is None else old.metadata
    if parts_folder(work.path).exists():
        encoders = encoders_of_part(work, place, settled)
    else:
        encoders = ready_encoders(work, place, settled)
    if old is not None:
        check_encoders(old, *encoders)
    return encoders
