"""Pictures of docs/results.md, made of the results: ``python bench/experiments/plots.py``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import records
import summary
from icon_experiments import EXPERIMENTS

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
    drawn = set()
    for name in ("icons-rows", "icons-rivals", "icons-communities"):
        runs_of = records.read(name)["runs"]
        for trial, other in EXPERIMENTS[name].compared.items():
            told = trial.removeprefix("256 rows, ")
            if told in drawn:
                continue
            drawn.add(told)
            runs = runs_of[trial]
            gain = 100 * np.mean(
                [
                    run["test"]["mean"] - runs_of[other][seed]["test"]["mean"]
                    for seed, run in runs.items()
                ]
            )
            held = np.mean([run["held"] for run in runs.values()])
            way = told.rpartition("rows, ")[2]
            axes.scatter(held, gain, color=COLOURS.get(way, "#009e73"))
            axes.annotate(told, (held, gain), fontsize=6, xytext=(4, 2), textcoords="offset points")
    axes.axhline(0, color="#9ca3af", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_xticks([0.5, 1, 2, 5, 10, 20], ["0.5", "1", "2", "5", "10", "20"])
    axes.set_xlabel("how many of a row's first 50 hard pairs its batch holds")
    axes.set_ylabel("gain over the control, points of mean recall@1")


def gain_against_start(axes: Any) -> None:
    """Gain over the control against the mean recall@1 of the start."""
    result = records.read("icons-starts")
    part = result["part"]
    found = []
    for name, runs in result["runs"].items():
        epochs, _, way = name.partition(", ")
        if way != "communities of 8":
            continue
        gains = [
            run[part]["mean"] - result["runs"][f"{epochs}, control"][seed][part]["mean"]
            for seed, run in runs.items()
        ]
        start = [run[part]["mean"] for run in result["runs"][f"{epochs}, start"].values()]
        found.append((100 * np.mean(start), 100 * summary.mean(gains)["value"], epochs))
    for x, y, epochs in sorted(found):
        axes.annotate(epochs, (x, y), fontsize=7, xytext=(4, 4), textcoords="offset points")
    axes.plot(*zip(*[(x, y) for x, y, _ in sorted(found)], strict=True), "o-",
              color=COLOURS["communities of 8"])  # fmt: skip
    axes.axhline(0, color="#9ca3af", linewidth=0.8)
    axes.set_xlabel("mean recall@1 of the start, %")
    axes.set_ylabel("gain over the control, points")


#: Name of the picture: how it is drawn, and the results that it takes.
PLOTS: dict[str, tuple[Callable[[Any], None], tuple[str, ...]]] = {
    "recall-against-steps": (recall_against_steps, ("icons-steps",)),
    "gain-against-share": (
        gain_against_share, ("icons-communities", "icons-rivals", "icons-rows"),
    ),
    "gain-against-start": (gain_against_start, ("icons-starts",)),
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
