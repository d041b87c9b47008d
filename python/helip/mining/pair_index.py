"""An index of pairs that answers for *new* pairs which of those that it holds are hard."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from helip import _core
from helip.common.errors import InvalidArgumentError
from helip.common.progress import Follower, ProgressBar
from helip.store.embedding_store import EmbeddingStore
from helip.store.matrices import view_of

__all__ = ["PairIndex"]


class PairIndex:
    """Finds, for new pairs, the hard pairs among many: a graph over the product of both cosines.

    A hard pair of a query q is a pair j of large ``cos(image q, image j) * cos(text q, text j)``
    that is no near duplicate of q, as in :func:`helip.mine`. Rows are kept in float16 for the
    scores and in int8 for the search. ``docs/pair-index.md`` has the precision and the format.

    Any number of threads may query at once, without the GIL; :meth:`add` waits for them.
    """

    def __init__(self, core: _core.PairIndex) -> None:
        """Not to be called: see :meth:`build` and :meth:`open`."""
        self._core = core

    @classmethod
    def build(
        cls,
        store: EmbeddingStore | str | os.PathLike[str] | None = None,
        *,
        image: Any = None,
        text: Any = None,
        ids: Any = None,
        image_max: float = 0.98,
        text_max: float = 0.98,
        degree: int = 32,
        breadth: int = 80,
        seed: int = 0,
        threads: int | None = None,
        progress: bool = True,
    ) -> PairIndex:
        """An index of all pairs of a store, or of two matrices.

        The same pairs and options give the same index on any number of threads.

        Args:
            store: an EmbeddingStore or its path; ids are its rows.
            image, text: or [N, d_image] and [N, d_text], NumPy arrays or torch tensors of any
                float dtype, which need not be normalised.
            ids: int64 [N], from 0 on and each once; None for row numbers.
            image_max, text_max: cosine above which a pair is a near duplicate, and no result.
            degree: links of a pair, 4 to 1024: more take memory and find more.
            breadth: of the searches that find the links.
            seed: of the order in which pairs are linked.
            threads: 0 or None for all cores.
            progress: a bar on a terminal.

        Raises:
            InvalidArgumentError: an option or id out of its bound, shapes that disagree, NaN or
                infinity (with its row).
        """
        options = _core.PairIndexOptions(
            image_max=image_max, text_max=text_max, degree=_whole("degree", degree),
            breadth=_whole("breadth", breadth), seed=_whole("seed", seed),
        )  # fmt: skip
        if store is not None:
            if image is not None or text is not None or ids is not None:
                raise InvalidArgumentError("pass a store, or image=, text= and ids=, not both")
            if not isinstance(store, EmbeddingStore):
                store = EmbeddingStore.open(store)
            views = store.views
        else:
            views = _views(image, text)
        with ProgressBar(None, label="index", unit="pairs", enabled=progress) as bar:
            return cls(
                _core.PairIndex.build(
                    *views, options, _ids(ids, views[0].rows), threads or 0, Follower(bar)
                )
            )

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> PairIndex:
        """Maps a saved index and compares every checksum.

        Raises:
            StorageError: it cannot be read. CorruptError: it is damaged. MismatchError: it is
            something else. UnsupportedError: it was written by a newer version.
        """
        return cls(_core.PairIndex.open(os.fspath(path)))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes a new directory, all or nothing.

        Raises:
            InvalidArgumentError: something is there already. StorageError: the disk refuses.
        """
        self._core.save(os.fspath(path))

    def query(
        self,
        *,
        image: Any,
        text: Any,
        k: int = 10,
        breadth: int | None = None,
        threads: int | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """The k hardest pairs of each new pair.

        Args:
            image, text: [n, d_image] and [n, d_text], as in :meth:`build`.
            k: 1 to 65536.
            breadth: of the search, at least k; None for max(64, 2k). More finds more, and takes
                longer in proportion.
            threads: 0 or None for all cores; a few queries run in the calling thread.

        Returns:
            ids int64 [n, k] and scores float32 [n, k], best first; -1 and 0 where there are fewer.

        Raises:
            InvalidArgumentError: an option out of its bound, other dimensions than those of the
                index, NaN or infinity (with its row).
        """
        found: tuple[np.ndarray, np.ndarray] = self._core.query(
            *_views(image, text), _whole("k", k),
            0 if breadth is None else _whole("breadth", breadth, least=1), threads or 0,
        )  # fmt: skip
        return found

    def add(self, *, image: Any, text: Any, ids: Any = None, threads: int | None = None) -> None:
        """Adds pairs, all or none. Without ``ids`` they go on from the greatest.

        Waits for queries that run, and lets none in meanwhile. An opened index is copied into
        memory first; :meth:`save` writes what it became to a new directory.

        Raises:
            InvalidArgumentError: as in :meth:`build`, or an id that is there already.
        """
        views = _views(image, text)
        self._core.add(*views, _ids(ids, views[0].rows), threads or 0)

    def __len__(self) -> int:
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
        options = self._core.options
        return {
            name: getattr(options, name)
            for name in ("image_max", "text_max", "degree", "breadth", "seed")
        }

    def __repr__(self) -> str:
        return f"PairIndex({len(self)} pairs, {self.image_dim} and {self.text_dim} dimensions)"


def _views(image: Any, text: Any) -> tuple[_core.MatrixView, _core.MatrixView]:
    for name, array in (("image", image), ("text", text)):
        if array is None:
            raise InvalidArgumentError(f"{name} is missing; pass image= and text=")
    views = (view_of(_on_cpu(image), name="image"), view_of(_on_cpu(text), name="text"))
    if views[0].rows != views[1].rows:
        raise InvalidArgumentError(
            f"image has {views[0].rows} rows and text {views[1].rows}; row i of both must belong "
            "to the same pair"
        )
    return views


def _on_cpu(array: Any) -> Any:
    return array.cpu() if getattr(array, "is_cuda", False) else array


def _ids(ids: Any, rows: int) -> np.ndarray:
    """What the core takes: empty for none."""
    if ids is None:
        return np.empty(0, np.int64)
    array = ids.cpu().numpy() if hasattr(ids, "detach") else np.asarray(ids)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise InvalidArgumentError(
            f"ids are {array.dtype} of shape {array.shape}; they must be whole numbers [rows]"
        )
    if len(array) != rows:
        raise InvalidArgumentError(
            f"{len(array)} ids were given for {rows} pairs; give one for each, or none"
        )
    return np.ascontiguousarray(array, np.int64)


def _whole(name: str, value: Any, least: int = 0) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise InvalidArgumentError(f"{name} is {value!r}; it must be a whole number")
    if not least <= value < 2**63:
        raise InvalidArgumentError(f"{name} is {value}; it must be at least {least}")
    return int(value)
