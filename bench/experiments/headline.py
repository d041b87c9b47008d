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


#: Results on photographs, and what is trained there.
PHOTOS = {"photos-tower": "tower", "photos-heads": "heads", "photos-mixed": "heads"}


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


def photographs(figure: str) -> list[list[str]]:
    """A row each set and size of batch: what ways gain over as many rows in plain batches."""
    ways = {
        "start": "the start",
        "communities": "communities",
        "control, distill": "plain, distill=1",
        "default": "communities, distill=1",
        "HELIP": "HELIP, p = 1, γ = 1",
    }
    rows = [["what is trained, photographs, rows of a batch", "by chance", "plain batches",
             *ways.values(), "plain batches of 1,024"]]  # fmt: skip
    for name, what in PHOTOS.items():
        if name not in records.names():
            continue
        runs = records.read(name)["runs"]
        for where in sorted({trial.rpartition(", ")[0] for trial in runs}, key=_by_rows):
            if f"{where}, control" not in runs:  # of a name with a comma
                continue
            control = list(runs[f"{where}, control"].values())
            before = [run["test"][figure] for run in control]
            held = np.mean([run["held"] for run in control])
            row = [f"{what}, {where}", f"{held:.1f}", f"{100 * np.mean(before):.1f}"]
            largest = f"{where.partition(', ')[0]}, 1,024 rows, control"
            for other in (*(f"{where}, {way}" for way in ways), largest):
                if other not in runs or other == f"{where}, control":
                    row.append("")
                    continue
                after = [run["test"][figure] for run in runs[other].values()]
                found = summary.mean([b - a for a, b in zip(before, after, strict=True)])
                share = np.mean(after) / np.mean(before) - 1
                row.append(f"{summary.points(found)}, {100 * share:+.0f} %")
            rows.append(row)
    return rows


def at_their_best() -> list[list[str]]:
    """A row each set and size of batch: ways at the epochs that are best for each on validation."""
    runs = records.read("photos-epochs")["runs"]
    figure = "among all"
    ways = {"default": "communities, distill=1"}
    rows = [["photographs, rows of a batch", "plain batches", "epochs",
             *(title for way in ways.values() for title in (way, "epochs"))]]  # fmt: skip
    places = {trial.rpartition(", ")[0].rpartition(", ")[0] for trial in runs}
    for where in sorted(places, key=_by_rows):
        best = {}
        for way in ("control", *ways):
            tried = {name: found for name, found in runs.items()
                     if name.startswith(f"{where}, {way}, ")}  # fmt: skip
            best[way] = max(tried, key=lambda name: np.mean(
                [run["validation"][figure] for run in tried[name].values()]
            ))  # fmt: skip
        before = [run["test"][figure] for run in runs[best["control"]].values()]
        row = [where, f"{100 * np.mean(before):.1f}", _epochs(best["control"])]
        for way in ways:
            after = [run["test"][figure] for run in runs[best[way]].values()]
            found = summary.mean([b - a for a, b in zip(before, after, strict=True)])
            share = np.mean(after) / np.mean(before) - 1
            row += [f"{summary.points(found)}, {100 * share:+.0f} %", _epochs(best[way])]
        rows.append(row)
    return rows


def _by_rows(where: str) -> tuple[str, int]:
    data, _, rows = where.partition(", ")
    return data, int(rows.partition(" ")[0].replace(",", ""))


def _epochs(name: str) -> str:
    return name.rpartition(", ")[2].removesuffix(" epochs")


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
        ("photos-best", "Photographs, each way at its best", at_their_best()),
        ("photos-all", "Photographs: among all of a set", photographs("among all")),
        ("photos-held-out", "Photographs: among held-out ones", photographs("published")),
    ):
        records.write(name, {"title": title, "table": table})
        print(records.markdown(table))


if __name__ == "__main__":
    main()
