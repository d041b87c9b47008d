"""Real embeddings for benchmarks, grown to any number of rows.

The base is the OpenMoji data set of the demo (3,947 pictures with their names), embedded with
packaged encoders. Two pairs of widths are made of it:

- ``1280x384``: EfficientNet-Lite0 features (1280-d) and all-MiniLM-L6-v2 of the English name
  (384-d).
- ``384x768``: the same image features through a fixed, seeded random orthonormal projection to
  384 dimensions, rows normalised again, which keeps cosines up to a few hundredths and stands in
  for a narrower encoder; and, as text, MiniLM of the English name beside MiniLM of the French name
  of the same picture (768-d, each half of unit length before the whole is normalised).

A grown row is a real row plus a third of the difference of two other real rows, in both modalities
at once: spectrum, cluster sizes and the dependence between the modalities stay those of real data.
Isotropic noise would not do: on it every method looks wrong.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

import helip

DIMS = ((384, 768), (1280, 384))
STEP = 1 / 3
BLOCK = 8192


def base_store(cache: Path) -> helip.EmbeddingStore:
    """The embedded data set, made on first use."""
    from helip_demo.data import build

    store = cache / "openmoji.store"
    if not (store / "manifest.json").exists():
        build(cache / "openmoji")
        shards = sorted(str(path) for path in (cache / "openmoji").rglob("*.tar"))
        helip.embed(shards, out=store, preset="packaged", dtype="float32")
    return helip.EmbeddingStore.open(store)


def base(cache: Path, dims: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The real rows, float32 of unit length: [3947, d_image] and [3947, d_text]."""
    if dims not in DIMS:
        raise ValueError(f"dims are {dims}; real embeddings are there for {DIMS}")
    store = base_store(cache)
    image, text = (unit(part.numpy()) for part in store.rows(slice(None)))
    if dims == (1280, 384):
        return image, text
    gaussian = np.random.default_rng(0).normal(size=(image.shape[1], dims[0]))
    projection = np.linalg.qr(gaussian)[0].astype(np.float32)
    return unit(image @ projection), unit(np.hstack((text, _french(cache, store.keys))))


def grow(parts: Sequence[np.ndarray], rows: int, seed: int) -> tuple[np.ndarray, ...]:
    """float32 unit rows [rows, d] of each part, such as images and texts, grown from real ones."""
    a, b, c = np.random.default_rng(seed).integers(0, len(parts[0]), size=(3, rows))
    grown = []
    for real in parts:
        part = np.empty((rows, real.shape[1]), np.float32)
        for first in range(0, rows, BLOCK):
            block = slice(first, first + BLOCK)
            part[block] = unit(real[a[block]] + STEP * (real[b[block]] - real[c[block]]))
        grown.append(part)
    return tuple(grown)


def grown_folder(cache: Path, dims: tuple[int, int], rows: int) -> Path:
    """A folder with ``image.npy`` and ``text.npy``, made on first use: whole or not at all."""
    folder = cache / f"{dims[0]}x{dims[1]}-{rows}"
    if folder.exists():
        return folder
    parts = grow(base(cache, dims), rows, seed=0)
    publish_arrays(folder, {"image": parts[0], "text": parts[1]})
    return folder


def unit(rows: np.ndarray) -> np.ndarray:
    """The rows, each divided by its length."""
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _french(cache: Path, keys: Sequence[str]) -> np.ndarray:
    """MiniLM of the French name of each picture: float32 unit rows [len(keys), 384]."""
    folder = cache / "openmoji-french"
    if not folder.exists():
        import emoji

        from helip.encoders.registry import text_encoder

        emoji.config.load_language("fr")
        names = {
            _codes(map(ord, sign)): str(facts["fr"]).strip(":").replace("_", " ")
            for sign, facts in emoji.EMOJI_DATA.items()
            if "fr" in facts
        }
        captions = [names[_codes(int(code, 16) for code in key.split("-"))] for key in keys]
        encoder = text_encoder("packaged:minilm")
        pieces = [encoder.encode(captions[i : i + 512]) for i in range(0, len(captions), 512)]
        publish_arrays(folder, {"text": np.vstack([piece.numpy() for piece in pieces])})
    return unit(np.load(folder / "text.npy"))


def _codes(codes: Iterable[int]) -> tuple[int, ...]:
    # Without variation selectors, on which fonts and names disagree.
    return tuple(code for code in codes if code != 0xFE0F)


def publish_arrays(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    """Writes the arrays to a folder that appears in one step."""
    with published(folder) as staging:
        for name, array in arrays.items():
            np.save(staging / f"{name}.npy", array)


@contextmanager
def published(folder: Path) -> Iterator[Path]:
    """A folder to fill, which appears at its place in one step; the first of two writers wins."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        yield staging
        try:
            os.rename(staging, folder)
        except OSError:
            if not folder.exists():
                raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)
