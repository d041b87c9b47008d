"""What is measured of a model: held-out emoji, and stamps, which are of another kind altogether.

The figure that decides is ``held-out``, chosen before any run: the mean of recall@1 over the two
held-out splits and both directions.
"""

from __future__ import annotations

from typing import Any

import setting

import helip
from helip.models import ModelBundle

VERSION = 1  # raised when what is measured changes
HELD_OUT = ("heldout-variants", "heldout-concepts")
DIRECTIONS = {"image_to_text": "I→T", "text_to_image": "T→I"}
TEMPLATES = ("{}", "a {}", "some {}", "a picture of {}")


def measure(bundle: ModelBundle) -> dict[str, Any]:
    """``figures``: name -> share; ``hits``: name -> 0 or 1 of each query, with its caption."""
    common: dict[str, Any] = {"device": "cpu", "progress": False, "bootstrap": 1}
    figures: dict[str, float] = {}
    ranks: dict[str, list[int]] = {}
    for name in HELD_OUT:
        result = helip.evaluate(
            bundle, setting.data(name), tasks="retrieval", keep_ranks=True, **common
        )["retrieval"]
        for direction, short in DIRECTIONS.items():
            title = f"{name.removeprefix('heldout-')} {short}"
            figures[title] = result[direction]["recall@1"]["value"]
            ranks[title] = result["per_query"][direction]["ranks"]
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


def stamp_classes() -> dict[str, str]:
    """Label -> what a prompt calls it, of the labels of both splits."""
    labels = {
        str(rows.label(row))
        for rows in map(setting.data, ("stamps-probe", "stamps-test"))
        for row in range(len(rows))
    }
    return {label: label.replace("_", " ") for label in sorted(labels)}
