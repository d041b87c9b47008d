"""Pre-trained towers that train: EfficientNet-Lite0, from pixels of 64 px, under small heads.

A start is two heads on frozen features of the pre-trained towers, as in LiT. From there the image
tower trains too, but for its stem and first three stages; the captions' features stay MiniLM's,
under their head. Batch norms are folded into the convolutions, so they are locked.
"""

from __future__ import annotations

import dataclasses
import time
from functools import cache
from pathlib import Path
from typing import Any

import heads
import icon_pixels
import icon_stamps
import icons
import numpy as np
import setting
import torch
from heads import Heads
from icon_scene import Scene, scene
from icon_trials import Trial
from torch import nn
from torch.nn.functional import affine_grid, grid_sample, normalize

from helip.encoders import parse_spec
from helip.encoders.families.packaged import load_image

SIZE = 64
SPEC = f"packaged:efficientnet-lite0?size={SIZE}&crop=1"
LOCKED = 5  # of 16 blocks, with the stem before them: three of seven stages
SMALLEST = 0.9  # share of a picture's side that training sees
ENCODED = 512
VERSION = 1  # raised when what a run does or measures changes
RUNS = "icon-lit-runs"  # where the cache keeps them


class Towers(nn.Module):
    """The image tower and the heads; called as `Heads`, with pixels for image features."""

    def __init__(self, begun: Heads) -> None:
        super().__init__()
        self.tower = load_image(parse_spec(SPEC), torch.device("cpu")).network
        self.heads = begun
        network = self.tower.model  # type: ignore[attr-defined]
        for part in (*network._blocks[LOCKED:], network._conv_head):
            part.requires_grad_(True)

    @property
    def scale(self) -> nn.Parameter:
        return self.heads.scale

    def forward(self, pixels: torch.Tensor, text: torch.Tensor) -> tuple[Any, Any]:
        """Unit rows of uint8 pixels [n, 3, 64, 64] and of text features."""
        found: tuple[Any, Any] = self.heads(self.features(pixels), text)
        return found

    def features(self, pixels: torch.Tensor) -> torch.Tensor:
        """[n, 1280], rows of length sqrt(1280)."""
        parts = [self.tower(self._seen(part)) for part in pixels.split(ENCODED)]
        rows = torch.cat(parts)
        return normalize(rows, dim=-1) * rows.shape[1] ** 0.5

    def _seen(self, pixels: torch.Tensor) -> torch.Tensor:
        images = (pixels.float() - 127) / 128
        if self.training:
            images = cropped(images)
        return images.contiguous(memory_format=torch.channels_last)


def cropped(images: torch.Tensor) -> torch.Tensor:
    """Random squares of the pictures, as large as they were."""
    side = torch.empty(len(images)).uniform_(SMALLEST, 1)
    shift = (1 - side)[:, None] * torch.empty(len(images), 2).uniform_(-1, 1)
    moves = torch.zeros(len(images), 2, 3)
    moves[:, 0, 0] = moves[:, 1, 1] = side
    moves[:, :, 2] = shift
    grid = affine_grid(moves, list(images.shape), align_corners=False)
    return grid_sample(images, grid, padding_mode="border", align_corners=False)


@cache
def pixel_scene(kind: str = "colour") -> Scene:
    """`scene` with pixels, uint8, for image features."""

    preprocess = load_image(parse_spec(SPEC), torch.device("cpu")).preprocess
    assert preprocess is not None
    path = icon_pixels.pixels(
        "icon-lit-pixels",
        kind,
        SIZE,
        {"size": SIZE},
        lambda picture: preprocess(picture) * 128 + 127,
    )
    # Mapped for reading and copying, since torch warns of arrays that it cannot write.
    return dataclasses.replace(
        scene(kind), image=torch.from_numpy(np.load(path, mmap_mode="c")), tables={}
    )


@cache
def frozen_scene(kind: str = "colour") -> Scene:
    """`scene` with the features of the image tower as it was pre-trained, at 64 px."""

    @torch.no_grad()
    def make(folder: Path) -> None:
        seen = pixel_scene(kind)
        towers = Towers(Heads(1280, seen.texts.shape[1])).eval()
        torch.save(towers.features(seen.image).bfloat16(), folder / "features.pt")

    identity = {"data": icons.place(kind, 64).name, "encoder": SPEC}
    path = setting.cached("icon-lit-features", identity, make) / "features.pt"
    image = torch.load(path, weights_only=True)
    return dataclasses.replace(scene(kind), image=image, tables={})


def start(seed: int, epochs: float, kind: str = "colour") -> Path:
    """The folder of the heads, trained on plain batches over frozen towers."""
    seen = frozen_scene(kind)
    plain = heads.start_trial(Trial("start", kind=kind, epochs=epochs))
    identity = {**plain.identity, "seed": seed, **_data(kind)}
    return setting.cached(
        "icon-lit-starts", identity, lambda folder: heads.make_start(folder, seen, plain, seed)
    )


def started(trial: Trial, seed: int) -> Towers:
    folder = start(seed, trial.epochs, trial.kind)
    return Towers(heads.loaded(folder, frozen_scene(trial.kind)))


def run(trial: Trial, seed: int) -> dict[str, Any]:
    """Figures of both halves of the held-out splits; from the cache if the run was done before."""

    def make(folder: Path) -> None:
        seen = pixel_scene(trial.kind)
        towers = started(trial, seed)
        torch.manual_seed(seed)
        began = time.perf_counter()
        told: dict[str, Any] = {}
        if trial.way != "start":
            told.update(heads.train(towers.train(), seen, trial, seed))
        told["seconds"] = time.perf_counter() - began
        towers.eval()
        if "wise_ft" in trial.keeping:
            heads.interpolate(towers, started(trial, seed), trial.keeping["wise_ft"])
        told["stamps"] = icon_stamps.measure(towers, pixels=SIZE)
        setting.keep(folder, {**heads.measure(towers, seen), **told})

    return setting.result(setting.cached(RUNS, identity(trial, seed), make))


def identity(trial: Trial, seed: int) -> dict[str, Any]:
    return {**trial.identity, "seed": seed, **_data(trial.kind)}


def _data(kind: str) -> dict[str, Any]:
    return {"data": icons.place(kind, 64).name, "lit": VERSION, "smallest": SMALLEST}
