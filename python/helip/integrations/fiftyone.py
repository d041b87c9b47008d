"""A table of hard pairs as a ``fiftyone.Dataset``: a sample a row, its pool in the fields."""

from __future__ import annotations

import contextlib
import errno
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from helip import _core
from helip.common.errors import (
    Error,
    InvalidArgumentError,
    SampleError,
    StorageError,
    UnsupportedError,
    needed,
)
from helip.common.options import Options, Positive, keywords
from helip.pairs.cosines import TableCosines
from helip.pairs.exchange.exports import number_of_pairs
from helip.pairs.exchange.training_sets import Cells, reasons_in_words
from helip.pairs.hard_pairs import HardPairs
from helip.pairs.matching import data_of
from helip.reporting.plots.table_plots import hard_pair_counts
from helip.store.embedding_store import EmbeddingStore

_BLOCK = 1 << 13  # rows whose samples are held at a time


@dataclass(frozen=True, kw_only=True)
class FiftyOneCall(Options):
    """What `to_fiftyone` is asked."""

    pairs: HardPairs | str | os.PathLike[str] = field(kw_only=False)
    """A table of hard pairs, or its path; one that was opened with its store gives similarities."""
    data: Any = field(kw_only=False)
    """The data set that was mined, or what open_dataset takes; pictures are files."""
    name: str | None = None
    """Of the new data set; None for one that FiftyOne makes up."""
    num_pairs: Positive | None = None
    """Hard pairs of a sample at most; None for all."""
    persistent: bool = False
    """Whether FiftyOne keeps it when the session ends."""
    overwrite: bool = False
    """Take the place of a data set of that name."""


@keywords(FiftyOneCall)
def to_fiftyone(call: FiftyOneCall) -> Any:
    """A table as a ``fiftyone.Dataset``: a sample a row, with its hard pairs in fields, best first.

    ``key``, ``row``, ``caption``, ``label``; lists ``hard_keys``, ``hard_rows``, ``hard_score``
    and, with a store, ``hard_image_similarity`` and ``hard_text_similarity``; of the first hard
    pair ``top_score`` and the like, to sort and filter by; ``chosen``, how many targets have the
    row as a hard pair. A similarity that is not known is NaN in a list, else None. A row whose
    picture is missing has no sample, which a warning counts.

    Raises:
        InvalidArgumentError: FiftyOne has a data set of that name, and ``overwrite`` is False.
        MismatchError: the table was made of other data. StorageError: FiftyOne's database does not
            answer. UnsupportedError: fiftyone is absent, or pictures lie in shards or columns.
    """
    words = "a data set of FiftyOne needs the fiftyone library"
    with _database_errors(), needed(words, "helip[fiftyone]"):  # some releases connect then
        import fiftyone
    pairs = call.pairs if isinstance(call.pairs, HardPairs) else HardPairs.open(call.pairs)
    table, name = pairs._core, call.name
    num_pairs = number_of_pairs(table, "num_pairs", call.num_pairs)
    with _database_errors():
        taken = name is not None and not call.overwrite and fiftyone.dataset_exists(name)
    if taken:
        raise InvalidArgumentError(
            f"FiftyOne has a data set {name!r}; give another name, or overwrite=True to replace it"
        )
    data = data_of(table, call.data)
    rows = np.arange(len(table), dtype=np.int64)
    pictures, captions = Cells(data, rows, "path"), Cells(data, rows, "text")
    shown = np.flatnonzero(pictures.readable)
    if not len(shown):
        raise UnsupportedError(
            f"{data!r} has no pictures in files of their own, and samples of FiftyOne name files; "
            "write the pictures to a folder and open it"
        )
    chosen = hard_pair_counts(pairs)
    fields = _Fields(fiftyone, table, pairs.store, data, pictures, captions, num_pairs, chosen)
    with _database_errors():
        dataset = fiftyone.Dataset(name, persistent=call.persistent, overwrite=call.overwrite)
        try:
            # Fields of the first sample alone would lack those that are None there.
            for field, kind, of in fields.schema():
                dataset.add_sample_field(field, kind, **of)
            for first in range(0, len(table), _BLOCK):
                if samples := fields.samples(first):
                    dataset.add_samples(samples, progress=False, dynamic=False)
        except BaseException:
            dataset.delete()  # half of it would pass for the whole
            raise
    _tell(len(table) - len(shown), int((~captions.readable[shown]).sum()), pictures, captions)
    return dataset


@contextlib.contextmanager
def _database_errors() -> Iterator[None]:
    """Turn what FiftyOne and its database raise inside into one clear error."""
    try:
        yield
    except Error:
        raise
    except ValueError as error:
        raise InvalidArgumentError(f"FiftyOne refuses the data set: {error}") from error
    except Exception as error:  # of the database's client, which is no dependency of this package
        words = str(error).partition("\n")[0]
        raise StorageError(
            errno.EIO,
            f"FiftyOne cannot use its database ({type(error).__name__}: {words}); see that "
            "MongoDB runs, and that FIFTYONE_DATABASE_URI names it",
        ) from error


class _Fields:
    """What the samples of a table have."""

    def __init__(
        self,
        fiftyone: Any,
        table: _core.HardPairs,
        store: EmbeddingStore | None,
        data: Any,
        pictures: Cells,
        captions: Cells,
        num_pairs: int,
        chosen: Any,
    ) -> None:
        self._fiftyone, self._data = fiftyone, data
        self._pictures, self._captions = pictures, captions
        self._ids, self._scores = table.ids[:, :num_pairs], table.scores[:, :num_pairs]
        self._cosines = None if store is None else TableCosines(store)
        self._chosen = chosen

    def schema(self) -> Iterator[tuple[str, type, dict[str, type]]]:
        """(name, kind, what a list holds) of each field."""
        kinds = self._fiftyone
        text, whole, number = kinds.StringField, kinds.IntField, kinds.FloatField
        for name, kind in (("key", text), ("row", whole), ("caption", text), ("chosen", whole)):
            yield name, kind, {}
        sides = ["score"]
        if self._cosines is not None:
            sides += ["image_similarity", "text_similarity"]
        yield "hard_keys", kinds.ListField, {"subfield": text}
        yield "hard_rows", kinds.ListField, {"subfield": whole}
        for side in sides:
            yield f"hard_{side}", kinds.ListField, {"subfield": number}
            yield f"top_{side}", number, {}
        yield "label", kinds.EmbeddedDocumentField, {"embedded_doc_type": kinds.Classification}

    def samples(self, first: int) -> list[Any]:
        """The samples of the block of rows from ``first`` on whose pictures are there."""
        ids, keys = self._ids[first : first + _BLOCK], self._data.keys
        columns = {"score": self._scores[first : first + _BLOCK]}
        if self._cosines is not None:
            image, text = self._cosines.of(first, ids)
            columns |= {"image_similarity": image, "text_similarity": text}
        made = []
        for place, pool in enumerate(ids):
            row = first + place
            if not self._pictures.readable[row]:
                continue
            hard = pool[pool >= 0].tolist()
            values: dict[str, Any] = {
                "key": keys[row],
                "row": row,
                "caption": self._captions.text(row) if self._captions.readable[row] else None,
                "chosen": int(self._chosen[row]),
                "hard_keys": [keys[other] for other in hard],
                "hard_rows": hard,
            }
            for name, column in columns.items():
                listed = column[place, : len(hard)].tolist()
                known = bool(listed) and listed[0] == listed[0]  # NaN would be sorted by
                values |= {f"hard_{name}": listed, f"top_{name}": listed[0] if known else None}
            label = self._label(row)
            if label is not None:
                values["label"] = self._fiftyone.Classification(label=label)
            made.append(self._fiftyone.Sample(filepath=self._pictures.text(row), **values))
        return made

    def _label(self, row: int) -> str | None:
        try:
            return self._data.label(row) if hasattr(self._data, "label") else None
        except SampleError:
            return None


def _tell(without_picture: int, without_caption: int, pictures: Cells, captions: Cells) -> None:
    if not without_picture and not without_caption:
        return
    reasons = reasons_in_words(pictures.failures + captions.failures)
    warnings.warn(
        f"{without_picture:,} rows without a picture in a file of its own have no sample, and "
        f"{without_caption:,} samples no caption ({reasons})",
        stacklevel=4,
    )
