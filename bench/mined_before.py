"""A data set that was mined before: its store, and the codes that a job kept, in a folder."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from pathlib import Path
from typing import Any

import numpy as np
from stores import append_rows

import helip


class MinedBefore:
    """The folder is gone with the object."""

    def __init__(self, image: np.ndarray, text: np.ndarray, **options: Any) -> None:
        folder = Path(tempfile.mkdtemp(prefix="helip-mined-before-"))
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        self.options = {"device": "cpu", "progress": False, "codes": folder / "codes", **options}
        with helip.EmbeddingStore.create(
            folder / "store", image_dim=image.shape[1], text_dim=text.shape[1]
        ) as writer:
            append_rows(writer, image, text)
        self.store = helip.EmbeddingStore.open(folder / "store")
        self.mine()

    def mine(self, **options: Any) -> helip.HardPairs:
        """Again, with the codes of the first time unless options say otherwise."""
        return helip.mine(self.store, **{**self.options, **options})
