"""How many rows with shuffled captions stand in the pools of each similarity.

``python bench/experiments/noise_in_pools.py`` writes ``results/noise-in-pools.json``.
"""

from __future__ import annotations

import numpy as np
import records
from icon_scene import scene

NOISES = (0.1, 0.3)
POOLS = ("product", "image", "text")
WINDOWS = (50, 10)  # first ranks


def table() -> list[list[str]]:
    rows = [["shuffled", "pools", *(f"of the first {ranks} ranks" for ranks in WINDOWS)]]
    for noise in NOISES:
        seen = scene("colour", noise)
        wrong = seen.text_of != seen.train
        for pool in POOLS:
            ids = seen.pairs(pool).ids[~wrong]
            shares = [wrong_share(ids[:, :ranks], wrong) for ranks in WINDOWS]
            rows.append(
                [f"{100 * noise:.0f} %", pool, *(f"{100 * share:.1f} %" for share in shares)]
            )
    return rows


def wrong_share(ids: np.ndarray, wrong: np.ndarray) -> float:
    """Of the places that are taken."""
    return float(wrong[ids[ids >= 0]].mean())


def main() -> None:
    record = {
        "title": "Shuffled captions in the pools of rows that have their own",
        "table": table(),
    }
    records.write("noise-in-pools", record)
    print(records.markdown(record["table"]))


if __name__ == "__main__":
    main()
