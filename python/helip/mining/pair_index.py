"""An index of pairs that answers for *new* pairs which of those that it holds are hard."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from helip import _core
from helip.common.errors import InvalidArgumentError, UnsupportedError
from helip.common.options import (
    Positive,
    ProgressOptions,
    ThreadOptions,
    Threads,
    check,
    method_keywords,
)
from helip.common.progress import Follower, ProgressBar
from helip.common.remote.downloading import local_copy
from helip.common.remote.manifest import INDEX
from helip.common.remote.outputs import save_at
from helip.common.remote.urls import local_path, url_of
from helip.mining.inputs import InputOptions, inputs_of
from helip.mining.options import GraphOptions, NearDuplicates
from helip.mining.recall import hits_of, recall_of
from helip.pairs.growing_pairs import row_numbers

_BOTH = ("image", "text")
_EVERY_PAIR = -1  # as a breadth of the core
_GOOD_RECALL = 0.9


@dataclass(frozen=True, kw_only=True)
class HnswlibCall(NearDuplicates, ThreadOptions):
    """What `PairIndex.open_hnswlib` is asked."""

    path: str | os.PathLike[str] = field(kw_only=False)
    """A file of hnswlib's ``save_index``, or of `PairIndex.save_hnswlib`."""
    image_dim: Positive = field(kw_only=False)
    """How many of the first dimensions of a vector are the image's."""


@dataclass(frozen=True, kw_only=True)
class BuildCall(GraphOptions, InputOptions, ThreadOptions, ProgressOptions):
    """What `PairIndex.build` is asked."""

    ids: Any = None
    """int64 [N], from 0 on and each once; None for row numbers."""
    recall_sample: Positive | None = 64
    """Pairs whose recall@10 is measured, with a warning below 0.9; None for none. See `recall`."""


class PairIndex:
    """Finds, for new pairs, the hard pairs among many: hnswlib's graph over the product of cosines.

    A hard pair of a query q is a pair j of large ``cos(image q, image j) * cos(text q, text j)``,
    both above zero, that is no near duplicate of q, as in :func:`helip.mine`. Rows are kept in
    float16 for the scores and in int8 for the search. ``docs/pair-index.md`` has the precision and
    the format.

    Any number of threads may query at once, without the GIL, also while one adds or removes pairs.

    Examples:
        >>> import helip, numpy as np
        >>> rows = np.float32([[1, 0], [0.8, 0.6], [0, 1], [0.6, 0.8]])
        >>> index = helip.PairIndex.build(image=rows, text=rows, progress=False)
        >>> ids, scores = index.query(image=rows[:1], text=rows[:1], k=2)
        >>> print(ids, scores.round(2))
        [[1 3]] [[0.64 0.36]]
    """

    def __init__(self, core: _core.PairIndex) -> None:
        """Not to be called: see :meth:`build` and :meth:`open`."""
        self._core = core

    @classmethod
    @method_keywords(BuildCall)
    def build(cls, call: BuildCall) -> PairIndex:
        """An index of all pairs of a store, or of two matrices.

        The same pairs and options give the same index on any number of threads.

        Raises:
            InvalidArgumentError: an option or id out of its bound, shapes that disagree, NaN or
                infinity (with its row).
        """
        if call.store is not None and call.ids is not None:
            raise InvalidArgumentError("pass a store, or image=, text= and ids=, not both")
        matrices = inputs_of(call.store, call.image, call.text, _BOTH).matrices
        options = _core.PairIndexOptions(**GraphOptions.of(call).as_dict())
        ids = _ids(call.ids, matrices[0].rows)
        with ProgressBar(None, label="index", unit="pairs", enabled=call.progress) as bar:
            index = cls(
                _core.PairIndex.build(*matrices, options, ids, call.threads or 0, Follower(bar))
            )
        index._warn_of_recall(call.recall_sample, call.threads, stacklevel=4)
        return index

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        cache: str | os.PathLike[str] | None = None,
        progress: bool = False,
        recall_sample: int | None = None,
    ) -> PairIndex:
        """Maps a saved index and compares every checksum.

        Args:
            path: a directory, or a URL of s3, gs, az, http or https, whose index is downloaded
                first, unless the cache has it; see docs/remote.md.
            cache: of a URL: the folder that keeps the index; None: ``remote`` in that of
                ``HELIP_CACHE``.
            progress: of a download: a bar on a terminal.
            recall_sample: as of :meth:`build`, which measures it by default.

        Raises:
            StorageError: it cannot be read. CorruptError: it is damaged. MismatchError: it is
            something else. UnsupportedError: it was written by a newer version.
        """
        check("recall_sample", recall_sample, Positive | None)
        found = local_copy(path, (INDEX,), cache=cache, progress=progress)
        index = cls(_core.PairIndex.open(os.fspath(found)))
        index._warn_of_recall(recall_sample, None, stacklevel=3)
        return index

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes a new directory, or to a URL of s3, gs or az, all or nothing.

        Raises:
            InvalidArgumentError: something is there already. StorageError: the disk or the service
                refuses.
        """
        save_at(path, self._core.save)

    @classmethod
    @method_keywords(HnswlibCall)
    def open_hnswlib(cls, call: HnswlibCall) -> PairIndex:
        """Reads a file of hnswlib's space ``ip`` into memory, whoever wrote it.

        A vector must be [u; v] / sqrt(2) of the unit image and text vectors of a pair; labels
        become ids. Its links are of another distance: the graph is built anew. What is marked as
        deleted is left out.

        Raises:
            InvalidArgumentError: vectors that are not of pairs, with the element.
            StorageError: it cannot be read. CorruptError: it is damaged.
            UnsupportedError: ``path`` is a URL.
        """
        graph = GraphOptions(**NearDuplicates.of(call).as_dict())
        options = _core.PairIndexOptions(**graph.as_dict())
        path = _file(call.path)
        return cls(_core.PairIndex.open_hnswlib(path, call.image_dim, options, call.threads or 0))

    def save_hnswlib(self, path: str | os.PathLike[str]) -> None:
        """Writes a file that hnswlib's ``load_index`` opens in the space ``ip``, all or nothing.

        Vectors are [u; v] / sqrt(2) of the unit image and text vectors of a pair, labels the ids.
        hnswlib ranks by their inner product, the mean of both cosines; this index by the product.

        Raises:
            InvalidArgumentError: something is there already. StorageError: the disk refuses.
            UnsupportedError: ``path`` is a URL.
        """
        self._core.save_hnswlib(_file(path))

    def query(
        self,
        *,
        image: Any,
        text: Any,
        k: int = 10,
        breadth: int | None = None,
        threads: int | None = None,
        among: Any = None,
        without: Any = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """The k hardest pairs of each new pair.

        Args:
            image, text: [n, d_image] and [n, d_text], as in :meth:`build`.
            k: 1 to 65536.
            breadth: of the search, at least k; None for max(64, 2k). More finds more, and takes
                longer in proportion.
            threads: 0 or None for all cores; a few queries run in the calling thread.
            among, without: int64 ids, one of the two: of pairs that alone may be found, or may not.
                Where they let few through, all of those are scored, and none is missed.

        Returns:
            ids int64 [n, k] and scores float32 [n, k], best first; -1 and 0 where there are fewer.

        Raises:
            InvalidArgumentError: an option out of its bound, other dimensions than those of the
                index, NaN or infinity (with its row).
        """
        asked = _asked(k, breadth, threads, among, without)
        images, texts = inputs_of(None, image, text, _BOTH).matrices
        found: tuple[np.ndarray, np.ndarray] = self._core.query(images, texts, *asked)
        return found

    def near(
        self,
        ids: Any,
        *,
        k: int = 10,
        breadth: int | None = None,
        threads: int | None = None,
        among: Any = None,
        without: Any = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """The same of pairs of the index, by their ids int64 [n], without themselves.

        k is at most 65535.

        Raises:
            InvalidArgumentError: as :meth:`query`, or an id that is not there, or given twice.
        """
        asked = _asked(k, breadth, threads, among, without)
        found: tuple[np.ndarray, np.ndarray] = self._core.near(row_numbers(ids, "ids"), *asked)
        return found

    def recall(
        self,
        sample: int = 64,
        *,
        k: int = 10,
        breadth: int | None = None,
        threads: int | None = None,
    ) -> float:
        """Recall@k of a sample of the pairs: what :meth:`near` finds of what there is.

        Each of the sample is compared with every pair, which takes as long as a hundred searches
        or more. The same sample for the same pairs.

        Args:
            sample: how many pairs, at most all; 64 tell the recall to some hundredths.
            k, breadth, threads: as of :meth:`near`.

        Raises:
            InvalidArgumentError: an option out of its bound, or pairs that were removed meanwhile.
        """
        check("sample", sample, Positive)
        _, usual, workers, _, _ = _asked(k, breadth, threads, None, None)
        ids = np.sort(self._core.ids())
        drawn = np.random.default_rng(0).choice(ids, min(sample, len(ids)), replace=False)
        told = []
        for own in (_EVERY_PAIR, usual):
            found, scores = self._core.near(drawn, k, own, workers, None, False)
            told.append((scores, (found >= 0).sum(axis=1)))
        return recall_of(*hits_of(told[0], told[1], 0)).value

    def _warn_of_recall(self, sample: int | None, threads: int | None, *, stacklevel: int) -> None:
        if sample is None or (found := self.recall(sample, threads=threads)) >= _GOOD_RECALL:
            return
        warnings.warn(
            f"recall@10 is {found:.2f} over {min(sample, len(self))} pairs of the index, at the "
            f"default breadth of a query; that is below {_GOOD_RECALL}; ask with a larger one, "
            "such as query(…, breadth=512), where recall(breadth=512) is enough, or build with a "
            "larger degree and breadth",
            stacklevel=stacklevel,
        )

    def add(self, *, image: Any, text: Any, ids: Any = None, threads: int | None = None) -> None:
        """Adds pairs, all or none. Without ``ids`` they go on from the greatest.

        Queries go on meanwhile, and may find what is added so far. An opened index is copied into
        memory first; :meth:`save` writes what it became to a new directory.

        Raises:
            InvalidArgumentError: as in :meth:`build`, or an id that is there already.
        """
        check("threads", threads, Threads | None)
        matrices = inputs_of(None, image, text, _BOTH).matrices
        self._core.add(*matrices, _ids(ids, matrices[0].rows), threads or 0)

    def replace(self, *, image: Any, text: Any, ids: Any, threads: int | None = None) -> None:
        """Pairs of these ids get other embeddings, all or none; queries go on meanwhile.

        Raises:
            InvalidArgumentError: as in :meth:`build`, or an id that is not there.
        """
        check("threads", threads, Threads | None)
        matrices = inputs_of(None, image, text, _BOTH).matrices
        self._core.replace(*matrices, _ids(ids, matrices[0].rows), threads or 0)

    def remove(self, ids: Any) -> None:
        """Pairs of these ids are found no more; queries go on meanwhile. All or none.

        What is added next takes their memory. An opened index is copied into memory first.

        Args:
            ids: int64 [n], each in the index, once.

        Raises:
            InvalidArgumentError: an id that is not there, or is given twice.
        """
        self._core.remove(row_numbers(ids, "ids"))

    def __len__(self) -> int:
        """Pairs without those that were removed."""
        return len(self._core)

    @property
    def image_dim(self) -> int:
        return self._core.image_dim

    @property
    def text_dim(self) -> int:
        return self._core.text_dim

    @property
    def nbytes(self) -> int:
        """Bytes of rows, codes, ids and links."""
        return self._core.nbytes

    @property
    def options(self) -> dict[str, Any]:
        """What it was built with: ``image_max, text_max, degree, breadth, seed``."""
        return GraphOptions.of(self._core.options).as_dict()

    def __repr__(self) -> str:
        return f"PairIndex({len(self)} pairs, {self.image_dim} and {self.text_dim} dimensions)"


def _file(path: str | os.PathLike[str]) -> str:
    """The path of a file of hnswlib, which has no checksums by which a copy could be compared."""
    if (url := url_of(path)) is not None:
        raise UnsupportedError(
            f"{url} is a URL, and files of hnswlib are read and written on this machine alone; "
            "save the index itself there, or copy the file by other tools"
        )
    return os.fspath(local_path(path))


def _asked(
    k: int, breadth: int | None, threads: int | None, among: Any, without: Any
) -> tuple[int, int, int, np.ndarray | None, bool]:
    """What the core is asked: a list of ids, and whether these are meant or all others."""
    check("k", k, Positive)
    check("breadth", breadth, Positive | None)
    check("threads", threads, Threads | None)
    if among is not None and without is not None:
        raise InvalidArgumentError("pass among= or without=, not both")
    listed = without if among is None else among
    ids = None if listed is None else row_numbers(listed, "without" if among is None else "among")
    return k, breadth or 0, threads or 0, ids, among is not None


def _ids(ids: Any, rows: int) -> np.ndarray:
    """What the core takes: empty for none."""
    if ids is None:
        return np.empty(0, np.int64)
    numbers = row_numbers(ids, "ids")
    if len(numbers) != rows:
        raise InvalidArgumentError(
            f"{len(numbers)} ids were given for {rows} pairs; give one for each, or none"
        )
    return numbers
