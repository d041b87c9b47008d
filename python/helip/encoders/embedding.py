"""Embedding a data set: pictures and captions become the rows of an EmbeddingStore.

Row i of the store is row i of the data set. Of several captions of a row the first is embedded. A
sample that cannot be read becomes a zero row in both modalities, so that the numbering stays and
mining treats it as an outlier; it is listed in ``quarantine.jsonl`` beside the store's files and
counted in the store's metadata.

The store is committed at every shard boundary, which no batch crosses, and after a minute of
work: a job that was killed goes on after its last commit, to the rows of one that was not.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections import Counter
from collections.abc import Generator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from helip import _core
from helip.common.devices import choose_device
from helip.common.errors import Error, InvalidArgumentError, MismatchError, SampleError
from helip.common.files import discard_directory
from helip.common.options import keywords
from helip.common.progress import ProgressBar
from helip.data.dataset import Dataset
from helip.data.opening import open_dataset
from helip.encoders.options import EmbedOptions
from helip.encoders.quarantine import (
    Quarantine,
    discard_orphan,
    moved_entries,
    write_entries,
)
from helip.encoders.registry import PRESETS, ImageEncoder, TextEncoder, image_encoder, text_encoder
from helip.store.data_identity import (
    DataChange,
    compare_rows,
    fingerprint_differences,
    runs_of,
)
from helip.store.embedding_store import EmbeddingStore, StoreWriter

_DEFAULT_PRESET = "paper"
# Resizing the shorter side of a picture multiplies the other; beyond this it is no picture, and
# would take a model's preprocessing gigabytes.
_MAX_ASPECT = 100
# With none of so many samples readable, something is wrong with all of them.
_HOPELESS_ROWS = 1000
_FLOAT16_MAX = 65504.0
_COMMIT_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class EmbedCall(EmbedOptions):
    """What `embed` is asked."""

    data: Any = field(kw_only=False)
    """A Dataset, or anything that open_dataset takes."""
    out: str | os.PathLike[str]
    """The store's directory. An unfinished one of the same request is continued; a finished one is
    returned at once. Of data that changed since, see update."""
    resume: bool = True
    """False refuses a directory that already holds a store."""
    progress: bool = True
    """A bar with rate and time left."""


@keywords(EmbedCall)
def embed(call: EmbedCall) -> EmbeddingStore:
    """Embed ``data`` with two unimodal encoders into the store ``out``; return the store.

    The store's metadata: ``image_encoder``, ``text_encoder``, ``precision``, ``shard_rows``,
    ``source`` {fingerprint, rows}, ``quarantined`` {reason: count} and ``complete``.

    Raises InvalidArgumentError (an option, an encoder's spec), MismatchError (``out`` holds a store
    of another request), StorageError, UnsupportedError (a package that is not installed), and Error
    when more samples than ``max_quarantined`` cannot be read or an encoder gives NaN or infinity.
    Whatever is raised, the shards committed before stay, and the same call goes on from there.
    """
    preset = PRESETS[call.preset or _DEFAULT_PRESET]
    images: Any = preset[0] if call.image_encoder is None else call.image_encoder
    texts: Any = preset[1] if call.text_encoder is None else call.text_encoder
    data = call.data if isinstance(call.data, Dataset) else open_dataset(call.data)
    path = Path(call.out)
    request = {
        "image_encoder": _name_of(images),
        "text_encoder": _name_of(texts),
        "precision": call.precision,
        "shard_rows": call.shard_rows,
        "source": {"fingerprint": data.fingerprint, "rows": len(data)},
    }
    existing = _open_existing(path, request, dtype=call.dtype, resume=call.resume)
    change = None if existing is None else _change_since(existing, data)
    if existing is not None and change is not None and not call.update:
        raise MismatchError(
            f"{path} holds a store of other data: {change}. Pass update=True (--update) to embed "
            "again what changed, then bring tables up to date with helip.update; or choose another "
            "out"
        )
    if existing is not None and change is None and existing.metadata.get("complete"):
        return existing
    device = choose_device(call.device)
    image = image_encoder(images, device=device, dtype=call.precision)
    text = text_encoder(texts, device=device, dtype=call.precision)
    if existing is not None:
        _check_dims(existing, image, text)
    if existing is not None and change is not None:
        return _update(existing, change, data, (image, text), request, call)
    return _Job(data, path, image, text, request, call).run(existing)


def _name_of(encoder: Any) -> str:
    """How metadata names an encoder; one without a spec goes by its class."""
    if isinstance(encoder, str):
        return encoder
    kind = type(encoder)
    return str(getattr(encoder, "spec", None) or f"{kind.__module__}.{kind.__qualname__}")


def _open_existing(
    path: Path, request: Mapping[str, Any], *, dtype: str, resume: bool
) -> EmbeddingStore | None:
    """The store at ``path``, checked against the request; None where there is none yet."""
    if not (path / "manifest.json").exists():
        return None
    if not resume:
        raise InvalidArgumentError(
            f"{path} already holds a store and resume is False: choose another out, remove the "
            "directory, or pass resume=True to continue it"
        )
    store = EmbeddingStore.open(path)
    found = {**store.metadata, "dtype": store.dtype}
    differences = [
        f"{name} is {found.get(name)!r} there and {wanted!r} here"
        for name, wanted in {**request, "dtype": dtype}.items()
        # The rows tell more of the data; how a finished store was cut changes nothing.
        if name != "source"
        and found.get(name) != wanted
        and not (name == "shard_rows" and found.get("complete"))
    ]
    if differences:
        raise MismatchError(
            f"{path} holds a store of another request: {'; '.join(differences)}. Choose another "
            "out, remove the directory, or repeat the request that began it"
        )
    return store


def _change_since(store: EmbeddingStore, data: Dataset) -> DataChange | None:
    """What became of the data since; None where it is what the store was made from."""
    source = store.metadata.get("source", {})
    known = fingerprint_differences(source.get("fingerprint", ""), data.fingerprint)
    if not known and source.get("rows") == len(data):
        return None
    return compare_rows(store, data, rows_now=len(data))


def _update(
    store: EmbeddingStore,
    change: DataChange,
    data: Dataset,
    encoders: tuple[ImageEncoder, TextEncoder],
    request: Mapping[str, Any],
    call: EmbedCall,
) -> EmbeddingStore:
    """Embed the rows that the store lacks beside it, then put both together in one step."""
    path = Path(call.out)
    wanted = np.flatnonzero(change.reused < 0)
    fresh = data.subset(wanted)
    aside = path.with_name(path.name + ".update")
    aside_request = {**request, "source": {"fingerprint": fresh.fingerprint, "rows": len(fresh)}}
    begun = _open_existing(aside, aside_request, dtype=call.dtype, resume=True)
    if begun is not None and _change_since(begun, fresh) is not None:
        discard_directory(aside)
        begun = None
    if begun is None or not begun.metadata.get("complete"):
        begun = _Job(fresh, aside, *encoders, aside_request, call, len(data)).run(begun)
    places = change.reused.copy()
    places[wanted] = np.arange(len(wanted))
    entries = moved_entries((path, change.reused), (aside, np.where(change.reused < 0, places, -1)))
    counts = dict(sorted(Counter(entry["reason"] for entry in entries).items()))
    metadata = {**request, "quarantined": counts, "complete": True}
    _core.assemble_store(
        str(path), [store._core, begun._core], runs_of(change.reused < 0, places),
        store.metadata["shard_rows"], json.dumps(metadata),
    )  # fmt: skip
    write_entries(path, entries)
    discard_directory(aside)
    return EmbeddingStore.open(path)


def _check_dims(store: EmbeddingStore, image: ImageEncoder, text: TextEncoder) -> None:
    for side, encoder in (("image", image), ("text", text)):
        kept = getattr(store, f"{side}_tensor").shape[1]
        if kept != encoder.dim:
            raise MismatchError(
                f"{store.path} holds {side} rows of {kept} numbers and encoder "
                f"{_name_of(encoder)!r} gives {encoder.dim}: its weights have changed; choose "
                "another out"
            )


class _Batch(NamedTuple):
    """Consecutive samples, read and preprocessed, by their places among the rows of the batch."""

    read: list[int]
    images: torch.Tensor | None  # float32 [len(read), 3, H, W]; None where nothing could be read
    texts: list[str]
    failures: list[tuple[int, SampleError]]


@dataclass(frozen=True)
class _Samples(torch.utils.data.Dataset[Any]):
    """Rows, each read and preprocessed to (image tensor, caption), or why that failed."""

    data: Dataset
    preprocess: Any

    def __getitem__(self, row: int) -> tuple[torch.Tensor, str] | SampleError:
        try:
            sample = self.data[row]
        except SampleError as error:
            return error.with_traceback(None)
        except Error:
            raise
        except Exception as error:
            raise Error(
                f"row {row}: the data set raised {type(error).__name__}: {error}"
            ) from error
        key, image = sample["key"], sample["image"]
        width, height = image.size
        if max(width, height) > _MAX_ASPECT * min(width, height):
            return SampleError.of(
                key,
                "extreme_aspect",
                f"the picture is {width} x {height}; one side may be {_MAX_ASPECT} times the other",
            )
        try:
            return self.preprocess(image), sample["text"]
        except MemoryError:
            raise
        except Exception as error:
            return SampleError.of(key, "preprocess_failed", f"{type(error).__name__}: {error}")


def _collate(samples: list[tuple[torch.Tensor, str] | SampleError]) -> _Batch:
    batch = _Batch([], None, [], [])
    images = []
    for place, sample in enumerate(samples):
        if isinstance(sample, SampleError):
            batch.failures.append((place, sample))
        else:
            batch.read.append(place)
            images.append(sample[0])
            batch.texts.append(sample[1])
    shapes = {tuple(pixels.shape) for pixels in images}
    if len(shapes) > 1:
        raise Error(
            f"the image encoder's preprocess gave pictures of the shapes {sorted(shapes)} in one "
            "batch; it must give one shape"
        )
    return batch._replace(images=torch.stack(images) if images else None)


def _batches(start: int, total: int, batch_size: int, shard_rows: int) -> list[range]:
    """Rows start … total in batches that end at every shard boundary."""
    batches: list[range] = []
    while start < total:
        shard_end = (start // shard_rows + 1) * shard_rows
        stop = min(start + batch_size, shard_end, total)
        batches.append(range(start, stop))
        start = stop
    return batches


def _read(samples: _Samples, batches: list[range], workers: int) -> Generator[_Batch, None, None]:
    yield from torch.utils.data.DataLoader(
        samples,
        batch_sampler=batches,  # type: ignore[arg-type]
        collate_fn=_collate,
        num_workers=workers,
        # Its own generator: the loader would draw a seed from the caller's random state.
        generator=torch.Generator(),
    )


@dataclass(frozen=True)
class _Job:
    """One checked request, ready to run."""

    data: Dataset
    path: Path
    image: ImageEncoder
    text: TextEncoder
    request: Mapping[str, Any]
    options: EmbedCall
    share_of: int | None = None
    """Rows that max_quarantined is a share of; None: those of the data."""

    def run(self, existing: EmbeddingStore | None) -> EmbeddingStore:
        """Embed what is not yet committed; return the finished store."""
        total, shard_rows = len(self.data), self.options.shard_rows
        counts = existing.metadata.get("quarantined", {}) if existing is not None else {}
        with (
            # The writer owns the directory from here on, so the list may be mended.
            self._writer(existing) as writer,
            Quarantine(self.path, committed_rows=len(writer), counts=counts) as quarantine,
            ProgressBar(total, label="embed", enabled=self.options.progress) as bar,
        ):
            done = len(writer)
            bar.restart(total, label="embed", done=done)
            self._check_share(quarantine, done)
            committed = time.monotonic()
            batches = _batches(done, total, self.options.batch_size, shard_rows)
            samples = _Samples(self.data, self.image.preprocess)
            with closing(_read(samples, batches, self.options.workers)) as read:
                for rows, batch in zip(batches, read, strict=True):
                    keys = [self.data.keys[row] for row in rows]
                    for place, error in batch.failures:
                        quarantine.add(rows[place], keys[place], error.reason, str(error))
                    self._check_share(quarantine, rows.stop)
                    images = self._features(self.image, batch.images, batch, rows)
                    texts = self._features(self.text, batch.texts, batch, rows)
                    digests = self.data.row_digests(np.arange(rows.start, rows.stop))
                    writer.append(keys, images, texts, digests)
                    due = time.monotonic() - committed >= _COMMIT_SECONDS
                    if (due or rows.stop % shard_rows == 0) and rows.stop < total:
                        self._commit(writer, quarantine, complete=False)
                        committed = time.monotonic()
                    bar.update(len(rows))
                    if quarantine.total:
                        bar.note(quarantined=quarantine.total)
            return self._commit(writer, quarantine, complete=True)

    def _writer(self, existing: EmbeddingStore | None) -> StoreWriter:
        if existing is not None:
            return EmbeddingStore.append_to(self.path)
        discard_orphan(self.path)
        return EmbeddingStore.create(
            self.path,
            image_dim=self.image.dim,
            text_dim=self.text.dim,
            dtype=self.options.dtype,
            shard_rows=self.options.shard_rows,
            digests=True,
        )

    def _features(self, encoder: Any, inputs: Any, batch: _Batch, rows: range) -> torch.Tensor:
        """Float32 [len(rows), dim]; zero where a sample could not be read."""
        result = torch.zeros(len(rows), encoder.dim)
        if not batch.read:
            return result
        name = _name_of(encoder)
        features = torch.as_tensor(encoder.encode(inputs)).detach().float().cpu()
        if tuple(features.shape) != (len(batch.read), encoder.dim):
            raise Error(
                f"encoder {name!r} gave an output of shape {list(features.shape)} for "
                f"{len(batch.read)} samples; it must be [{len(batch.read)}, {encoder.dim}]"
            )
        largest = features.abs().amax(dim=1)  # NaN where a row holds one
        bound = _FLOAT16_MAX if self.options.dtype == "float16" else torch.finfo(torch.float32).max
        bad = (~(largest <= bound)).nonzero().flatten().tolist()
        if bad:
            row, value = rows[batch.read[bad[0]]], float(largest[bad[0]])
            mend = (
                f"a store of float16 holds up to {_FLOAT16_MAX:.0f}: pass dtype='float32'"
                if math.isfinite(value)
                else "embed it with precision='float32', or take the sample out if it stays so"
            )
            key = self.data.keys[row]
            raise Error(f"encoder {name!r} gave {value} for row {row} (key {key!r}); {mend}")
        result[batch.read] = features
        return result

    def _commit(
        self, writer: StoreWriter, quarantine: Quarantine, *, complete: bool
    ) -> EmbeddingStore:
        # The list first: a count in a committed store always has its lines.
        quarantine.sync()
        metadata = {**self.request, "quarantined": quarantine.counts, "complete": complete}
        return writer.commit(metadata)

    def _check_share(self, quarantine: Quarantine, done: int) -> None:
        """Raise as soon as the share over the whole data set is sure to pass the bound."""
        total, failed = self.share_of or len(self.data), quarantine.total
        most = self.options.max_quarantined
        hopeless = done >= _HOPELESS_ROWS and failed == done and most < 1.0
        if failed <= most * total and not hopeless:
            return
        raise Error(
            f"{failed} of the first {done} samples ({failed / max(done, 1):.1%}) cannot be read; "
            f"max_quarantined={most} allows {int(most * total)} of "
            f"{total}. The first: {'; '.join(quarantine.first)}. Mend the data, or allow a larger "
            f"share: {quarantine.path} lists them, and the same call goes on after the last shard"
        )
