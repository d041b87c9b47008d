"""Embeddings with keys and captions, and how other tools lay them out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import helip

D_IMAGE, D_TEXT = 12, 8


@dataclass(frozen=True)
class Embeddings:
    image: np.ndarray
    text: np.ndarray
    keys: list[str]
    captions: list[str]

    def part(self, first: int, last: int) -> Embeddings:
        rows = slice(first, last)
        return Embeddings(self.image[rows], self.text[rows], self.keys[rows], self.captions[rows])

    def table(self, **more: Any) -> Any:
        """A ``pyarrow.Table`` of all."""
        import pyarrow

        flat = pyarrow.array(self.image.ravel())
        lists = pyarrow.list_(pyarrow.from_numpy_dtype(self.text.dtype))
        columns: dict[str, Any] = {
            "uid": self.keys,
            "image_emb": pyarrow.FixedSizeListArray.from_arrays(flat, D_IMAGE),
            "caption": self.captions,
            "text_emb": pyarrow.array(list(self.text), lists),
        }
        return pyarrow.table(columns | more)

    def metadata(self, path: Path) -> None:
        import pyarrow
        import pyarrow.parquet

        table = pyarrow.table({"caption": self.captions, "key": self.keys})
        pyarrow.parquet.write_table(table, path, row_group_size=7)

    def check(self, store: helip.EmbeddingStore, *, numbered: bool = False) -> None:
        """That the store holds all of it, in order."""
        store.verify()
        dtype = store.image.dtype
        np.testing.assert_array_equal(store.image, self.image.astype(dtype))
        np.testing.assert_array_equal(store.text, self.text.astype(dtype))
        expected = [f"{row:09d}" for row in range(len(self.keys))] if numbered else self.keys
        assert list(store.keys) == expected
        assert store.metadata["complete"]


def embeddings(rows: int, dtype: str = "float16") -> Embeddings:
    random = np.random.default_rng(0)
    return Embeddings(
        random.normal(size=(rows, D_IMAGE)).astype(dtype),
        random.normal(size=(rows, D_TEXT)).astype(dtype),
        [f"k{row:04d}" for row in range(rows)],
        [f"caption {row}" for row in range(rows)],
    )


def clip_retrieval(folder: Path, whole: Embeddings, shard: int) -> Path:
    """The folder that clip-retrieval writes, a file of each for every ``shard`` rows."""
    for name in ("img_emb", "text_emb", "metadata"):
        (folder / name).mkdir(parents=True)
    for number, first in enumerate(range(0, len(whole.keys), shard)):
        part = whole.part(first, first + shard)
        np.save(folder / "img_emb" / f"img_emb_{number}.npy", part.image)
        np.save(folder / "text_emb" / f"text_emb_{number}.npy", part.text)
        part.metadata(folder / "metadata" / f"metadata_{number}.parquet")
    return folder


def data_comp(folder: Path, whole: Embeddings, shard: int, *, compressed: bool = False) -> Path:
    """A folder of DataComp: an .npz with embeddings of two models, and a .parquet, each shard."""
    import pyarrow
    import pyarrow.parquet

    folder.mkdir()
    save = np.savez_compressed if compressed else np.savez
    for number, first in enumerate(range(0, len(whole.keys), shard)):
        part = whole.part(first, first + shard)
        save(
            folder / f"{number:08d}.npz",
            b32_img=part.image[:, :4], b32_txt=part.text[:, :4],
            l14_img=part.image, l14_txt=part.text,
        )  # fmt: skip
        table = pyarrow.table({"uid": part.keys, "url": part.keys, "text": part.captions})
        pyarrow.parquet.write_table(table, folder / f"{number:08d}.parquet")
    return folder
