"""Batches that are planned beforehand and kept in files, for whatever trains."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from helip.common.array_folder import ArrayFile, ArrayFolder, files_of
from helip.common.errors import InvalidArgumentError, needed
from helip.common.files import publish_directory, publish_file
from helip.common.options import ProgressOptions, keywords
from helip.common.progress import ProgressBar
from helip.loading.options import BatchOptions, PlanOptions
from helip.loading.row_facts import HardRows, padded
from helip.loading.sampling import table_sampler, tell_of_equal
from helip.loading.text_columns import TextColumns, opened_rows
from helip.pairs.hard_pairs import HardPairs
from helip.pairs.soft_labels import SoftLabels
from helip.store.data_identity import Identity, require_same_data

FORMAT = "helip.batch_plan"
_VERSION = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class BatchPlanCall(PlanOptions, ProgressOptions):
    """What `plan_batches` is asked."""

    pairs: HardPairs | str | os.PathLike[str] = dataclasses.field(kw_only=False)
    """The table of hard pairs, or its path."""
    out: str | os.PathLike[str]
    """A directory that does not exist."""
    data: Any = None
    """The data set that was mined, or what `open_dataset` takes, or a dict of columns of text:
    compared with the table. It must be given with ``unique="caption"``."""
    soft_labels: SoftLabels | str | os.PathLike[str] | None = None
    """Soft labels of the table's data, or their path: the plan gets the weights of hard rows."""


class PlannedRows(NamedTuple):
    """One batch of a plan."""

    rows: np.ndarray
    """int64 [b]: rows of the data set, all different."""
    target: np.ndarray
    """int64 [b]: the batch row of the target that each serves; its own row for a target."""
    community: np.ndarray
    """int64 [b]: of strategy communities the number of the one that each target is in, as they come
    in the epoch; -1 for none, of other rows and of other strategies."""
    hard_rows: np.ndarray
    """int64 [b, m]: batch rows in the pool of each, best first, -1 where there are fewer than m."""
    own_weights: np.ndarray | None = None
    """float32 [b]: how right each row is for itself; None without soft labels."""
    hard_weights: np.ndarray | None = None
    """float32 [b, m]: how right ``hard_rows`` are for each row, 0 where there are fewer than m;
    None without soft labels."""


@keywords(BatchPlanCall)
def plan_batches(call: BatchPlanCall) -> BatchPlan:
    """Writes the batches of some epochs to files: those that a loader with these options draws.

    Nothing is read but the table and soft labels. An epoch takes 16 bytes a row and 4 for each hard
    pair within a batch, with soft labels 2 more of each; the work takes some 65 bytes of memory a
    row of the data. The directory appears when it is whole, or not at all. docs/batches.md has the
    files.

    Raises:
        MismatchError: the table, or the soft labels, belong to other data.
        InvalidArgumentError: an option out of its bound or of another strategy; ``out`` exists.
        StorageError: the disk is full or refuses; nothing is left in ``out``.
    """
    out = Path(call.out)
    table, sampler, identity = table_sampler(
        call.pairs, call.data, BatchOptions.of(call), seed=call.seed, world_size=call.world_size
    )
    labels = SoftLabels.opened(call.soft_labels)
    if labels is not None:
        labels.require_data(table)
        identity["soft_labels"] = labels.digest
    batches = int(sampler.batches_per_epoch) * call.world_size
    epochs = []
    with (
        publish_directory(out) as folder,
        ProgressBar(batches * call.epochs, label="plan", unit="batches", enabled=call.progress)
        as bar,
    ):  # fmt: skip
        for epoch in range(call.epochs):
            epochs.append(_write_epoch(folder, epoch, sampler, table, labels, call.world_size, bar))
        contents = {
            "options": {**identity, "world_size": call.world_size},
            "skipped_targets": int(sampler.skipped_targets),
            "epochs": epochs,
            "files": files_of(sorted(folder.iterdir())),
        }
        ArrayFolder.finish(folder, FORMAT, _VERSION, contents)
    return BatchPlan.open(out)


class BatchPlan:
    """Planned batches, in files that are mapped. Immutable.

    ``rows`` of the data set, ``epochs``, ``world_size``, ``batch_size``, ``options`` (all that
    changes the batches, with ``data_fingerprint`` and ``store_fingerprint``), ``skipped_targets``
    (short ones that are no targets), ``digest`` (of options and batches).
    """

    def __init__(self, folder: ArrayFolder) -> None:
        self._folder, manifest = folder, folder.contents
        self.path = folder.path
        self._held: tuple[int | None, Any] = None, None  # the epoch that was asked for last
        self.options: dict[str, Any] = manifest["options"]
        self.digest = folder.digest
        self.rows = int(self.options["rows"])
        self.epochs = len(manifest["epochs"])
        self.world_size = int(self.options["world_size"])
        self.batch_size = int(self.options["batch_size"])
        self.skipped_targets = int(manifest["skipped_targets"])

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, data: Any = None) -> BatchPlan:
        """Opens what `plan_batches` wrote; the sizes of its files are checked.

        Args:
            path: the directory.
            data: a data set that the plan must be of, what `open_dataset` takes, or a dict of
                columns of text.

        Raises:
            StorageError: no plan there. CorruptError: a file is cut short or missing.
            UnsupportedError: it is newer. MismatchError: it is of other data.
        """
        folder = ArrayFolder.open(
            path, form=FORMAT, version=_VERSION, what="a plan of batches", again="plan again"
        )
        try:
            plan = cls(folder)
        except (KeyError, TypeError, ValueError) as error:
            raise folder.damaged(error) from error
        if data is not None:
            plan.require_data(opened_rows(data))
        return plan

    def require_data(self, data: Any) -> None:
        """Raises MismatchError unless the plan is of this open data set, or of these texts."""
        if isinstance(data, TextColumns):
            data.require(f"the plan {str(self.path)!r}", self.rows, self.options.get("texts"))
            return
        require_same_data(
            f"the plan {str(self.path)!r}",
            Identity(self.rows, self.options["data_fingerprint"]), Identity.of(data),
            "open the data set that was mined, or plan batches of this one",
        )  # fmt: skip

    def verify(self) -> None:
        """Reads every byte; CorruptError where a file differs from its checksum."""
        self._folder.verify()

    def batches_of(self, epoch: int) -> int:
        """How many batches an epoch has, of all ranks together."""
        return len(self._columns(epoch).starts) - 1

    def rows_of(self, epoch: int) -> np.ndarray:
        """The rows of an epoch, batch after batch; int32, int64 from 2^31 rows on; mapped."""
        return self._columns(epoch).rows

    def starts_of(self, epoch: int) -> np.ndarray:
        """Where each batch of `rows_of` begins, and where the last one ends; int64, mapped."""
        return self._columns(epoch).starts

    def batch(self, epoch: int, number: int) -> PlannedRows:
        """Batch ``number`` of an epoch, 0 .. `batches_of` - 1."""
        columns, here = self._place(epoch, number)
        hard = columns.hard_rows[slice(*columns.hard_starts[number : number + 2].tolist())]
        rows, target, community = (
            column[here].astype(np.int64)
            for column in (columns.rows, columns.target, columns.community)
        )
        counts = columns.hard_counts[here]
        own = weights = None
        if columns.own_weights is not None and columns.hard_weights is not None:
            own = columns.own_weights[here].astype(np.float32)
            given = columns.hard_weights[slice(*columns.hard_starts[number : number + 2].tolist())]
            weights = padded(counts, given.astype(np.float32), 0)
        return PlannedRows(rows, target, community, padded(counts, hard), own, weights)

    def batch_rows(self, epoch: int, number: int) -> np.ndarray:
        """The rows of that batch alone, int64 [b]."""
        columns, here = self._place(epoch, number)
        return columns.rows[here].astype(np.int64)

    def number_of(self, epoch: int, rows: np.ndarray) -> int:
        """The number of the batch that holds these rows, int64 [b], in this order.

        InvalidArgumentError where none does.
        """
        columns = self._columns(epoch)
        firsts = columns.rows[columns.starts[:-1]]
        for number in np.flatnonzero(firsts == rows[0]).tolist() if len(rows) else []:
            if np.array_equal(self.batch_rows(epoch, number), rows):
                return int(number)
        raise InvalidArgumentError(
            f"{len(rows)} rows from {rows[:1].tolist()} on are no batch of epoch {epoch} of "
            f"{str(self.path)!r}; give all rows of one of its batches, in their order, and "
            "their epoch (BatchSampler.set_epoch)"
        )

    def batches(self, epoch: int) -> Iterator[PlannedRows]:
        """All batches of an epoch in their order."""
        return (self.batch(epoch, number) for number in range(self.batches_of(epoch)))

    def counts(self) -> dict[str, Any]:
        """What the batches hold, over all epochs: ``batches``, ``rows``, ``smallest`` and
        ``largest`` batch, ``hard_rows`` (rows of a batch in the pool of another, each counted by
        that other), ``rows_with_hard_rows``, ``communities`` and ``equal_targets`` (rows left out
        by ``unique``, since a row with an equal caption is in their batch)."""
        epochs = self._folder.contents["epochs"]
        extremes = {"smallest": min, "largest": max}
        return {name: extremes.get(name, sum)(each[name] for each in epochs) for name in epochs[0]}

    def to_dict(self) -> dict[str, Any]:
        """What the plan is and holds, as JSON-able values."""
        return {
            "path": str(self.path), "epochs": self.epochs, "digest": self.digest,
            "skipped_targets": self.skipped_targets, **self.counts(), "options": self.options,
        }  # fmt: skip

    def to_parquet(self, path: str | os.PathLike[str], epoch: int) -> None:
        """Writes an epoch as a table of Parquet: ``batch``, ``row``, ``target``, ``community``
        and ``hard_rows``, a list; with soft labels ``own_weight`` and ``hard_weights``, a list; in
        bounded memory.

        Raises UnsupportedError where pyarrow is absent, InvalidArgumentError where ``path`` exists.
        """
        pa, parquet = arrow()
        columns, group = self._columns(epoch), 256
        schema = pa.schema(
            [("batch", pa.int64()), ("row", pa.int64()), ("target", pa.int32()),
             ("community", pa.int32()), ("hard_rows", pa.list_(pa.int32()))]
        )  # fmt: skip
        if columns.hard_weights is not None:
            for name, kind in (
                ("own_weight", pa.float32()),
                ("hard_weights", pa.list_(pa.float32())),
            ):
                schema = schema.append(pa.field(name, kind))
        note = json.dumps({"digest": self.digest, "epoch": epoch, "options": self.options})
        with (
            publish_file(Path(path)) as temporary,
            parquet.ParquetWriter(temporary, schema.with_metadata({FORMAT: note})) as writer,
        ):
            for first in range(0, self.batches_of(epoch), group):
                starts = columns.starts[first : first + group + 1]
                hard_starts = columns.hard_starts[first : first + group + 1]
                here = slice(int(starts[0]), int(starts[-1]))
                offsets = np.concatenate([[0], np.cumsum(columns.hard_counts[here])])
                batch = np.repeat(np.arange(first, first + len(starts) - 1), np.diff(starts))
                pairs = slice(int(hard_starts[0]), int(hard_starts[-1]))
                ends = pa.array(offsets.astype(np.int32))
                values = [
                    batch, columns.rows[here].astype(np.int64), columns.target[here],
                    columns.community[here],
                    pa.ListArray.from_arrays(ends, pa.array(columns.hard_rows[pairs])),
                ]  # fmt: skip
                if columns.own_weights is not None and columns.hard_weights is not None:
                    weights = pa.array(columns.hard_weights[pairs].astype(np.float32))
                    values.append(columns.own_weights[here].astype(np.float32))
                    values.append(pa.ListArray.from_arrays(ends, weights))
                arrays = [pa.array(value) if isinstance(value, np.ndarray) else value
                          for value in values]  # fmt: skip
                writer.write_table(pa.Table.from_arrays(arrays, schema=schema))

    def _place(self, epoch: int, number: int) -> tuple[_Columns, slice]:
        """The arrays of an epoch, and where a batch lies in them."""
        columns, count = self._columns(epoch), self.batches_of(epoch)
        if not 0 <= number < count:
            raise InvalidArgumentError(
                f"batch {number} of epoch {epoch} is none of 0 .. {count - 1}"
            )
        return columns, slice(*columns.starts[number : number + 2].tolist())

    def __repr__(self) -> str:
        return (
            f"BatchPlan(rows={self.rows}, epochs={self.epochs}, batch_size={self.batch_size}, "
            f"world_size={self.world_size}, strategy={self.options['strategy']!r})"
        )

    def _columns(self, epoch: int) -> _Columns:
        if epoch != self._held[0]:
            self._held = epoch, self._opened(epoch)
        return self._held[1]

    def _opened(self, epoch: int) -> _Columns:
        if not 0 <= epoch < self.epochs:
            raise InvalidArgumentError(
                f"epoch {epoch} is not in {str(self.path)!r}, which has the epochs 0 .. "
                f"{self.epochs - 1}; plan more with epochs=, or begin again with epoch 0"
            )
        files = self._folder.contents["files"]
        return _Columns(
            **{
                name: self._folder.array(_file_of(epoch, name))
                for name in _Columns._fields
                if _file_of(epoch, name) in files or name not in _Columns._field_defaults
            }
        )


class _Columns(NamedTuple):
    """The arrays of an epoch."""

    rows: np.ndarray  # int32 or int64 [n]
    target: np.ndarray  # int32 [n]
    community: np.ndarray  # int32 [n]
    hard_counts: np.ndarray  # int32 [n]
    hard_rows: np.ndarray  # int32 [all hard rows]: those of a row, then those of the next
    starts: np.ndarray  # int64 [batches + 1], of rows
    hard_starts: np.ndarray  # int64 [batches + 1], of hard_rows
    own_weights: np.ndarray | None = None  # float16 [n]; with soft labels
    hard_weights: np.ndarray | None = None  # float16 [all hard rows]; with soft labels


def _file_of(epoch: int, name: str) -> str:
    return f"epoch-{epoch:05}.{name}.npy"


def arrow() -> tuple[Any, Any]:
    """pyarrow and its module of Parquet; UnsupportedError where they are absent."""
    with needed("Parquet needs the pyarrow library", "helip[data]"):
        import pyarrow
        from pyarrow import parquet
    return pyarrow, parquet


def _write_epoch(
    folder: Path,
    epoch: int,
    sampler: Any,
    table: HardPairs,
    labels: SoftLabels | None,
    world_size: int,
    bar: ProgressBar,
) -> dict[str, Any]:
    """Writes the arrays of an epoch; counts of what they hold."""
    sampler.set_epoch(epoch)
    sampler.reset_statistics()
    index_type = np.dtype(np.int32 if len(table) < 2**31 else np.int64)
    find = HardRows(table)
    starts, hard_starts, with_hard, communities, sizes = [0], [0], 0, 0, []
    with contextlib.ExitStack() as stack:
        streams = {
            name: stack.enter_context(ArrayFile(folder / _file_of(epoch, name), dtype))
            for name, dtype in (
                ("rows", index_type), ("target", np.int32), ("community", np.int32),
                ("hard_counts", np.int32), ("hard_rows", np.int32),
                *((("own_weights", np.float16), ("hard_weights", np.float16)) if labels else ()),
            )
        }  # fmt: skip
        for step in range(int(sampler.batches_per_epoch)):
            first, last, _, _ = sampler.hardness(step)
            for rank in range(world_size):
                index, target, community = sampler.batch(step, rank)
                if len(community) == 0:
                    community = np.full(len(index), -1, np.int32)
                counts, hard = find(index, int(first), int(last))
                columns = [index, target, community, counts, hard]
                if labels is not None:
                    places = np.repeat(np.arange(len(index)), counts)
                    columns += labels.of_pairs(index, places, hard)
                for name, values in zip(streams, columns, strict=True):
                    streams[name].add(values)
                communities = max(communities, int(community.max()) + 1)
                starts.append(starts[-1] + len(index))
                hard_starts.append(hard_starts[-1] + len(hard))
                with_hard += int((counts > 0).sum())
                sizes.append(len(index))
                bar.update()
    equal = int(sampler.statistics()["equal_targets"])
    tell_of_equal(equal, epoch)
    for name, values in (("starts", starts), ("hard_starts", hard_starts)):
        np.save(folder / _file_of(epoch, name), np.array(values, dtype=np.int64))
    return {
        "batches": len(sizes), "rows": starts[-1], "smallest": min(sizes), "largest": max(sizes),
        "hard_rows": hard_starts[-1], "rows_with_hard_rows": with_hard, "communities": communities,
        "equal_targets": equal,
    }  # fmt: skip
