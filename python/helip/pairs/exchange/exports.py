"""What a table of hard pairs becomes for other libraries and for notebooks."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from markupsafe import Markup, escape

from helip import _core
from helip.common.errors import InvalidArgumentError, needed
from helip.common.files import named_file
from helip.common.options import Positive, check
from helip.common.text import plain, table_html
from helip.pairs.options import Format, Layout, Modality
from helip.store.embedding_store import EmbeddingStore

Table = TypeVar("Table", bound="ExportsPairs")
_SHOWN_TARGETS = 5
_SHOWN_PAIRS = 5


class ExportsPairs:
    """The part of :class:`HardPairs` that hands its pairs to data frames, files and data sets."""

    _core: _core.HardPairs
    _store: EmbeddingStore | None

    def _whole(self: Table) -> Table:
        """Itself; a part of a table refuses what only a table has, and hard negatives what only
        pairs of one data set have."""
        return self

    def _table(self: Table) -> Table:
        """Itself; a part of a table refuses what only a table has."""
        return self._whole()

    def to_arrow(self, layout: Layout = "long", *, similarities: bool = True) -> Any:
        """A ``pyarrow.Table``; docs/pairs-out.md lists the columns and what is copied.

        Args:
            layout: ``"long"``, a row a pair, by target and rank; ``"nested"``, a row a target with
                its hard pairs in lists.
            similarities: with a store, also both cosine similarities of each pair, by all cores.

        Raises:
            UnsupportedError: pyarrow is absent.
        """
        return self._export(layout, similarities, encoded=True).table()

    def to_pandas(self, layout: Layout = "long", *, similarities: bool = True) -> Any:
        """A ``pandas.DataFrame`` with the columns of :meth:`to_arrow`.

        Keys of the long layout are categorical, and a similarity that is not known is NaN.
        UnsupportedError: pyarrow or pandas is absent.
        """
        with needed("a data frame of pandas needs the pandas library", "helip[tables]"):
            import pandas  # noqa: F401
        return self._export(layout, similarities, encoded=True).table().to_pandas()

    def to_polars(self, layout: Layout = "long", *, similarities: bool = True) -> Any:
        """A ``polars.DataFrame`` with the columns of :meth:`to_arrow`; keys are text.

        UnsupportedError: pyarrow or polars is absent.
        """
        with needed("a data frame of Polars needs the polars library", "helip[tables]"):
            import polars
        return polars.from_arrow(self._export(layout, similarities).table())

    def to_parquet(
        self,
        path: str | os.PathLike[str],
        *,
        layout: Layout = "long",
        similarities: bool = True,
        overwrite: bool = False,
    ) -> None:
        """Writes a Parquet file with the columns of :meth:`to_arrow`; keys are text.

        It is written by row groups of 2^20 pairs, and appears when it is whole. Memory is bounded,
        but with a store all of its keys are held: their bytes and 8 a row, for a moment twice.

        Raises:
            InvalidArgumentError: a file is there, and ``overwrite`` is False; an empty path.
                StorageError: the disk refuses. UnsupportedError: pyarrow is absent.
        """
        check("layout", layout, Layout)
        from helip.pairs.exchange.arrow import write_parquet

        write_parquet(
            self._table()._core, self._store, Path(named_file(path)), layout,
            similarities=similarities, overwrite=overwrite,
        )  # fmt: skip

    def to_dataset(
        self,
        data: Any,
        format: Format = "triplet",
        *,
        anchor: Modality = "text",
        num_negatives: int = 3,
    ) -> Any:
        """A ``datasets.Dataset`` as sentence-transformers' ``mine_hard_negatives`` gives one.

        The positive is the other modality of the target itself, negatives are that of its first
        hard pairs, best first; docs/pairs-out.md has the columns. A target comes where both
        of its sides can be read, with one negative at least, in an n-tuple with all of them;
        the others are counted in a warning and in ``info.description``. Pictures are named by
        their files; those that lie in a shard or a column are copied for each row that has them.

        Args:
            data: the data set that was mined, or what open_dataset takes.
            format: ``"triplet"``, ``"n-tuple"``, ``"labeled-pair"`` or ``"labeled-list"``.
            anchor: ``"text"``, captions against pictures, or ``"image"``, the other way round.
            num_negatives: hard pairs of a target, 1 .. k; fewer where its pool has fewer.

        Raises:
            InvalidArgumentError: a value out of its bound. MismatchError: the table was made of
                other data. UnsupportedError: datasets is absent.
        """
        check("format", format, Format)
        check("anchor", anchor, Modality)
        table = self._whole()._core
        count = number_of_pairs(table, "num_negatives", num_negatives)
        from helip.pairs.exchange.training_sets import dataset_of

        return dataset_of(table, data, format, anchor, count)

    def to_negclip(
        self,
        path: str | os.PathLike[str],
        data: Any,
        *,
        num_negatives: int | None = None,
        overwrite: bool = False,
    ) -> int:
        """Writes the table that NegCLIP trains on (arXiv 2210.01936); returns its number of rows.

        Tab-separated, a row a target: ``title``, ``filepath``, and the lists ``neg_caption``, the
        captions of its hard pairs, and ``neg_image``, their rows in this file, from 0. A target is
        left out, and counted in a warning, where it has no hard pair in the file, or its caption
        cannot be read or its picture is missing.

        Args:
            data: the data set that was mined, or what open_dataset takes; pictures are files.
            num_negatives: hard pairs of a target at most; None for all.

        Raises:
            InvalidArgumentError: a file is there, and ``overwrite`` is False; an empty path.
                MismatchError: the table was made of other data. UnsupportedError: pictures lie in
                shards or columns.
        """
        table = self._whole()._core
        count = number_of_pairs(table, "num_negatives", num_negatives)
        from helip.pairs.exchange.training_sets import write_negclip

        return write_negclip(
            table, data, Path(named_file(path)), num_negatives=count, overwrite=overwrite
        )

    def _export(self, layout: Layout, similarities: bool, encoded: bool = False) -> Any:
        from helip.pairs.exchange.arrow import ArrowExport

        check("layout", layout, Layout)
        return ArrowExport(
            self._table()._core, self._store, layout, similarities=similarities, encoded=encoded
        )


def number_of_pairs(table: _core.HardPairs, name: str, given: int | None) -> int:
    """The option ``name``, or k where it is None; InvalidArgumentError unless it is in 1 .. k."""
    if given is None:
        return table.k
    check(name, given, Positive)
    if given > table.k:
        raise InvalidArgumentError(
            f"{name} is {given}, must be at most {table.k}, the k of the table"
        )
    return given


def pairs_html(title: str, table: _core.HardPairs, store: EmbeddingStore | None, data: Any) -> str:
    """The first targets that have a hard pair, each with its best ones: key or row, score, and of
    ``data``, if it is given, picture and caption."""
    shown = min(_SHOWN_PAIRS, table.k)
    rows = []
    for target in np.flatnonzero(table.counts)[:_SHOWN_TARGETS].tolist():
        count = min(int(table.counts[target]), shown)
        cells = [_cell_of_sample(target, "", store, data)]
        for row, score in zip(
            table.ids[target, :count].tolist(), table.scores[target, :count].tolist(), strict=True
        ):
            cells.append(_cell_of_sample(row, f" ({score:.3f})", store, data))
        rows.append([*cells, *[""] * (shown - count)])
    return table_html(title, ["target", *(f"hard pair {r + 1}" for r in range(shown))], rows)


def _cell_of_sample(row: int, score: str, store: EmbeddingStore | None, data: Any) -> Markup:
    from helip.data.thumbnails import sample_html

    keys = getattr(store if data is None else data, "keys", None)
    name = escape(plain(str(row) if keys is None else f"{row}: {keys[row]}", 60) + score)
    return name if data is None else Markup("{}<br>{}").format(name, sample_html(data, row))
