"""open_clip's training and helip.train see the same batches and losses (bench/open_clip_sides.py).

HELIP_OPEN_CLIP_SOURCE names a folder with another open_clip to compare as well.
"""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any

import pytest


@pytest.mark.parametrize(("processes", "siglip"), [(1, False), (2, False), (1, True), (2, True)])
def test_sides_give_the_same_rows_and_losses(
    bench: Any, tmp_path: Path, processes: int, siglip: bool
) -> None:
    sides = bench("open_clip_sides")
    checkout = os.environ.get("HELIP_OPEN_CLIP_SOURCE", "")
    found = sides.measure(tmp_path, checkout=checkout, processes=processes, siglip=siglip)
    assert found.keys() == {"open_clip", "helip", *(["checkout"] if checkout else [])}
    steps = found["helip"]["rows"]
    assert len(steps) == len(found["helip"]["loss"]) == 12 // processes
    assert all(len(rows) == len(set(rows)) == sides.BATCH for rows in steps)
    assert found["helip"]["loss"][-1] < found["helip"]["loss"][0]  # it trains
    assert not sides.differences(found)

    other = copy.deepcopy(found)
    other["open_clip"]["rows"][1][0] += 1
    other["open_clip"]["loss"][2] *= 1.01
    assert len(sides.differences(other)) == 2
