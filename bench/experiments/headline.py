"""The tables of README and of the top of the results: ``python bench/experiments/headline.py``."""

from __future__ import annotations

from typing import Any

import numpy as np
import photos
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
PHOTOS = {
    "photos-tower": "tower", "photos-heads": "heads", "photos-large": "heads",
    "photos-pixels": "from pixels",
}  # fmt: skip
#: Seconds of one thread that each way may take, mining and reference models counted.
WITHIN = (8, 32)


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
    plain = ("1,024", "4,096")
    rows = [["what is trained, photographs, rows of a batch", "by chance", "plain batches",
             *ways.values(), *(f"plain batches of {size}" for size in plain)]]  # fmt: skip
    for name, what in PHOTOS.items():
        if name not in records.names():
            continue
        runs = records.read(name)["runs"]
        for where in sorted({trial.rpartition(", ")[0] for trial in runs}, key=_by_rows):
            if f"{where}, default" not in runs:
                continue
            control = list(runs[f"{where}, control"].values())
            before = [run["test"][figure] for run in control]
            held = np.mean([run["held"] for run in control])
            row = [f"{what}, {where}", f"{held:.1f}", f"{100 * np.mean(before):.1f}"]
            data = where.partition(", ")[0]
            larger = [f"{data}, {size} rows, control" for size in plain]
            for other in (*(f"{where}, {way}" for way in ways), *larger):
                if other not in runs or other == f"{where}, control":
                    row.append("")
                    continue
                row.append(gained(before, [run["test"][figure] for run in runs[other].values()]))
            rows.append(row)
    return rows


def at_equal_rows() -> list[list[str]]:
    """A row each set: plain batches of the size that is best for them on validation, and the
    default's of its best size, in both galleries; all have seen as many rows."""
    rows = [["what is trained, photographs"]]
    for figure in ("among all", "published"):
        told = {"among all": "among all", "published": "among held-out"}[figure]
        rows[0] += [f"plain batches, {told}", "rows of a batch", "communities, distill=1",
                    "rows of a batch"]  # fmt: skip
    for name, what in PHOTOS.items():
        if name not in records.names():
            continue
        runs = records.read(name)["runs"]
        for data in sorted({trial.partition(", ")[0] for trial in runs}):
            row = [f"{what}, {data}"]
            for figure in ("among all", "published"):
                best = {
                    way: max(
                        (each for each in runs
                         if each.startswith(f"{data}, ") and each.endswith(f" rows, {way}")),
                        key=lambda each: _validated(runs[each], figure),
                    )
                    for way in ("control", "default")
                }  # fmt: skip
                before, after = (
                    [run["test"][figure] for run in runs[best[way]].values()] for way in best
                )
                sizes = [best[way].split(", ")[1].removesuffix(" rows") for way in best]
                row += [f"{100 * np.mean(before):.1f}", sizes[0], gained(before, after), sizes[1]]
            rows.append(row)
    return rows


def gained(before: list[float], after: list[float]) -> str:
    """ "+1.13 [+0.04, +2.21], +13 %", of the figures of the same seeds."""
    found = summary.mean([b - a for a, b in zip(before, after, strict=True)])
    return f"{summary.points(found)}, {100 * (np.mean(after) / np.mean(before) - 1):+.0f} %"


def within(figure: str) -> list[list[str]]:
    """A row each way: the recall of the number of epochs that is best for it on validation, of
    those that end in time; and how far that is from the default's."""
    runs = {
        name: found for part in ("photos-time", "photos-time-scenes") if part in records.names()
        for name, found in records.read(part)["runs"].items()
    }  # fmt: skip
    lead = "256 rows, default"
    ways: dict[str, dict[str, list[str]]] = {}
    for name in runs:
        data, _, rest = name.rpartition(", ")[0].partition(", ")
        ways.setdefault(rest, {}).setdefault(data, []).append(name)
    sets = list(ways[lead])
    rows = [["", *(f"{data}, {budget} s" for data in sets for budget in WITHIN)]]
    best = {
        (way, data, budget): _best(runs, ways[way][data], figure, budget)
        for way in ways for data in sets for budget in WITHIN
    }  # fmt: skip
    for way in ways:
        row = [way]
        for data in sets:
            for budget in WITHIN:
                found, other = best[way, data, budget], best[lead, data, budget]
                if found is None or other is None:
                    row.append("–")
                    continue
                after, held_to = (
                    [run["test"][figure] for run in runs[name].values()] for name in (found, other)
                )
                gap = "" if way == lead else f", {gained(held_to, after).rpartition(', ')[0]}"
                row.append(f"{100 * np.mean(after):.1f} ({_epochs(found)}){gap}")
        rows.append(row)
    return rows


def _best(runs: Any, tried: list[str], figure: str, budget: float) -> str | None:
    """Of these variants the one that finds most on validation, of those that take ``budget``
    seconds at most."""
    times = {
        name: np.mean([run["seconds"] + run["before"] for run in runs[name].values()])
        for name in tried
    }
    ending = [name for name in tried if times[name] <= budget]
    return max(ending, key=lambda name: _validated(runs[name], figure), default=None)


def _validated(found: Any, figure: str) -> float:
    return float(np.mean([run["validation"][figure] for run in found.values()]))


def general(experiment: str) -> list[list[str]]:
    """A row each set that a start is tuned on, and each way: what it finds there, of the other
    sets, and by zero-shot classification; with the difference to the control."""
    runs = records.read(experiment)["runs"]
    rows = [["tuned on, way", "that set, among all", "that set, among held-out",
             "other sets, among all", *photos.CLASSES]]  # fmt: skip
    for name, found in runs.items():
        only = name.partition(", ")[0]
        control = runs[f"{only}, control"]
        row = [name]
        others = [data for data in photos.MIXED if data != only]
        for sets, gallery in (([only], "among all"), ([only], "published"), (others, "among all")):
            keys = [f"{data} {way}, {gallery}" for data in sets for way in ("I→T", "T→I")]
            before, after = (
                [float(np.mean([run["test"][key] for key in keys])) for run in side.values()]
                for side in (control, found)
            )
            gap = "" if found is control else f", {gained(before, after)}"
            row.append(f"{100 * np.mean(after):.1f}{gap}")
        for data in photos.CLASSES:
            row.append(f"{100 * np.mean([run['test'][data] for run in found.values()]):.1f}")
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
            best[way] = max(tried, key=lambda name: _validated(tried[name], figure))
        before = [run["test"][figure] for run in runs[best["control"]].values()]
        row = [where, f"{100 * np.mean(before):.1f}", _epochs(best["control"])]
        for way in ways:
            after = [run["test"][figure] for run in runs[best[way]].values()]
            row += [gained(before, after), _epochs(best[way])]
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
        ("photos-rows", "Photographs, at equal rows", at_equal_rows()),
        ("photos-all", "Photographs: among all of a set", photographs("among all")),
        ("photos-held-out", "Photographs: among held-out ones", photographs("published")),
        ("photos-within", "Photographs: in equal time, among all", within("among all")),
        ("photos-within-held-out", "The same, among held-out ones", within("published")),
        (
            "photos-domains",
            "Photographs: a start of other sets, tuned on one more",
            general("photos-general"),
        ),
        (
            "photos-tuned",
            "Photographs: the start of three sets, tuned on one of them",
            general("photos-from-general"),
        ),
    ):
        records.write(name, {"title": title, "table": table})
        print(records.markdown(table))


if __name__ == "__main__":
    main()
