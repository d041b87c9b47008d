"""What the margin loss costs in a training step.

    python bench/margin_cost.py --rows 256 --width 512

A step of a CLIP model with and without HNML, alternately, on the same batch; and the loss alone,
forward and backward, on features. On a CPU it counts processor time, which other jobs disturb less.
Prints a table and writes JSON beside it with --out.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

import helip
from helip.models.bundle import create_model


def seconds(work: Callable[[], None], device: torch.device) -> float:
    """Of one call, with nothing left in a stream."""
    if device.type != "cuda":
        began = time.process_time()
        work()
        return time.process_time() - began
    torch.cuda.synchronize(device)
    began = time.perf_counter()
    work()
    torch.cuda.synchronize(device)
    return time.perf_counter() - began


def alternate(
    sides: dict[str, Callable[[], None]], repeats: int, device: torch.device
) -> dict[str, list[float]]:
    for work in sides.values():
        work()
    found: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, work in sides.items():
            found[name].append(seconds(work, device))
    return found


def loss_alone(options: argparse.Namespace, device: torch.device) -> dict[str, Callable[[], None]]:
    torch.manual_seed(0)
    rows, per = options.rows, 1 + options.hard_per_target
    image, text = (torch.randn(rows, options.width, device=device) for _ in range(2))
    image.requires_grad_(), text.requires_grad_()
    scale = torch.tensor(50.0, device=device, requires_grad=True)
    target = (torch.arange(rows, device=device) // per * per).clamp(max=rows - 1)

    def side(gamma: float, hard: bool) -> Callable[[], None]:
        loss = helip.HelipLoss(gamma=gamma)

        def work() -> None:
            loss(image, text, scale, target if hard else None)["loss"].backward()

        return work

    return {"clip": side(0.0, False), "clip + margin": side(1.0, True)}


def whole_step(options: argparse.Namespace, device: torch.device) -> dict[str, Callable[[], None]]:
    bundle = create_model(options.model, from_scratch=True)
    model = bundle.model.to(device).train()
    rows, per = options.rows, 1 + options.hard_per_target
    size = bundle.model.visual.image_size
    height, width = (size, size) if isinstance(size, int) else size
    images = torch.randn(rows, 3, height, width, device=device)
    texts = torch.randint(1, 40000, (rows, bundle.context_length or 77), device=device)
    target = (torch.arange(rows, device=device) // per * per).clamp(max=rows - 1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6)
    half = {"device_type": device.type, "dtype": torch.bfloat16, "enabled": options.bfloat16}

    def side(gamma: float, hard: bool) -> Callable[[], None]:
        loss: nn.Module = helip.HelipLoss(gamma=gamma)

        def work() -> None:
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast(**half):
                image, text, scale = model(images, texts)[:3]
                out = loss(image, text, scale, target if hard else None)
            out["loss"].backward()
            optimizer.step()

        return work

    return {"clip": side(0.0, False), "clip + margin": side(1.0, True)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--model", default="ViT-B-32", help="architecture of open_clip")
    parser.add_argument("--rows", type=int, default=256, help="of a batch, hard pairs included")
    parser.add_argument("--width", type=int, default=512, help="of features, for the loss alone")
    parser.add_argument("--hard-per-target", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--bfloat16", action="store_true", help="autocast")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--out", type=Path, help="a JSON file")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    device = torch.device(options.device)

    step = alternate(whole_step(options, device), options.repeats, device)
    alone = alternate(loss_alone(options, device), 10 * options.repeats, device)
    medians = {
        name: {side: statistics.median(times) for side, times in found.items()}
        for name, found in (("step", step), ("loss alone", alone))
    }
    # The difference of two steps is smaller than their noise; that of the loss alone is not.
    extra = medians["loss alone"]["clip + margin"] - medians["loss alone"]["clip"]
    share = extra / medians["step"]["clip"]
    print(f"{options.model}, {options.rows} rows, {device}, medians in milliseconds")
    print(f"{'':12} {'clip':>10} {'clip + margin':>14}")
    for name, sides in medians.items():
        print(f"{name:12} {1e3 * sides['clip']:10.2f} {1e3 * sides['clip + margin']:14.2f}")
    print(f"the margin loss takes {1e3 * extra:.2f} ms, {100 * share:.2f} % of a step")
    if options.out:
        body = {
            "options": {k: str(v) for k, v in vars(options).items()},
            "seconds": {"step": step, "loss alone": alone},
            "share_of_step": share,
        }
        options.out.write_text(json.dumps(body, indent=1) + "\n")


if __name__ == "__main__":
    main()
