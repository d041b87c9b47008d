"""The quick look: hard pairs of 600 pictures, in a table and on a page, without training."""

from __future__ import annotations

import os
import shutil
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import helip
from helip.common.errors import CorruptError, MismatchError
from helip.data import Dataset
from helip_demo.data import whole_concepts

# EfficientNet-Lite0 at 128 pixels takes a third of the time that it takes at its own 224.
IMAGE_ENCODER = "packaged:efficientnet-lite0?size=128&crop=1"
TEXT_ENCODER = "packaged:minilm"
PICTURES = 600
POOL = 50
TARGETS = 12  # on the page
_STORE = "quick-embeddings"
_PRINTED = 4  # of these, in the table
_FIRST = 3  # hard pairs of each, in the table
_KEY, _CAPTION = 22, 44  # columns of the table, in characters


@dataclass(frozen=True)
class QuickLook:
    """What was found: the table of hard pairs, as text and on a page."""

    pairs: helip.HardPairs
    targets: list[int]
    table: str
    page: Path


def quick_look(
    data: Dataset,
    out: Path,
    *,
    work: Path,
    seed: int = 0,
    threads: int | None = None,
    progress: bool = True,
) -> QuickLook:
    """Embed and mine a part of ``data``, and write the page ``out`` about it.

    The embeddings stay in ``work``, where the next call with the same data finds them.
    """
    part = data.subset(choose_rows(data, PICTURES, seed=seed))
    store = embedded(part, work / _STORE, progress=progress)
    pairs = helip.mine(
        store, k=POOL, method="exact", device="cpu", threads=threads, progress=progress
    )
    targets = choose_targets(pairs, [part.label(row) for row in range(len(part))], TARGETS)
    page = helip.report(
        pairs,
        part,
        out,
        store=store,
        rows=targets,
        title="Hard pairs of OpenMoji, a quick look",
        progress=progress,
        summary={
            "pictures": f"{len(part):,} of {len(data):,} OpenMoji (CC BY-SA 4.0, openmoji.org)",
            "encoders": "EfficientNet-Lite0 (ImageNet) and all-MiniLM-L6-v2, as published",
        },
    )
    shown = targets[:: max(len(targets) // _PRINTED, 1)][:_PRINTED]
    return QuickLook(pairs, targets, format_table(part, store, pairs, shown), Path(page))


def is_prepared(data: Dataset, work: Path, *, seed: int = 0) -> bool:
    """Whether `quick_look` would find its embeddings in ``work``."""
    return is_embedded(data.subset(choose_rows(data, PICTURES, seed=seed)), work / _STORE)


def choose_rows(data: Dataset, count: int, *, seed: int) -> np.ndarray:
    """About ``count`` rows, ascending: whole concepts, so that near-twins stay together."""
    concepts: dict[str, list[int]] = defaultdict(list)
    for row in range(len(data)):
        concepts[data.label(row) or ""].append(row)
    chosen = whole_concepts(concepts, count, seed=f"helip-demo-quick-{seed}")
    return np.array(sorted(chosen), dtype=np.int64)


def embedded(data: Dataset, out: Path, *, progress: bool) -> helip.EmbeddingStore:
    """Both embeddings of every row; what an earlier call with the same data left is used."""
    options: dict[str, Any] = {
        "image_encoder": IMAGE_ENCODER,
        "text_encoder": TEXT_ENCODER,
        "dtype": "float32",
        "device": "cpu",
        "progress": progress,
    }
    try:
        return helip.embed(data, out=out, **options)
    except (MismatchError, CorruptError):  # of other data or encoders, or damaged
        shutil.rmtree(out)
        return helip.embed(data, out=out, **options)


def is_embedded(data: Dataset, out: str | os.PathLike[str]) -> bool:
    """Whether ``out`` is the finished store of this data."""
    try:
        about = helip.EmbeddingStore.open(out).metadata
    except helip.Error:
        return False
    source = about.get("source", {})
    return bool(about.get("complete")) and source.get("fingerprint") == data.fingerprint


def choose_targets(pairs: helip.HardPairs, concepts: Sequence[str | None], count: int) -> list[int]:
    """Targets of different concepts along the quantiles of their best score, best first."""
    counts = np.asarray(pairs.counts)
    best = np.where(counts > 0, pairs.scores[:, 0], -np.inf)
    order = np.argsort(-best, kind="stable")[: int((counts > 0).sum())]
    chosen: list[int] = []
    seen: set[str | None] = set()
    for stratum in np.array_split(order, count):
        new = next((int(row) for row in stratum if concepts[row] not in seen), None)
        if new is not None:
            chosen.append(new)
            seen.add(concepts[new])
    return chosen


def format_table(
    data: Dataset, store: helip.EmbeddingStore, pairs: helip.HardPairs, targets: list[int]
) -> str:
    """Targets with their first hard pairs: key, caption, and the similarities of both sides."""
    lines = [f"{'':9}{'key':{_KEY}} {'caption':{_CAPTION}}{'image':>7}{'text':>7}{'product':>9}"]
    for target in targets:
        lines.append(f"{'target':9}{_named(data, target)}".rstrip())
        for rank in range(min(_FIRST, int(pairs.counts[target]))):
            row = int(pairs.ids[target, rank])
            image, text = (_cosine(side, target, row) for side in (store.image, store.text))
            lines.append(
                f"{f'  hard {rank + 1}':9}{_named(data, row)}{image:7.2f}{text:7.2f}"
                f"{image * text:9.2f}"
            )
    return "\n".join(lines)


def opening_words(page: Path) -> str:
    """Where a page lies, and how to look at it."""
    path = page.resolve()
    return (
        f"The page with the pictures: {page}\n"
        f"  open it in a browser: {path.as_uri()}\n"
        f"  or fetch it, it is one file: scp HOST:{path} ."
    )


def _named(data: Dataset, row: int) -> str:
    return f"{_cut(data.keys[row], _KEY):{_KEY}} {_cut(data.caption(row), _CAPTION):{_CAPTION}}"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def _cosine(side: np.ndarray, a: int, b: int) -> float:
    left, right = (np.asarray(side[row], dtype=np.float64) for row in (a, b))
    return float(left @ right / np.sqrt((left @ left) * (right @ right)))
