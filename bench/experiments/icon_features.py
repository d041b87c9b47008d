"""Embeddings of the icons by unimodal encoders, and the hard pairs of those that are trained on.

    python bench/experiments/icon_features.py --kind colour

Beside the data set, in ``<data set>-features``: ``stores/<split>``, a store for each split, whose
rows are those of ``icons.load(...).shards(split)``; and ``pairs``, the table of the training split.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import icons
from icon_splits import SPLITS, TRAIN

import helip
from helip import EmbeddingStore, HardPairs

IMAGE_ENCODER = "packaged:efficientnet-lite0?size=128&crop=1"
TEXT_ENCODER = "packaged:minilm"
K = 100


def folder(kind: str, size: int) -> Path:
    data = icons.place(kind, size)
    return data.with_name(f"{data.name}-features")


def store(kind: str, split: str, size: int = 64, *, progress: bool = False) -> EmbeddingStore:
    """Embeddings of a split; made, or made to their end, if they are not there."""
    out = folder(kind, size) / "stores" / split
    shown = icons.load(kind, size)
    # A job that was stopped leaves a store of fewer rows.
    if not (out / "manifest.json").exists() or len(EmbeddingStore.open(out)) < len(
        shown.rows(split)
    ):
        data = helip.open_dataset(shown.shards(split), progress=False)
        helip.embed(
            data,
            out=out,
            image_encoder=IMAGE_ENCODER,
            text_encoder=TEXT_ENCODER,
            dtype="float16",
            device="cpu",
            progress=progress,
        )
    return EmbeddingStore.open(out)


def table(kind: str, size: int = 64, *, progress: bool = False) -> HardPairs:
    """The hard pairs of the training split, by the product of both similarities; made if absent."""
    out = folder(kind, size) / "pairs"
    if not (out / "manifest.json").exists():
        helip.mine(
            store(kind, TRAIN, size, progress=progress), k=K, out=out, device="cpu",
            progress=progress,
        )  # fmt: skip
    return HardPairs.open(out)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kind", choices=icons.KINDS, default="colour")
    parser.add_argument("--size", type=int, default=64)
    args = parser.parse_args()
    for split in sorted(SPLITS, key=lambda name: name != TRAIN):
        began = time.perf_counter()
        rows = len(store(args.kind, split, args.size, progress=True))
        print(f"{split}: {rows:,} rows, {time.perf_counter() - began:.0f} s", flush=True)
        if split == TRAIN:
            began = time.perf_counter()
            pairs = table(args.kind, args.size, progress=True)
            print(f"hard pairs: {len(pairs):,} rows, {time.perf_counter() - began:.0f} s")
    print(folder(args.kind, args.size))


if __name__ == "__main__":
    main()
