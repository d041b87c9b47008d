"""Tar shards of webdataset and img2dataset, read at random by offset; nothing is extracted.

A :class:`~helip.SampleIndex` knows where members lie; here is what they mean.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from helip.common.errors import InvalidArgumentError
from helip.common.remote.urls import local_path
from helip.data.captions import texts_of
from helip.data.dataset import Dataset
from helip.data.options import OF_URLS, OpenCall
from helip.data.sample_index import SampleIndex
from helip.store.keys import CoreKeys

_BAR_FROM_SHARDS = 16


def open_shards(paths: Sequence[Path | str], options: OpenCall) -> TarDataset:
    """Index tar files, in memory."""
    options.refuse(("key_column", "label_column", "keys", "root"), "tar shards")
    options.refuse(("follow_links",), "tar shards, where links are never followed")
    index = SampleIndex.build(
        paths, image_extension=options.image_column,
        progress=options.progress and len(paths) >= _BAR_FROM_SHARDS,
    )  # fmt: skip
    _keep(index, options)
    return TarDataset(index, options)


def open_index(path: Path, options: OpenCall) -> TarDataset:
    """Open a saved index of tar files."""
    options.refuse(("key_column", "label_column", "keys"), "an index of tar shards")
    options.refuse(("follow_links",), "tar shards, where links are never followed")
    index = SampleIndex.open(path, root=options.root)
    wanted = options.image_column
    if wanted is not None and [wanted.lower().lstrip(".")] != index.image_extensions:
        raise InvalidArgumentError(
            f"image_column={wanted!r}, but the index {path} takes {index.image_extensions} for "
            "pictures; build it again with that extension, or leave image_column out"
        )
    _keep(index, options)
    return TarDataset(index, options)


def _keep(index: SampleIndex, options: OpenCall) -> None:
    """Let what is read at URLs be kept where the options say."""
    if not index.at_urls:
        options.refuse(OF_URLS, "shards on this machine")
    elif options.cache is not None:
        folder = Path(os.path.abspath(local_path(options.cache)))
        index._keep_in(folder, options.cache_bytes)
    elif options.cache_size is not None:
        raise InvalidArgumentError(
            f"cache_size is {options.cache_size!r}, which bounds cache, and that is not given; "
            "name its folder, or leave cache_size out"
        )


class TarDataset(Dataset):
    """The samples of one or more tar shards, in order of shards and of first members."""

    def __init__(self, index: SampleIndex, options: OpenCall) -> None:
        self.max_pixels, self.max_seconds = options.limits
        self._caption_field = options.caption_column
        self._index = index

    @property
    def index(self) -> SampleIndex:
        """Where its samples lie."""
        return self._index

    @property
    def keys(self) -> CoreKeys:
        return self._index.keys

    @cached_property
    def fingerprint(self) -> str:
        # The index knows the captions that are read by default.
        return super().fingerprint if self._caption_field is not None else self._index.fingerprint

    def _image_digests(self, rows: np.ndarray) -> np.ndarray:
        return self._index.digests(rows)[0]

    def _caption_digests(self, rows: np.ndarray) -> np.ndarray:
        if self._caption_field is not None:
            return super()._caption_digests(rows)
        return self._index.digests(rows)[1]

    def counts(self) -> dict[str, int]:
        """Rows, rows without a picture or caption member, and members left out by reason."""
        return self._index.counts()

    def cache_counts(self) -> dict[str, int]:
        return self._index.cache_counts()

    def __repr__(self) -> str:
        counts = self.counts()
        return f"TarDataset({counts['rows']:,} rows in {counts['shards']:,} shards)"

    def _will_need(self, rows: np.ndarray) -> None:
        self._index.will_need(rows)

    def _will_need_captions(self, rows: np.ndarray) -> None:
        self._index._will_need_captions(rows)

    def _is_remote(self) -> bool:
        return self._index.at_urls

    def _survives_fork(self) -> bool:
        return not self._index.at_urls

    def _read_pair(self, row: int) -> tuple[Image.Image, tuple[str, ...]]:
        if self._index.at_urls:
            self._will_need(np.array([row]))  # both by one request
        return super()._read_pair(row)

    def _read_image(self, row: int) -> Image.Image:
        return self._decoded(row, self._index.read(row, "image"))

    def _image_bytes(self, row: int) -> bytes | None:
        return self._index.read(row, "image")

    def _image_source(self) -> tuple[Any, np.ndarray | None] | None:
        return self._index.pictures(), None

    def _read_captions(self, row: int) -> list[str]:
        if self._caption_field is not None:
            return _texts_of(self._json(row).get(self._caption_field))
        text = self._text(row, "text")
        if text is not None and text.strip():
            return [text]
        described = self._json(row)
        for name in ("caption", "captions", "text"):
            if captions := _texts_of(described.get(name)):
                return captions
        return []

    def _read_label(self, row: int) -> str | None:
        label: Any = self._text(row, "label")
        if label is None:
            label = self._json(row).get("label")
        if isinstance(label, bool) or not isinstance(label, (str, int)):
            return None
        return str(label).strip() or None

    def _json(self, row: int) -> dict[str, Any]:
        text = self._text(row, "json")
        if text is None:
            return {}
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            detail = f"its .json member cannot be read: {error}"
            raise self._sample_error(row, "unreadable_caption", detail) from error
        return value if isinstance(value, dict) else {}

    def _text(self, row: int, field: str) -> str | None:
        if self._index.member(row, field).state != "present":
            return None
        return self._utf8(row, self._index.read(row, field))


def _texts_of(value: Any) -> list[str]:
    return texts_of(value) if isinstance(value, (str, list)) else []
