"""StoreWriter: appends rows to an embedding store, and deletes some."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

import numpy as np

from helip import _core
from helip.common.errors import InvalidArgumentError
from helip.store.matrices import MatrixView, matrix_of

Store = TypeVar("Store")
_NO_DIGESTS = np.empty(0, dtype=np.uint64)


def widths_of(matrices: Mapping[str, int]) -> list[tuple[str, int]]:
    """Name and width of each; InvalidArgumentError where they are no such."""
    sound = isinstance(matrices, Mapping) and all(
        isinstance(name, str) and hasattr(width, "__index__") for name, width in matrices.items()
    )
    if not sound:
        raise InvalidArgumentError(
            f'matrices is {matrices!r}, must have names and widths, such as {{"audio": 512}}'
        )
    return list(matrices.items())


def _text_of(metadata: dict[str, Any] | None) -> str:
    return "" if metadata is None else json.dumps(metadata)


class StoreWriter(Generic[Store]):
    """Appends rows to a store and deletes some. As a context manager it commits on a clean exit.

    An exception inside the block leaves the last committed generation as it was.
    """

    def __init__(
        self, core: _core.EmbeddingStoreWriter, opened: Callable[[_core.EmbeddingStore], Store]
    ) -> None:
        self._opened = opened
        self._core: _core.EmbeddingStoreWriter | None = core
        self._committed_rows = -1
        self._deleted = 0  # since the last commit

    def __enter__(self) -> StoreWriter[Store]:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        changed = self._core is not None and (self._committed_rows != len(self) or self._deleted)
        if kind is None and changed:
            self.finish()
        self.close()

    def __len__(self) -> int:
        """Rows committed and appended."""
        return len(self._open())

    @property
    def dtype(self) -> str:
        """Element type of the store."""
        return self._open().dtype

    @property
    def image_dim(self) -> int:
        """Width of the image embeddings."""
        return self._open().image_dim

    @property
    def text_dim(self) -> int:
        """Width of the text embeddings."""
        return self._open().text_dim

    @property
    def shard_rows(self) -> int:
        """Rows of a shard."""
        return self._open().shard_rows

    def append(
        self,
        keys: Sequence[str],
        image: Any,
        text: Any,
        digests: tuple[np.ndarray, np.ndarray] | None = None,
        matrices: Mapping[str, Any] | None = None,
    ) -> None:
        """Takes n rows, all or none.

        Args:
            keys: n unique, non-empty strings.
            image: [n, d_image] of any float dtype: a NumPy array, a torch tensor on any device, an
                Arrow array of lists, or an object with ``__dlpack__`` (CuPy, JAX) or ``__array__``.
            text: [n, d_text].
            digests: uint64 [n] of pictures and of captions, where the store was made with digests.
            matrices: name and rows [n, d] of each other matrix that the store was created with.

        Raises:
            InvalidArgumentError: wrong shape, NaN or infinity (with its row), a key that is no
                str or is there already (with its row).
            StorageError: the disk is full or refuses. The writer is done then; what was committed
                before stays, and ``append_to`` goes on from there.
        """
        if isinstance(keys, str):
            raise InvalidArgumentError("keys is one str; pass a sequence with one key a row")
        names = list(keys)
        for row, key in enumerate(names):
            if not isinstance(key, str):
                raise InvalidArgumentError(
                    f"the key of row {row} is {key!r}, of type {type(key).__name__}; keys are str, "
                    "such as [str(key) for key in keys]"
                )
        pair = matrix_of(image, name="image"), matrix_of(text, name="text")
        if matrices is not None and not isinstance(matrices, Mapping):
            raise InvalidArgumentError(
                f"matrices is a {type(matrices).__name__}, must be a mapping of names to rows"
            )
        others = self._others(dict(matrices or {}))
        images, captions = digests or (_NO_DIGESTS, _NO_DIGESTS)
        self._open().append(names, *pair, images, captions, others)

    def _others(self, given: dict[str, Any]) -> list[MatrixView]:
        wanted = [name for name, _ in self._open().matrices]
        if set(given) != set(wanted):
            raise InvalidArgumentError(
                f"matrices has {', '.join(map(repr, given)) or 'nothing'}; the store was created "
                f"with {', '.join(map(repr, wanted)) or 'image and text alone'}, so give the rows "
                "of just those"
            )
        return [matrix_of(given[name], name=name) for name in wanted]

    def delete(self, rows: Sequence[int] | Sequence[str] | np.ndarray) -> int:
        """Marks rows as deleted, all or none; returns how many were not before.

        A deleted row keeps its number, so that no other moves, and its bytes; a key of a deleted
        row is not free again. Appended rows may be deleted too.

        Args:
            rows: row numbers, or keys.

        Raises:
            InvalidArgumentError: a row or a key that is none of the store's.
        """
        if isinstance(rows, (str, bytes)):
            raise InvalidArgumentError("rows is one str; pass a sequence of keys or row numbers")
        wanted = list(rows)
        if all(isinstance(row, str) for row in wanted):
            count = self._open().delete_keys(wanted)
        elif all(hasattr(row, "__index__") and not isinstance(row, bool) for row in wanted):
            count = self._open().delete_rows([int(row) for row in wanted])
        else:
            raise InvalidArgumentError(
                f"rows are {wanted[:3]!r}, ...; pass row numbers alone, or keys alone"
            )
        self._deleted += count
        return count

    def commit(self, metadata: dict[str, Any] | None = None) -> Store:
        """Publishes what was appended and deleted, durably, and returns the new generation.

        ``metadata`` (JSON-able) replaces the store's; appending may go on afterwards.
        """
        store = self._opened(self._open().commit(_text_of(metadata)))
        self._committed_rows, self._deleted = len(self), 0
        return store

    def finish(self, metadata: dict[str, Any] | None = None) -> Store:
        """Commits for the last time, and closes the writer.

        What gathers rows to come goes first, so that a kill leaves nothing beside the store.
        """
        store = self._opened(self._open().finish(_text_of(metadata)))
        self.close()
        return store

    def close(self) -> None:
        """Frees the directory; what was appended since the last commit is dropped."""
        self._core = None

    def _open(self) -> _core.EmbeddingStoreWriter:
        if self._core is None:
            raise InvalidArgumentError("the writer is closed; open another with append_to(path)")
        return self._core
