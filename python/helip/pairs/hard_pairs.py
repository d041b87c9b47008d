"""HardPairs: the table that mining makes and training reads."""

from __future__ import annotations

import csv
import json
import os
from typing import Any

import numpy as np

from helip import _core
from helip.common.errors import InvalidArgumentError
from helip.common.files import require_there, storage_errors
from helip.common.options import method_keywords
from helip.pairs.filtering.filtering import FilterCall, filtered
from helip.store.matrices import matrix_of


class HardPairs:
    """For each target up to k hard pairs, best first. Immutable.

    ``ids`` [N, k] int32 (int64 from N = 2^31) are rows of the data set, -1 beyond ``counts``;
    ``scores`` [N, k] float32 are products of two cosine similarities, 0 beyond ``counts``;
    ``counts`` [N] int32. A target with count 0 is an outlier, one with less than k is short.
    """

    def __init__(self, core: _core.HardPairs) -> None:
        self._core = core

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> HardPairs:
        """Opens a saved table; headers, ids and counts are checked, scores are mapped.

        Raises:
            StorageError: no table there. CorruptError: it is damaged. UnsupportedError: newer.
        """
        require_there(path, "table of hard pairs")
        return cls(_core.HardPairs.open(os.fspath(path)))

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
            InvalidArgumentError: a field that is no row number, or a target twice, with its line.
        """
        pools: dict[int, list[int]] = {}
        with storage_errors("read", path), open(path, newline="", encoding="utf-8") as file:
            for number, fields in enumerate(csv.reader(file), start=1):
                if not fields or (number == 1 and not fields[0].strip().lstrip("-").isdigit()):
                    continue
                try:
                    target, *pool = [int(field) for field in fields if field.strip()]
                except ValueError as error:
                    raise InvalidArgumentError(
                        f"line {number} of {os.fspath(path)} holds {error}; every field must be a "
                        "row number"
                    ) from None
                if target in pools:
                    raise InvalidArgumentError(
                        f"line {number} of {os.fspath(path)} is the second one of target {target}; "
                        "keep one"
                    )
                pools[target] = [row for row in pool if row >= 0]
        largest = max((max([target, *pool]) for target, pool in pools.items()), default=-1)
        n = largest + 1 if rows is None else rows
        if largest >= n:
            raise InvalidArgumentError(
                f"{os.fspath(path)} names row {largest}; a data set of {n} rows ends at {n - 1}"
            )
        k = max((len(pool) for pool in pools.values()), default=1) or 1
        ids = np.full((n, k), -1, dtype=np.int64)
        scores = np.zeros((n, k), dtype=np.float32)
        for target, pool in pools.items():
            ids[target, : len(pool)] = pool
            scores[target, : len(pool)] = 1.0 - np.arange(len(pool)) / max(len(pool), 1)
        if n < 2**31:
            ids = ids.astype(np.int32)
        return cls.from_arrays(ids, scores, options={"method": "csv", "k": k})

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Writes ``target,h1,...,hk`` for each target that has a hard pair, pads left out."""
        with storage_errors("write", path), open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["target", *(f"h{r + 1}" for r in range(self.k))])
            for target, (ids, count) in enumerate(zip(self.ids, self.counts, strict=True)):
                if count:
                    writer.writerow([target, *ids[:count].tolist()])

    @method_keywords(FilterCall)
    def filter(self, call: FilterCall) -> HardPairs:
        """The table without false negatives: hard pairs that fit their target as well as its own.

        No pair is mined anew, so pools get shorter. With c(i, j) the cosine of image i and caption
        j by the model of ``by``, such as a CLIP, a hard pair j of target i is flagged by each rule
        that is given; docs/filter.md has them and their sources. A pair with a row of zeros in
        ``by`` is not flagged, and counted. ``options["filter"]`` and ``report["filter"]`` of the
        new table list what was asked and what was found, for each time it was filtered.

        Raises:
            InvalidArgumentError: no rule; ``out`` exists; images and captions of two models.
            MismatchError: ``by`` has other rows or keys. StorageError: ``out`` cannot be written.
        """
        return HardPairs(filtered(self._core, call))

    def table_for(self, rows: int) -> HardPairs:
        """Itself: what a loader asks of whatever gives it hard pairs; the rows are its own."""
        return self

    def __len__(self) -> int:
        return len(self._core)

    def __repr__(self) -> str:
        method = self.options.get("method", "?")
        return f"HardPairs(targets={len(self):,}, k={self.k}, method={method!r})"

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
        hubs``) and what mining reported:

        - ``pairs``: here the hard pairs; :attr:`report` has the ordered pairs that mining decided
          on, N(N - 1) when it was exact.
        - ``drops``: by filter, the pairs that would be among their target's best k + skip but for
          it, each under the first that keeps it out, over all targets: ``image_duplicate``,
          ``text_duplicate``, ``margin``, ``collapsed``; and ``skipped``, passed over on request,
          all that a GPU counts.
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
        """
        return {**self.report, **self._core.statistics()}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes a new directory, all or nothing.

        Raises:
            InvalidArgumentError: something is there already. StorageError: the disk refuses.
        """
        self._core.save(os.fspath(path))

    def verify(self) -> None:
        """Reads every byte and compares checksums; CorruptError at the first damage."""
        self._core.verify()
