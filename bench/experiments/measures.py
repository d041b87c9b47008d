"""What is measured of a model: held-out emoji, and stamps, which are of another kind altogether.

A held-out picture seeks its caption among the captions of all emoji, those trained on too, and a
held-out caption its picture among all pictures: the near-twins of what is held out were trained on,
and without them in the gallery the task is easy. The figure that decides is ``held-out``: the mean
of recall@1 over the two held-out splits and both directions.
"""

from __future__ import annotations

from typing import Any

import emoji_sets
import setting

import helip
from helip.data.dataset import Dataset
from helip.models.bundle import ModelBundle

VERSION = 1  # raised when what is measured changes
HELD_OUT = ("heldout-variants", "heldout-concepts")
DIRECTIONS = {"image_to_text": "I→T", "text_to_image": "T→I"}
TEMPLATES = ("{}", "a {}", "some {}", "a picture of {}")


def measure(bundle: ModelBundle) -> dict[str, Any]:
    """``figures``: name -> share; ``ranks``: name -> rank of each held-out query, from 1."""
    common: dict[str, Any] = {"device": "cpu", "progress": False, "bootstrap": 1}
    figures: dict[str, float] = {}
    ranks: dict[str, list[int]] = {}
    places, emoji = gallery()
    found = helip.evaluate(bundle, emoji, tasks="retrieval", keep_ranks=True, **common)["retrieval"]
    captions = list(dict.fromkeys(emoji.caption(row) for row in range(len(emoji))))
    for name in HELD_OUT:
        bearing = {emoji.caption(row) for row in places[name]}
        queries = {
            "image_to_text": places[name],
            "text_to_image": [n for n, caption in enumerate(captions) if caption in bearing],
        }
        for direction, short in DIRECTIONS.items():
            title = f"{name.removeprefix('heldout-')} {short}"
            every = found["per_query"][direction]["ranks"]
            ranks[title] = [every[query] for query in queries[direction]]
            figures[title] = sum(rank == 1 for rank in ranks[title]) / len(ranks[title])
    figures = {"held-out": sum(figures.values()) / len(figures), **figures}
    result = helip.evaluate(
        bundle,
        setting.data("stamps-test"),
        tasks=("retrieval", "zero_shot", "linear_probe"),
        templates=TEMPLATES,
        classes=stamp_classes(),
        train=setting.data("stamps-probe"),
        **common,
    )
    for direction, short in DIRECTIONS.items():
        figures[f"stamps {short} @5"] = result["retrieval"][direction]["recall@5"]["value"]
    figures["stamps zero-shot"] = result["zero_shot"]["top1"]["value"]
    figures["stamps linear probe"] = result["linear_probe"]["top1"]["value"]
    return {"figures": figures, "ranks": ranks}


def gallery() -> tuple[dict[str, range], Dataset]:
    """All emoji as one data set, and which of its rows each split is."""
    emoji = setting.data("emoji")
    places, first = {}, 0
    for name in sorted(emoji_sets.SPLITS):
        places[name] = range(first, first + len(setting.data(name)))
        first += len(places[name])
    return places, emoji


def stamp_classes() -> dict[str, str]:
    """Label -> what a prompt calls it, of the labels of both splits."""
    labels = {
        str(rows.label(row))
        for rows in map(setting.data, ("stamps-probe", "stamps-test"))
        for row in range(len(rows))
    }
    return {label: label.replace("_", " ") for label in sorted(labels)}
