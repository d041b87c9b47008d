"""Turns a data set into image features and captions with a model, one row after another.

Pictures are read by threads of the core, or by Pillow.
"""

from __future__ import annotations

import inspect
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from helip.common.devices import autocast, choose_device
from helip.common.errors import InvalidArgumentError, SampleError
from helip.common.idle_cores import look_again
from helip.common.progress import ProgressBar
from helip.data.captions import captions_of
from helip.data.dataset import read_ahead, start_method
from helip.data.image_transform import ImageTransform
from helip.data.picture_reader import PictureReader, Pictures, chosen_core
from helip.evaluation.options import EvaluateOptions
from helip.evaluation.statistics.intervals import Ints
from helip.models.bundle import create_model

EXAMPLES = 20  # skipped rows that the result names
TOKENIZED = 1024  # strings at a time


@dataclass
class ReadRows:
    """A batch of rows as they were read."""

    rows: int
    pictures: list[int] = field(default_factory=list)  # rows whose picture is in pixels
    pixels: torch.Tensor | None = None  # [len(pictures), 3, height, width]
    captions: dict[int, Sequence[str]] = field(default_factory=dict)
    reasons: dict[int, str] = field(default_factory=dict)  # row -> why it cannot be used


@dataclass(frozen=True, kw_only=True)
class RowReader:
    """Reads ``rows`` of ``data``, batch by batch.

    ``pictures`` int64 [N] is the row whose picture each row shows; that row alone has it read.
    ``core`` is the transform of the core's reader; None: Pillow reads, and ``transform`` follows.
    """

    data: Any
    rows: Ints
    pictures: Ints
    captions: bool
    transform: Any
    core: ImageTransform | None
    batch_size: int
    workers: int

    def __iter__(self) -> Iterator[ReadRows]:
        return self._by_pillow() if self.core is None else self._by_core(self.core)

    def _by_pillow(self) -> Iterator[ReadRows]:
        reader: Any = torch.utils.data.DataLoader(
            _Rows(self),
            batch_size=self.batch_size,
            num_workers=self.workers,
            multiprocessing_context=start_method(self.data, self.workers),
            collate_fn=list,
        )
        for batch in reader:
            pixels = [(row, tensor) for row, tensor, _, _ in batch if tensor is not None]
            yield ReadRows(
                len(batch),
                [row for row, _ in pixels],
                torch.stack([tensor for _, tensor in pixels]) if pixels else None,
                {row: captions for row, _, captions, _ in batch if captions},
                {row: why[0] for row, _, _, why in batch if why},
            )

    def _by_core(self, transform: ImageTransform) -> Iterator[ReadRows]:
        reader = PictureReader(self.data, [transform], threads=self.workers)
        batches = (
            self.rows[first : first + self.batch_size]
            for first in range(0, len(self.rows), self.batch_size)
        )
        with closing(reader.read(batches, self._shown)) as read:
            for rows, begun in read:
                yield self._rows_of(reader, rows, begun)

    def _shown(self, rows: Ints) -> Ints:
        """Those of ``rows`` whose own picture is read."""
        return rows[self.pictures[rows] == rows]

    def _rows_of(self, reader: PictureReader, rows: Ints, begun: Pictures) -> ReadRows:
        captions = {row: self.captions_of(row) for row in rows.tolist()}
        unread = {row: reason for row, (_, reason) in captions.items() if reason}
        errors, shown = reader.wait(begun), begun.index
        kept = [place for place in range(len(shown)) if place not in errors]
        pixels = begun.views[0][kept] if errors else begun.views[0]
        failed = {int(shown[place]): str(error.reason) for place, error in errors.items()}
        return ReadRows(
            len(rows),
            shown[kept].tolist(),
            pixels if kept else None,
            {row: each for row, (each, _) in captions.items() if each},
            unread | failed,
        )

    def captions_of(self, row: int) -> tuple[Sequence[str], str]:
        """The captions of a row, where they are asked for; or why they cannot be read."""
        try:
            return (captions_of(self.data, row) if self.captions else ()), ""
        except SampleError as error:
            return (), str(error.reason)


class _Rows(torch.utils.data.Dataset[Any]):
    """Reads one row by Pillow: (row, pixels | None, its captions, reasons)."""

    def __init__(self, reader: RowReader) -> None:
        self.reader = reader

    def __len__(self) -> int:
        return len(self.reader.rows)

    def __getitems__(self, items: list[int]) -> list[Any]:
        coming = read_ahead(self.reader.data, self.reader.rows[items].tolist())
        return [self[item] for item, _ in zip(items, coming, strict=True)]

    def __getitem__(self, item: int) -> tuple[int, torch.Tensor | None, Sequence[str], list[str]]:
        reader = self.reader
        row = int(reader.rows[item])
        pixels, reasons = None, []
        if reader.pictures[row] == row:
            try:
                pixels = reader.transform(reader.data.image(row))
            except SampleError as error:
                reasons.append(error.reason)
        captions, reason = reader.captions_of(row)
        return row, pixels, captions, reasons + ([reason] if reason else [])


@dataclass
class Subject:
    """A model with all that it takes to turn pictures and strings into features."""

    name: str
    model: torch.nn.Module
    transform: Callable[[Any], torch.Tensor]
    tokenizer: Callable[[list[str]], torch.Tensor]
    device: torch.device
    options: EvaluateOptions
    progress: bool

    @classmethod
    def of(
        cls,
        model: Any,
        transform: Any,
        tokenizer: Any,
        options: EvaluateOptions,
        *,
        progress: bool = False,
    ) -> Subject:
        if isinstance(model, (str, os.PathLike)):
            model = create_model(model)
        name = getattr(model, "name", type(model).__name__)
        if hasattr(model, "eval_transform"):
            transform = transform or model.eval_transform
            tokenizer = tokenizer or model.tokenizer
            model = model.model
        if transform is None or tokenizer is None:
            raise InvalidArgumentError(
                f"model {name} brings no transform or no tokenizer; pass both, or a ModelBundle "
                "from create_model"
            )
        return cls(
            str(name),
            model,
            transform,
            tokenizer,
            _device(model, options.device),
            options,
            progress,
        )

    @contextmanager
    def ready(self) -> Iterator[None]:
        """The model on its device in eval mode; both are put back at the end.

        Each module gets back a mode of its own: a frozen batch norm is in eval mode while the model
        around it trains.
        """
        parameter = next(self.model.parameters(), None)
        home = self.device if parameter is None else parameter.device
        training = {module: module.training for module in self.model.modules()}
        self.model.to(self.device).eval()
        try:
            with torch.inference_mode():
                yield
        finally:
            self.model.to(home)
            for module, mode in training.items():
                module.training = mode

    def rows_of(self, data: Any, rows: Ints, pictures: Ints, *, captions: bool) -> RowReader:
        """Reads ``rows`` of ``data`` with the model's transform."""
        options = self.options
        return RowReader(
            data=data,
            rows=rows,
            pictures=pictures,
            captions=captions,
            transform=self.transform,
            core=chosen_core(options.reader, data, self.transform),
            batch_size=options.batch_size,
            workers=options.workers,
        )

    def images(self, pixels: torch.Tensor) -> torch.Tensor:
        # A half-precision model keeps its norms and scalars in float32; its convolution decides.
        dtypes = (m.weight.dtype for m in self.model.modules() if isinstance(m, torch.nn.Conv2d))
        pixels = pixels.to(self.device, next(dtypes, pixels.dtype))
        return self._features(self.model.encode_image, pixels)

    def texts(self, strings: list[str], progress: bool = False) -> torch.Tensor:
        parts = []
        with ProgressBar(len(strings), label="encode captions", enabled=progress) as bar:
            size = self.options.batch_size
            for start in range(0, len(strings), size):
                part = strings[start : start + size]
                tokens = self.tokenizer(part).to(self.device)
                parts.append(self._features(self.model.encode_text, tokens))
                bar.update(len(part))
        return torch.cat(parts)

    def truncated(self, strings: Sequence[str]) -> dict[str, int] | None:
        """How many strings the model's context cuts off; None where the tokenizer cannot tell."""
        context = getattr(self.tokenizer, "context_length", None)
        if not isinstance(context, int) or not _takes_context(self.tokenizer):
            return None
        tokenize: Any = self.tokenizer
        count = 0
        for start in range(0, len(strings), TOKENIZED):
            part = list(strings[start : start + TOKENIZED])
            # One more place changes nothing for a string that fits but padding at the end.
            wider = tokenize(part, context_length=context + 1)[:, :context]
            count += int((wider != tokenize(part)).any(dim=1).sum())
        return {"captions": count, "of": len(strings), "context_length": context}

    def _features(self, encode: Any, batch: torch.Tensor) -> torch.Tensor:
        look_again()
        with autocast(self.device, self.options.precision):
            features: torch.Tensor = encode(batch)
        # Normalised later in float32: a norm taken in half precision loses three digits.
        return features.float().cpu()


@dataclass
class Encoded:
    pictures: Ints  # [N] the row whose picture each row shows
    picture_rows: Ints  # [P] rows whose picture was read, ascending
    features: torch.Tensor  # float32 [P, d]
    captions: dict[int, Sequence[str]]  # of the rows that have any
    reasons: dict[int, str]  # row -> why it was skipped
    reader: str  # "core" or "pillow"

    @property
    def place(self) -> dict[int, int]:
        """Row of a picture -> row of its features."""
        return {row: number for number, row in enumerate(self.picture_rows.tolist())}

    def skipped(self, dataset: Any) -> dict[str, Any]:
        counts = Counter(self.reasons.values())
        rows = sorted(self.reasons)[:EXAMPLES]
        return {
            "rows": len(self.reasons),
            "reasons": dict(sorted(counts.items())),
            "examples": [
                {"row": row, "key": dataset.keys[row], "reason": self.reasons[row]} for row in rows
            ],
        }


def encode(subject: Subject, dataset: Any, pictures: Ints, *, captions: bool) -> Encoded:
    """The pictures, and the captions where they are asked for, of the rows that can be read.

    ``pictures`` int64 [N] is the row whose picture each row shows.
    """
    rows = np.arange(len(pictures)) if captions else np.unique(pictures)
    reader = subject.rows_of(dataset, rows, pictures, captions=captions)
    read: list[int] = []
    parts: list[torch.Tensor] = []
    strings: dict[int, Sequence[str]] = {}
    reasons: dict[int, str] = {}
    with ProgressBar(len(rows), label="encode pictures", enabled=subject.progress) as bar:
        for batch in reader:
            if batch.pixels is not None:
                read.extend(batch.pictures)
                parts.append(subject.images(batch.pixels))
            strings.update(batch.captions)
            reasons.update(batch.reasons)
            bar.update(batch.rows)
    if not parts:
        raise InvalidArgumentError(
            f"none of the {len(rows)} rows could be read: {dict(Counter(reasons.values()))}; "
            "check the data set"
        )
    lost = {int(row) for row in rows if pictures[row] == row} - set(read)
    for row in rows:
        if int(pictures[row]) in lost:
            reasons.setdefault(int(row), reasons[int(pictures[row])])
    return Encoded(
        pictures,
        np.array(read, dtype=np.int64),
        torch.cat(parts),
        strings,
        reasons,
        "pillow" if reader.core is None else "core",
    )


def _takes_context(tokenizer: Any) -> bool:
    try:
        return "context_length" in inspect.signature(tokenizer).parameters
    except (TypeError, ValueError):
        return False


def _device(model: torch.nn.Module, device: str) -> torch.device:
    parameter = next(model.parameters(), None)
    if device == "auto" and parameter is not None and parameter.device.type != "cpu":
        return parameter.device
    return choose_device(device)
