"""The table of README, made of results: ``python bench/experiments/headline.py``."""

from __future__ import annotations

from typing import Any

import numpy as np
import records
import summary
from icon_experiments import EIGHT

FROM = {"icons-rivals": "heads on frozen features", "icons-towers": "small towers from pixels"}
FIGURES = {
    "mean": "mean of six figures",
    "variants T→I": "text → picture, variants",
    "variants I→T": "picture → text, variants",
    "designers T→I": "text → picture, other designers",
    "designers I→T": "picture → text, other designers",
}


def table() -> list[list[str]]:
    rows = [["", "", "control", "communities", "difference"]]
    for name, label in FROM.items():
        result = records.read(name)
        control, tuned = (result["runs"][way] for way in ("control", EIGHT))
        for figure, told in FIGURES.items():
            sides = [
                [run[result["part"]][figure] for run in way.values()] for way in (control, tuned)
            ]
            difference = summary.mean(list(np.subtract(sides[1], sides[0])))
            cells = [label if figure == "mean" else "", told]
            cells += [f"{100 * np.mean(side):.1f}" for side in sides]
            rows.append([*cells, summary.points(difference)])
    return rows


def main() -> None:
    record: dict[str, Any] = {"title": "README", "table": table()}
    records.write("headline", record)
    print(records.markdown(record["table"]))


if __name__ == "__main__":
    main()
