"""Embeddings of real icons for benchmarks: nothing in them is grown.

The rows are those of all icons of npm ``@iconify/json`` whose licence allows it, about 300,000:
EfficientNet-Lite0 of the picture (1280-d) and MiniLM of the name (384-d), as the experiments embed
them (``experiments/icon_features.py``, which draws and embeds them on first use: about an hour on
two cores). Many names are shared, so text rows are equal far more often than in grown rows.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
from grown import grown_folder, publish_arrays, unit

EXPERIMENTS = Path(__file__).resolve().parent / "experiments"
ICON_DIMS = (1280, 384)
SOURCES = ("grown", "icons")


def rows_folder(source: str, cache: Path, dims: tuple[int, int], rows: int) -> Path:
    """A folder with ``image.npy`` and ``text.npy``, float32 unit rows, made on first use: of one of
    SOURCES, or drawn from those of a folder."""
    if source == "grown":
        return grown_folder(cache, dims, rows)
    return (
        icons_folder(cache, dims, rows) if source == "icons" else drawn(Path(source), cache, rows)
    )


def drawn(source: Path, cache: Path, rows: int) -> Path:
    """``rows`` rows of the matrices of a folder, drawn at random without repetition."""
    folder = cache / f"{source.name}-{rows}"
    if not folder.exists():
        parts = {name: np.load(source / f"{name}.npy", mmap_mode="r") for name in ("image", "text")}
        chosen = np.random.default_rng(0).permutation(len(parts["image"]))[:rows]
        if len(chosen) < rows:
            raise SystemExit(f"{source} has {len(chosen):,} rows, not {rows:,}: ask for fewer")
        publish_arrays(folder, {n: unit(a[chosen].astype(np.float32)) for n, a in parts.items()})
    return folder


def icons_folder(cache: Path, dims: tuple[int, int], rows: int) -> Path:
    """``rows`` icons, drawn at random without repetition, in random order."""
    if dims != ICON_DIMS:
        raise SystemExit(f"icons have {ICON_DIMS[0]}x{ICON_DIMS[1]} dimensions, not {dims}")
    folder = cache / f"icons-{rows}"
    if folder.exists():
        return folder
    sys.path.insert(0, os.fspath(EXPERIMENTS))
    from icon_features import store
    from icon_splits import SPLITS

    stores = [store("all", split, progress=True) for split in SPLITS]
    most = sum(map(len, stores))
    if rows > most:
        raise SystemExit(f"there are {most:,} icons, not {rows:,}: ask for fewer rows")
    chosen = np.random.default_rng(0).permutation(most)[:rows]
    arrays = {}
    for name in ("image", "text"):
        parts = [np.asarray(getattr(each, name)) for each in stores]
        arrays[name] = unit(np.concatenate(parts)[chosen].astype(np.float32))
    publish_arrays(folder, arrays)
    return folder
