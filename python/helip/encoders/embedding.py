"""Embedding a data set: pictures and captions become the rows of an EmbeddingStore.

Row i of the store is row i of the data set. A sample that cannot be read becomes a zero row in
both modalities, so that the numbering stays and mining treats it as an outlier; it is listed in
``quarantine.jsonl`` beside the store's files and counted in the store's metadata.

The store is committed at every shard boundary, and no batch crosses one: a job that was killed
goes on after its last commit and ends with the bytes of one that was not.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from helip.common.devices import choose_device
from helip.common.errors import Error, InvalidArgumentError, MismatchError, SampleError
from helip.common.options import keywords
from helip.common.progress import ProgressBar
from helip.data.dataset import Dataset
from helip.data.opening import open_dataset
from helip.encoders.options import EmbedOptions
from helip.encoders.quarantine import Quarantine, discard_orphan
from helip.encoders.registry import PRESETS, ImageEncoder, TextEncoder, image_encoder, text_encoder
from helip.store.embedding_store import EmbeddingStore

_DEFAULT_PRESET = "paper"
# Resizing the shorter side of a picture multiplies the other; beyond this it is no picture, and
# would take a model's preprocessing gigabytes.
_MAX_ASPECT = 100
# With none of so many samples readable, something is wrong with all of them.
_HOPELESS_ROWS = 1000
_FLOAT16_MAX = 65504.0


@dataclass(frozen=True, kw_only=True)
class EmbedCall(EmbedOptions):
    """What `embed` is asked."""

    data: Any = field(kw_only=False)
    """A Dataset, or anything that open_dataset takes."""
    out: str | os.PathLike[str]
    """The store's directory. An unfinished one of the same request is continued; a finished one is
    returned at once."""
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
    images, texts = _choose_encoders(call)
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
    if existing is not None and existing.metadata.get("complete"):
        return existing
    device = str(choose_device(call.device))
    encoders = _Encoders(
        image_encoder(images, device=device, dtype=call.precision),
        text_encoder(texts, device=device, dtype=call.precision),
    )
    if existing is not None:
        _check_dims(existing, encoders)
    return _Job(data, path, encoders, request, call).run(existing)


def _choose_encoders(options: EmbedOptions) -> tuple[Any, Any]:
    image, text = PRESETS[options.preset or _DEFAULT_PRESET]
    return (
        image if options.image_encoder is None else options.image_encoder,
        text if options.text_encoder is None else options.text_encoder,
    )


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
    found = store.metadata
    differences = [
        f"{name} is {found.get(name)!r} there and {wanted!r} here"
        for name, wanted in request.items()
        # How a finished store was cut into shards changes nothing for its reader.
        if found.get(name) != wanted and not (name == "shard_rows" and found.get("complete"))
    ]
    if store.dtype != dtype:
        differences.append(f"dtype is {store.dtype!r} there and {dtype!r} here")
    if differences:
        raise MismatchError(
            f"{path} holds a store of another request: {'; '.join(differences)}. Choose another "
            "out, remove the directory, or repeat the request that began it"
        )
    return store


def _check_dims(store: EmbeddingStore, encoders: _Encoders) -> None:
    for side, kept, encoder in (
        ("image", store.image_tensor.shape[1], encoders.image),
        ("text", store.text_tensor.shape[1], encoders.text),
    ):
        if kept != encoder.dim:
            raise MismatchError(
                f"{store.path} holds {side} rows of {kept} numbers and encoder "
                f"{_name_of(encoder)!r} gives {encoder.dim}: its weights have changed; choose "
                "another out"
            )


@dataclass(frozen=True)
class _Encoders:
    image: ImageEncoder
    text: TextEncoder


def _checked(
    features: Any, encoder: ImageEncoder | TextEncoder, rows: list[int], data: Dataset, dtype: str
) -> torch.Tensor:
    """What an encoder gave, as float32 [n, dim] on the CPU; raises Error for NaN and infinity."""
    features = torch.as_tensor(features).detach().float().cpu()
    name = _name_of(encoder)
    if tuple(features.shape) != (len(rows), encoder.dim):
        raise Error(
            f"encoder {name!r} gave an output of shape {list(features.shape)} for {len(rows)} "
            f"samples; it must be [{len(rows)}, {encoder.dim}]"
        )
    largest = features.abs().amax(dim=1)  # NaN where a row holds one
    bound = _FLOAT16_MAX if dtype == "float16" else torch.finfo(torch.float32).max
    bad = (~(largest <= bound)).nonzero().flatten()
    if len(bad):
        row, value = rows[int(bad[0])], float(largest[bad[0]])
        mend = (
            f"a store of float16 holds up to {_FLOAT16_MAX:.0f}: pass dtype='float32'"
            if torch.isfinite(largest[bad[0]])
            else "embed it with precision='float32', or take the sample out if it stays so"
        )
        raise Error(f"encoder {name!r} gave {value} for row {row} (key {data.keys[row]!r}); {mend}")
    return features


@dataclass(frozen=True)
class _Failure:
    row: int
    reason: str
    message: str


@dataclass(frozen=True)
class _Batch:
    """Consecutive samples, read and preprocessed; those that failed are in ``failures`` alone."""

    rows: list[int]
    images: torch.Tensor | None  # float32 [n, 3, H, W]; None where nothing could be read
    texts: list[str]
    failures: list[_Failure]


class _Samples(torch.utils.data.Dataset[Any]):
    """Rows, each read and preprocessed to (row, image tensor, caption) or a _Failure."""

    def __init__(self, data: Dataset, preprocess: Any) -> None:
        self._data = data
        self._preprocess = preprocess

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, row: int) -> tuple[int, torch.Tensor, str] | _Failure:
        try:
            sample = self._data[row]
        except SampleError as error:
            return _Failure(row, error.reason, str(error))
        except Error:
            raise
        except Exception as error:
            raise Error(
                f"row {row}: the data set raised {type(error).__name__}: {error}"
            ) from error
        image, text = sample["image"], sample["text"]
        width, height = image.size
        if max(width, height) > _MAX_ASPECT * min(width, height):
            return _Failure(
                row,
                "extreme_aspect",
                f"the picture is {width} x {height}; one side may be {_MAX_ASPECT} times the other",
            )
        try:
            pixels = self._preprocess(image)
        except MemoryError:
            raise
        except Exception as error:
            return _Failure(row, "preprocess_failed", f"{type(error).__name__}: {error}")
        return row, pixels, text


def _collate(samples: list[tuple[int, torch.Tensor, str] | _Failure]) -> _Batch:
    failures = [sample for sample in samples if isinstance(sample, _Failure)]
    read = [sample for sample in samples if not isinstance(sample, _Failure)]
    shapes = {tuple(pixels.shape) for _, pixels, _ in read}
    if len(shapes) > 1:
        raise Error(
            f"the image encoder's preprocess gave pictures of the shapes {sorted(shapes)} in one "
            "batch; it must give one shape"
        )
    return _Batch(
        rows=[row for row, _, _ in read],
        images=torch.stack([pixels for _, pixels, _ in read]) if read else None,
        texts=[text for _, _, text in read],
        failures=failures,
    )


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
    if workers == 0:
        for batch in batches:
            yield _collate([samples[row] for row in batch])
        return
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
    encoders: _Encoders
    request: Mapping[str, Any]
    options: EmbedCall

    def run(self, existing: EmbeddingStore | None) -> EmbeddingStore:
        """Embed what is not yet committed; return the finished store."""
        total, shard_rows = len(self.data), self.request["shard_rows"]
        with self._writer(existing) as writer:
            # The writer owns the directory from here on, so the list may be mended.
            done = len(writer)
            counts = dict(existing.metadata.get("quarantined", {})) if existing else {}
            with (
                Quarantine(self.path, committed_rows=done, counts=counts) as quarantine,
                self._bar(done) as bar,
            ):
                self._check_share(quarantine, done)
                batches = _batches(done, total, self.options.batch_size, shard_rows)
                samples = _Samples(self.data, self.encoders.image.preprocess)
                with closing(_read(samples, batches, self.options.workers)) as read:
                    for rows, batch in zip(batches, read, strict=True):
                        keys = [self.data.keys[row] for row in rows]
                        for failure in batch.failures:
                            key = keys[failure.row - rows.start]
                            quarantine.add(failure.row, key, failure.reason, failure.message)
                        self._check_share(quarantine, rows.stop)
                        writer.append(keys, *self._encode(rows, batch))
                        if rows.stop % shard_rows == 0 and rows.stop < total:
                            self._commit(writer, quarantine, complete=False)
                        bar.update(len(rows))
                        if quarantine.total:
                            bar.note(quarantined=quarantine.total)
                return self._commit(writer, quarantine, complete=True)

    def _bar(self, done: int) -> ProgressBar:
        # Counts what is left: rows of an earlier run would make the rate and the time left lie.
        label = f"embed from row {done:,}" if done else "embed"
        return ProgressBar(
            len(self.data) - done, label=label, unit="rows", enabled=self.options.progress
        )

    def _writer(self, existing: EmbeddingStore | None) -> Any:
        if existing is not None:
            return EmbeddingStore.append_to(self.path)
        discard_orphan(self.path)
        return EmbeddingStore.create(
            self.path,
            image_dim=self.encoders.image.dim,
            text_dim=self.encoders.text.dim,
            dtype=self.options.dtype,
            shard_rows=self.request["shard_rows"],
        )

    def _encode(self, rows: range, batch: _Batch) -> Iterable[torch.Tensor]:
        """Image and text rows [len(rows), dim]; zero where the sample could not be read."""
        image = torch.zeros(len(rows), self.encoders.image.dim)
        text = torch.zeros(len(rows), self.encoders.text.dim)
        if batch.images is not None:
            places = torch.tensor(batch.rows) - rows.start
            for target, encoder, inputs in (
                (image, self.encoders.image, batch.images),
                (text, self.encoders.text, batch.texts),
            ):
                features = encoder.encode(inputs)  # type: ignore[arg-type]
                target[places] = _checked(
                    features, encoder, batch.rows, self.data, self.options.dtype
                )
        return image, text

    def _commit(self, writer: Any, quarantine: Quarantine, *, complete: bool) -> EmbeddingStore:
        # The list first: a count in a committed store always has its lines.
        quarantine.sync()
        metadata = {**self.request, "quarantined": quarantine.counts, "complete": complete}
        return writer.commit(metadata)

    def _check_share(self, quarantine: Quarantine, done: int) -> None:
        """Raise as soon as the share over the whole data set is sure to pass the bound."""
        total, failed = len(self.data), quarantine.total
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
