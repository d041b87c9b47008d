"""Pictures that a set names by their paths within a folder."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helip.common.errors import InvalidArgumentError
from helip.data.dataset import Dataset
from helip.data.decoding import decode_image
from helip.data.packed_strings import KeyList
from helip.data.paths import read_inside

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

_PART = re.compile(r"#(-?\d+),(-?\d+),(\d+),(\d+)$")


def folder_of_pictures(folder: Path, given: str | os.PathLike[str] | None) -> Path:
    """The folder that names of pictures start from: ``given``, else ``images`` within the folder of
    a set, else that itself."""
    root = folder / "images" if given is None else Path(given)
    if given is None and not root.is_dir():
        root = folder
    if not root.is_dir():
        raise InvalidArgumentError(f"{root} is no folder; give the folder of the pictures")
    return root


class NamedPictures(Dataset):
    """Pictures of a folder by their names, and parts of them: ``name#left,top,width,height``."""

    def __init__(self, root: Path, names: Sequence[str]) -> None:
        self._root = os.path.realpath(root)
        self._keys = KeyList.from_strings(names)

    @property
    def keys(self) -> KeyList:
        return self._keys

    def _image_source(self) -> tuple[Any, np.ndarray | None] | None:
        from helip import _core

        if any(map(_PART.search, self._keys)):
            return None  # of a part of a picture the core knows nothing
        blob, offsets = self._keys.blob, self._keys.offsets
        return _core.ImageFiles([self._root], [0, len(self)], blob, offsets, False, False), None

    def _read_image(self, row: int) -> Image.Image:
        key = self._keys[row]
        part = _PART.search(key)
        name = key if part is None else key[: part.start()]
        data = read_inside(self._root, name, key=key)
        image = decode_image(
            data, key=key, max_pixels=self.max_pixels, max_seconds=self.max_seconds
        )
        if part is None:
            return image
        left, top, width, height = map(int, part.groups())
        return image.crop((left, top, left + width, top + height))

    def _read_caption(self, row: int) -> str | None:
        return None
