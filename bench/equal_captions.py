"""Does it help to know that captions are equal? Recall@1 of plain training, a third of the captions
being repeated.

    python bench/equal_captions.py

Pictures: OpenMoji, as the demo draws them. Captions are the English names; of some concepts, drawn
by chance, every variant is called by the concept alone ("waving hand" for all skin tones of it),
until a third of the training rows have a caption that another row has, too. Small models are
trained from scratch on them, without hard pairs, under each of ``equal_captions`` and ``unique``,
the same steps of 256 rows. Recall@1 is that of both held-out splits together (one gallery, in which
equal captions count as right), the mean of both directions; differences are paired by seed.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import helip
from helip.data.captions import normalised_caption
from helip.data.dataset import Dataset
from helip.models.bundle import create_model
from helip_demo import data as demo_data

CACHE = Path(__file__).resolve().parent.parent / ".cache" / "bench" / "openmoji"
MODEL: dict[str, Any] = {
    "embed_dim": 64,
    "vision_cfg": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 16},
    "text_cfg": {
        "context_length": 16, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2,
    },
}  # fmt: skip
VARIANTS: dict[str, dict[str, Any]] = {
    "separate": {"equal_captions": "separate", "unique": "none"},
    "mask": {"equal_captions": "mask", "unique": "none"},
    "positive": {"equal_captions": "positive", "unique": "none"},
    "separate, unique": {"equal_captions": "separate", "unique": "caption"},
}


class Coarse(Dataset):
    """Pictures whose captions are those given."""

    def __init__(self, parent: Dataset, captions: list[str]) -> None:
        self._parent, self._given = parent, captions
        self.max_pixels = parent.max_pixels

    @property
    def keys(self) -> Any:
        return self._parent.keys

    def _read_image(self, row: int) -> Image.Image:
        return self._parent.image(row)

    def _read_caption(self, row: int) -> str:
        return self._given[row]

    def _image_source(self) -> Any:
        return self._parent._image_source()


def data(share: float) -> tuple[Dataset, Dataset, dict[str, Any]]:
    """The training rows, the held-out rows, and what was made of their captions."""
    demo_data.build(CACHE, progress=False)
    parts = {
        name: helip.open_dataset(
            sorted(str(path) for split in splits for path in (CACHE / split).glob("*.tar")),
            progress=False,
        )
        for name, splits in {
            "train": ("train",), "held-out": ("heldout-concepts", "heldout-variants"),
        }.items()
    }  # fmt: skip
    names = {name: [rows.caption(row) for row in range(len(rows))] for name, rows in parts.items()}
    concepts: dict[str, list[int]] = defaultdict(list)
    for row, caption in enumerate(names["train"]):
        concepts[demo_data.concept_of(caption)].append(row)
    order = sorted(concept for concept, rows in concepts.items() if len(rows) > 1)
    random.Random(0).shuffle(order)
    cut: set[str] = set()
    repeated = 0
    for concept in order:
        if repeated >= share * len(names["train"]):
            break
        cut.add(concept)
        repeated += len(concepts[concept])
    coarse = {
        name: [
            concept if (concept := demo_data.concept_of(caption)) in cut else caption
            for caption in captions
        ]
        for name, captions in names.items()
    }
    facts = {name: _facts(captions) for name, captions in coarse.items()}
    return (
        Coarse(parts["train"], coarse["train"]),
        Coarse(parts["held-out"], coarse["held-out"]),
        facts,
    )


def _facts(captions: list[str]) -> dict[str, Any]:
    times = Counter(map(normalised_caption, captions))
    return {
        "rows": len(captions),
        "captions": len(times),
        "repeated": sum(n for n in times.values() if n > 1) / len(captions),
        "most": max(times.values()),
    }


def recalls(model: Any, dataset: Dataset) -> dict[str, float]:
    """recall@1 of both directions, and their mean."""
    found = helip.evaluate(
        model, dataset, tasks="retrieval", device="cpu", progress=False, bootstrap=0
    )["retrieval"]
    ways = {way: found[way]["recall@1"]["value"] for way in ("image_to_text", "text_to_image")}
    return {"recall@1": sum(ways.values()) / 2, **ways}


def run(train: Dataset, held_out: Dataset, seed: int, args: Any, options: Any) -> dict[str, Any]:
    bundle = create_model(
        "emoji", config=MODEL, from_scratch=True, seed=seed, augmentation={"scale": (0.8, 1.0)}
    )
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as out:
        trained = helip.train(
            model=bundle, data=train, pairs=None, hard_per_target=0, out=Path(out) / "run",
            seed=seed, batch_size=args.batch_size, steps=args.steps, lr=args.lr, device="cpu",
            precision="float32", workers=1, checkpoint_every=None, keep=1, progress=False,
            **options,
        )  # fmt: skip
    seconds = time.perf_counter() - began
    return {
        **recalls(bundle, held_out),
        "equal_rows": trained.metrics.get("equal_rows"),
        "left_out": trained.loader_stats.get("equal_targets"),
        "seconds": seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--seeds", type=int, nargs="+", default=[0, 1, 2])
    add("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    add("--share", type=float, default=1 / 3, help="of the training rows with a repeated caption")
    add("--steps", type=int, default=150)
    add("--batch-size", type=int, default=256)
    add("--lr", type=float, default=1e-3)
    add("--threads", type=int, default=1)
    add("--out", type=Path, default=Path("build/bench/equal_captions.json"))
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    train, held_out, facts = data(args.share)
    for name, fact in facts.items():
        print(
            f"{name}: {fact['rows']:,} rows, {fact['captions']:,} captions, "
            f"{fact['repeated']:.1%} of the rows share theirs, one stands at {fact['most']}"
        )
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in args.variants}
    for seed in args.seeds:
        for name in args.variants:
            runs[name].append(run(train, held_out, seed, args, VARIANTS[name]))
            last = runs[name][-1]
            print(f"seed {seed}, {name}: recall@1 {last['recall@1']:.3f}, "
                  f"{last['seconds']:.0f} s", flush=True)  # fmt: skip
    base = [each["recall@1"] for each in runs[args.variants[0]]]
    for name, found in runs.items():
        values = np.array([each["recall@1"] for each in found])
        differences = values - base
        spread = statistics.stdev(differences) if len(differences) > 1 else 0.0
        print(f"| {name} | {100 * values.mean():.1f} | {100 * differences.mean():+.1f} ± "
              f"{100 * spread:.1f} |")  # fmt: skip
    given = {name: str(value) if name == "out" else value for name, value in vars(args).items()}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(
        json.dumps({"options": given, "data": facts, "runs": runs}, indent=1) + "\n"
    )


if __name__ == "__main__":
    main()
