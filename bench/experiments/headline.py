"""The table of README, made of results: ``python bench/experiments/headline.py``."""

from __future__ import annotations

from typing import Any

import numpy as np
import records
import summary
from icon_experiments import EIGHT

#: Results: the communities that are shown, and what the table calls them.
FROM = {
    "icons-rivals": (EIGHT, "heads, 30,761 icons, 1,280 steps, communities of 8"),
    "icons-all": ("communities of 32", "heads, 216,115 icons, 2,560 steps, communities of 32"),
    "icons-lit": (EIGHT, "a pre-trained tower, 30,761 icons, 640 steps, communities of 8"),
    "icons-towers": (EIGHT, "small towers, 30,761 icons, 2,560 steps, communities of 8"),
}
FIGURES = {
    "mean": "mean of six figures",
    "variants T→I": "text → picture, variants",
    "variants I→T": "picture → text, variants",
    "designers T→I": "text → picture, other designers",
    "designers I→T": "picture → text, other designers",
}


def table() -> list[list[str]]:
    rows = [["control → communities, difference", *(label for _, label in FROM.values())]]
    for figure, told in FIGURES.items():
        rows.append([told, *(cell(name, way, figure) for name, (way, _) in FROM.items())])
    return rows


def cell(name: str, way: str, figure: str) -> str:
    """ "18.6 → 21.1, +2.51 [+2.29, +2.72]"."""
    result = records.read(name)
    control, tuned = (
        [run[result["part"]][figure] for run in result["runs"][side].values()]
        for side in ("control", way)
    )
    difference = summary.gain(result, way, "control", figure)
    before, after = (f"{100 * np.mean(side):.1f}" for side in (control, tuned))
    return f"{before} → {after}, {summary.points(difference)}"


def main() -> None:
    record: dict[str, Any] = {"title": "README", "table": table()}
    records.write("headline", record)
    print(records.markdown(record["table"]))


if __name__ == "__main__":
    main()
