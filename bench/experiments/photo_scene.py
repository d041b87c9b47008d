"""A set of photographs as an experiment sees it: features, captions, hard pairs, and the figures.

    python bench/experiments/photo_scene.py --data DIR --out FOLDER

writes ``image.npy`` and ``text.npy`` there, float16 unit rows of photographs and icons in random
order, which other benchmarks take as real data.

Recall@1 is measured in two galleries: of the photographs and captions of the held-out half, as
others report it, and of all of the set, where near twins of what is asked were trained on.
"""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path

import numpy as np
import photo_features
import photos
import setting
import torch
import ways
from torch.nn.functional import normalize

import helip
from helip import HardPairs
from helip.data.caption_rows import CaptionRows
from helip.data.dataset import Dataset
from helip.pairs import best_captions

K = 100
PER_CAPTION = ("each caption", "best captions")  # pools with a row for each caption
PARTS = ("validation", "test")
QUERIES = 512  # at a time
TEMPLATES = ("a photo of {}", "{}", "a picture of a {}")


@dataclass
class Scene:
    shown: photos.Photos
    image: torch.Tensor  # bfloat16 [n, views, 1280], rows of unit elements
    texts: torch.Tensor  # bfloat16 [distinct captions, 384], rows of unit elements
    caption: np.ndarray  # int64 [all captions], rows of texts, photograph by photograph
    first: np.ndarray  # int64 [n + 1], where the captions of a photograph begin
    train: np.ndarray  # int64, photographs that are trained on
    data: Dataset  # of these, in their order
    tables: dict[str, HardPairs] = field(default_factory=dict)

    @property
    def text_mean(self) -> torch.Tensor:
        """float32 [n, 384]: the mean of the unit features of a photograph's captions."""
        rows = normalize(self.texts[self.caption].float(), dim=-1)
        owner = torch.from_numpy(np.repeat(np.arange(len(self.shown)), np.diff(self.first)))
        return torch.zeros(len(self.shown), rows.shape[1]).index_add_(0, owner, rows)

    def draw(self, photographs: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """int64: a caption of each photograph, rows of ``texts``."""
        count = self.first[photographs + 1] - self.first[photographs]
        return self.caption[self.first[photographs] + rng.integers(0, count)]

    @cached_property
    def caption_data(self) -> CaptionRows:
        """A row for each caption of what is trained on."""
        found = helip.open_dataset(self.data, row_per="caption")
        assert isinstance(found, CaptionRows)
        return found

    @cached_property
    def told(self) -> np.ndarray:
        """int64: the row of ``texts`` of each row of `caption_data`."""
        flat = (text.strip() for texts in self.shown.captions for text in texts)
        row = dict(zip(flat, self.caption.tolist(), strict=True))
        return np.array([row[self.caption_data.caption(i)] for i in range(len(self.caption_data))])

    def pairs(self, pool: str) -> HardPairs:
        """The table of a pool of unimodal features, of the photographs that are trained on."""
        if pool not in self.tables:
            self.tables[pool] = HardPairs.open(self._table(pool) / "pairs")
        return self.tables[pool]

    def mining_seconds(self, pool: str) -> float:
        return float(setting.result(self._table(pool))["seconds"])

    def _table(self, pool: str) -> Path:
        """The folder of the table; made if it is not there."""

        def make(folder: Path) -> None:
            began = time.process_time()
            image, text = self.image[self.train, 0], self.text_mean[self.train]
            if pool in PER_CAPTION:
                table = mined_by_caption(self, pool)
            elif pool == "first caption":
                text = self.texts[self.caption[self.first[self.train]]]
                table = mined(self, image, text, "product")
            else:
                table = mined(self, image, text, pool)
            table.save(folder / "pairs")
            setting.keep(folder, {"seconds": time.process_time() - began})

        identity = {"rows": str(self.data.fingerprint), "pool": pool, "k": K}
        return setting.cached("photo-pools", identity, make)


@cache
def scene(name: str, only: str = "") -> Scene:
    """Of a set or a mixture. only: of a mixture, the set whose photographs alone are trained on; or
    "not " and the set whose photographs are left out."""
    if only:
        whole = scene(name)
        train = whole.train[those_of(whole.shown.sources[whole.train], only)]
        return replace(whole, train=train, data=data_of(whole.shown, train), tables={})
    shown = photos.load(name)
    parts = photos.parts_of(name)
    pooled = []
    for part in parts:
        features = torch.from_numpy(photo_features.encoded(part)[1]).float()
        scaled = normalize(features, dim=-1) * features.shape[-1] ** 0.5
        pooled.append(scaled.bfloat16())
    flat = [text for texts in shown.captions for text in texts]
    distinct, caption = np.unique(flat, return_inverse=True)
    first = np.cumsum([0, *(len(texts) for texts in shown.captions)])
    train = shown.rows("train")
    if name in photos.MIXTURES:
        # Of the parts, so that no caption is encoded twice.
        known = {text: row for part in parts for text, row in captions_of(part).items()}
        texts = torch.stack([known[str(text)] for text in distinct])
    else:
        texts = photo_features.texts([str(text) for text in distinct])
    return Scene(shown, torch.cat(pooled), texts, caption, first, train, data_of(shown, train))


def those_of(sources: np.ndarray, only: str) -> np.ndarray:
    """bool, as ``sources``: which rows are of the set ``only``, or are not."""
    inside = sources == photos.SOURCES.index(only.removeprefix("not "))
    return inside != only.startswith("not ")


def data_of(shown: photos.Photos, train: np.ndarray) -> Dataset:
    rows = [(str(shown.paths[i]), list(shown.captions[i])) for i in train]
    keys = [f"{shown.paths[i].parent.parent.name}/{shown.paths[i].name}" for i in train]
    return helip.open_dataset(rows, keys=keys, progress=False)


def captions_of(name: str) -> dict[str, torch.Tensor]:
    """Caption -> its features."""
    told = sorted({text for texts in photos.load(name).captions for text in texts})
    return dict(zip(told, photo_features.texts(told), strict=True))


def mined(scene: Scene, image: torch.Tensor, text: torch.Tensor, pool: str) -> HardPairs:
    """Hard pairs of the training rows by their features [train, d], of any length.

    "sum": the mean of both similarities. "cross": of features of one space, the mean of the
    similarities of a photograph with the other's caption and the other way round.
    """
    rows = [normalize(part.float(), dim=-1) for part in (image, text)]
    if pool in ("sum", "cross"):
        # The sum of two products is the product of joined rows.
        joined = torch.cat(rows, dim=1), torch.cat(rows[:: 1 if pool == "sum" else -1], dim=1)
        ids, scores = nearest(*joined)
    else:
        found = helip.mine(
            image=rows[0].numpy(), text=rows[1].numpy(), k=min(K, len(rows[0]) - 1),
            modality={"product": "both"}.get(pool, pool), device="cpu", progress=False,
            threads=torch.get_num_threads(),
        )  # fmt: skip
        ids, scores = np.asarray(found.ids), np.asarray(found.scores)
    return HardPairs.from_arrays(
        ids, scores, data_fingerprint=scene.data.fingerprint, options={"pool": pool}
    )


def mined_by_caption(scene: Scene, pool: str) -> HardPairs:
    """Hard pairs of captions, each with its photograph: "each caption"; or of photographs, by the
    best pair of their captions: "best captions"."""
    data = scene.caption_data
    image = normalize(scene.image[scene.train, 0].float(), dim=-1)[data.picture_rows]
    most = int(np.bincount(data.picture_rows).max())  # captions of a photograph
    k = ways.WINDOW["rank_max"] * most if pool == "best captions" else K
    found = helip.mine(
        image=image.numpy(), text=normalize(scene.texts[scene.told].float(), dim=-1).numpy(), k=k,
        method="exact", device="cpu", progress=False, threads=torch.get_num_threads(),
    )  # fmt: skip
    table = HardPairs.from_arrays(
        np.asarray(found.ids), np.asarray(found.scores), data_fingerprint=data.fingerprint,
        options={"pool": pool},
    )  # fmt: skip
    return best_captions(table, data) if pool == "best captions" else table


def nearest(asked: torch.Tensor, among: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """The K rows of ``among`` with the largest half product for each row of ``asked``, not itself;
    near twins, of 0.98 and more, are left out as helip's miner leaves them out."""
    ids, scores = [], []
    for first in range(0, len(asked), QUERIES):
        part = asked[first : first + QUERIES] @ among.T / 2
        part[torch.arange(len(part)), first + torch.arange(len(part))] = -torch.inf
        part.masked_fill_(part >= 0.98, -torch.inf)
        best = part.topk(K)
        ids.append(best.indices.int())
        scores.append(best.values)
    return torch.cat(ids).numpy(), torch.cat(scores).numpy()


def recall(scene: Scene, image: torch.Tensor, text: torch.Tensor, part: str) -> dict[str, float]:
    """Recall@1 of each set and direction in both galleries, and the means over these: "published"
    and "among all".

    image: unit rows [n, d]; text: unit rows of the distinct captions. A caption that is equal to a
    right one is right, and so is a photograph of the held-out half that has the caption that is
    asked for. Others that have it are left out of its gallery.
    """
    if not (image.isfinite().all() and text.isfinite().all()):
        raise ValueError("features are not finite, of which every rank would be the first")
    shown = scene.shown
    owner = np.repeat(np.arange(len(shown)), np.diff(scene.first))
    figures: dict[str, float] = {}
    for source in np.unique(shown.sources):
        inside = shown.sources == source
        asked = inside & (shown.splits == photos.SPLITS.index(part))
        label = f"{photos.SOURCES[source]} " if shown.name in photos.MIXTURES else ""
        for gallery, told in ((asked, "published"), (inside, "among all")):
            rows, those = np.flatnonzero(asked), np.flatnonzero(gallery)
            queries = np.unique(scene.caption[asked[owner]])
            captions = np.unique(scene.caption[gallery[owner]])
            # bool by photograph and caption would be large: a set of pairs in one number.
            having = owner * len(scene.texts) + scene.caption
            answers = captions[first_of(image[rows], text[captions])]
            hits = np.isin(rows * len(scene.texts) + answers, having)
            figures[f"{label}I→T, {told}"] = float(hits.mean())
            others = np.flatnonzero((gallery & ~asked)[owner])
            left_out = scene.caption[others], np.searchsorted(those, owner[others])
            answers = those[first_of(text[queries], image[those], places(queries, *left_out))]
            hits = np.isin(answers * len(scene.texts) + queries, having)
            figures[f"{label}T→I, {told}"] = float(hits.mean())
    means = {
        told: float(np.mean([value for name, value in figures.items() if name.endswith(told)]))
        for told in ("published", "among all")
    }
    return {**means, **figures}


def places(queries: np.ndarray, captions: np.ndarray, columns: np.ndarray) -> torch.Tensor:
    """int64 [2, m]: the query and the column of each caption that is asked for."""
    place = np.searchsorted(queries, captions).clip(max=len(queries) - 1)
    there = queries[place] == captions
    return torch.from_numpy(np.stack([place[there], columns[there]]))


def first_of(
    queries: torch.Tensor, gallery: torch.Tensor, left_out: torch.Tensor | None = None
) -> np.ndarray:
    """The nearest row of the gallery, but for pairs of query and row that are left out."""
    found = []
    for first in range(0, len(queries), QUERIES):
        similar = queries[first : first + QUERIES] @ gallery.T
        if left_out is not None:
            of = left_out[:, (left_out[0] >= first) & (left_out[0] < first + QUERIES)]
            similar[of[0] - first, of[1]] = -torch.inf
        found.append(similar.argmax(dim=1))
    return torch.cat(found).numpy()


@cache
def prompts(name: str) -> torch.Tensor:
    """bfloat16 [classes, templates, 384] of what the classes are called."""
    names = photos.classes(name)[2]
    told = [template.format(each.lower()) for each in names for template in TEMPLATES]
    return photo_features.texts(told).unflatten(0, (len(names), len(TEMPLATES)))


@cache
def of_classes(name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Pooled features, bfloat16 [n, 1280], of unit elements; and int64 classes."""
    features = torch.from_numpy(photo_features.encoded(name)[1][:, 0]).float()
    scaled = normalize(features, dim=-1) * features.shape[-1] ** 0.5
    return scaled.bfloat16(), torch.from_numpy(photos.classes(name)[1])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="the photographs, see photos.py")
    parser.add_argument("--set", choices=(*photos.SETS, *photos.MIXTURES), default="all")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    os.environ["HELIP_PHOTOS"] = str(args.data.resolve())
    seen = scene(args.set)
    order = np.random.default_rng(0).permutation(len(seen.shown))
    args.out.mkdir(parents=True, exist_ok=True)
    for name, rows in (("image", seen.image[:, 0].float()), ("text", seen.text_mean)):
        np.save(args.out / f"{name}.npy", normalize(rows, dim=-1).half().numpy()[order])


if __name__ == "__main__":
    main()
