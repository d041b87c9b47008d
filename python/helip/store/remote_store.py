"""An embedding store at a URL: its manifest is read at once, and of the rest what is asked for."""

from __future__ import annotations

import itertools
import json
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from helip import _core
from helip.common.errors import CorruptError, UnsupportedError
from helip.common.remote.container import RemoteContainer
from helip.common.remote.downloading import cached
from helip.common.remote.manifest import STORE, Tensor
from helip.common.remote.range_cache import Pages
from helip.common.remote.urls import local_path, url_of

IN_FLIGHT = 16
SHARDS_AT_ONCE = 8  # whose scattered rows are gathered
PIECE = 4 << 20
AHEAD_BYTES = 64 << 20
_KEYS_TOGETHER = 65_536  # rows whose keys are fetched at once where many are asked for
_MANY_KEYS = 4096

#: As safetensors names them.
_NAMES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16", "int8": "I8", "uint64": "U64"}
#: bfloat16 as the core gives it to NumPy, which has no such dtype.
_DTYPES = {"float32": "f4", "float16": "f2", "bfloat16": "i2", "int8": "i1", "uint64": "u8"}


class RemoteStore:
    """What the core's EmbeddingStore tells of a store, of one at a URL. Thread-safe."""

    def __init__(self, url: str, cache: str | os.PathLike[str] | None) -> None:
        """Raises as `RemoteContainer`."""
        self.container = RemoteContainer(url, (STORE,))
        self._cache = cache
        self._pages = Pages(self.container)
        self._local: _core.EmbeddingStore | None = None
        self._lock = threading.Lock()
        manifest = self.container.manifest
        try:
            attributes = manifest.attributes
            self.fingerprint: str = attributes["fingerprint"]
            self.keys_fingerprint: str = attributes["keys_fingerprint"]
            self.data_fingerprint: str = attributes["data_fingerprint"]
            self.metadata_json = json.dumps(attributes["metadata"])
            self.dtype = manifest.columns["image"].dtype
            self.image_dim = manifest.columns["image"].cols
            self.text_dim = manifest.columns["text"].cols
            self._types = {name: _DTYPES[each.dtype] for name, each in manifest.columns.items()}
            size = sum(map(self._row_bytes, self._types))
            if any(each.rows * size > each.bytes for each in manifest.shards):  # not to be believed
                raise ValueError("a shard is too small for its rows")
            self.deleted = _rows_in(
                attributes.get("deleted", {}).get("batches", ()), below=len(self)
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CorruptError(f"the manifest of {url} is damaged: {error!r}") from error

    def __len__(self) -> int:
        return self.container.manifest.rows

    @property
    def path(self) -> str:
        """Its URL."""
        return self.container.url

    @property
    def generation(self) -> int:
        return self.container.manifest.generation

    def keys(self, first: int, last: int) -> list[str]:
        """The keys of the rows ``first`` up to ``last``."""
        found: list[str] = []
        for shard, begin, end in self._within_shards(first, last):
            rows = self.container.manifest.shards[shard].rows
            ahead = slice(begin, end)
            if end - begin >= _MANY_KEYS:  # whoever reads so many goes on, as a rule
                ahead = slice(
                    begin - begin % _KEYS_TOGETHER,
                    min(rows, end + -end % _KEYS_TOGETHER),
                )
            offsets = self._key_offsets(shard, ahead)
            at = self._tensors(shard)["keys"].begin
            whole = self._pages.span(shard, at + int(offsets[0]), at + int(offsets[-1]))
            some = (offsets[begin - ahead.start : end - ahead.start + 1] - offsets[0]).tolist()
            found += [self._text(shard, whole[a:b]) for a, b in itertools.pairwise(some)]
        return found

    def keys_of(self, rows: np.ndarray) -> list[str]:
        """The keys of rows int64 [n], in their order. IndexError."""
        found = [""] * len(rows)

        def read(shard: int, where: np.ndarray, rows: np.ndarray) -> None:
            tensors = self._tensors(shard)
            begin, keys = tensors["key_offsets"].begin, tensors["keys"]
            spans = self._pages.items(shard, begin + 8 * rows, 16).view(np.uint64)
            spans = self._checked(shard, spans.astype(np.int64))
            size = int((spans[:, 1] - spans[:, 0]).max())
            firsts = np.minimum(spans[:, 0], keys.shape[0] - size)  # also of the last the same size
            data = self._pages.items(shard, keys.begin + firsts, size)
            spans = spans - firsts[:, None]
            for place, row, (first, last) in zip(where.tolist(), data, spans.tolist(), strict=True):
                found[place] = self._text(shard, row[first:last])

        self._for_shards(self._inside(rows), read)
        return found

    def columns(self, names: tuple[str, ...], index: slice | np.ndarray) -> dict[str, np.ndarray]:
        """Name → the rows of a column, [n, d] or [n], as they are stored. IndexError."""
        rows = self._inside(np.arange(len(self))[index] if isinstance(index, slice) else index)
        found = {
            name: np.empty((len(rows), self._row_bytes(name)), dtype=np.uint8) for name in names
        }

        def read(shard: int, where: np.ndarray, rows: np.ndarray) -> None:
            inside, back = np.unique(rows, return_inverse=True)
            for name in names:
                size, begin = self._row_bytes(name), self._tensors(shard)[name].begin
                found[name][where] = self._pages.items(shard, begin + inside * size, size)[back]

        self._for_shards(rows, read)
        return {name: self._shaped(name, data) for name, data in found.items()}

    def blocks(
        self, first: int, last: int, rows: int, names: tuple[str, ...]
    ) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
        """(first row, name → its rows) of blocks of ``rows`` rows, in order, fetched ahead.

        At most AHEAD_BYTES are on their way or wait, or one block where that is larger.
        """
        pool = ThreadPoolExecutor(IN_FLIGHT, thread_name_prefix="helip-blocks")
        coming: deque[tuple[int, dict[str, np.ndarray], list[Future[None]]]] = deque()
        size = rows * sum(self._row_bytes(name) for name in names)
        begins = iter(range(first, last, rows))
        try:
            while True:
                while not coming or (len(coming) + 1) * size <= AHEAD_BYTES:
                    begin = next(begins, None)
                    if begin is None:
                        break
                    coming.append(self._begin(pool, begin, min(begin + rows, last), names))
                if not coming:
                    return
                begin, columns, futures = coming.popleft()
                for future in futures:
                    future.result()
                yield begin, {name: self._shaped(name, each) for name, each in columns.items()}
        finally:
            pool.shutdown(cancel_futures=True)

    def downloaded(self, *, progress: bool = False) -> _core.EmbeddingStore:
        """The same store as it lies in the cache of this machine, where it is brought first."""
        with self._lock:
            if self._local is None:
                folder = cached(self.container, self._cache, progress=progress)
                self._local = _core.EmbeddingStore.open(os.fspath(folder))
            return self._local

    def verify(self, *, progress: bool) -> None:
        """Read every byte and compare checksums; nothing is kept."""
        self.container.verify(progress=progress)

    def _begin(
        self, pool: ThreadPoolExecutor, first: int, last: int, names: tuple[str, ...]
    ) -> tuple[int, dict[str, np.ndarray], list[Future[None]]]:
        columns, futures = {}, []
        for name in names:
            size = self._row_bytes(name)
            columns[name] = buffer = np.empty((last - first, size), dtype=np.uint8)
            each = max(1, PIECE // size)
            at = 0
            for shard, begin, end in self._within_shards(first, last):
                for row in range(begin, end, each):
                    stop = min(row + each, end)
                    to = buffer[at : at + stop - row]
                    futures.append(pool.submit(self._fill, to, shard, name, row, stop))
                    at += stop - row
        return first, columns, futures

    def _fill(self, buffer: np.ndarray, shard: int, name: str, first: int, last: int) -> None:
        begin, size = self._tensors(shard)[name].begin, buffer.shape[1]
        data = self.container.read(shard, begin + first * size, begin + last * size)
        buffer[:] = np.frombuffer(data, dtype=np.uint8).reshape(buffer.shape)

    def _within_shards(self, first: int, last: int) -> Iterator[tuple[int, int, int]]:
        """(shard, first row in it, one past the last) of the rows ``first`` up to ``last``."""
        full = self.container.manifest.shard_rows
        while first < last:
            shard = first // full
            end = min(last, (shard + 1) * full)
            yield shard, first - shard * full, end - shard * full
            first = end

    def _key_offsets(self, shard: int, rows: slice) -> np.ndarray:
        tensor = self._tensors(shard)["key_offsets"]
        begin = tensor.begin + 8 * rows.start
        data = self._pages.span(shard, begin, tensor.begin + 8 * (rows.stop + 1))
        return self._checked(shard, data.view(np.uint64).astype(np.int64))

    def _checked(self, shard: int, offsets: np.ndarray) -> np.ndarray:
        """Offsets into the keys of a shard, ascending in their last dimension. CorruptError."""
        size = self._tensors(shard)["keys"].shape[0]
        if offsets.min() < 0 or offsets.max() > size or (np.diff(offsets) < 0).any():
            raise self._damaged(shard, "key_offsets")
        return offsets

    def _text(self, shard: int, data: np.ndarray) -> str:
        try:
            return data.tobytes().decode()
        except UnicodeDecodeError as error:
            raise self._damaged(shard, "keys") from error

    def _inside(self, rows: np.ndarray) -> np.ndarray:
        """Rows from 0 on, also of negative ones, which count from the end. IndexError."""
        outside = rows[(rows < -len(self)) | (rows >= len(self))]
        if len(outside):
            raise IndexError(f"row {outside[0]} is outside 0..{len(self) - 1}")
        return np.where(rows < 0, rows + len(self), rows)

    def _for_shards(
        self, rows: np.ndarray, read: Callable[[int, np.ndarray, np.ndarray], None]
    ) -> None:
        """Call ``read(shard, places in rows, rows in the shard)`` for the shards, some at once."""
        full = self.container.manifest.shard_rows
        shards = rows // full

        def one(shard: int) -> None:
            where = np.flatnonzero(shards == shard)
            read(shard, where, rows[where] - shard * full)

        with ThreadPoolExecutor(SHARDS_AT_ONCE, thread_name_prefix="helip-shards") as pool:
            list(pool.map(one, np.unique(shards).tolist()))

    def _tensors(self, shard: int) -> dict[str, Tensor]:
        """Where the columns of a shard lie. CorruptError where they are not those of the store."""
        tensors, rows = self.container.tensors(shard), self.container.manifest.shards[shard].rows
        for name, column in self.container.manifest.columns.items():
            shape = (rows, column.cols) if column.cols else (rows,)
            found = tensors.get(name)
            if found is None or (found.dtype, found.shape) != (_NAMES[column.dtype], shape):
                raise self._damaged(shard, name)
        if "keys" not in tensors or tensors["key_offsets"].shape != (rows + 1,):
            raise self._damaged(shard, "keys")
        return tensors

    def _damaged(self, shard: int, name: str) -> CorruptError:
        file = self.container.manifest.shards[shard].file
        return CorruptError(f"{self.container.address(file)} is damaged: {name}")

    def _row_bytes(self, name: str) -> int:
        column = self.container.manifest.columns[name]
        return np.dtype(self._types[name]).itemsize * max(1, column.cols)

    def _shaped(self, name: str, data: np.ndarray) -> np.ndarray:
        values = data.view(self._types[name])
        return values if self.container.manifest.columns[name].cols else values[:, 0]


def _rows_in(batches: Any, *, below: int) -> np.ndarray:
    """int64, ascending: the rows of texts such as "3,5-9"; ValueError where they are none."""
    parts = [np.zeros(0, np.int64)]
    for text in batches:
        for piece in text.split(","):
            ends = piece.partition("-")
            first, last = int(ends[0]), int(ends[2] or ends[0])
            if not 0 <= first <= last < below:
                raise ValueError(f"rows {piece} are deleted, and there are {below}")
            parts.append(np.arange(first, last + 1, dtype=np.int64))
    return np.sort(np.concatenate(parts))


def column_names(columns: Mapping[str, Any]) -> tuple[str, ...]:
    """Those of embeddings: both, and their scales where there are."""
    return tuple(name for name in ("image", "text", "image_scale", "text_scale") if name in columns)


def matrix_names_of(columns: Mapping[str, Any]) -> tuple[str, ...]:
    """Those of all matrices, as the core names their columns."""
    others = (name.removeprefix("matrix.") for name in columns if name.startswith("matrix."))
    return ("image", "text", *(name for name in others if not name.endswith(".scale")))


def written_directory(path: str | os.PathLike[str]) -> str:
    """Where rows are written; UnsupportedError for a URL."""
    if (url := url_of(path)) is not None:
        raise UnsupportedError(
            f"rows are not written to {url}; write it to a directory, then helip.copy it there"
        )
    return os.fspath(local_path(path))
