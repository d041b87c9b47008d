"""One job of embedding in one process: batches in, rows of a store out, committed as it goes."""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections import defaultdict
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from helip.common.errors import Error, OutOfMemoryError, SampleError, StorageError
from helip.common.progress import ProgressBar, tell_of_disk
from helip.common.unit_rows import unit_rows
from helip.data.dataset import Dataset
from helip.data.image_transform import ImageTransform
from helip.data.picture_reader import PictureReader, chosen_core
from helip.encoders.jobs.computing import engines_of
from helip.encoders.jobs.reading import (
    Batch,
    Block,
    Samples,
    batches_of,
    blocks_of,
    core_reader,
    read_batches,
    read_batches_by_core,
)
from helip.encoders.jobs.request import BATCH, EmbedCall, name_of
from helip.encoders.loading import weights_of
from helip.encoders.network_encoder import NetworkImageEncoder, NetworkTextEncoder
from helip.encoders.quarantine import Quarantine, discard_orphan
from helip.encoders.registry import ImageEncoder, TextEncoder
from helip.store.embedding_store import EmbeddingStore
from helip.store.store_writer import StoreWriter

T = TypeVar("T")

_log = logging.getLogger(__name__)

# With none of so many samples readable, something is wrong with all of them.
_HOPELESS_ROWS = 1000
_FLOAT16_MAX = 65504.0
# With what the encoder has in work when it is over, less than a minute is lost.
_COMMIT_SECONDS = 40.0
_DIGESTS = 16  # bytes of a row
_BATCH_BYTES = 64 << 20
_CAPTIONS_AHEAD = 1024
_WAITING = "reading"  # for pictures, whatever takes the time of it


@dataclass
class Job:
    """One checked request, ready to run."""

    data: Dataset
    path: Path
    image: ImageEncoder
    text: TextEncoder
    request: Mapping[str, Any]
    options: EmbedCall
    all_rows: int
    """Rows that max_quarantined is a share of."""
    first: int = 0
    """Of a part of a job: where its rows begin in the whole, so that batches are the same ones."""
    label: str = "embed"
    bar: bool = True
    threads: int = 0
    """Of the core's reader where the options name none; 0: one for each core."""

    def run(self, existing: EmbeddingStore | None) -> EmbeddingStore:
        """Embed what is not yet committed; return the finished store."""
        counts = existing.metadata.get("quarantined", {}) if existing is not None else {}
        if self.first == 0:  # of several parts one speaks for the whole store
            value = {"float32": 4, "int8": 1}.get(self.options.dtype or "", 2)
            size = self.all_rows * (value * (self.image.dim + self.text.dim) + _DIGESTS)
            tell_of_disk(_log, "embed", size, self.options.out, shown=self.bar)
        with (
            # The writer owns the directory from here on, so the list may be mended.
            self._writer(existing) as writer,
            Quarantine(self.path, committed_rows=len(writer), counts=counts) as quarantine,
            ProgressBar(len(self.data), label=self.label, enabled=self.bar) as bar,
        ):
            self._whole = self._committed = len(writer)
            try:
                self._embed(writer, quarantine, bar)
            except (KeyboardInterrupt, StorageError, OutOfMemoryError):
                self._commit_whole(writer, quarantine)
                raise
            return self._commit(writer, quarantine, complete=True)

    def _embed(
        self, writer: StoreWriter[EmbeddingStore], quarantine: Quarantine, bar: ProgressBar
    ) -> None:
        """Append the rows that are missing, and commit them now and then, but for the last."""
        done, total, shard_rows = len(writer), len(self.data), self.options.shard_rows
        bar.restart(total, label=self.label, done=done)
        self._check_share(quarantine, done)
        committed = time.monotonic()
        batches = batches_of(done, total, self._batch_rows, shard_rows, first=self.first)
        with closing(self._read(batches)) as read:
            for rows, batch in zip(batches, self._spent.around(_WAITING, read), strict=True):
                with self._spent.on("text encoder"):
                    texts = self._captions(batch, rows)
                skip = max(done - rows.start, 0)
                for block, images in self._pictures(batch, rows, skip):
                    own = rows[block.first : block.last]
                    self._append(writer, quarantine, block, own, images, texts)
                    self._whole = own.stop
                    # A slow encoder has not done a batch in that time.
                    due = time.monotonic() - committed >= _COMMIT_SECONDS
                    if (due or own.stop % shard_rows == 0) and own.stop < total:
                        self._commit(writer, quarantine, complete=False)
                        committed = time.monotonic()
                    bar.update(len(own))
                    bar.note(**self._notes(quarantine))

    def _commit_whole(self, writer: StoreWriter[EmbeddingStore], quarantine: Quarantine) -> None:
        """Commit what was done before an interruption, where that can be."""
        # Interrupted just behind an append, the rows are there and not yet noted.
        if self._whole == self._committed or len(writer) != self._whole:
            return
        with contextlib.suppress(StorageError, OutOfMemoryError):
            quarantine.go_back(self._whole)
            self._commit(writer, quarantine, complete=False)

    def _slowest(self) -> str:
        """The stage that takes the most of the time, and its share."""
        stage, share = self._spent.slowest()
        if stage == _WAITING and self._reader is not None:
            reading, decoding = self._reader.time()
            stage = "reading files" if reading > decoding else "decoding"
        return f"{stage} {share:.0%}"

    @property
    def _batch_rows(self) -> int:
        """Rows of a batch; without a batch_size, on a CPU, few enough that it stays small."""
        if self.options.batch_size or self._block_pictures is None:
            return self.options.batch_size or BATCH
        rows, bytes_each = BATCH, getattr(self.image, "picture_bytes", 0)
        while rows > self._block_pictures and rows * bytes_each > _BATCH_BYTES:
            rows //= 2
        return rows

    def _notes(self, quarantine: Quarantine) -> dict[str, Any]:
        notes: dict[str, Any] = {"slowest": self._slowest()}
        if quarantine.total:
            notes["quarantined"] = quarantine.total
        return notes

    def __post_init__(self) -> None:
        self._spent = StageTimes()
        self._reader: PictureReader | None = None
        self._ahead = range(0)  # rows whose captions are encoded
        self._whole = self._committed = 0  # rows that are appended and listed; committed

    @cached_property
    def _core(self) -> ImageTransform | None:
        """The core's transform in place of the encoder's; None where Pillow reads."""
        return chosen_core(self.options.reader, self.data, self.image.preprocess)

    def _read(self, batches: list[range]) -> Generator[Batch, None, None]:
        workers = self.options.workers
        if self._core is not None:
            self._reader = core_reader(self.data, self._core, workers or self.threads)
            return read_batches_by_core(self.data, self._reader, batches)
        return read_batches(Samples(self.data, self.image.preprocess), batches, workers)

    @property
    def _block_pictures(self) -> int | None:
        """Pictures that the encoder computes at once, whatever the batch; None: all of it."""
        return getattr(self.image, "block", None)

    def _captions(self, batch: Batch, rows: range) -> torch.Tensor:
        """Features [batch, dim] of the captions of a batch."""
        if self._core is not None and isinstance(self.text, NetworkTextEncoder):
            self._look_ahead(rows)
        features = None
        if batch.read:
            captions = [self._embedded(each) for each in batch.captions]
            texts = [text for each in captions for text in each]
            features = self._encoded_texts(texts)
            if len(texts) > len(captions):
                features = mean_rows(features, list(map(len, captions)))
        return self._placed(self.text, features, batch, rows)

    def _encoded_texts(self, texts: list[str]) -> Any:
        """Features [n, dim] of captions, of an encoder object at most a batch at a time."""
        if isinstance(self.text, NetworkTextEncoder) or len(texts) <= self._batch_rows:
            parts = [texts]
        else:
            size = self._batch_rows
            parts = [texts[at : at + size] for at in range(0, len(texts), size)]
        found = [torch.as_tensor(self.text.encode(part)).detach().float().cpu() for part in parts]
        for part, rows in zip(parts, found, strict=True):
            if tuple(rows.shape) != (len(part), self.text.dim):
                raise Error(
                    f"encoder {name_of(self.text)!r} gave an output of shape {list(rows.shape)} "
                    f"for {len(part)} samples; it must be [{len(part)}, {self.text.dim}]"
                )
        return torch.cat(found)

    def _embedded(self, captions: Sequence[str]) -> Sequence[str]:
        """Those of the captions of a row that are embedded."""
        return captions[:1] if self.options.captions == "first" else captions

    def _look_ahead(self, rows: range) -> None:
        """Encode captions of many batches at once; the encoder knows them when their batch comes.

        Among more captions more have the same number of tokens.
        """
        if rows.stop <= self._ahead.stop:
            return
        self._ahead = range(rows.start, min(rows.start + _CAPTIONS_AHEAD, len(self.data)))
        texts: list[str] = []
        for row in self._ahead:
            with contextlib.suppress(SampleError):  # which its batch is going to say
                texts += self._embedded(self.data.captions(row))
        self.text.encode(texts)

    def _pictures(
        self, batch: Batch, rows: range, skip: int
    ) -> Iterator[tuple[Block, torch.Tensor | None]]:
        """The blocks of a batch with the features of their pictures; None where none was read.

        A picture that stands at rows that follow each other is encoded once.
        """
        encoded: Generator[torch.Tensor, None, None]
        blocks = list(blocks_of(batch, len(rows), self._block_pictures, skip))
        firsts = [self._first_of_pictures(rows[each.first :], each.batch) for each in blocks]
        readable = [
            block.batch.images if first.all() else block.batch.images[first]
            for block, first in zip(blocks, firsts, strict=True)
            if block.batch.images is not None
        ]
        if isinstance(self.image, NetworkImageEncoder):
            encoded = self.image.encode_ahead(readable)
        else:
            encoded = (self.image.encode(images) for images in readable)
        with closing(encoded):
            for block, first in zip(blocks, firsts, strict=True):
                features = None
                if block.batch.images is not None:
                    with self._spent.on("image encoder"):
                        features = next(encoded)
                    if not first.all():
                        features = torch.as_tensor(features)[first.cumsum(0) - 1]
                yield block, features

    def _first_of_pictures(self, rows: range, batch: Batch) -> torch.Tensor:
        """bool [read]: which of what was read shows another picture than the one before."""
        first = torch.ones(len(batch.read), dtype=torch.bool)
        if self._image_groups is not None and len(first):
            shown = torch.from_numpy(self._image_groups[[rows[place] for place in batch.read]])
            first[1:] = shown[1:] != shown[:-1]
        return first

    @cached_property
    def _image_groups(self) -> np.ndarray | None:
        return self.data.image_groups()

    def _append(
        self,
        writer: StoreWriter[EmbeddingStore],
        quarantine: Quarantine,
        block: Block,
        rows: range,
        pictures: torch.Tensor | None,
        texts: torch.Tensor,
    ) -> None:
        """Append the rows of a block; ``pictures`` [read, dim], ``texts`` [batch, dim]."""
        keys = [self.data.keys[row] for row in rows]
        for place, error in block.batch.failures:
            quarantine.add(rows[place], keys[place], error.reason, str(error))
        self._check_share(quarantine, rows.stop)
        images = self._placed(self.image, pictures, block.batch, rows)
        digests = self.data.row_digests(np.arange(rows.start, rows.stop))
        writer.append(keys, images, texts[block.first : block.last], digests)

    def _writer(self, existing: EmbeddingStore | None) -> StoreWriter[EmbeddingStore]:
        if existing is not None:
            return EmbeddingStore.append_to(self.path)
        discard_orphan(self.path)
        return EmbeddingStore.create(
            self.path,
            image_dim=self.image.dim,
            text_dim=self.text.dim,
            dtype=self.options.dtype or "float16",
            shard_rows=self.options.shard_rows,
            digests=True,
        )

    def _placed(self, encoder: Any, encoded: Any, batch: Batch, rows: range) -> torch.Tensor:
        """Float32 [len(rows), dim] of what was read; zero where a sample could not be."""
        result = torch.zeros(len(rows), encoder.dim)
        if encoded is None:
            return result
        name = name_of(encoder)
        features = torch.as_tensor(encoded).detach().float().cpu()
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
        self, writer: StoreWriter[EmbeddingStore], quarantine: Quarantine, *, complete: bool
    ) -> EmbeddingStore:
        # The list first: a count in a committed store always has its lines.
        quarantine.sync()
        weights = {"image_weights": weights_of(self.image), "text_weights": weights_of(self.text)}
        metadata = {
            **self.request,
            **{name: known for name, known in weights.items() if known},
            **engines_of(self.image, self.text),
            "reader": "pillow" if self._core is None else "core",
            "quarantined": quarantine.counts,
            "complete": complete,
        }
        store = writer.finish(metadata) if complete else writer.commit(metadata)
        self._committed = len(store)
        return store

    def _check_share(self, quarantine: Quarantine, done: int) -> None:
        """Raise as soon as the share over the whole data set is sure to pass the bound."""
        failed, most = quarantine.total, self.options.max_quarantined
        hopeless = done >= _HOPELESS_ROWS and failed == done and most < 1.0
        if failed <= most * self.all_rows and not hopeless:
            return
        raise Error(
            f"{failed} of the first {done} samples ({failed / max(done, 1):.1%}) cannot be read; "
            f"max_quarantined={most} allows {int(most * self.all_rows)} of {self.all_rows}. The "
            f"first: {'; '.join(quarantine.first)}; {quarantine.message}. Mend the data, or "
            f"allow a larger share: {quarantine.path} lists them, and the same call goes on after "
            "the last shard"
        )


def mean_rows(features: Any, counts: Sequence[int]) -> torch.Tensor:
    """float32 [rows, dim] of ``features`` [sum of counts, dim]: of each row the mean of its so many
    next ones, scaled to length 1 before; of a single one that itself."""
    rows = torch.as_tensor(features).detach().float().cpu()
    of_row = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    several = torch.tensor(counts)[of_row] > 1
    rows = torch.where(several[:, None], unit_rows(rows), rows)
    sums = torch.zeros(len(counts), rows.shape[1]).index_add_(0, of_row, rows)
    return sums / torch.tensor(counts)[:, None]


class StageTimes:
    """Where the time of a job goes that one thread drives: seconds by the names of its stages."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._began = time.monotonic()

    @contextlib.contextmanager
    def on(self, stage: str) -> Iterator[None]:
        """Counts the block for ``stage``."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.seconds[stage] += time.monotonic() - began

    def around(self, stage: str, values: Iterable[T]) -> Iterator[T]:
        """Counts the waiting for each of ``values``."""
        source = iter(values)
        while True:
            with self.on(stage):
                try:
                    value = next(source)
                except StopIteration:
                    return
            yield value

    def slowest(self) -> tuple[str, float]:
        """The stage that took the most so far, and its share of all the time."""
        if not self.seconds:
            return "", 0.0
        stage, seconds = max(self.seconds.items(), key=lambda item: item[1])
        return stage, seconds / max(time.monotonic() - self._began, 1e-9)
