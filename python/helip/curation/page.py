"""The page about a curation: counts, and examples of each reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from helip.common.text import number
from helip.curation.result import REASONS, Curation
from helip.reporting.pictures import Pictures
from helip.reporting.rendering import render

#: Reason -> what it means, what its score is, and whether the greatest scores come first.
WORDS = {
    "unreadable": ("A picture or caption that has no embedding.", "", True),
    "near_duplicate": (
        "Both the picture and the caption are nearly those of a row that is kept.",
        "product of both similarities to it", True,
    ),
    "mismatched": (
        "The caption agrees with what stands at like pictures no better than a caption of another "
        "row.", "probability", True,
    ),
    "ambiguous_caption": (
        "Nearly the same caption stands at an unlike picture.", "lowest image similarity", False,
    ),
    "outlier": ("No other row is near, by picture or by caption.", "nearest similarity", False),
    "hub": ("A row that is a hard pair of very many targets.", "pools", True),
}  # fmt: skip


@dataclass(frozen=True)
class Example:
    """A row on the page, its score, and the row that it is a near duplicate of."""

    row: int
    score: str
    beside: int | None


@dataclass(frozen=True)
class Section:
    """One reason."""

    name: str
    title: str
    lead: str
    flagged: int
    drops: bool
    examples: list[Example]


def page_of(found: Curation, data: Any, examples: int) -> str:
    """HTML without scripts, as that of `helip report`."""
    pictures = Pictures(data, None, found.keys)
    counts = found.counts()
    share = 100 / max(len(found), 1)
    tiles = [
        ("rows", number(counts["rows"]), "pairs of the data set"),
        ("kept", number(counts["kept"]), f"{share * counts['kept']:.1f} %"),
        *(
            (name.replace("_", " "), number(n), f"dropped, {share * n:.1f} %")
            for name, n in counts["dropped_by"].items()
        ),
    ]
    if not np.isnan(found.noise_rate):
        tiles.append(("wrong captions", f"{100 * found.noise_rate:.0f} %", "estimated share"))
    settings = [(name, f"{value:.4g}", "") for name, value in found.thresholds.items()]
    settings += [
        (f"search: {name}", str(each["method"]), _recall(each))
        for name, each in found.searches.items()
    ]
    if found.cross_scores:
        settings.append(("cross-scores by", found.cross_scores, ""))
    if found.full_groups:
        note = "with as many near duplicates as are looked at; some of theirs may be missed"
        settings.append(("rows", number(found.full_groups), note))
    sections = [_section(found, name, examples) for name in REASONS]
    places = [(each.name, each.title) for each in sections]
    return render(
        "curation.html", title="Curation", facts=[f"{number(len(found))} captioned pictures"],
        places=[*places, ("settings", "Settings")], pictures=pictures, tiles=tiles,
        settings=settings, sections=sections,
    )  # fmt: skip


def _section(found: Curation, name: str, examples: int) -> Section:
    lead, words, falling = WORDS[name]
    rows = np.flatnonzero(found.flags[name])
    scores = found.scores.get(name)
    if scores is not None:
        order = -scores[rows] if falling else scores[rows]
        rows = rows[np.argsort(order, kind="stable")]
    shown = []
    for row in rows[:examples].tolist():
        beside = int(found.duplicate_of[row]) if name == "near_duplicate" else None
        score = "" if scores is None else f"{words} {number(round(float(scores[row]), 3))}"
        shown.append(Example(row, score, beside))
    return Section(
        name, name.replace("_", " ").capitalize(), lead, int(found.flags[name].sum()),
        name in found.drop, shown,
    )  # fmt: skip


def _recall(search: Mapping[str, Any]) -> str:
    if search["recall"] is None:
        return ""
    if search["recall_low"] == 1.0:
        return "recall 100 %"
    measured, low = 100 * search["recall"], 100 * search["recall_low"]
    return f"measured recall {measured:.1f} %, lower 95 % limit {low:.1f} %"
