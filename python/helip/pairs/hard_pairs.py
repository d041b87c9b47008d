"""HardPairs: the table that mining makes and training reads."""

from __future__ import annotations

import dataclasses
import json
import operator
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, TypeVar

import numpy as np
from annotated_types import Ge, Lt

from helip import _core
from helip.common.errors import InvalidArgumentError
from helip.common.files import named_file, open_there, replace_by
from helip.common.options import Positive, Seed, Whole, check, method_keywords, require
from helip.common.remote.downloading import local_copy
from helip.common.remote.manifest import TABLE
from helip.common.remote.outputs import save_at, written_to
from helip.common.remote.urls import url_of
from helip.pairs.blocks import Pools, pool_blocks
from helip.pairs.exchange.exports import ExportsPairs, pairs_html
from helip.pairs.filtering import FilterCall, filtered
from helip.pairs.hub import (
    PullTableCall,
    PushTableCall,
    SaveTableCall,
    folder_of,
    push_table,
    save_table,
)
from helip.pairs.joining import JoinCall, joined
from helip.pairs.target_pool import TargetPool
from helip.pairs.unreadable import unreadable_rows
from helip.store.embedding_store import EmbeddingStore, store_of
from helip.store.keys import KeyIndex
from helip.store.matrices import matrix_of

C = TypeVar("C", FilterCall, JoinCall)

Rows = Annotated[int, Ge(0), Lt(2**40)]  # of a data set


class HardPairs(ExportsPairs):
    """For each target up to k hard pairs, best first. Immutable.

    ``ids`` [N, k] int32 (int64 from N = 2^31) are rows of the data set, -1 beyond ``counts``;
    ``scores`` [N, k] float32 are products of two cosine similarities, 0 beyond ``counts``;
    ``counts`` [N] int32. A target with count 0 is an outlier, or a row without an embedding; one
    with less than k is short.
    ``pairs[i]`` is the pool of target i, a :class:`TargetPool`; a loop over the table gives all.

    Examples:
        >>> import helip, numpy as np
        >>> rows = np.float32([[1, 0], [0.8, 0.6], [0, 1], [0.6, 0.8]])
        >>> pairs = helip.mine(image=rows, text=rows, k=2, progress=False)
        >>> pairs
        HardPairs(targets=4, k=2, method='exact')
        >>> pairs[0]
        TargetPool(target=0, ids=[1, 3], count=2)
        >>> pairs.save("some.pairs")
        >>> helip.HardPairs.open("some.pairs").counts.tolist()
        [2, 2, 2, 2]
    """

    def __init__(
        self, core: _core.HardPairs, store: EmbeddingStore | None = None, data: Any = None
    ) -> None:
        self._core = core
        self._store, self._data = store, data
        self._key_index: KeyIndex | None = None  # once a key was asked for

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        store: EmbeddingStore | str | os.PathLike[str] | None = None,
        cache: str | os.PathLike[str] | None = None,
        progress: bool = False,
    ) -> HardPairs:
        """Opens a saved table; headers, ids and counts are checked, scores are mapped.

        Args:
            path: a directory, or a URL of s3, gs, az, http or https, whose table is downloaded
                first, checked, unless the cache has it; see docs/remote.md.
            store: the store that was mined, or its path: the table then knows keys and
                similarities, see :meth:`with_store`.
            cache: of a URL: the folder that keeps the table; None: ``remote`` in that of
                ``HELIP_CACHE``.
            progress: of a download: a bar on a terminal.

        Raises:
            StorageError: no table there. CorruptError: it is damaged. UnsupportedError: newer.
            MismatchError: another store was mined.
        """
        path = local_copy(path, (TABLE,), cache=cache, progress=progress)
        pairs = cls(open_there(_core.HardPairs.open, path, "table of hard pairs"))
        return pairs if store is None else pairs.with_store(store)

    @classmethod
    def from_arrays(
        cls,
        ids: Any,
        scores: Any,
        counts: Any = None,
        *,
        fingerprint: str = "",
        data_fingerprint: str = "",
        options: dict[str, Any] | None = None,
        report: dict[str, Any] | None = None,
    ) -> HardPairs:
        """Copies arrays into a table; ``counts`` defaults to the ids that are not -1.

        Raises:
            InvalidArgumentError: shapes that disagree, an id outside 0 .. N-1, a target that names
                itself, a pad that is not -1 and 0 — with the place.
        """
        ids = np.ascontiguousarray(ids)
        if ids.dtype not in (np.int32, np.int64):
            raise InvalidArgumentError(f"ids have dtype {ids.dtype}; use int32 or int64")
        scores = np.ascontiguousarray(scores, dtype=np.float32)
        if counts is None:
            counts = (ids >= 0).sum(axis=-1)
        counts = np.ascontiguousarray(counts, dtype=np.int32)
        return cls(
            _core.HardPairs.from_arrays(
                matrix_of(ids, name="ids"),
                matrix_of(scores, name="scores"),
                matrix_of(counts, name="counts", one_dimensional=True),
                fingerprint=fingerprint,
                data_fingerprint=data_fingerprint,
                options_json=json.dumps(options or {}),
                report_json=json.dumps(report or {}),
            )
        )

    @classmethod
    def from_csv(cls, path: str | os.PathLike[str], *, rows: int | None = None) -> HardPairs:
        """Reads the reference implementation's CSV, ``target,h1,...,hk``, a line a target.

        A header line is skipped; targets without a line are outliers. The file has no scores: rank
        r of n gets 1 - r/n, so that the order is kept and nothing else is claimed.

        Args:
            rows: N of the data set; by default one more than the largest number in the file.

        Raises:
            StorageError: the file cannot be read.
            InvalidArgumentError: a field that is no row number, or a target twice, with its line;
                rows out of its bound.
        """
        check("rows", rows, Rows | None)
        count = -1 if rows is None else operator.index(rows)
        return cls(_core.HardPairs.open_csv(os.fspath(path), count))

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Writes ``target,h1,...,hk`` for each target that has a hard pair, pads left out.

        What lies there is replaced, whole or not at all. What a killed call left goes first.

        Raises:
            InvalidArgumentError: an empty path. StorageError: the disk refuses.
        """
        replace_by(Path(named_file(path)), self._whole()._core.save_csv)

    @method_keywords(FilterCall)
    def filter(self, call: FilterCall) -> HardPairs:
        """The table without false negatives: hard pairs that fit their target as well as its own.

        No pair is mined anew, so pools get shorter. With c(i, j) the cosine of image i and caption
        j by the model of ``by``, such as a CLIP, a hard pair j of target i is flagged by each rule
        that is given; docs/filter.md has them and their sources. A pair with a row of zeros in
        ``by`` is not flagged, and counted. ``verdicts`` flag what people said is no hard pair.
        ``options["filter"]`` and ``report["filter"]`` of the
        new table list what was asked and what was found, for each time it was filtered.

        Raises:
            InvalidArgumentError: no rule; ``out`` exists; images and captions of two models.
            MismatchError: ``by`` has other rows or keys; verdicts on other data.
            StorageError: ``out`` cannot be written.
        """
        table = self._whole()._core
        core = _written(call, lambda call: filtered(table, call, self._store, self._data))
        return HardPairs(core, self._store, self._data)

    @method_keywords(JoinCall)
    def join(self, call: JoinCall) -> HardPairs:
        """The table of both: for each target the union of its two pools, best first.

        A pair that both have comes once, with the greater score. Pools are ordered by score, then
        by row, and cut to k. Scores are compared as they are: those of a table by text alone are
        cosines, which are greater than the products of one by both.

        Tables that were filtered differently are refused, since pairs that one filter dropped could
        come back from the other table: join first, then filter.

        Both tables must have the same targets: their number, ``fingerprint`` of the store and
        ``data_fingerprint`` must agree. A fingerprint that one does not know, as of bare arrays,
        agrees with any, and the new table has the known one. How they were mined need not agree:
        options that both share stay, of ``image_max`` and ``text_max`` the greater one,
        ``method`` is ``"joined"``, and ``report["join"]`` has the
        counts (``pairs`` of both, ``duplicates``, ``cut`` beyond k, ``left``) and the options and
        report of each. ``helip.update`` takes no such table. Works in blocks of bounded memory.

        Raises:
            MismatchError: other targets. InvalidArgumentError: k above what both have together;
                other filters; ``out`` exists. UnsupportedError: a part of a table.
                StorageError: ``out`` cannot be written.
        """
        other = call.other
        path = isinstance(other, (str, os.PathLike))
        require(path or isinstance(other, HardPairs), "other", other, "a table, or its path")
        other = HardPairs.open(other) if path else other
        tables = self._whole()._core, other._whole()._core
        core = _written(call, lambda call: joined(*tables, call))
        return HardPairs(core, self._store, self._data)

    def table_for(self, rows: int) -> HardPairs:
        """Itself: what a loader asks of whatever gives it hard pairs; the rows are its own."""
        return self._whole()

    def __len__(self) -> int:
        return len(self._core)

    def __repr__(self) -> str:
        method = self.options.get("method", "?")
        return f"HardPairs(targets={len(self):,}, k={self.k}, method={method!r})"

    def _repr_html_(self) -> str | None:
        """Some targets with their best hard pairs, for notebooks."""
        return pairs_html(repr(self), self._core, self._store, self._data)

    def with_store(self, store: EmbeddingStore | str | os.PathLike[str]) -> HardPairs:
        """The same table, which knows ``store``, the store that was mined, or its path.

        Its pools and what it is exported to then have keys and cosine similarities. Nothing is
        copied.

        Raises:
            MismatchError: the table was mined from another store; of a table without a fingerprint
                the number of rows and the scores of some pairs are compared. StorageError,
                CorruptError: no whole store.
        """
        from helip.pairs.matching import refuse_other_store

        self._whole()
        store = store_of(store)
        refuse_other_store(self, store)
        return HardPairs(self._core, store, self._data)

    def with_data(self, data: Any) -> HardPairs:
        """The same table, which shows pictures and captions of ``data`` in notebooks.

        ``data`` is the data set that was mined, or what open_dataset takes.

        Raises:
            MismatchError: the table was made of other data.
        """
        from helip.pairs.matching import data_of

        return HardPairs(self._whole()._core, self._store, data_of(self._core, data))

    def __getitem__(self, index: int) -> TargetPool:
        """The hard pairs of target ``index``; negative ones count from the end. IndexError."""
        whole, size = self._table(), len(self)
        try:
            target = operator.index(index)
        except TypeError:
            raise TypeError(
                f"a target must be a row number, not {type(index).__name__}; for several targets "
                "use ids, scores and counts, and for a key near(key)"
            ) from None
        if not -size <= target < size:
            raise IndexError(f"target {index} is outside 0..{size - 1}")
        target %= size
        count = int(whole.counts[target])
        return TargetPool(
            target, whole.ids[target, :count], whole.scores[target, :count], self._store
        )

    def __iter__(self) -> Iterator[TargetPool]:
        """The pools of all targets in order, also of those without a hard pair."""
        return map(self.__getitem__, range(len(self._table())))

    def blocks(self, rows: int | None = None) -> Iterator[tuple[int, Pools]]:
        """The whole table in order, a block of targets at a time: what a loop by arrays takes.

        Gives ``(first, pools)``: row i of ``pools.ids`` [b, k] int64, ``pools.scores`` [b, k]
        float32 and ``pools.counts`` [b] int32 is the pool of target first + i. Scores and counts
        are views of the table.

        Args:
            rows: targets of a block; by default so many that its arrays have 2^20 places.
        """
        check("rows", rows, Positive | None)
        return pool_blocks(self._table(), rows)

    def near(self, key: str) -> TargetPool:
        """The hard pairs of the target with this key. The first call reads all keys once.

        Raises:
            InvalidArgumentError: the table knows no store, or the store has no such key.
        """
        store = self._whole().store
        if store is None:
            raise InvalidArgumentError(
                f"key is {key!r}, and the table knows row numbers alone; open it with the store "
                "that was mined: HardPairs.open(path, store=…) or pairs.with_store(store)"
            )
        if self._key_index is None:
            self._key_index = KeyIndex(store.keys)
        row = self._key_index.row(key) if isinstance(key, str) else None
        if row is None:
            raise InvalidArgumentError(
                f"the store {store.path} has no key {key!r}; its keys are such as "
                f"{', '.join(map(repr, store.keys[:3]))}"
            )
        return self[row]

    def sample(self, n: int, *, seed: int = 0) -> list[TargetPool]:
        """Pools of ``n`` targets that have a hard pair, drawn at random, in ascending order.

        Each target is drawn at most once; where fewer have a hard pair, all of them come.
        """
        check("n", n, Whole)
        check("seed", seed, Seed)
        known = np.flatnonzero(self._table().counts > 0)
        drawn = np.random.default_rng(seed).choice(known, min(n, len(known)), replace=False)
        return [self[target] for target in np.sort(drawn).tolist()]

    @property
    def store(self) -> EmbeddingStore | None:
        """The store that was mined, where the table knows it: see :meth:`with_store`."""
        return self._store

    @property
    def data(self) -> Any:
        """The open data set that was mined, where the table knows it: see :meth:`with_data`."""
        return self._data

    @property
    def path(self) -> str:
        """The directory; empty for a table in memory."""
        return self._core.path

    @property
    def k(self) -> int:
        """Pool size: columns of ``ids``."""
        return self._core.k

    @property
    def ids(self) -> np.ndarray:
        """Rows of the hard pairs [N, k], -1 beyond the count."""
        return self._core.ids

    @property
    def scores(self) -> np.ndarray:
        """Scores [N, k] float32, falling along a row, 0 beyond the count."""
        return self._core.scores

    @property
    def counts(self) -> np.ndarray:
        """Number of hard pairs of each target [N] int32."""
        return self._core.counts

    @property
    def fingerprint(self) -> str:
        """Of the store that was mined; empty for bare arrays."""
        return self._core.fingerprint

    @property
    def data_fingerprint(self) -> str:
        """Of the data set that the rows belong to; empty for bare arrays."""
        return self._core.data_fingerprint

    @property
    def options(self) -> dict[str, Any]:
        """The options of the mining, with the method that was chosen."""
        return json.loads(self._core.options_json)

    @property
    def report(self) -> dict[str, Any]:
        """What the mining counted and measured; see :meth:`stats` for what the names mean."""
        return json.loads(self._core.report_json)

    def stats(self) -> dict[str, Any]:
        """Statistics as JSON-able values.

        Keys: ``targets, k, pairs, outliers, short_targets, score_quantiles,
        first_score_quantiles, hubness`` (``mean_in_degree, max_in_degree, never_chosen, skewness,
        hubs``), ``unreadable`` where the table knows its store: rows without an embedding, not read
        or deleted, which are neither outliers nor short nor never chosen; and what mining reported:

        - ``pairs``: here the hard pairs; :attr:`report` has the ordered pairs that mining decided
          on, N(N - 1) when it was exact.
        - ``drops``: by filter, the pairs that would be among their target's best k + skip but for
          it, each under the first that keeps it out, over all targets: ``image_duplicate``,
          ``text_duplicate``, ``margin``, ``collapsed``; ``skipped``, passed over on request, all
          that a GPU counts; and ``verdicts``, taken out by people.
        - ``filters``: what pairs were held against before they were scored, and the shares of a
          sample that passed; see :class:`helip.Plan`.
        - ``filter``: what each call of :meth:`filter` found: ``pairs`` before, of which ``flagged``
          by a rule or more, by each (``reasons``) and at each rank (``ranks``), in the pools of
          ``changed`` targets; ``unjudged``, with a row of zeros; ``cut``, beyond k; ``left``;
          ``outliers`` and ``short_targets`` before and after.
        - ``recall``: measured (``value, low, high, targets``), of ``sample``, ``hnsw`` and
          ``partition``.
        - ``hnsw``: ``breadth`` of the searches, and whether the lower limit of the recall
          ``reached`` what was asked for.
        - ``stages``, of ``partition`` in stages: ``clusters``, rows of the ``largest`` and its
          shares of the sample (``largest_of_sample``), clusters of a row at first (``overlap``),
          rows that went to one more in each further round (``widened``), ``passes`` of refining,
          the ``recalls`` after each, and whether the last ``reached`` what was asked for.
        """
        stats = {**self.report, **self._core.statistics()}
        if self._store is not None:
            unreadable = len(unreadable_rows(self))
            stats["unreadable"] = unreadable
            for counts, name in (
                (stats, "outliers"), (stats, "short_targets"), (stats["hubness"], "never_chosen"),
            ):  # fmt: skip
                counts[name] -= unreadable
        return stats

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes a new directory, or to a URL of s3, gs or az, all or nothing.

        Raises:
            InvalidArgumentError: something is there already. StorageError: the disk or the service
                refuses.
        """
        save_at(path, self._table()._core.save)

    @classmethod
    @method_keywords(PullTableCall)
    def from_pretrained(cls, call: PullTableCall) -> HardPairs:
        """Opens the table in a directory or a repository of a hub; raises as :meth:`open` does."""
        return cls.open(folder_of(call), store=call.store)

    @method_keywords(SaveTableCall)
    def save_pretrained(self, call: SaveTableCall) -> Path:
        """Writes a new directory with a card, all or nothing; it names no path of this machine."""
        return save_table(self._whole()._core, self.stats(), call)

    @method_keywords(PushTableCall)
    def push_to_hub(self, call: PushTableCall) -> str:
        """Uploads what :meth:`save_pretrained` writes; returns the address of the commit.

        InvalidArgumentError: no name of a repository; a path of this machine in the card.
        StorageError: no token; the hub refuses.
        """
        return push_table(self._whole()._core, self.stats(), call)

    def verify(self) -> None:
        """Reads every byte and compares checksums; CorruptError at the first damage."""
        self._core.verify()


def _written(call: C, work: Callable[[C], _core.HardPairs]) -> _core.HardPairs:
    """What ``work`` writes to ``call.out``, also where that is a URL."""
    if (url := url_of(call.out)) is None:
        return work(call)
    return written_to(
        url,
        lambda path: work(dataclasses.replace(call, out=path)),
        _core.HardPairs.open,
        progress=call.progress,
    )
