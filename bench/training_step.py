"""Images a second of a training step, with and without hard pairs.

    python bench/training_step.py --model ViT-B-32 --rows 256 --precision bfloat16

A model of that shape from random weights and batches of noise already in memory, through Trainer as
a run has it: with hard pairs and the margin loss, and without, alternately. Prints a table and
writes JSON with --out.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from helip.models.bundle import ModelBundle, create_model
from helip.training import Recipe, Trainer, read_metrics
from helip_demo.pretraining import MODEL

TINY = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 8, "vocab_size": 64, "width": 16, "heads": 2, "layers": 1},
}


class Noise:
    """One batch again and again; every other row is a hard pair of the one before, if asked."""

    def __init__(self, options: argparse.Namespace, model: Any, hard: bool) -> None:
        generator = torch.Generator().manual_seed(0)
        side, text = model.visual.image_size, model.context_length
        side = side[0] if isinstance(side, tuple) else side
        rows = torch.arange(options.rows)
        self.steps = options.steps
        self.batch = {
            "image": torch.randn(options.rows, 3, side, side, generator=generator),
            "text": torch.randint(1, 60, (options.rows, text), generator=generator),
            "index": rows,
            "target": rows // 2 * 2 if hard else rows,
        }
        if options.device == "cuda":
            self.batch = {name: value.pin_memory() for name, value in self.batch.items()}

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Any:
        return (self.batch for _ in range(self.steps))

    def set_epoch(self, epoch: int) -> None: ...

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


def created(name: str) -> ModelBundle:
    """A model from random weights: one of open_clip, the demo's, or a tiny one."""
    known = {"tiny": TINY, "demo": MODEL}
    config = {"config": known[name]} if name in known else {}
    return create_model(name, seed=0, from_scratch=True, **config)


def measured(options: argparse.Namespace, hard: bool) -> dict[str, float]:
    """Of steps after the first few, up to the end of the last on the device."""
    bundle = created(options.model)
    marks: list[tuple[float, float]] = []

    class Clock:
        def after_step(self, model: Any, step: int) -> None:
            if step in (options.warm, options.steps):
                if options.device == "cuda":
                    torch.cuda.synchronize()
                marks.append((time.perf_counter(), time.process_time()))

        def state_dict(self) -> dict[str, Any]:
            return {}

        def load_state_dict(self, state: Any) -> None: ...

    with tempfile.TemporaryDirectory() as folder:
        recipe = Recipe(precision=options.precision, gamma=1.0 if hard else 0.0)
        trainer = Trainer(
            bundle, Noise(options, bundle.model, hard), out=Path(folder), recipe=recipe,
            device=options.device, progress=False, epochs=1, checkpoint_every=None, log_every=50,
            compiled=options.compiled, hooks={"clock": Clock()},
        )  # fmt: skip
        trainer.run()
        last = read_metrics(Path(folder) / "metrics.jsonl")[-1]
    steps = options.steps - options.warm
    seconds, cpu = ((end - start) / steps for start, end in zip(*marks, strict=True))
    return {
        "seconds": seconds,
        "cpu_seconds": cpu,
        "wait": last["data_wait_seconds"] / options.steps,
    }


def compare(options: argparse.Namespace) -> dict[str, Any]:
    sides: dict[str, list[dict[str, float]]] = {"plain": [], "hard pairs": []}
    for _ in range(options.repeats):
        for name, found in sides.items():
            found.append(measured(options, hard=name == "hard pairs"))
    result: dict[str, Any] = {}
    for name, found in sides.items():
        seconds = statistics.median(each["seconds"] for each in found)
        wait = statistics.median(each["wait"] for each in found)
        result[name] = {
            "seconds": seconds,
            "cpu_seconds": statistics.median(each["cpu_seconds"] for each in found),
            "images_per_second": options.rows / seconds,
            "data_wait_share": wait / seconds,
        }  # fmt: skip
    plain, hard = (result[name]["seconds"] for name in ("plain", "hard pairs"))
    return {**result, "margin_share": (hard - plain) / hard, "options": vars(options) | {"out": ""}}


def parsed(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="ViT-B-32", help="or tiny, or demo")
    parser.add_argument("--rows", type=int, default=256)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--warm", type=int, default=10, help="steps that do not count")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--precision", default="bfloat16")
    parser.add_argument("--compiled", action="store_true")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path)
    return parser.parse_args(arguments)


def main() -> None:
    options = parsed()
    result = compare(options)
    for name in ("plain", "hard pairs"):
        row = result[name]
        print(
            f"{name:>10}: {row['seconds'] * 1e3:8.2f} ms a step, {row['images_per_second']:8.1f} "
            f"images/s, {row['cpu_seconds']:.2f} CPU seconds, "
            f"{row['data_wait_share']:6.1%} waiting for data"
        )
    print(f"hard pairs and margin loss: {result['margin_share']:.1%} of a step")
    if options.out:
        options.out.write_text(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
