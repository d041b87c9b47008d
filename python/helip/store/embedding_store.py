"""EmbeddingStore: image and text embeddings of a data set, memory-mapped, with the key of each row.

The format is described in docs/formats.md; every shard is readable by the ``safetensors`` package.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from helip import _core
from helip.common.errors import InvalidArgumentError, UnsupportedError
from helip.common.files import open_there
from helip.common.options import Positive, check, method_keywords
from helip.common.progress import ProgressBar
from helip.common.remote.urls import local_path, url_of
from helip.common.text import table_html
from helip.store.blocks import StoreBlock, block_of, decoded, tensor_over
from helip.store.keys import CoreKeys
from helip.store.matrices import MatrixView
from helip.store.options import ImportCall
from helip.store.remote_store import (
    RemoteStore,
    column_names,
    matrix_names_of,
    written_directory,
)
from helip.store.store_writer import StoreWriter, widths_of

if TYPE_CHECKING:
    import torch


class StoreKeys(CoreKeys):
    """The keys of a store."""

    def take(self, rows: Sequence[int]) -> list[str]:
        """The keys of these rows, in their order, at a URL by few requests; IndexError."""
        if isinstance(self._core, RemoteStore):
            return self._core.keys_of(np.asarray(rows, dtype=np.int64))
        return super().take(rows)


class EmbeddingStore:
    """One generation of a store. Immutable; many processes may read it at once.

    Of a store at a URL, ``len``, dimensions, fingerprints, :attr:`deleted` and :attr:`metadata` are
    known from its manifest; :meth:`rows`, :attr:`keys` and :meth:`blocks` fetch what they need.
    Whatever else is asked for, such as :attr:`image`, or by mining, needs the whole store and
    downloads it first: see :meth:`download`.

    Examples:
        >>> import helip, numpy as np
        >>> rows = np.float32([[1, 0], [0.8, 0.6], [0, 1]])
        >>> with helip.EmbeddingStore.create("some.store", image_dim=2, text_dim=2) as writer:
        ...     writer.append(["cat", "dog", "car"], image=rows, text=rows)
        >>> store = helip.EmbeddingStore.open("some.store")
        >>> len(store), store.keys[1]
        (3, 'dog')
        >>> store.rows([1])[0].shape
        torch.Size([1, 2])
    """

    def __init__(self, source: _core.EmbeddingStore | RemoteStore) -> None:
        self._source = source

    @property
    def _core(self) -> _core.EmbeddingStore:
        """The store on this machine; one at a URL is downloaded first."""
        source = self._source
        return source.downloaded() if isinstance(source, RemoteStore) else source

    @classmethod
    def open(
        cls, path: str | os.PathLike[str], *, cache: str | os.PathLike[str] | None = None
    ) -> EmbeddingStore:
        """Opens the newest generation; takes milliseconds and no memory whatever the size.

        Args:
            path: a directory, or a URL of s3, gs, az, http or https, of which the manifest alone is
                read. docs/remote.md says what is read when.
            cache: of a URL: the folder to which the whole store is downloaded once it is needed;
                None: ``remote`` in that of ``HELIP_CACHE``.

        Raises:
            StorageError: no store there, or it cannot be read.
            CorruptError: the manifest or a shard's header is damaged.
            UnsupportedError: written by a newer helip; a URL, and obstore is absent.
        """
        if (url := url_of(path)) is not None:
            return cls(RemoteStore(url, cache))
        return cls(open_there(_core.EmbeddingStore.open, local_path(path), "store"))

    def download(self, *, progress: bool = True) -> EmbeddingStore:
        """The same store on this machine: itself, or of a URL the one in the cache.

        What is not there yet is downloaded, checked, all or nothing; a stopped download goes on
        after its last whole shard, and other processes that want the same wait for it.

        Raises:
            StorageError: the disk has too little room, with both numbers; it cannot be read.
            CorruptError: bytes differ from the manifest. MismatchError: it was changed meanwhile.
        """
        if not isinstance(self._source, RemoteStore):
            return self
        return EmbeddingStore(self._source.downloaded(progress=progress))

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        *,
        image_dim: int,
        text_dim: int,
        dtype: str = "float32",
        shard_rows: int = 262_144,
        digests: bool = False,
        matrices: Mapping[str, int] | None = None,
    ) -> StoreWriter[EmbeddingStore]:
        """A writer of a new store.

        Args:
            path: a directory that does not exist or is empty.
            image_dim, text_dim: widths of the two embeddings, 1 .. 1,048,576.
            dtype: ``float32``, ``float16``, ``bfloat16`` or ``int8`` (with one scale a row).
            shard_rows: rows of a file, a multiple of 4096.
            digests: keep what each row was made from, in short (16 bytes a row).
            matrices: name and width of others, such as ``{"audio": 512}``: channels that
                :func:`helip.mine` can multiply or add up with both. A helip that does not know
                them refuses such a store.

        Raises:
            InvalidArgumentError: an option out of its bound, or a store is there already.
            StorageError: the directory cannot be written, or another process is writing to it.
            UnsupportedError: a URL.
        """
        core = _core.EmbeddingStoreWriter.create(
            written_directory(path), image_dim, text_dim, dtype, shard_rows, digests,
            widths_of(matrices or {}),
        )  # fmt: skip
        return StoreWriter(core, cls)

    @classmethod
    def append_to(cls, path: str | os.PathLike[str]) -> StoreWriter[EmbeddingStore]:
        """A writer that adds and deletes rows of a committed store.

        Each commit is a new generation; :func:`helip.update` brings tables up to date with it.
        """
        core = _core.EmbeddingStoreWriter.append_to(written_directory(path))
        return StoreWriter(core, cls)

    @classmethod
    @method_keywords(ImportCall)
    def import_from(cls, call: ImportCall) -> EmbeddingStore:
        """A store of embeddings that another tool computed, as it left them on disk.

        Read in blocks of 32 MB, one ahead; nothing is held in memory. Rows keep their order, and
        what belongs together is compared before anything is written: rows, dimensions, and the
        numbers of shards. The same call goes on where it was stopped, unless it was arrays.

        Raises:
            InvalidArgumentError: files of other rows, dimensions or order, NaN or infinity (with
                the file and the row), a key twice, a caption that is no text, a column that is not
                there. MismatchError: ``out`` holds another import.
            UnsupportedError: a package is absent. StorageError: it cannot be read or written.
        """
        from helip.store.importing.importing import import_store

        return import_store(call, cls)

    def __len__(self) -> int:
        return len(self._source)

    def __repr__(self) -> str:
        return (
            f"EmbeddingStore({self.path!r}, rows={len(self):,}, image={self.image_dim}, "
            f"text={self.text_dim}, dtype={self.dtype})"
        )

    def _repr_html_(self) -> str:
        """The first five rows with their keys, for notebooks."""
        facts = (
            f"{self!r}, generation {self.generation}, {len(self.deleted):,} rows deleted, "
            f"fingerprint {self.fingerprint}"
        )
        rows = [(str(row), key) for row, key in enumerate(self.keys[:5])]
        return table_html(facts, ("row", "key"), rows)

    @property
    def path(self) -> str:
        """The directory, or the URL."""
        return self._source.path

    @property
    def dtype(self) -> str:
        """Element type of both matrices."""
        return self._source.dtype

    @property
    def image_dim(self) -> int:
        """Width of the image embeddings."""
        source = self._source
        return source.image_dim if isinstance(source, RemoteStore) else source.image.shape[1]

    @property
    def text_dim(self) -> int:
        """Width of the text embeddings."""
        source = self._source
        return source.text_dim if isinstance(source, RemoteStore) else source.text.shape[1]

    @property
    def generation(self) -> int:
        """1 after the first commit, one more after each later one."""
        return self._source.generation

    @property
    def image(self) -> np.ndarray:
        """Image embeddings [N, d_image], read-only, over the map. int8: codes, see scales.

        Raises:
            UnsupportedError: a bfloat16 store, for which NumPy has no dtype.
        """
        return self._array(self._core.image, "image")

    @property
    def text(self) -> np.ndarray:
        """Text embeddings [N, d_text]; see :attr:`image`."""
        return self._array(self._core.text, "text")

    @property
    def matrix_names(self) -> tuple[str, ...]:
        """``image``, ``text``, and those that the store was created with."""
        source = self._source
        if isinstance(source, RemoteStore):
            return matrix_names_of(source.container.manifest.columns)
        return tuple(source.matrix_names)

    def matrix(self, name: str) -> np.ndarray:
        """The embeddings of that name [N, d], as :attr:`image` has them; InvalidArgumentError."""
        return self._array(self._core.matrix(name), name)

    def view(self, name: str) -> MatrixView:
        """The embeddings of that name as the C++ core takes them, with scales."""
        return self._core.view(name)

    def decoded(self, name: str, index: Any) -> torch.Tensor:
        """float32 [n, d] of the rows of that name that ``index`` selects, see :meth:`rows`."""
        scale = self._core.scale(name) if self.dtype == "int8" else None
        return decoded(
            tensor_over(np.array(self._core.matrix(name)[index]), self.dtype),
            None if scale is None else tensor_over(np.array(scale[index]), "float32"),
        )

    @property
    def image_tensor(self) -> torch.Tensor:
        """The image embeddings as a torch tensor over the map; do not write to it."""
        return tensor_over(self._core.image, self.dtype)

    @property
    def text_tensor(self) -> torch.Tensor:
        """The text embeddings as a torch tensor over the map; do not write to it."""
        return tensor_over(self._core.text, self.dtype)

    @property
    def image_scale(self) -> np.ndarray | None:
        """float32 [N] of an int8 store: value = code * scale; ``None`` for other dtypes."""
        return self._core.scale("image") if self.dtype == "int8" else None

    @property
    def text_scale(self) -> np.ndarray | None:
        """Scales of the text embeddings; see :attr:`image_scale`."""
        return self._core.scale("text") if self.dtype == "int8" else None

    def rows(self, index: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Decoded float32 copies ([n, d_image], [n, d_text]) of the rows that ``index`` selects.

        ``index`` is a slice or a sequence of row numbers.
        """
        if not isinstance(index, slice):
            index = np.asarray(index, dtype=np.int64)
        if isinstance(self._source, RemoteStore):
            columns = self._source.columns(tuple(self._embeddings()), index)
        else:
            columns = {name: np.array(each[index]) for name, each in self._embeddings().items()}
            self._source.require_whole()
        return block_of(0, columns, self.dtype).decoded()

    def blocks(
        self, first: int = 0, last: int | None = None, *, rows: int = 16_384
    ) -> Iterator[StoreBlock]:
        """The rows ``first`` up to ``last``, None for all, in blocks of ``rows``, in order.

        Blocks of a store at a URL are fetched ahead, 64 MiB of them at most, or one where that is
        larger. Those of a directory lie over the map. InvalidArgumentError: no such rows.
        """
        last = len(self) if last is None else last
        check("rows", rows, Positive)
        if not 0 <= first <= last <= len(self):
            raise InvalidArgumentError(
                f"the rows are {first} up to {last}, must be within 0 .. {len(self)}"
            )
        return self._blocks(first, last, rows)

    def _blocks(self, first: int, last: int, rows: int) -> Iterator[StoreBlock]:
        if isinstance(self._source, RemoteStore):
            for begin, columns in self._source.blocks(first, last, rows, tuple(self._embeddings())):
                yield block_of(begin, columns, self.dtype)
            return
        whole = self._embeddings()
        for begin in range(first, last, rows):
            some = slice(begin, min(begin + rows, last))
            columns = {name: each[some] for name, each in whole.items()}
            yield block_of(begin, columns, self.dtype)
            self._source.require_whole()  # what was yielded has been read

    def _embeddings(self) -> dict[str, Any]:
        """Columns by name, those of scales where there are; of a URL names alone."""
        if isinstance(self._source, RemoteStore):
            return dict.fromkeys(column_names(self._source.container.manifest.columns))
        core = self._source
        scales = {"image_scale": core.scale("image"), "text_scale": core.scale("text")}
        return {"image": core.image, "text": core.text, **(scales if self.dtype == "int8" else {})}

    @property
    def keys(self) -> StoreKeys:
        """The key of every row, a lazy sequence of str."""
        return StoreKeys(self._source)

    @property
    def deleted(self) -> np.ndarray:
        """Rows that were deleted, ascending int64; see :meth:`StoreWriter.delete`.

        They are still rows of the store, with their numbers, keys and values. Mining takes them for
        rows of zeros: they get no pool, and are in nobody's.
        """
        return self._source.deleted

    @property
    def fingerprint(self) -> str:
        """Digest over keys, shapes, dtypes, contents and deleted rows."""
        return self._source.fingerprint

    @property
    def keys_fingerprint(self) -> str:
        """Digest over the keys in order."""
        return self._source.keys_fingerprint

    @property
    def data_fingerprint(self) -> str:
        """The fingerprint of the data set embedded: keys, and captions and pictures where known."""
        return self._source.data_fingerprint

    @property
    def digests(self) -> tuple[np.ndarray, np.ndarray] | None:
        """uint64 [N] of the picture and of the caption that each row was made from, if kept."""
        images, captions = self._core.image_digests, self._core.caption_digests
        return None if images is None or captions is None else (images, captions)

    @property
    def metadata(self) -> dict[str, Any]:
        """What the writer noted: encoders, source, quarantined samples."""
        return json.loads(self._source.metadata_json)

    @property
    def matrices(self) -> tuple[MatrixView, MatrixView]:
        """Both as the C++ core takes them, with scales."""
        return self._core.view("image"), self._core.view("text")

    def verify(self, *, progress: bool = False) -> None:
        """Reads every byte and compares checksums.

        Raises:
            CorruptError: at the first damage, with the file and the column.
        """
        if isinstance(self._source, RemoteStore):
            self._source.verify(progress=progress)
            return
        with ProgressBar(None, label="verify", unit="bytes", enabled=progress) as bar:
            self._core.verify(lambda stage, done, total: bar.set(done))

    def _array(self, array: np.ndarray, name: str) -> np.ndarray:
        if self.dtype == "bfloat16":
            raise UnsupportedError(
                f"NumPy has no bfloat16, and {name} is of it; use store.decoded({name!r}, rows), "
                "or store.image_tensor and store.text_tensor of torch"
            )
        return array


def store_of(store: EmbeddingStore | str | os.PathLike[str]) -> EmbeddingStore:
    """A store, opened where a path is given."""
    if isinstance(store, EmbeddingStore):
        return store
    if not isinstance(store, (str, os.PathLike)):
        raise InvalidArgumentError(f"store is {store!r}, must be an EmbeddingStore or its path")
    return EmbeddingStore.open(store)
