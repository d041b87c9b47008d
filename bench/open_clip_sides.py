"""The same hard-pair batches and losses in open_clip's training and in helip.train, side by side.

    python bench/open_clip_sides.py                             # the open_clip that is installed
    python bench/open_clip_sides.py --checkout open_clip/src    # and another one
    python bench/open_clip_sides.py --processes 2 --siglip

Each side is a program of its own, with the same start model, tar shards, table of hard pairs, seed,
optimizer and schedule: ``open_clip_train.main`` with helip's flags, and `helip.train`. Printed are
the rows of each batch, as rows of the data set, and its loss; with several processes the batch of
the first one, and the mean of the losses.

Rows must be the same. Losses differ by rounding alone: of sums in another order in the model and in
the optimizer, which grows from step to step. The exit code is 1 where they differ more.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from pictures import hard_pairs, pictures_of

ROWS, SIZE, BATCH = 96, 64, 16  # pictures, their shorter side, rows of a batch of one process
TOLERANCE = 1e-3  # of a loss, relative; the first step's is TOLERANCE / 100
LR, WARMUP, WEIGHT_DECAY, CLIP, GAMMA, SEED = 1e-3, 2, 0.1, 1.0, 0.5, 7
BETAS, EPS = (0.9, 0.98), 1e-6
MODEL = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
}


def make_place(place: Path, siglip: bool) -> None:
    """Shards, a table of hard pairs and a start model, which all sides share."""
    import helip
    from helip.models import create_model, save_model

    config = MODEL | ({"init_logit_bias": -10.0} if siglip else {})
    shards = pictures_of(place, SIZE, ROWS).shards
    data = helip.open_dataset(shards, progress=False)
    ids, scores = hard_pairs(ROWS)
    helip.HardPairs.from_arrays(ids, scores, data_fingerprint=data.fingerprint).save(
        place / "pairs"
    )
    save_model(create_model("small", config=config, from_scratch=True, seed=1), place / "model")
    (place / "shards.json").write_text(json.dumps(shards))


def run_side(side: str, place: Path, steps: int, siglip: bool, processes: int) -> None:
    """One side in this process, which writes its batches and losses into ``place``."""
    import torch

    seen = _watch()
    torch.set_num_threads(1)
    shards = "::".join(json.loads((place / "shards.json").read_text()))
    if side == "helip":
        import helip

        helip.train(
            model=place / "model", data=shards.split("::"), pairs=place / "pairs",
            out=place / "run", batch_size=BATCH * processes, epochs=1, steps=steps, lr=LR,
            betas=BETAS, eps=EPS, weight_decay=WEIGHT_DECAY, warmup=WARMUP, grad_clip=CLIP,
            gamma=GAMMA, loss="siglip" if siglip else "clip", seed=SEED, workers=1, device="cpu",
            precision="float32", progress=False, hard_per_target=1,
        )  # fmt: skip
    else:
        from helip.integrations.open_clip_training import main

        flags = (
            f"--train-data {shards} --model local-dir:{place / 'model'} --name {side} "
            f"--logs {place / 'logs'} --batch-size {BATCH} --epochs 1 --lr {LR} "
            f"--beta1 {BETAS[0]} --beta2 {BETAS[1]} --eps {EPS} --wd {WEIGHT_DECAY} "
            f"--warmup {WARMUP} --grad-clip-norm {CLIP} --seed {SEED} --workers 1 --device cpu "
            f"--precision fp32 --hard-pairs {place / 'pairs'} --gamma {GAMMA} --hard-per-target 1"
        )
        main([*flags.split(), *(["--siglip"] if siglip else [])])
    rank = os.environ.get("RANK", "0")
    (place / f"{side}-{rank}.json").write_text(json.dumps(seen))


def _watch() -> dict[str, list[Any]]:
    """What every batch of a loader holds, and what the loss makes of it, from here on."""
    from helip.loading.loader import HardPairLoader
    from helip.losses.helip_loss import HelipLoss

    seen: dict[str, list[Any]] = {"rows": [], "loss": []}
    iterate, forward = HardPairLoader.__iter__, HelipLoss.forward

    def batches(self: Any) -> Any:
        for batch in iterate(self):
            seen["rows"].append(batch["index"].tolist())
            yield batch

    def losses(self: Any, *arguments: Any, **options: Any) -> Any:
        out = forward(self, *arguments, **options)
        seen["loss"].append(float(out["loss"].detach()))
        return out

    HardPairLoader.__iter__, HelipLoss.forward = batches, losses  # type: ignore[method-assign]
    return seen


def measure(
    place: Path, *, checkout: str = "", processes: int = 1, siglip: bool = False
) -> dict[str, dict[str, list[Any]]]:
    """Side → rows of the first process's batches, and losses, each the mean over processes."""
    make_place(place, siglip)
    sides = {"open_clip": "", **({"checkout": checkout} if checkout else {}), "helip": ""}
    found = {}
    # helip.train ends where open_clip's epoch does, whose cosine is that of its steps.
    steps = ROWS // (BATCH // 2 * processes)
    for side, source in sides.items():
        _start(side, source, place, steps, siglip, processes)
        ranks = [json.loads((place / f"{side}-{r}.json").read_text()) for r in range(processes)]
        found[side] = {
            "rows": ranks[0]["rows"],
            "loss": [
                sum(each) / processes for each in zip(*(r["loss"] for r in ranks), strict=True)
            ],
        }
    return found


def _start(side: str, source: str, place: Path, steps: int, siglip: bool, processes: int) -> None:
    launcher = []
    if processes > 1:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        launcher = ["-m", "torch.distributed.run", f"--nproc-per-node={processes}"]
        launcher += [f"--master-port={port}"]
    own = ["--side", side, "--place", str(place), "--steps", str(steps)]
    own += ["--processes", str(processes), *(["--siglip"] if siglip else [])]
    paths = filter(None, [source, os.environ.get("PYTHONPATH")])
    done = subprocess.run(
        [sys.executable, *launcher, __file__, *own],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"the side {side} failed:\n{done.stderr[-3000:]}")


def differences(found: dict[str, dict[str, list[Any]]]) -> list[str]:
    """What the sides do not agree on."""
    *others, ours = found
    wrong = []
    for side in others:
        if found[side]["rows"] != found[ours]["rows"]:
            wrong.append(f"{side} has other rows than {ours}")
        if len(found[side]["loss"]) != len(found[ours]["loss"]):
            wrong.append(f"{side} has {len(found[side]['loss'])} steps")
        losses = zip(found[side]["loss"], found[ours]["loss"], strict=False)
        for step, (a, b) in enumerate(losses):
            allowed = TOLERANCE if step else TOLERANCE / 100
            if abs(a - b) > allowed * abs(b):
                wrong.append(f"loss of step {step}: {a} of {side}, {b} of {ours}")
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkout", default="", help="folder of another open_clip_train")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--siglip", action="store_true")
    parser.add_argument("--json", help="write everything here")
    for hidden in ("--side", "--place", "--steps"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.side:
        run_side(given.side, Path(given.place), int(given.steps), given.siglip, given.processes)
        return
    with tempfile.TemporaryDirectory() as folder:
        found = measure(
            Path(folder),
            checkout=given.checkout,
            processes=given.processes,
            siglip=given.siglip,
        )
    if given.json:
        Path(given.json).write_text(json.dumps(found, indent=1) + "\n")
    print(f"step  {'  '.join(f'{side:>12}' for side in found)}  rows (targets first)")
    for step, rows in enumerate(next(iter(found.values()))["rows"]):
        losses = "  ".join(f"{side['loss'][step]:12.6f}" for side in found.values())
        same = all(side["rows"][step] == rows for side in found.values())
        print(f"{step:>4}  {losses}  {' '.join(map(str, rows))}{'' if same else '  OTHER ROWS'}")
    if wrong := differences(found):
        sys.exit("\n".join(wrong))
    print("the same rows; losses agree within rounding")


if __name__ == "__main__":
    main()
