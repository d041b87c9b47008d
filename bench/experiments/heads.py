"""Trials in feature space: two small heads on frozen features of unimodal encoders, as in LiT.

A run takes seconds, so that many ways can be compared with many seeds before expensive runs. The
image features are EfficientNet-Lite0's, the text features MiniLM's (``icon_features.py``).
"""

from __future__ import annotations

import copy
import itertools
import math
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import falcon
import icon_recall
import icon_stamps
import icons
import numpy as np
import rival_losses
import setting
import torch
import ways
from icon_scene import Scene, mined, scene
from icon_splits import TRAIN
from icon_trials import Trial
from safetensors.torch import load_file, save_file
from torch import nn

import helip
from helip.losses.distillation import DistillationLoss

VERSION = 1  # raised when what a run does or measures changes
START = {"rows": 256, "lr": 1e-3}
WARM = 20  # steps in which the learning rate rises
RUNS = "icon-head-runs"  # where the cache keeps them


class Heads(nn.Module):
    """Two layers on each modality's features."""

    def __init__(self, image: int, text: int, width: int = 512, out: int = 256) -> None:
        super().__init__()
        self.image = nn.Sequential(nn.Linear(image, width), nn.GELU(), nn.Linear(width, out))
        self.text = nn.Sequential(nn.Linear(text, width), nn.GELU(), nn.Linear(width, out))
        self.scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def forward(self, image: torch.Tensor, text: torch.Tensor) -> tuple[Any, Any]:
        """float32 unit rows, of bfloat16 features."""
        with torch.autocast("cpu", torch.bfloat16):
            found = self.image(image), self.text(text)
        return tuple(nn.functional.normalize(rows.float(), dim=-1) for rows in found)


def batches(
    seen: Scene, heads: Any, trial: Trial, seed: int
) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
    """Batches for ever; those of refreshed pools are mined again as the heads change."""
    if trial.way == "FALCON":
        yield from learnt_batches(seen, heads, trial, seed)
        return
    for part in itertools.count():
        own = trial.pool == "own"
        pairs = own_pairs(seen, heads) if own else seen.pairs(trial.pool)
        coming = ways.batches(
            trial.way, seen.data, pairs, trial.rows, seed + 1000 * part, **trial.loader
        )
        # None: pools that stay the same are drawn from for ever.
        yield from itertools.islice(
            coming, math.ceil(trial.steps / trial.refreshed) if own else None
        )


def learnt_batches(
    seen: Scene, heads: Any, trial: Trial, seed: int
) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
    @torch.no_grad()
    def features(rows: np.ndarray) -> Any:
        return heads(seen.image[seen.train[rows]], seen.texts[seen.text_of[rows]])

    def plain_loss(rows: np.ndarray) -> float:
        groups = torch.from_numpy(seen.groups[rows])
        beside = {"target": np.arange(len(rows))}
        return float(loss_of(trial, heads, *features(rows), beside, groups).detach())

    for batch in falcon.falcon(features, plain_loss, len(seen.train), trial.rows, seed):
        yield batch, {"target": np.arange(len(batch))}


@torch.no_grad()
def own_pairs(seen: Scene, heads: Any) -> helip.HardPairs:
    return mined(seen, *heads(seen.image[seen.train], seen.texts[seen.text_of]), "product")


def train(heads: Any, seen: Scene, trial: Trial, seed: int) -> dict[str, float]:
    """AdamW, the learning rate up over some steps and down along a cosine.

    heads: `Heads`, or towers under them that take what ``seen.image`` holds."""
    learnt = [weights for weights in heads.parameters() if weights.requires_grad]
    optimizer = torch.optim.AdamW(learnt, lr=trial.lr, weight_decay=0.1, fused=True)
    window = seen.pairs("product").ids[:, : ways.WINDOW["rank_max"]]
    groups_of = torch.from_numpy(seen.groups)
    teacher = copy.deepcopy(heads).requires_grad_(False)
    distance = DistillationLoss(distill=trial.keeping.get("distill", 0.0))
    losses, held = [], []
    coming = batches(seen, heads, trial, seed)
    for step in range(trial.steps):
        rate = min(1.0, (step + 1) / WARM) * (1 + math.cos(math.pi * step / trial.steps)) / 2
        for group in optimizer.param_groups:
            group["lr"] = trial.lr * rate
        batch, beside = next(coming)
        features = seen.image[seen.train[batch]], seen.texts[seen.text_of[batch]]
        image, text = heads(*features)
        loss = loss_of(trial, heads, image, text, beside, groups_of[batch])
        if "distill" in trial.keeping:
            loss = loss + distance(image, text, *teacher(*features))["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
        if step % 16 == 0:
            held.append(float(np.isin(window[batch], batch).sum(axis=1).mean()))
    return {"held": float(np.mean(held)), "loss": float(np.mean(losses[-trial.steps // 10 :]))}


def loss_of(
    trial: Trial, heads: Any, image: Any, text: Any, beside: Any, groups: torch.Tensor
) -> torch.Tensor:
    scale = heads.scale.exp().clamp(max=100)
    options = dict(trial.loss)
    kind = options.pop("kind", "helip")
    if kind == "helip":
        # Group 0 is nobody's equal.
        equal = groups + 1 if options.pop("mask", True) else None
        loss = helip.HelipLoss(**{"gamma": 0.0, **options})
        roles = {name: torch.from_numpy(rows) for name, rows in beside.items()}
        found: torch.Tensor = loss(image, text, scale, **roles, groups=equal)["loss"]
        return found
    rival = {
        "hn_nce": rival_losses.hn_nce,
        "debiased": rival_losses.debiased,
        "hardest": rival_losses.hardest,
    }[kind]
    return rival(image, text, scale, groups[:, None] == groups[None], **options)


@torch.no_grad()
def measure(heads: Any, seen: Scene) -> dict[str, Any]:
    image, text = heads(seen.image, seen.texts[icon_recall.first_rows(seen.icons)])
    return {part: icon_recall.recall(seen.icons, image, text, part) for part in icon_recall.PARTS}


@torch.no_grad()
def interpolate(heads: nn.Module, begun: nn.Module, share: float) -> None:
    """The mean of the weights, with ``share`` of those of ``heads`` (WiSE-FT, arXiv 2109.01903)."""
    for tuned, before in zip(heads.parameters(), begun.parameters(), strict=True):
        tuned.lerp_(before, 1 - share)


def start_trial(trial: Trial) -> Trial:
    """Plain batches for the epochs of a start."""
    rows = len(icons.load(trial.kind).rows(TRAIN))
    steps = round(trial.epochs * rows / START["rows"])
    return Trial(
        "start", "control", steps=steps, rows=int(START["rows"]), lr=START["lr"], kind=trial.kind,
        noise=trial.noise, epochs=0,
    )  # fmt: skip


def start(trial: Trial, seed: int) -> Path:
    """The folder of the heads that a trial begins from."""
    plain = start_trial(trial)

    def make(folder: Path) -> None:
        make_start(folder, scene(plain.kind, plain.noise), plain, seed)

    return setting.cached("icon-head-starts", start_identity(trial, seed), make)


def make_start(folder: Path, seen: Scene, plain: Trial, seed: int) -> None:
    torch.manual_seed(seed)
    heads = Heads(seen.image.shape[1], seen.texts.shape[1])
    if plain.steps:
        train(heads, seen, plain, seed)
    save_file(heads.state_dict(), folder / "heads.safetensors")


def start_identity(trial: Trial, seed: int) -> dict[str, Any]:
    plain = start_trial(trial)
    return {**plain.identity, "seed": seed, **_data(plain)}


def loaded(folder: Path, seen: Scene) -> Heads:
    heads = Heads(seen.image.shape[1], seen.texts.shape[1])
    heads.load_state_dict(load_file(folder / "heads.safetensors"))
    return heads


def run(trial: Trial, seed: int) -> dict[str, Any]:
    """Figures of both halves of the held-out splits; from the cache if the run was done before."""

    def make(folder: Path) -> None:
        seen = scene(trial.kind, trial.noise)
        heads = loaded(start(trial, seed), seen)
        began = time.perf_counter()
        told: dict[str, Any] = {}
        if trial.way != "start":
            told.update(train(heads, seen, trial, seed))
        told["seconds"] = time.perf_counter() - began
        if "wise_ft" in trial.keeping:
            interpolate(heads, loaded(start(trial, seed), seen), trial.keeping["wise_ft"])
        if trial.stamps:
            told["stamps"] = icon_stamps.measure(heads)
        setting.keep(folder, {**measure(heads, seen), **told})

    return setting.result(setting.cached(RUNS, identity(trial, seed), make))


def identity(trial: Trial, seed: int) -> dict[str, Any]:
    return {**trial.identity, "start": start_trial(trial).identity, "seed": seed, **_data(trial)}


@cache
def _place(kind: str) -> str:
    return icons.place(kind, 64).name


def _data(trial: Trial) -> dict[str, Any]:
    return {"data": _place(trial.kind), "heads": VERSION}
