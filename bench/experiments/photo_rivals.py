"""What the runs on photographs are compared with: other batches, other losses, more captions."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import caption_parts
import numpy as np
import photo_features
import rival_losses
import selection
import torch
from photo_scene import Scene, scene
from torch import nn

import helip
from helip.losses.siglip import HelipSigmoidLoss

#: Ways that choose a batch from a super-batch: what chooses, and how many times larger that is.
CHOSEN = {
    **{f"JEST, factor {factor}": ("jest", factor) for factor in (5, 10)},
    **{f"CABS-DM, factor {factor}": ("diversity", factor) for factor in (5,)},
    **{f"CABS-FM, factor {factor}": ("frequency", factor) for factor in (5,)},
}
REPLACED = "communities of 8, with replacement"


def chosen(
    seen: Scene, way: str, rows: int, seed: int, features: Any, reference: Any, scale: Any
) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
    """Batches for ever. features: of places among the training rows, unit rows of both modalities
    by the model as it is; reference: those of all of them, by the reference model."""
    kind, factor = CHOSEN[way]
    n = len(seen.train)
    factor = min(factor, n // rows)  # a super-batch is at most the whole set
    if kind == "jest":
        equal = seen.caption[seen.first[seen.train]]

        def logits(places: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
            same = torch.from_numpy(equal[places])
            same = (same[:, None] == same[None]).fill_diagonal_(False)
            image, text = features(places)
            (begun, told), by = reference
            learner = scale() * image @ text.T
            taught = by * begun[places] @ told[places].T
            return learner.masked_fill(same, -torch.inf), taught.masked_fill(same, -torch.inf)

        coming = selection.jest(logits, n, rows, seed, factor=factor)
    else:
        coming = selection.cabs(concepts(seen), n, rows, seed, factor=factor, kind=kind)  # type: ignore[arg-type]
    for batch in coming:
        yield batch, {"target": np.arange(len(batch))}


def concepts(seen: Scene) -> Any:
    told = [" ".join(seen.shown.captions[row]) for row in seen.train]
    return selection.concepts_of(told)


def replaced(
    pairs: helip.HardPairs, rows: int, seed: int
) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
    """Batches of communities of 8 that are drawn with replacement: a random row and seven of its
    first 50 hard pairs, again and again, so that an epoch leaves some rows out."""
    rng = np.random.default_rng(seed)
    window = np.asarray(pairs.ids[:, :50])
    while True:
        batch: list[int] = []
        taken = np.zeros(len(window), bool)
        while len(batch) < rows:
            row = int(rng.integers(len(window)))
            pool = window[row][window[row] >= 0]
            for each in (row, *rng.permutation(pool)[:7]):
                if not taken[each] and len(batch) < rows:
                    taken[each] = True
                    batch.append(int(each))
        yield np.array(batch), {"target": np.arange(rows)}


def loss_of(kind: str, model: nn.Module, seen: Scene, **options: Any) -> Any:
    """(image, text, batch, captions, beside) -> loss, of a rival."""
    if kind == "hinged global":
        hinged = rival_losses.HingedGlobal(len(seen.train), **options)

        def of_hinged(image: Any, text: Any, batch: Any, captions: Any, beside: Any) -> Any:
            scale = model.scale.exp().clamp(max=100)
            return hinged(image, text, scale, equal_of(captions), torch.from_numpy(batch))

        return of_hinged
    if kind == "siglip":
        sigmoid = HelipSigmoidLoss(gamma=0.0)
        bias = nn.Parameter(torch.tensor(options.pop("bias", -10.0)))
        model.register_parameter("bias", bias)

        def of_sigmoid(image: Any, text: Any, batch: Any, captions: Any, beside: Any) -> Any:
            scale = model.scale.exp().clamp(max=100)
            groups = torch.from_numpy(captions) + 1
            return sigmoid(image, text, scale, logit_bias=bias, groups=groups)["loss"]

        return of_sigmoid
    if kind == "negclip":
        swaps, there = swapped(seen.shown.name)

        def of_swaps(image: Any, text: Any, batch: Any, captions: Any, beside: Any) -> Any:
            scale = model.scale.exp().clamp(max=100)
            equal = equal_of(captions)
            more = model.heads(seen.image[:1, 0], swaps[captions])[1]
            logits = (scale * image @ text.T).masked_fill(equal, -torch.inf)
            wrong = scale * image @ more.T
            wrong = wrong.masked_fill(~there[captions][None], -torch.inf)
            own = torch.arange(len(image))
            forth = nn.functional.cross_entropy(torch.cat([logits, wrong], dim=1), own)
            return (forth + nn.functional.cross_entropy(logits.T, own)) / 2

        return of_swaps
    raise ValueError(f"no rival's loss is called {kind!r}")


def equal_of(captions: np.ndarray) -> torch.Tensor:
    told = torch.from_numpy(captions)
    return (told[:, None] == told[None]).fill_diagonal_(False)


@cache
def swapped(name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Features of each distinct caption with two words swapped, and where there is such a one."""
    rng = np.random.default_rng(5)
    told = distinct(name)
    wrong = [caption_parts.swapped(each, rng) for each in told]
    texts = photo_features.texts([other or each for each, other in zip(told, wrong, strict=True)])
    return texts, torch.tensor([other is not None for other in wrong])


@cache
def phrases(name: str) -> tuple[torch.Tensor, np.ndarray, np.ndarray]:
    """Features of noun phrases; the phrases of each distinct caption, one after the other; and
    where those of a caption begin."""
    of = [caption_parts.noun_phrases(each) or [each] for each in distinct(name)]
    told = sorted({each for found in of for each in found})
    place = {each: row for row, each in enumerate(told)}
    flat = np.array([place[each] for found in of for each in found])
    return photo_features.texts(told), flat, np.cumsum([0, *map(len, of)])


def distinct(name: str) -> list[str]:
    """The captions of a set's ``texts``, in their order."""
    return sorted({text for texts in scene(name).shown.captions for text in texts})
