"""Real embeddings for benchmarks, grown to any number of rows.

The base is the OpenMoji data set of the demo (pictures with their English names), embedded
with EfficientNet-Lite0 (1280-d) and all-MiniLM-L6-v2 (384-d). A grown row is a real row plus a
third of the difference of two other real rows, in both modalities at once: spectrum, cluster sizes
and the dependence between the modalities stay those of real data. Isotropic noise would not do:
on it every method looks wrong.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

import helip

STEP = 1 / 3


def base_store(cache: Path) -> helip.EmbeddingStore:
    """The embedded data set, made on first use."""
    from helip.demo_data import build

    store = cache / "openmoji.store"
    if not (store / "manifest.json").exists():
        build(cache / "openmoji")
        shards = sorted(str(path) for path in (cache / "openmoji").rglob("*.tar"))
        helip.embed(shards, out=store, preset="packaged", dtype="float32")
    return helip.EmbeddingStore.open(store)


def grow(store: helip.EmbeddingStore, rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """float32 unit rows [rows, d_image] and [rows, d_text]."""
    image, text = (part.numpy() for part in store.rows(slice(None)))
    image = image / np.linalg.norm(image, axis=1, keepdims=True)
    text = text / np.linalg.norm(text, axis=1, keepdims=True)
    random = np.random.default_rng(seed)
    a, b, c = random.integers(0, len(image), size=(3, rows))
    grown = []
    for real in (image, text):
        part = np.empty((rows, real.shape[1]), np.float32)
        for first in range(0, rows, 8192):
            block = slice(first, first + 8192)
            part[block] = real[a[block]] + STEP * (real[b[block]] - real[c[block]])
        part /= np.linalg.norm(part, axis=1, keepdims=True)
        grown.append(part)
    return grown[0], grown[1]
