"""Runs on photographs: heads on frozen features, or with the top of the image tower, which train.

A start is heads that plain batches trained on frozen features. From there each run takes as many
rows as its trial says, with AdamW, warm-up and a cosine to 0. All times are those that
the process computes on its one thread, so that what else the machine does is not counted.
"""

from __future__ import annotations

import copy
import itertools
import math
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import photo_features
import photo_rivals
import photo_scene
import photos
import setting
import torch
import ways
from heads import Heads
from photo_scene import Scene, scene
from photo_trials import Trial
from safetensors.torch import load_file, save_file
from torch import nn

import helip
from helip.loading.strategy import community_rows_for
from helip.losses.distillation import DistillationLoss

VERSION = 6
RUNS = "photo-runs"
REFERENCE = 8  # epochs more than the start's, of the reference model
WARM = 0.05  # share of the steps in which the learning rate rises
START = {"rows": 256, "lr": 1e-3}
GENERAL = {"lr": 5e-4, "epochs": 2.0}  # of the general start, after its heads
BEST = ("learnable", "hardest")  # halves of the communities
OWN = ("own", "cross")  # pools of the model's own features
DROPPED = 0.1
TOP_LR = 0.3  # of the tower, as a share of that of the heads


class Model(nn.Module):
    """Heads, and under them the top of the image tower, or a small tower, where it trains.

    Training drops a share of the features that heads take, since heads learn fixed features by
    heart otherwise."""

    def __init__(self, heads: Heads, top: nn.Module | None = None) -> None:
        super().__init__()
        self.heads, self.top = heads, top
        self.drop = nn.Dropout(DROPPED)

    @property
    def scale(self) -> nn.Parameter:
        return self.heads.scale

    def forward(self, image: torch.Tensor, text: torch.Tensor) -> tuple[Any, Any]:
        """Unit rows of pooled features, of what is kept below the top, or of pixels; and of
        captions."""
        if self.top is not None:
            image = self.top(image)
        found: tuple[Any, Any] = self.heads(self.drop(image), self.drop(text))
        return found


def train(model: Model, seen: Scene, trial: Trial, seed: int) -> dict[str, float]:
    parts = [{"params": list(model.heads.parameters()), "share": 1.0}]
    if model.top is not None:
        learnt = [weights for weights in model.top.parameters() if weights.requires_grad]
        parts.append({"params": learnt, "share": TOP_LR if trial.stage == "top" else 1.0})
    optimizer = torch.optim.AdamW(parts, lr=trial.lr, weight_decay=0.1, fused=True)
    steps = max(1, round(trial.epochs * len(seen.train) / trial.rows))
    warm = max(20, round(WARM * steps))
    rng = np.random.default_rng(seed)
    teacher = copy.deepcopy(model).eval().requires_grad_(False) if trial.distill else None
    distance = DistillationLoss(distill=trial.distill)
    loss_of = losses(trial, model, seen)
    images = image_source(seen, trial)
    coming = batches(seen, model, trial, seed, steps)
    began = time.process_time()
    held, told = [], []
    window = seen.pairs("product").ids[:, : ways.WINDOW["rank_max"]]
    counting = 0.0
    for step in range(steps):
        rate = min(1.0, (step + 1) / warm) * (1 + math.cos(math.pi * step / steps)) / 2
        for group in optimizer.param_groups:
            group["lr"] = trial.lr * rate * group["share"]
        batch, beside = next(coming)
        if trial.pool == "each caption":
            captions, batch = seen.told[batch], seen.caption_data.picture_rows[batch]
        else:
            captions = seen.draw(seen.train[batch], rng)
        rows = seen.train[batch]
        views = rng.integers(0, photo_features.VIEWS, len(rows))
        texts = seen.texts[captions]
        if trial.phrases:
            captions, texts = phrases_for(seen, trial, captions, texts, rng)
        features = images(rows, views), texts
        image, text = model.train()(*features)
        loss = loss_of(image, text, batch, captions, beside)
        if teacher is not None:
            with torch.no_grad():
                before = teacher(*features)
            loss = loss + distance(image, text, *before)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        told.append(float(loss.detach()))
        if step % 16 == 0:
            paused = time.process_time()
            held.append(float(np.isin(window[batch], batch).sum(axis=1).mean()))
            counting += time.process_time() - paused
    return {
        "held": float(np.mean(held)), "loss": float(np.mean(told[-max(1, steps // 10) :])),
        "seconds": time.process_time() - began - counting, "steps": steps,
    }  # fmt: skip


def phrases_for(
    seen: Scene, trial: Trial, captions: np.ndarray, texts: torch.Tensor, rng: np.random.Generator
) -> tuple[np.ndarray, torch.Tensor]:
    """For a share of the captions one of their noun phrases, and its features."""
    features, flat, first = photo_rivals.phrases(trial.data)
    count = first[captions + 1] - first[captions]
    drawn = flat[first[captions] + rng.integers(0, count)]
    instead = rng.random(len(captions)) < trial.phrases
    texts = torch.where(torch.from_numpy(instead)[:, None], features[drawn], texts)
    return np.where(instead, len(seen.texts) + drawn, captions), texts


def image_source(seen: Scene, trial: Trial) -> Any:
    """What the model takes of photographs and views."""
    if trial.stage == "heads":
        return lambda rows, views: seen.image[rows, views]
    kept = kept_of(trial.data, trial.stage)
    return lambda rows, views: taken(kept[rows, views])


def taken(kept: np.ndarray) -> torch.Tensor:
    """What a tower takes, of what is kept."""
    shown = torch.from_numpy(kept)
    return shown.view(torch.bfloat16) if kept.dtype == np.uint16 else shown


@cache
def kept_of(name: str, stage: str) -> np.ndarray:
    return np.concatenate([kept_of_part(part, stage) for part in photos.parts_of(name)])


def kept_of_part(name: str, stage: str) -> np.ndarray:
    return photo_features.pixels(name) if stage == "pixels" else photo_features.encoded(name)[0]


def batches(
    seen: Scene, model: Model, trial: Trial, seed: int, steps: int
) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
    if trial.way in photo_rivals.CHOSEN:
        yield from chosen_batches(seen, model, trial, seed)
    if trial.way == photo_rivals.REPLACED:
        yield from photo_rivals.replaced(seen.pairs(trial.pool), trial.rows, seed)
    if trial.way.startswith(BEST):
        yield from best_batches(seen, model, trial, seed)
    way = trial.way
    if way.partition(",")[0] == "communities":
        of = community_rows_for(len(seen.train), trial.rows)
        way = way.replace("communities", f"communities of {of}")
    for part in itertools.count():
        own = trial.pool in OWN
        pairs = own_pairs(seen, model, trial) if own else seen.pairs(trial.pool)
        data = seen.caption_data if trial.pool == "each caption" else seen.data
        coming = ways.batches(way, data, pairs, trial.rows, seed + 1000 * part, **trial.loader)
        yield from itertools.islice(coming, math.ceil(steps / trial.refreshed) if own else None)


def best_batches(
    seen: Scene, model: Model, trial: Trial, seed: int
) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
    """The communities with the largest loss among hard pairs of the table ("hardest"), less that of
    the reference model ("learnable"): of the start, or "refreshed" when an epoch begins."""
    pairs = seen.pairs(trial.pool)
    by = np.zeros(len(seen.train))
    if trial.way.startswith("learnable"):
        by = pool_losses(reference_model(trial, seen, seed), seen, pairs, starts(trial)[1])

    def scores() -> np.ndarray:
        return pool_losses(model, seen, pairs, trial) - by

    asked = scores if trial.way.endswith("refreshed") else cache(scores)
    loader = helip.HardPairLoader(
        seen.data, pairs, batch_size=trial.rows, seed=seed, workers=0,
        **ways.communities(community_rows_for(len(seen.train), trial.rows)),
    )  # fmt: skip
    for batch in ways.best_half(loader, asked, trial.rows, seed):
        yield batch, {"target": np.arange(len(batch))}


@torch.no_grad()
def pool_losses(model: Model, seen: Scene, pairs: helip.HardPairs, trial: Trial) -> np.ndarray:
    """float64 [train]: of each row the model's CLIP loss among itself and its first hard pairs."""
    image, text = (
        nn.functional.normalize(each, dim=-1) for each in trained_rows(model, seen, trial)
    )
    ids = torch.from_numpy(pairs.ids[:, : ways.WINDOW["rank_max"]].astype(np.int64))
    scale = model.scale.exp().clamp(max=100)
    own = scale * (image * text).sum(dim=1, keepdim=True)
    found = torch.zeros(len(ids))
    for one, other in ((image, text), (text, image)):
        logits = scale * torch.einsum("nd,nkd->nk", one, other[ids.clamp(min=0)])
        logits = torch.cat([own, logits.masked_fill(ids < 0, -torch.inf)], dim=1)
        found += (logits.logsumexp(1) - own[:, 0]) / 2
    return found.double().numpy()


def reference_model(trial: Trial, seen: Scene, seed: int) -> Model:
    """What plain batches make of the start, of heads."""
    return loaded(start_of(starts(trial)[1], seed), seen)


def chosen_batches(
    seen: Scene, model: Model, trial: Trial, seed: int
) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
    """Of JEST and CABS. The reference model is what plain batches make of the start, of heads."""
    images, zeros = image_source(seen, trial), np.zeros(len(seen.shown), np.int64)
    firsts = seen.caption[seen.first[seen.train]]

    @torch.no_grad()
    def features(places: np.ndarray) -> Any:
        rows = seen.train[places]
        model.eval()
        parts = [
            model(images(part, zeros[part]), seen.texts[:1])[0]
            for part in np.array_split(rows, -(-len(rows) // 512))
        ]
        return torch.cat(parts), model.heads(seen.image[:1, 0], seen.texts[firsts[places]])[1]

    reference: Any = None
    if trial.way.startswith("JEST"):
        plain, taught = starts(trial)[1], reference_model(trial, seen, seed)
        with torch.no_grad():
            image, text = encoded(taught, seen, plain)
        reference = (image[seen.train], text[firsts]), taught.scale.exp().clamp(max=100)
    scale = lambda: model.scale.exp().clamp(max=100).detach()  # noqa: E731
    yield from photo_rivals.chosen(seen, trial.way, trial.rows, seed, features, reference, scale)


def own_pairs(seen: Scene, model: Model, trial: Trial) -> helip.HardPairs:
    """Of the model as it is."""
    pool = "product" if trial.pool == "own" else trial.pool
    return photo_scene.mined(seen, *trained_rows(model, seen, trial), pool)


@torch.no_grad()
def trained_rows(model: Model, seen: Scene, trial: Trial) -> tuple[torch.Tensor, torch.Tensor]:
    """Of what is trained on: photographs as they are, and the means of their captions."""
    image, text = encoded(model, seen, trial)
    owner = torch.from_numpy(np.repeat(np.arange(len(seen.shown)), np.diff(seen.first)))
    means = torch.zeros_like(image).index_add_(0, owner, text[seen.caption])
    return image[seen.train], means[seen.train]


@torch.no_grad()
def encoded(model: Model, seen: Scene, trial: Trial) -> tuple[torch.Tensor, torch.Tensor]:
    images, zeros = image_source(seen, trial), np.zeros(len(seen.shown), np.int64)
    model.eval()
    found = [
        model(images(part, zeros[part]), seen.texts[:1])[0]
        for part in np.array_split(np.arange(len(seen.shown)), -(-len(seen.shown) // 512))
    ]
    text = [model.heads(seen.image[:1, 0], part)[1] for part in seen.texts.split(4096)]
    return torch.cat(found), torch.cat(text)


def losses(trial: Trial, model: Model, seen: Scene) -> Any:
    """(image, text, batch, captions, beside) -> loss."""
    options = dict(trial.loss)
    if "kind" in options:
        return photo_rivals.loss_of(options.pop("kind"), model, seen, **options)
    helip_loss = helip.HelipLoss(**{"gamma": 0.0, **options})

    def of(image: Any, text: Any, batch: np.ndarray, captions: np.ndarray, beside: Any) -> Any:
        scale = model.scale.exp().clamp(max=100)
        roles = {name: torch.from_numpy(rows) for name, rows in beside.items()}
        groups = torch.from_numpy(captions) + 1
        return helip_loss(image, text, scale, **roles, groups=groups)["loss"]

    return of


def start_trial(trial: Trial) -> Trial:
    if trial.general:
        return Trial("general", data=trial.data, rows=START["rows"], lr=GENERAL["lr"], stage="top",
                     epochs=GENERAL["epochs"], start_epochs=trial.start_epochs)  # fmt: skip
    only = f"not {trial.only}" if trial.only else ""
    stage = "pixels" if trial.stage == "pixels" else "heads"
    return Trial("start", data=trial.data, only=only, rows=START["rows"], lr=START["lr"],
                 epochs=trial.start_epochs, stage=stage)  # fmt: skip


def start_of(plain: Trial, seed: int) -> Path:
    """The folder of a model that plain batches trained: of heads, or of heads and a small tower,
    from random weights; or of heads and the top of the tower, from heads."""

    def make(folder: Path) -> None:
        seen = scene(plain.data, plain.only)
        if plain.stage == "top":
            model = begun(plain, seed)
            torch.manual_seed(seed)
        else:
            torch.manual_seed(seed)
            heads = Heads(seen.image.shape[-1], seen.texts.shape[1])
            model = Model(heads, photo_features.Pixels() if plain.stage == "pixels" else None)
        told = train(model, seen, plain, seed) if plain.epochs else {"seconds": 0.0}
        setting.keep(folder, told)
        save_file(model.heads.state_dict(), folder / "heads.safetensors")
        if model.top is not None:
            save_file(model.top.state_dict(), folder / "top.safetensors")

    return setting.cached("photo-starts", start_identity(plain, seed), make)


def start_identity(plain: Trial, seed: int) -> dict[str, Any]:
    return {**plain.identity, "seed": seed, "v": VERSION}


def starts(trial: Trial) -> list[Trial]:
    """The plain runs that a trial needs: its start, and a reference model."""
    plain = start_trial(trial)
    taught = replace(plain, epochs=trial.start_epochs + REFERENCE)
    return [plain, taught] if trial.way.startswith(("JEST", "learnable")) else [plain]


def loaded(folder: Path, seen: Scene) -> Model:
    heads = Heads(seen.image.shape[-1], seen.texts.shape[1])
    heads.load_state_dict(load_file(folder / "heads.safetensors"))
    return Model(heads)


def begun(trial: Trial, seed: int) -> Model:
    folder = start_of(start_trial(trial), seed)
    model = loaded(folder, scene(trial.data))
    if trial.stage == "top":
        model.top = photo_features.Top(copy.deepcopy(photo_features.network()))
    elif trial.stage == "pixels":
        model.top = photo_features.Pixels()
    if model.top is not None and (trial.general or trial.stage == "pixels"):
        model.top.load_state_dict(load_file(folder / "top.safetensors"))
    return model


def run(trial: Trial, seed: int) -> dict[str, Any]:
    def make(folder: Path) -> None:
        seen = scene(trial.data, trial.only)
        model = begun(trial, seed)
        told: dict[str, Any] = {}
        torch.manual_seed(seed)
        if trial.way != "start":
            told.update(train(model, seen, trial, seed))
            told["before"] = before(trial, seen, seed)
        image, text = encoded(model, seen, trial)
        told |= {part: photo_scene.recall(seen, image, text, part) for part in photo_scene.PARTS}
        told["general"] = general(model, trial)
        setting.keep(folder, told)

    return setting.result(setting.cached(RUNS, identity(trial, seed), make))


def before(trial: Trial, seen: Scene, seed: int) -> float:
    """Seconds that a run needs before it begins: of mining, and to train a reference model.

    Unimodal features are not counted, since heads train on them."""
    reference = sum(
        float(setting.result(start_of(each, seed))["seconds"]) for each in starts(trial)[1:]
    )
    plain = trial.way == "control" or trial.way.startswith(("CABS", "JEST"))
    mining = 0.0 if plain or trial.pool in OWN else seen.mining_seconds(trial.pool)
    return reference + mining


@torch.no_grad()
def general(model: Model, trial: Trial) -> dict[str, float]:
    """Zero-shot accuracy, the mean over classes, on sets that nothing is trained on."""
    found = {}
    model.eval()
    for name in photos.CLASSES:
        pooled, of = photo_scene.of_classes(name)
        told = photo_scene.prompts(name)
        classes = model.heads(pooled[:1], told.flatten(0, 1))[1].unflatten(0, told.shape[:2])
        if model.top is not None:
            kept = kept_of_part(name, trial.stage)[:, 0]
            shown = torch.cat([
                model(taken(part), told[0, :1])[0]
                for part in np.array_split(kept, -(-len(kept) // 512))
            ])  # fmt: skip
        else:
            shown = model(pooled, told[0, :1])[0]
        right = (shown @ classes.mean(dim=1).T).argmax(dim=1) == of
        found[name] = float(np.mean([right[of == each].float().mean() for each in of.unique()]))
    return found


def identity(trial: Trial, seed: int) -> dict[str, Any]:
    return {**trial.identity, "seed": seed, "v": VERSION}
