"""Options of importing embeddings into a store."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import Ge, MultipleOf

from helip.common.errors import InvalidArgumentError
from helip.common.options import Options, ProgressOptions, require


@dataclass(frozen=True, kw_only=True)
class ImportOptions(Options):
    """Which columns are read, and what the store is like."""

    image_column: str | None = None
    """Column or array of the image embeddings, such as l14_img; else guessed by its name."""
    text_column: str | None = None
    """Column or array of the text embeddings, such as l14_txt; else guessed by its name."""
    key_column: str | None = None
    """Column of the keys, else key, uid or id where there is one; row for the rows' numbers."""
    caption_column: str | None = None
    """Column of the captions, whose digests the store keeps, so that other data is noticed."""
    dtype: Literal["float32", "float16", "bfloat16", "int8"] | None = None
    """Of the store; else the source's, and float32 for float64."""
    shard_rows: Annotated[int, Ge(4096), MultipleOf(4096)] = 262_144
    """Rows of a file of the store, a multiple of 4096."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("image_column", "text_column", "key_column", "caption_column"):
            require(getattr(self, name) != "", name, "", "a column's name")


@dataclass(frozen=True, kw_only=True)
class ImportCall(ImportOptions, ProgressOptions):
    """What `EmbeddingStore.import_from` is asked."""

    source: Any = field(default=None, kw_only=False)
    """What holds both embeddings: a folder of clip-retrieval (``img_emb``, ``text_emb``,
    ``metadata``) or of DataComp (``.npz`` and ``.parquet``), ``.parquet``, ``.npz`` or ``.lance``,
    a pattern of these, a list of paths, a ``pyarrow.Table``."""
    image: Any = None
    """Image embeddings alone: ``.npy`` files (a path, a pattern, a list), or an array."""
    text: Any = None
    """Text embeddings, in as many files or as an array."""
    matrices: Mapping[str, Any] | None = None
    """Other matrices of the same rows by their names, such as audio, each given as ``image`` is."""
    metadata: Any = None
    """Parquet with keys and captions of the rows of ``image`` and ``text``: a file for all rows, or
    one for each of their files."""
    keys: Sequence[str] | None = None
    """Keys of arrays; else their numbers."""
    out: str | os.PathLike[str]
    """The store to write, a directory or a URL of s3, gs or az; the same call goes on with one that
    is not complete."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.source is None and (self.image is None or self.text is None):
            missing = "text" if self.image is not None else "image"
            raise InvalidArgumentError(
                f"{missing} is missing; give a source that holds both embeddings, or image and text"
            )
        if self.source is not None:
            for name in ("image", "text", "matrices", "metadata", "keys"):
                if getattr(self, name) is not None:
                    raise InvalidArgumentError(
                        f"{name} is given beside a source, which holds it; leave one of them out"
                    )
