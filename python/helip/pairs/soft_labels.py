"""Soft labels: how right one row is for another, for the losses.

A contrastive loss takes the caption of row i for the only right one of its picture, and the other
way round. Soft labels give each row i a weight w_ij in 0 .. 1 for row j, and w_ii for itself. The
weight is of the rows as pairs: it holds for the picture of i and the caption of j, and for the
caption of i and the picture of j:

    target of row i over the rows j of a batch:  w_ij / max(1, sum over j of w_ij)

Rows without a label have w_ii = 1 and nothing else, as in CLIP. (Soft targets are those of
arXiv 1503.02531; `helip.losses.HelipLoss` has the loss.)
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from helip.common.array_folder import ArrayFile, ArrayFolder, files_of
from helip.common.errors import InvalidArgumentError, needed
from helip.common.files import publish_directory, reading_file
from helip.common.options import ProgressOptions, keywords, require
from helip.common.progress import ProgressBar
from helip.pairs.blocks import Pools
from helip.pairs.hard_pairs import HardPairs
from helip.pairs.options import SoftLabelOptions
from helip.store.data_identity import Identity, require_same_data
from helip.store.embedding_store import EmbeddingStore
from helip.store.npy_files import map_npy
from helip.store.pair_cosines import PairCosines
from helip.verdicts.verdicts import EXCLUDING, Verdicts

FORMAT = "helip.soft_labels"
_VERSION = 1
_STREAMS = ("own", "ids", "weights")  # written row after row
_LEAST = 2.0**-10  # weights below it are no label: they change a target by a thousandth


@dataclasses.dataclass(frozen=True, kw_only=True)
class SoftLabelCall(SoftLabelOptions, ProgressOptions):
    """What `label_pairs` is asked."""

    pairs: HardPairs | str | os.PathLike[str] = dataclasses.field(kw_only=False)
    """The table of hard pairs, or its path."""
    out: str | os.PathLike[str]
    """A directory that does not exist."""
    teacher: EmbeddingStore | str | os.PathLike[str] | None = None
    """A store of the same rows, whose pictures and captions were embedded into one space, such as
    by a CLIP model; or its path."""
    weights: Any = None
    """Weights of one's own: float [rows, k], one for each place of the table, or a ``.npy`` file of
    them; or a ``.parquet`` file with the columns ``target``, ``hard`` (rows; the same row twice is
    its own weight) and ``weight``."""
    verdicts: Verdicts | str | os.PathLike[str] | None = None
    """What people said of pairs and rows, or the path of their file."""


@keywords(SoftLabelCall)
def label_pairs(call: SoftLabelCall) -> SoftLabels:
    """Writes a weight for each pair of a table, from a teacher, a column of weights and verdicts.

    - Of a teacher with unit rows x and y, and c_ij = (<x_i, y_j> + <y_i, x_j>) / 2, row i has
      w_ij = exp((c_ij - m) / temperature), m the largest c of the row itself and its pool. So the
      targets are what the teacher's softmax over the row and its hard pairs gives.
    - Weights of one's own replace those of the pairs that they name.
    - Verdicts replace both, for a pair in either order: the share of the people who judged it that
      called it a false negative or a near duplicate, where one who is unsure is a half. A row that
      some call a mismatch has itself the weight that remains.

    A row that the teacher does not know (zero or deleted) has no label by it. Weights below 1/1024
    are left out. The table is read in blocks; a label takes 6 bytes on disk, 10 from 2^31 rows on.

    Raises:
        InvalidArgumentError: no source of labels; weights outside 0 .. 1, of another shape, or for
            a pair twice; a teacher whose two spaces have different widths; ``out`` exists.
        MismatchError: the teacher or the verdicts belong to other data than the table.
        StorageError: the disk is full or refuses; nothing is left in ``out``.
    """
    table = call.pairs._whole() if isinstance(call.pairs, HardPairs) else HardPairs.open(call.pairs)
    sources = _Sources(call, table)
    with publish_directory(Path(call.out)) as folder:
        counts = _write(folder, table, sources, progress=call.progress)
        contents = {
            "rows": len(table),
            **counts,
            "data_fingerprint": table.data_fingerprint,
            "store_fingerprint": table.fingerprint,
            "sources": sources.described,
            "files": files_of(sorted(folder.iterdir())),
        }
        ArrayFolder.finish(folder, FORMAT, _VERSION, contents)
    return SoftLabels.open(call.out)


def _write(folder: Path, table: HardPairs, sources: _Sources, *, progress: bool) -> dict[str, int]:
    """Writes the arrays, a block of the table at a time; counts of what they hold."""
    rows, below_one = len(table), 0
    dtypes = (np.float16, np.int32 if rows < 2**31 else np.int64, np.float16)
    starts = np.zeros(rows + 1, np.int64)
    with contextlib.ExitStack() as stack:
        own_file, ids_file, weights_file = (
            stack.enter_context(ArrayFile(folder / f"{name}.npy", dtype))
            for name, dtype in zip(_STREAMS, dtypes, strict=True)
        )
        bar = stack.enter_context(ProgressBar(rows, label="label", unit="rows", enabled=progress))
        for first, pools in table.blocks():
            own, found = sources.of(first, pools)
            starts[first + 1 : first + 1 + len(own)] = np.bincount(
                found.rows - first, minlength=len(own)
            )
            own_file.add(own)
            ids_file.add(found.others)
            weights_file.add(found.weights)
            below_one += int((own < 1).sum())
            bar.update(len(own))
    labelled = int((starts > 0).sum())
    np.cumsum(starts, out=starts)
    np.save(folder / "starts.npy", starts)
    return {
        "labels": int(starts[-1]), "rows_with_labels": labelled, "rows_below_one": below_one,
    }  # fmt: skip


class SoftLabels:
    """Weights of pairs of rows, in files that are mapped. Immutable; threads may share it.

    ``rows`` of the data, ``labels`` (weights between two rows), ``digest`` (of all weights).
    """

    def __init__(self, folder: ArrayFolder) -> None:
        self._folder, about = folder, folder.contents
        self.path, self.digest = folder.path, folder.digest
        self.rows, self.labels = int(about["rows"]), int(about["labels"])
        self.data_fingerprint = str(about["data_fingerprint"])
        self._own, self._starts, self._ids, self._weights = (
            folder.array(f"{name}.npy") for name in ("own", "starts", "ids", "weights")
        )

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> SoftLabels:
        """Opens what `label_pairs` wrote; the sizes of its files are checked.

        Raises:
            StorageError: nothing there. CorruptError: a file is cut short or missing.
            InvalidArgumentError: no soft labels. UnsupportedError: they are newer, or at a URL.
        """
        folder = ArrayFolder.open(
            path, form=FORMAT, version=_VERSION, what="a folder of soft labels",
            again="label the pairs again",
        )  # fmt: skip
        try:
            return cls(folder)
        except (KeyError, TypeError, ValueError) as error:
            raise folder.damaged(error) from error

    @classmethod
    def opened(cls, given: SoftLabels | str | os.PathLike[str] | None) -> SoftLabels | None:
        """What is given, opened where it is a path; None for None."""
        if given is None or isinstance(given, SoftLabels):
            return given
        return cls.open(given)

    def of(self, rows: Any) -> Tensor:
        """float32 [b, b]: how right each row (column) is for each row, and on the diagonal a row
        for itself; what the losses of helip take as ``soft_labels``.

        rows: whole numbers [b], rows of the data, all different. InvalidArgumentError for others.
        """
        index = self._checked(rows)
        found = np.zeros((len(index), len(index)), np.float32)
        found[np.arange(len(index)), np.arange(len(index))] = self._own[index]
        of, ids, weights = self._labels_of(index)
        order = np.argsort(index)
        column = order[np.searchsorted(index[order], ids).clip(max=len(index) - 1)]
        there = index[column] == ids
        found[of[there], column[there]] = weights[there]
        return torch.from_numpy(found)

    def of_pairs(
        self, rows: Any, places: np.ndarray, others: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Of a batch as in `of`: the own weights float32 [b], and float32 [n] how right the row at
        place ``others[i]`` of the batch is for the one at ``places[i]``; without a matrix."""
        index = self._checked(rows)
        of, ids, weights = self._labels_of(index)
        keys, wanted = of * self.rows + ids, places * self.rows + index[others]
        at = np.searchsorted(keys, wanted).clip(max=max(len(keys) - 1, 0))
        found = np.zeros(len(wanted), np.float32)
        if len(keys):
            there = keys[at] == wanted
            found[there] = weights[at[there]]
        return self._own[index].astype(np.float32), found

    def _checked(self, rows: Any) -> np.ndarray:
        index = np.asarray(rows).reshape(-1)
        if index.size and (index.dtype.kind not in "iu" or len(np.unique(index)) < len(index)):
            raise InvalidArgumentError(
                f"rows of a batch are {index.dtype} with {len(np.unique(index))} of {len(index)} "
                "different; give whole numbers, each row once"
            )
        for row in index[(index < 0) | (index >= self.rows)][:1].tolist():
            raise InvalidArgumentError(
                f"row {row} of a batch is none of the {self.rows:,} that have soft labels; give "
                "rows of the data set that was mined"
            )
        return index.astype(np.int64)

    def _labels_of(self, index: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """All labels of rows [b], by place and then by row: places in it, other rows, weights."""
        starts, counts = self._starts[index], self._starts[index + 1] - self._starts[index]
        at = np.repeat(starts - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())
        return np.repeat(np.arange(len(index)), counts), self._ids[at], self._weights[at]

    def require_data(self, data: Any) -> None:
        """Raises MismatchError unless the labels are of this open data set, or table."""
        identity = Identity.of(data)
        if isinstance(data, HardPairs):
            identity = Identity(len(data), data.data_fingerprint)
        require_same_data(
            f"the soft labels {self.path}", Identity(self.rows, self.data_fingerprint), identity,
            "open the data set that was mined, or label the pairs of this one",
        )  # fmt: skip

    def verify(self) -> None:
        """Reads every byte; CorruptError where a file differs from its checksum."""
        self._folder.verify()

    def to_dict(self) -> dict[str, Any]:
        """What they hold, as JSON-able values."""
        contents = {name: value for name, value in self._folder.contents.items() if name != "files"}
        return {"path": str(self.path), "digest": self.digest, **contents}

    def __repr__(self) -> str:
        return f"SoftLabels(rows={self.rows}, labels={self.labels})"


class _Named(NamedTuple):
    """Weights by the two rows that they are of, ascending, each pair once."""

    rows: np.ndarray  # int64 [n]
    others: np.ndarray  # int64 [n]; the row itself: its own weight
    weights: np.ndarray  # float32 [n]

    @classmethod
    def none(cls) -> _Named:
        return cls(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32))

    @classmethod
    def ordered(cls, rows: Any, others: Any, weights: Any) -> _Named:
        """Of pairs in any order."""
        rows, others = (np.asarray(each, np.int64) for each in (rows, others))
        order = np.lexsort((others, rows))
        return cls(rows[order], others[order], np.asarray(weights, np.float32)[order])

    def of(self, block: slice) -> _Named:
        """Those of the rows of a block."""
        begin, end = np.searchsorted(self.rows, [block.start, block.stop])
        return _Named(*(each[begin:end] for each in self))

    def then(self, later: _Named) -> _Named:
        """These, and in their place those of ``later`` where it has some."""
        if not len(later.rows) or not len(self.rows):
            return later if len(later.rows) else self
        rows, others, weights = (np.concatenate(both) for both in zip(self, later, strict=True))
        order = np.lexsort((others, rows))  # stable: of a pair the later one stays last
        rows, others = rows[order], others[order]
        last = np.r_[(rows[1:] != rows[:-1]) | (others[1:] != others[:-1]), True]
        return _Named(rows[last], others[last], weights[order][last])


class _Sources:
    """All that says how right a pair is; a later one replaces what an earlier one says."""

    def __init__(self, call: SoftLabelCall, table: HardPairs) -> None:
        self.described: dict[str, Any] = {}
        self._teacher, self._column = None, None
        self._named: list[_Named] = []
        if call.teacher is not None:
            self._teacher = _Teacher(call.teacher, table, call.temperature)
            self.described["teacher"] = {
                "store": self._teacher.fingerprint, "temperature": call.temperature,
            }  # fmt: skip
        if call.weights is not None:
            self._column, named = _weights(call.weights, table)
            self._named.append(named)
            known = len(named.weights) if self._column is None else self._column.size
            self.described["weights"] = known
        if call.verdicts is not None:
            self._named.append(_of_verdicts(call.verdicts, table))
            self.described["verdicts"] = len(self._named[-1].weights)
        if not self.described:
            raise InvalidArgumentError(
                "nothing says how right a caption is; give teacher, weights or verdicts"
            )

    def of(self, first: int, pools: Pools) -> tuple[np.ndarray, _Named]:
        """Of the targets from ``first`` on: own weights float32 [b], and labels with others."""
        own, found = np.ones(len(pools.ids), np.float32), _Named.none()
        if self._teacher is not None:
            own, found = self._teacher.of(first, pools)
        if self._column is not None:
            found = found.then(_of_column(self._column, first, pools))
        for named in self._named:
            found = found.then(named.of(slice(first, first + len(own))))
        itself = found.rows == found.others
        own[found.rows[itself] - first] = found.weights[itself]
        kept = ~itself & (found.weights >= _LEAST)
        return own, _Named(*(each[kept] for each in found))


class _Teacher:
    def __init__(self, given: Any, table: HardPairs, temperature: float) -> None:
        store = given if isinstance(given, EmbeddingStore) else EmbeddingStore.open(given)
        if store.image_dim != store.text_dim:
            raise InvalidArgumentError(
                f"the teacher {store.path} has pictures of {store.image_dim} dimensions and "
                f"captions of {store.text_dim}, which are not in one space; embed the data with "
                "both towers of one model, such as a CLIP"
            )
        require_same_data(
            f"the teacher {store.path}",
            Identity(len(store), store.data_fingerprint),
            Identity(len(table), table.data_fingerprint),
            "embed the data that was mined with the teacher",
        )
        self.fingerprint = store.fingerprint
        self._cosines, self._temperature = PairCosines(store), temperature

    def of(self, first: int, pools: Pools) -> tuple[np.ndarray, _Named]:
        """Own weights [b], and those of the pools."""
        targets = np.arange(first, first + len(pools.ids))
        own = self._mean(first, targets[:, None])
        others = self._mean(first, pools.ids)
        unknown = np.isnan(others) | np.isnan(own)
        own, others = np.nan_to_num(own), np.where(unknown, -np.inf, others)
        most = np.maximum(own, others.max(axis=1, keepdims=True))
        weights = np.exp((others - most) / self._temperature).astype(np.float32)
        kept = weights >= _LEAST
        rows = np.broadcast_to(targets[:, None], weights.shape)[kept]
        own_weights = np.exp((own - most) / self._temperature).astype(np.float32)[:, 0]
        return own_weights, _Named.ordered(rows, pools.ids[kept], weights[kept])

    def _mean(self, first: int, ids: np.ndarray) -> np.ndarray:
        ids = np.ascontiguousarray(ids)
        image, text = (self._cosines.of(way, first, ids) for way in ("image_text", "text_image"))
        return 0.5 * (image + text)


def _weights(given: Any, table: HardPairs) -> tuple[np.ndarray | None, _Named]:
    """Weights of one's own: by the places of the table, or by pairs of rows."""
    if given is None:
        return None, _Named.none()
    if isinstance(given, (str, os.PathLike)):
        if Path(given).suffix == ".parquet":
            return None, _of_parquet(Path(given), len(table))
        given = map_npy(given)
    column: np.ndarray = np.asarray(given.detach().cpu() if isinstance(given, Tensor) else given)
    if column.shape != (len(table), table.k) or column.dtype.kind not in "fiub":
        raise InvalidArgumentError(
            f"weights are {column.dtype} {column.shape}, must be numbers {(len(table), table.k)}: "
            "one for each place of the table, best first; or give a .parquet file of pairs"
        )
    return column, _Named.none()


def _of_column(column: np.ndarray, first: int, pools: Pools) -> _Named:
    there = pools.ids >= 0
    weights = np.asarray(column[first : first + len(pools.ids)], np.float32)[there]
    rows = np.broadcast_to(np.arange(first, first + len(there))[:, None], there.shape)[there]
    others = pools.ids[there]
    _check_weights(rows, others, weights)
    return _Named.ordered(rows, others, weights)


def _of_parquet(path: Path, rows: int) -> _Named:
    with needed("weights in Parquet need the pyarrow library", "helip[data]"):
        import pyarrow.parquet
    names = ("target", "hard", "weight")
    with reading_file(path):
        try:
            read = pyarrow.parquet.read_table(path)
        except pyarrow.ArrowException as error:
            raise InvalidArgumentError(
                f"{path} is no Parquet file ({error!s:.100}); write weights as one"
            ) from error
    if missing := [name for name in names if name not in read.column_names]:
        raise InvalidArgumentError(
            f"{path} has no column {missing[0]!r}; its columns are {', '.join(read.column_names)}, "
            "and weights have target, hard and weight"
        )
    columns = {name: read.column(name) for name in names}
    for name, column in columns.items():
        numbers = pyarrow.types.is_integer(column.type) or (
            name == "weight" and pyarrow.types.is_floating(column.type)
        )
        if not numbers or column.null_count:
            wanted = "numbers in 0 .. 1" if name == "weight" else "rows of the data"
            raise InvalidArgumentError(
                f"{name} of {path} has {column.type} with {column.null_count:,} nulls, must be "
                f"{wanted}, one in each line"
            )
    target, hard, weight = (column.to_numpy() for column in columns.values())
    for name, values in (("target", target), ("hard", hard)):
        least, most = (values.min(), values.max()) if len(values) else (0, 0)
        if not 0 <= least <= most < rows:
            raise InvalidArgumentError(
                f"{name} of {path} has the rows {least} to {most}, must be rows of the data, 0 to "
                f"{rows - 1:,}"
            )
    _check_weights(target, hard, weight)
    named = _Named.ordered(target, hard, weight)
    twice = (named.rows[1:] == named.rows[:-1]) & (named.others[1:] == named.others[:-1])
    for place in np.flatnonzero(twice)[:1].tolist():
        raise InvalidArgumentError(
            f"{path} has the pair ({named.rows[place]}, {named.others[place]}) twice; give each "
            "pair one weight"
        )
    return named


def _check_weights(rows: np.ndarray, others: np.ndarray, weights: np.ndarray) -> None:
    with np.errstate(invalid="ignore"):
        wrong = ~((weights >= 0) & (weights <= 1))
    for place in np.flatnonzero(wrong)[:1].tolist():
        pair = f"({rows[place]}, {others[place]})"
        require(False, f"weight of the pair {pair}", float(weights[place]),
                "in 0 .. 1: how right the second row is for the first")  # fmt: skip


def _of_verdicts(given: Any, table: HardPairs) -> _Named:
    """Of both orders of a pair, and of rows alone."""
    with contextlib.ExitStack() as stack:
        if not isinstance(given, Verdicts):
            given = stack.enter_context(Verdicts.open(given))
        given.refuse_other_data(len(table), table.data_fingerprint)
        decided = given.decided().values()
    found = []
    for decision in decided:
        row, other = decision.rows
        votes = decision.votes
        said = sum(votes.get(verdict, 0) for verdict in (*EXCLUDING, "mismatch"))
        share = (said + 0.5 * votes.get("unsure", 0)) / decision.people
        if other is None:
            found.append((row, row, 1.0 - share))
        else:
            found += [(row, other, share), (other, row, share)]
    return _Named.ordered(*zip(*found, strict=True)) if found else _Named.none()
