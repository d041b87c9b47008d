"""The tables of README and of the top of the results: ``python bench/experiments/headline.py``."""

from __future__ import annotations

import numpy as np
import records
import summary
from icon_experiments import EIGHT

#: Results: the communities that are shown, and what the tables call model, data and steps.
FROM = {
    "icons-rivals": (EIGHT, "heads on frozen features", "30,761 icons", "1,280", "8"),
    "icons-all": ("communities of 32", "heads on frozen features", "216,115 icons", "2,560", "32"),
    "icons-lit": (EIGHT, "a pre-trained image tower", "30,761 icons", "640", "8"),
    "icons-towers": (EIGHT, "small towers, from pixels", "30,761 icons", "2,560", "8"),
}
FIGURES = {
    "mean": "mean of six figures",
    "variants T→I": "text → picture, variants",
    "variants I→T": "picture → text, variants",
    "designers T→I": "text → picture, other designers",
    "designers I→T": "picture → text, other designers",
}


def headline() -> list[list[str]]:
    """A row each setting: the mean alone."""
    titles = ["what is trained", "data", "steps", "plain batches", "hard pairs", "difference"]
    rows = [titles]
    for name, (way, *setting, _) in FROM.items():
        rows.append([*setting, *cells(name, way, "mean")])
    return rows


def figures() -> list[list[str]]:
    """A column each setting: the mean, and figures of which it is one."""
    rows = [["control → communities, difference"]]
    for _, model, data, steps, size in FROM.values():
        rows[0].append(f"{model}, {data}, {steps} steps, communities of {size}")
    for figure, told in FIGURES.items():
        row = [told]
        for name, (way, *_) in FROM.items():
            before, after, difference = cells(name, way, figure)
            row.append(f"{before} → {after}, {difference}")
        rows.append(row)
    return rows


def cells(name: str, way: str, figure: str) -> tuple[str, str, str]:
    """ "18.6", "21.1", "+2.51 [+2.29, +2.72]"."""
    result = records.read(name)
    control, tuned = (
        [run[result["part"]][figure] for run in result["runs"][side].values()]
        for side in ("control", way)
    )
    difference = summary.gain(result, way, "control", figure)
    before, after = (f"{100 * np.mean(side):.1f}" for side in (control, tuned))
    return before, after, summary.points(difference)


def main() -> None:
    for name, title, table in (
        ("headline", "README", headline()),
        ("headline-figures", "What communities gain", figures()),
    ):
        records.write(name, {"title": title, "table": table})
        print(records.markdown(table))


if __name__ == "__main__":
    main()
