"""Pictures of docs/results.md, made of the results: ``python bench/experiments/plots.py``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import records
import summary
from icon_experiments import EXPERIMENTS
from matplotlib.transforms import Bbox

PICTURES = records.ROOT / "docs" / "pictures"
COLOURS = {"control": "#6b7280", "HELIP, p = 1": "#0072b2", "communities of 8": "#d55e00"}


def recall_against_steps(axes: Any) -> None:
    """Mean recall@1 of each way, with the steps that the control needs beside it."""
    result = records.read("icons-steps")
    for way, colour in COLOURS.items():
        steps, values, halves = [0], [_mean(result, "start")["value"]], [0.0]
        for name in result["runs"]:
            if name.startswith(f"{way}, "):
                found = _mean(result, name)
                steps.append(int(name.rpartition(", ")[2].removesuffix(" steps").replace(",", "")))
                values.append(found["value"])
                halves.append(found["high"] - found["value"])
        order = np.argsort(steps)
        axes.errorbar(
            np.array(steps)[order] + 160, 100 * np.array(values)[order],
            yerr=100 * np.array(halves)[order], label=way, color=colour, marker="o", capsize=3,
        )  # fmt: skip
    axes.set_xscale("log", base=4)
    axes.set_xticks([160, 800, 2720, 10400], ["start", "640", "2,560", "10,240"])
    axes.set_xlabel("steps of 256 rows")
    axes.set_ylabel("mean recall@1 of held-out icons, %")
    axes.legend(frameon=False)


def gain_against_share(axes: Any) -> None:
    """Gain over the control against how many of a row's first 50 hard pairs its batch holds."""
    drawn: dict[str, tuple[float, float]] = {}
    for name in ("icons-rows", "icons-rivals", "icons-communities"):
        result = records.read(name)
        trials = {trial.name: trial for trial in EXPERIMENTS[name].variants}
        for trial, other in EXPERIMENTS[name].compared.items():
            told = trial.removeprefix("256 rows, ")
            if told in drawn or trials[trial].way == "control":  # a loss on plain batches
                continue
            # Of the test halves, also where something was chosen by validation.
            gain = summary.gain({**result, "part": "test"}, trial, other)["value"]
            held = np.mean([run["held"] for run in result["runs"][trial].values()])
            drawn[told] = float(held), 100 * gain
    for told, (held, gain) in drawn.items():
        way = told.rpartition("rows, ")[2]
        axes.scatter(held, gain, color=COLOURS.get(way, "#009e73"))
    axes.axhline(0, color="#9ca3af", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_xticks([0.5, 1, 2, 5, 10, 20], ["0.5", "1", "2", "5", "10", "20"])
    axes.set_xlabel("how many of a row's first 50 hard pairs its batch holds")
    axes.set_ylabel("gain over the control, points of mean recall@1")
    label(axes, drawn)


#: Of a name, in points from its dot, and the side of the name that is there.
PLACES = (
    ((5, 2), "left"), ((5, -8), "left"), ((-5, 2), "right"), ((-5, -8), "right"),
    ((5, -16), "left"), ((5, 10), "left"),
)  # fmt: skip


def label(axes: Any, dots: dict[str, tuple[float, float]]) -> None:
    """Names beside dots: each at the first place where it covers neither dots nor names."""
    axes.figure.canvas.draw()
    taken = [
        Bbox.from_bounds(x - 4, y - 4, 8, 8) for x, y in axes.transData.transform([*dots.values()])
    ]
    for told, dot in sorted(dots.items(), key=lambda each: each[1]):
        for shift, side in PLACES:
            text = axes.annotate(
                told, dot, fontsize=6, xytext=shift, textcoords="offset points", ha=side
            )
            place = text.get_window_extent()
            if not any(place.overlaps(other) for other in taken):
                break
            text.remove()
        else:
            axes.add_artist(text)
        taken.append(place)


def gain_against_ranks(axes: Any) -> None:
    """Gain over the control of communities drawn from each window of ranks."""
    result = records.read("icons-communities")
    windows = {"communities of 8": (0, 50)}
    for name in result["runs"]:
        first, _, last = name.partition("ranks ")[2].partition(" to ")
        if last:
            windows[name] = int(first), int(last)
    for name, window in windows.items():
        found = summary.gain(result, name, "control")
        gain, low, high = (100 * found[key] for key in ("value", "low", "high"))
        colour = COLOURS["communities of 8"]
        axes.plot([window[0] + 1, window[1]], [gain, gain], color=colour, linewidth=3)
        middle = ((window[0] + 1) * window[1]) ** 0.5
        axes.errorbar(middle, gain, [[gain - low], [high - gain]], color=colour, capsize=3)
    axes.axhline(0, color="#9ca3af", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_xticks([1, 10, 30, 50, 70, 100], ["1", "10", "30", "50", "70", "100"])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("ranks of the pools that communities are drawn from")
    axes.set_ylabel("gain over the control, points of mean recall@1")


def gain_against_start(axes: Any) -> None:
    """Gain over the control against the mean recall@1 of the start."""
    result = records.read("icons-starts")
    part = result["part"]
    found = []
    for name in result["runs"]:
        epochs, _, way = name.partition(", ")
        if way != "communities of 8":
            continue
        gain = summary.gain(result, name, f"{epochs}, control")
        start = [run[part]["mean"] for run in result["runs"][f"{epochs}, start"].values()]
        found.append((100 * np.mean(start), 100 * gain["value"], epochs))
    for x, y, epochs in sorted(found):
        axes.annotate(epochs, (x, y), fontsize=7, xytext=(4, 4), textcoords="offset points")
    axes.plot(*zip(*[(x, y) for x, y, _ in sorted(found)], strict=True), "o-",
              color=COLOURS["communities of 8"])  # fmt: skip
    axes.axhline(0, color="#9ca3af", linewidth=0.8)
    axes.set_xlabel("mean recall@1 of the start, %")
    axes.set_ylabel("gain over the control, points")


def gain_against_chance(axes: Any) -> None:
    """Gain over the control, as a share of its recall, against how many of a row's first 50 hard
    pairs plain batches hold: photographs and icons, by the set and what is trained."""
    drawn: dict[str, list[tuple[float, float]]] = {}
    for name in ("photos-heads", "photos-large", "photos-tower"):
        if name not in records.names():
            continue
        result = records.read(name)
        for trial, runs in result["runs"].items():
            where, _, way = trial.rpartition(", ")
            if way == "default":
                control = result["runs"][f"{where}, control"]
                of = "tower" if name == "photos-tower" else "heads"
                label = f"{where.partition(', ')[0]}, {of}"
                drawn.setdefault(label, []).append(_share(runs, control, "test", "among all"))
    for name, label, way in (
        ("icons-rows", "icons, heads", "{} rows, communities of 8"),
        ("icons-all", "all icons, heads", "communities of 32"),
        ("icons-lit", "icons, tower", "communities of 8"),
    ):
        result = records.read(name)
        for rows in ("64", "256", "1,024") if "{}" in way else ("",):
            tuned = result["runs"][way.format(rows)]
            control = result["runs"][f"{rows} rows, control" if rows else "control"]
            drawn.setdefault(label, []).append(_share(tuned, control, "test", "mean"))
    marks = "osD^vPX*<>hdp"
    for mark, (label, dots) in zip(marks, drawn.items(), strict=True):
        axes.plot(*zip(*sorted(dots), strict=True), mark, linestyle=":", label=label)
    axes.axhline(0, color="#9ca3af", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_xticks([0.1, 0.2, 0.5, 1, 2, 5, 10], ["0.1", "0.2", "0.5", "1", "2", "5", "10"])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("how many of a row's first 50 hard pairs a plain batch holds")
    axes.set_ylabel("gain of the default, % of the control's recall@1")
    axes.legend(frameon=False, fontsize=8)


def _share(tuned: Any, control: Any, part: str, figure: str) -> tuple[float, float]:
    """What plain batches hold, and the gain in percent of the control's figure."""
    before = np.mean([run[part][figure] for run in control.values()])
    after = np.mean([run[part][figure] for run in tuned.values()])
    held = np.mean([run["held"] for run in control.values()])
    return float(held), float(100 * (after / before - 1))


#: Name of the picture: how it is drawn, and the results that it takes.
PLOTS: dict[str, tuple[Callable[[Any], None], tuple[str, ...]]] = {
    "recall-against-steps": (recall_against_steps, ("icons-steps",)),
    "gain-against-share": (
        gain_against_share, ("icons-communities", "icons-rivals", "icons-rows"),
    ),
    "gain-against-ranks": (gain_against_ranks, ("icons-communities",)),
    "gain-against-start": (gain_against_start, ("icons-starts",)),
    "gain-against-chance": (
        gain_against_chance, ("photos-heads", "icons-rows", "icons-all", "icons-lit"),
    ),
}  # fmt: skip


def main() -> None:
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "helip"  # so that the same results give the same bytes
    from matplotlib import pyplot

    for name, (plot, needed) in PLOTS.items():
        if missing := set(needed) - set(records.names()):
            print(f"{name}: no results of {', '.join(sorted(missing))} yet")
            continue
        figure, axes = pyplot.subplots(figsize=(8, 5), layout="constrained")
        plot(axes)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        figure.savefig(PICTURES / f"{name}.svg", metadata={"Date": None})
        pyplot.close(figure)
        print(PICTURES / f"{name}.svg")


def _mean(result: Any, name: str) -> dict[str, float]:
    return summary.mean([run[result["part"]]["mean"] for run in result["runs"][name].values()])


if __name__ == "__main__":
    main()
