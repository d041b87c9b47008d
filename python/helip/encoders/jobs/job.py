"""One job of embedding in one process: batches in, rows of a store out, committed as it goes."""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from helip.common.errors import Error
from helip.common.progress import ProgressBar
from helip.data.core_transform import chosen_core
from helip.data.dataset import Dataset
from helip.data.image_transform import ImageTransform
from helip.encoders.jobs.reading import (
    Batch,
    Block,
    Samples,
    batches_of,
    blocks_of,
    read_batches,
    read_batches_by_core,
)
from helip.encoders.jobs.request import EmbedCall, name_of
from helip.encoders.quarantine import Quarantine, discard_orphan
from helip.encoders.registry import ImageEncoder, TextEncoder
from helip.encoders.weights import weights_of
from helip.store.embedding_store import EmbeddingStore, StoreWriter

# With none of so many samples readable, something is wrong with all of them.
_HOPELESS_ROWS = 1000
_FLOAT16_MAX = 65504.0
_COMMIT_SECONDS = 60.0


@dataclass(frozen=True)
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
        total, shard_rows = len(self.data), self.options.shard_rows
        counts = existing.metadata.get("quarantined", {}) if existing is not None else {}
        with (
            # The writer owns the directory from here on, so the list may be mended.
            self._writer(existing) as writer,
            Quarantine(self.path, committed_rows=len(writer), counts=counts) as quarantine,
            ProgressBar(total, label=self.label, enabled=self.bar) as bar,
        ):
            done = len(writer)
            bar.restart(total, label=self.label, done=done)
            self._check_share(quarantine, done)
            committed = time.monotonic()
            batches = batches_of(done, total, self.options.batch_size, shard_rows, first=self.first)
            with closing(self._read(batches)) as read:
                for rows, batch in zip(batches, read, strict=True):
                    texts = self._features(self.text, batch.texts, batch, rows)
                    skip = max(done - rows.start, 0)
                    for block in blocks_of(batch, len(rows), self._block_pictures, skip):
                        own = rows[block.first : block.last]
                        self._append(writer, quarantine, block, own, texts)
                        # A slow encoder has not done a batch in that time.
                        due = time.monotonic() - committed >= _COMMIT_SECONDS
                        if (due or own.stop % shard_rows == 0) and own.stop < total:
                            self._commit(writer, quarantine, complete=False)
                            committed = time.monotonic()
                        bar.update(len(own))
                        if quarantine.total:
                            bar.note(quarantined=quarantine.total)
            return self._commit(writer, quarantine, complete=True)

    @cached_property
    def _core(self) -> ImageTransform | None:
        """The core's transform in place of the encoder's; None where Pillow reads."""
        return chosen_core(self.options.reader, self.data, self.image.preprocess)

    def _read(self, batches: list[range]) -> Generator[Batch, None, None]:
        workers = self.options.workers
        if self._core is not None:
            return read_batches_by_core(self.data, self._core, batches, workers or self.threads)
        return read_batches(Samples(self.data, self.image.preprocess), batches, workers)

    @property
    def _block_pictures(self) -> int | None:
        """Pictures that the encoder computes at once, whatever the batch; None: all of it."""
        return getattr(self.image, "block", None)

    def _append(
        self,
        writer: StoreWriter,
        quarantine: Quarantine,
        block: Block,
        rows: range,
        texts: torch.Tensor,
    ) -> None:
        """Encode the pictures of a block and append its rows; ``texts`` [batch, dim]."""
        keys = [self.data.keys[row] for row in rows]
        for place, error in block.batch.failures:
            quarantine.add(rows[place], keys[place], error.reason, str(error))
        self._check_share(quarantine, rows.stop)
        images = self._features(self.image, block.batch.images, block.batch, rows)
        digests = self.data.row_digests(np.arange(rows.start, rows.stop))
        writer.append(keys, images, texts[block.first : block.last], digests)

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

    def _features(self, encoder: Any, inputs: Any, batch: Batch, rows: range) -> torch.Tensor:
        """Float32 [len(rows), dim]; zero where a sample could not be read."""
        result = torch.zeros(len(rows), encoder.dim)
        if not batch.read:
            return result
        name = name_of(encoder)
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
        weights = {"image_weights": weights_of(self.image), "text_weights": weights_of(self.text)}
        metadata = {
            **self.request,
            **{name: known for name, known in weights.items() if known},
            "reader": "pillow" if self._core is None else "core",
            "quarantined": quarantine.counts,
            "complete": complete,
        }
        return writer.commit(metadata)

    def _check_share(self, quarantine: Quarantine, done: int) -> None:
        """Raise as soon as the share over the whole data set is sure to pass the bound."""
        failed, most = quarantine.total, self.options.max_quarantined
        hopeless = done >= _HOPELESS_ROWS and failed == done and most < 1.0
        if failed <= most * self.all_rows and not hopeless:
            return
        raise Error(
            f"{failed} of the first {done} samples ({failed / max(done, 1):.1%}) cannot be read; "
            f"max_quarantined={most} allows {int(most * self.all_rows)} of {self.all_rows}. The "
            f"first: {'; '.join(quarantine.first)}. Mend the data, or allow a larger share: "
            f"{quarantine.path} lists them, and the same call goes on after the last shard"
        )
