"""Features of photographs by frozen encoders: what heads take, and what the top of a tower takes.

    python bench/experiments/photo_features.py --data DIR

Each photograph is read once, and shown twice: as it is, and mirrored with its edges cut off, which
is all the augmentation that there is. Of each view the activations before the last four blocks of
EfficientNet-Lite0 are kept, and its pooled features. Captions are MiniLM's. What was encoded is
kept part by part, so that a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import photos
import setting
import torch
from PIL import Image
from torch import nn
from workers import Workers

from helip.encoders import parse_spec, text_encoder
from helip.encoders.families.packaged import load_image

SIZE = 160
SMALL = 48  # side of what the tower from pixels takes
SPEC = f"packaged:efficientnet-lite0?size={SIZE}&crop=1"
TEXT = "packaged:minilm"
LOCKED = 12  # of 16 blocks: those whose output is kept
VIEWS = 2
PART = 1024
CUT = 0.05  # of each side in the second view
DEPTH = 192  # channels of what is kept, on 5 x 5 fields
VERSION = 1


@functools.cache
def network() -> Any:
    """EfficientNet-Lite0 with its batch norms folded into the convolutions."""
    return load_image(parse_spec(SPEC), torch.device("cpu")).network.model  # type: ignore[union-attr]


def bottom(pixels: torch.Tensor) -> torch.Tensor:
    """bfloat16 [n, 192, 5, 5] of pixels [n, 3, 160, 160]."""
    net = network()
    with torch.autocast("cpu", torch.bfloat16):
        shown = net._swish(net._conv_stem(pixels.contiguous(memory_format=torch.channels_last)))
        for block in net._blocks[:LOCKED]:
            shown = block(shown)
    return shown


class Top(nn.Module):
    """The last blocks and the pooling: features of unit elements. The depthwise convolutions stay
    as they were pre-trained, since their gradients take most of the time on a CPU."""

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(net._blocks[LOCKED:])
        self.head, self.act = net._conv_head, net._swish
        self.requires_grad_(True)
        for block in self.blocks:
            block._depthwise_conv.requires_grad_(False)

    def forward(self, kept: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            shown = kept.contiguous(memory_format=torch.channels_last)
            for block in self.blocks:
                shown = block(shown)
            pooled = self.act(self.head(shown)).mean((2, 3))
        return nn.functional.normalize(pooled.float(), dim=-1) * pooled.shape[1] ** 0.5


class Pixels(nn.Module):
    """A small tower from random weights: features of unit elements, of pixels uint8
    [n, 3, 48, 48]. Its norms are of groups, so that what one photograph gives does not depend on
    the others of its batch, of which hard ones are alike."""

    def __init__(self, features: int = 1280) -> None:
        super().__init__()
        widths = (32, 64, 128, 256)
        layers: list[nn.Module] = []
        for before, width in zip((3, *widths), widths, strict=False):
            layers += [
                nn.Conv2d(before, width, 3, stride=2, padding=1, bias=False),
                nn.GroupNorm(8, width), nn.SiLU(),
                nn.Conv2d(width, width, 3, padding=1, bias=False),
                nn.GroupNorm(8, width), nn.SiLU(),
            ]  # fmt: skip
        self.layers = nn.Sequential(*layers, nn.Conv2d(widths[-1], features, 1), nn.SiLU())

    def forward(self, shown: torch.Tensor) -> torch.Tensor:
        values = ((shown.float() - 127) / 64).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            pooled = self.layers(values).mean((2, 3))
        return nn.functional.normalize(pooled.float(), dim=-1) * pooled.shape[1] ** 0.5


def pixels(name: str) -> np.ndarray:
    """Of a set, uint8 [n, views, 3, 48, 48]."""
    paths = paths_of(name)
    identity = {"of": [_identity(paths)["photographs"]], "side": SMALL, "v": VERSION}

    def make(into: Path) -> None:
        found = np.empty((len(paths), VIEWS, 3, SMALL, SMALL), np.uint8)
        for row, path in enumerate(paths):
            views = torch.stack(both_views(path, SMALL))
            found[row] = (views * 128 + 127).round().clamp(0, 255).to(torch.uint8).numpy()
        np.save(into / "pixels.npy", found)

    return np.load(setting.cached("photo-pixels", identity, make) / "pixels.npy", mmap_mode="r")


def paths_of(name: str) -> list[Path]:
    found = photos.classes(name)[0] if name in photos.CLASSES else photos.load(name).paths
    return list(found)


def encoded(name: str, jobs: Workers | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Of a set: what is kept, uint16 bits of bfloat16 [n, views, 192, 5, 5]; and pooled
    features, float16 [n, views, 1280], of unit elements."""
    paths = paths_of(name)
    parts = [paths[first : first + PART] for first in range(0, len(paths), PART)]
    identities = [_identity(part) for part in parts]
    waiting = [
        (part, identity)
        for part, identity in zip(parts, identities, strict=True)
        if not setting.place("photo-features", identity).exists()
    ]
    if waiting and jobs is not None:
        jobs.finish(name, [jobs.submit(encode_part, *each) for each in waiting])
    folders = [encode_part(*each) for each in zip(parts, identities, strict=True)]
    kept = [np.load(folder / "kept.npy", mmap_mode="r") for folder in folders]
    pooled = [np.load(folder / "pooled.npy") for folder in folders]
    return np.concatenate(kept), np.concatenate(pooled)


def encode_part(paths: Sequence[Path], identity: dict[str, Any]) -> Path:
    @torch.inference_mode()
    def make(into: Path) -> None:
        top = Top(network())
        kept = np.empty((len(paths), VIEWS, DEPTH, 5, 5), np.uint16)
        pooled = np.empty((len(paths), VIEWS, 1280), np.float16)
        for first in range(0, len(paths), 64):
            views = [shown for path in paths[first : first + 64] for shown in both_views(path)]
            low = bottom(torch.stack(views))
            shape = (-1, VIEWS)
            kept[first : first + 64] = (
                low.contiguous().view(torch.uint16).numpy().reshape(*shape, DEPTH, 5, 5)
            )
            pooled[first : first + 64] = top(low).half().numpy().reshape(*shape, 1280)
        np.save(into / "kept.npy", kept)
        np.save(into / "pooled.npy", pooled)

    return setting.cached("photo-features", identity, make)


def both_views(path: Path, size: int = SIZE) -> tuple[torch.Tensor, torch.Tensor]:
    """The whole photograph, squeezed to a square; and mirrored, without its edges."""
    with Image.open(path) as opened:
        opened.draft("RGB", (2 * size, 2 * size))
        picture = opened.convert("RGB")
    wide, high = picture.size
    inner = (CUT * wide, CUT * high, (1 - CUT) * wide, (1 - CUT) * high)
    found = []
    for box in ((0, 0, wide, high), inner):
        small = picture.resize((size, size), Image.Resampling.BICUBIC, box=box)
        pixels = torch.from_numpy(np.array(small)).permute(2, 0, 1)
        found.append((pixels.float() - 127) / 128)
    return found[0], found[1].flip(2)


def _identity(paths: Sequence[Path]) -> dict[str, Any]:
    named = hashlib.sha256()
    for path in paths:
        named.update(f"{path.parent.parent.name}/{path.name} {path.stat().st_size}\n".encode())
    return {"photographs": named.hexdigest(), "encoder": SPEC, "locked": LOCKED, "v": VERSION}


def texts(captions: Sequence[str]) -> torch.Tensor:
    """bfloat16 [n, 384] of unit elements."""
    identity = {
        "captions": hashlib.sha256("\n".join(captions).encode()).hexdigest(), "encoder": TEXT,
    }  # fmt: skip

    def make(into: Path) -> None:
        found = [
            text_encoder(TEXT).encode(list(captions[first : first + PART])).float()
            for first in range(0, len(captions), PART)
        ]
        rows = nn.functional.normalize(torch.cat(found), dim=-1) * found[0].shape[1] ** 0.5
        np.save(into / "texts.npy", rows.half().numpy())

    folder = setting.cached("photo-texts", identity, make)
    return torch.from_numpy(np.load(folder / "texts.npy")).bfloat16()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    os.environ["HELIP_PHOTOS"] = str(args.data.resolve())
    with Workers(args.jobs) as jobs:
        for name in (*photos.SETS, *photos.CLASSES):
            if (args.data / name).is_dir():
                began = time.perf_counter()
                kept, _ = encoded(name, jobs)
                print(f"{name}: {len(kept):,} photographs, {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
