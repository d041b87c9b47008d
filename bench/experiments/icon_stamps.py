"""What heads know of stamps, on which no experiment trains: pictures of another kind (`stamps`).

Both splits of the stamps are measured, since heads on frozen features need no linear probe.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import icon_features
import numpy as np
import setting
import torch
from measures import TEMPLATES, stamp_classes
from PIL import Image
from safetensors.torch import load_file, save_file
from torch.nn.functional import normalize

import helip
from helip.encoders import text_encoder

SPLITS = ("stamps-probe", "stamps-test")
FIGURES = ("stamps", "stamps I→T @5", "stamps T→I @5", "stamps zero-shot")


@torch.no_grad()
def measure(heads: Any, pixels: int = 0) -> dict[str, float]:
    """Recall@5 in both directions, zero-shot accuracy over the classes, and the mean of the three.

    pixels: the side of the pictures that ``heads`` takes; 0: it takes features.

    A caption that is equal to the right one is right, and so is each of its pictures.
    """
    found = features()
    shown = pictures(pixels) if pixels else found["image"]
    image, text = heads(shown, found["text"])
    _, prompts = heads(shown[:1], found["prompts"].flatten(0, 1))
    similar, right = image @ text.T, found["caption"][:, None] == found["caption"][None]
    recalls = []
    for way, equal in ((similar, right), (similar.T, right)):
        best = way.masked_fill(~equal, -torch.inf).amax(dim=1, keepdim=True)
        # Equal captions have equal features: one of them counts once.
        distinct = _firsts(found["caption"]) if way is similar else torch.ones(len(image)).bool()
        ranks = (~equal & (way > best) & distinct[None]).sum(dim=1)
        recalls.append(float((ranks < 5).float().mean()))
    classes = prompts.unflatten(0, found["prompts"].shape[:2]).mean(dim=1)
    zero_shot = (image @ classes.T).argmax(dim=1) == found["label"]
    figures = [*recalls, float(zero_shot.float().mean())]
    return dict(zip(FIGURES, [float(np.mean(figures)), *figures], strict=True))


@cache
def pictures(side: int) -> torch.Tensor:
    """uint8 [n, 3, side, side]."""
    shown = []
    for split in SPLITS:
        data = setting.data(split)
        for row in range(len(data)):
            picture = data.image(row).convert("RGB").resize((side, side), Image.Resampling.BICUBIC)
            shown.append(torch.from_numpy(np.array(picture)).permute(2, 0, 1))
    return torch.stack(shown)


@cache
def features() -> dict[str, torch.Tensor]:
    """``image``, ``text``: bfloat16 rows of all stamps; ``prompts`` [classes, templates, d];
    ``caption``, ``label``: their numbers."""
    return load_file(make() / "stamps.safetensors")


def make() -> Path:
    """The folder of `features`; they are encoded if they are not there."""
    return setting.cached("icon-stamps", {"encoders": _ENCODERS, "templates": TEMPLATES}, _make)


_ENCODERS = (icon_features.IMAGE_ENCODER, icon_features.TEXT_ENCODER)


def _make(folder: Path) -> None:
    parts: dict[str, list[torch.Tensor]] = {"image": [], "text": []}
    captions: list[str] = []
    labels: list[str] = []
    for split in SPLITS:
        data = setting.data(split)
        store = helip.embed(
            data, out=folder / split, image_encoder=_ENCODERS[0], text_encoder=_ENCODERS[1],
            dtype="float16", device="cpu", progress=False,
        )  # fmt: skip
        for name, rows in zip(parts, store.rows(slice(None)), strict=True):
            parts[name].append(rows)
        captions += [data.caption(row) for row in range(len(data))]
        labels += [str(data.label(row)) for row in range(len(data))]
    classes = stamp_classes()
    encoder = text_encoder(_ENCODERS[1])
    prompts = [template.format(told) for told in classes.values() for template in TEMPLATES]
    encoded = encoder.encode(prompts).unflatten(0, (len(classes), len(TEMPLATES)))
    found = {name: _scaled(torch.cat(rows)) for name, rows in parts.items()}
    found |= {
        "prompts": _scaled(encoded),
        "caption": _numbers(captions, sorted(set(captions))),
        "label": _numbers(labels, list(classes)),
    }
    save_file(found, folder / "stamps.safetensors")


def _scaled(rows: torch.Tensor) -> torch.Tensor:
    """As heads expect them: elements of about 1."""
    return (normalize(rows.float(), dim=-1) * rows.shape[-1] ** 0.5).bfloat16()


def _numbers(of: list[str], among: list[str]) -> torch.Tensor:
    return torch.tensor([among.index(each) for each in of])


def _firsts(numbers: torch.Tensor) -> torch.Tensor:
    """Whether each is the first with its number."""
    first = torch.zeros(len(numbers), dtype=torch.bool)
    first[torch.from_numpy(np.unique(numbers.numpy(), return_index=True)[1])] = True
    return first
