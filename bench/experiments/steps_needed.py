"""How many steps communities of 8 need for what plain batches reach, as a table of results.

``python bench/experiments/steps_needed.py`` writes ``results/steps-needed.json``.
Between two lengths of runs recall is taken to rise with the logarithm of the steps.
"""

from __future__ import annotations

import numpy as np
import records
from icon_experiments import EIGHT

PART = "test"
#: Steps: the results that hold runs of so many, and what follows the name of the way there.
FROM = {
    320: ("icons-sizes-short", ""),
    640: ("icons-steps", ", 640 steps"),
    1280: ("icons-rivals", ""),
    2560: ("icons-steps", ", 2,560 steps"),
    10240: ("icons-steps", ", 10,240 steps"),
}
TARGETS = (1280, 2560, 10240)


def recall(way: str, steps: int) -> list[float]:
    """Mean recall@1 of each seed."""
    result, told = FROM[steps]
    return [run[PART]["mean"] for run in records.read(result)["runs"][f"{way}{told}"].values()]


def needed(target: float, reached: list[float]) -> float:
    """Steps at which ``reached``, of each of `FROM`, comes to ``target``."""
    return float(2 ** np.interp(target, reached, np.log2(list(FROM))))


def table() -> list[list[str]]:
    reached = {steps: recall(EIGHT, steps) for steps in FROM}
    rows = [
        [
            "steps of the control",
            "its mean recall@1",
            "steps in communities",
            "share of the steps",
            "seed by seed",
        ]
    ]
    for steps in TARGETS:
        control = recall("control", steps)
        same = needed(float(np.mean(control)), [float(np.mean(of)) for of in reached.values()])
        of_seeds = [
            needed(goal, [of[seed] for of in reached.values()]) / steps
            for seed, goal in enumerate(control)
        ]
        rows.append([
            f"{steps:,}", f"{100 * np.mean(control):.1f}", f"{same:,.0f}", f"{same / steps:.2f}",
            ", ".join(f"{share:.2f}" for share in of_seeds),
        ])  # fmt: skip
    return rows


def main() -> None:
    record = {"title": "Steps to the control's recall", "part": PART, "table": table()}
    records.write("steps-needed", record)
    print(records.markdown(record["table"]))


if __name__ == "__main__":
    main()
