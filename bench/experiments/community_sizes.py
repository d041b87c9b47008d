"""What communities of each size gain where batches and data differ, as one table of results.

``python bench/experiments/community_sizes.py`` writes ``results/community-sizes.json``.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import records
import summary

SIZES = (4, 8, 16, 32, 64, 128)
#: Results, and how the table names them.
FROM = {
    "icons-communities": "in colour, 256 rows",
    "icons-sizes-short": "in colour, 256 rows, 320 steps",
    "icons-sizes-64": "in colour, 64 rows",
    "icons-all-communities": "all, 256 rows",
}


def table() -> list[list[str]]:
    rows = [["icons", "steps", "by chance", "control", *(f"of {size}" for size in SIZES)]]
    for name, label in FROM.items():
        result = records.read(name)
        runs, part = result["runs"], result["part"]
        control = [run[part]["mean"] for run in runs["control"].values()]
        chance = np.mean([run["held"] for run in runs["control"].values()])
        cells = [label.removesuffix(", 320 steps"), f"{result['trials']['control']['steps']:,}"]
        cells += [f"{chance:.2f}", f"{100 * np.mean(control):.1f}"]
        for size in SIZES:
            of = f"communities of {size}"
            cells.append(_gain(summary.gain(result, of, "control")) if of in runs else "")
        rows.append(cells)
    return rows


def _gain(found: Mapping[str, float]) -> str:
    """ "+1.2 ± 0.3", with half of the interval over seeds."""
    return f"{100 * found['value']:+.2f} ± {100 * (found['high'] - found['value']):.2f}"


def main() -> None:
    record = {"title": "Sizes of communities", "table": table()}
    records.write("community-sizes", record)
    print(records.markdown(record["table"]))


if __name__ == "__main__":
    main()
