"""Tables that torch devices mine, with what they report of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from helip.mining.gpu.miner import DeviceMiner
from helip.mining.inputs import Inputs


@dataclass(frozen=True)
class DeviceResult:
    """A whole table and how it came about."""

    ids: np.ndarray  # int32 [n, k]
    scores: np.ndarray  # float32 [n, k]
    counts: np.ndarray  # int32 [n]
    report: dict[str, Any]


def mine_on_device(inputs: Inputs, *, progress: Any = None, **arguments: Any) -> DeviceResult:
    """The bands of a DeviceMiner as one table; the same arguments."""
    miner = DeviceMiner(inputs, **arguments)
    bands = [pools for _, pools in miner.bands(progress)]
    empty = np.empty((0, miner.options.k))
    return DeviceResult(
        np.concatenate([empty, *(pools.ids for pools in bands)]).astype(np.int32),
        np.concatenate([empty, *(pools.scores for pools in bands)]).astype(np.float32),
        np.concatenate([empty[:, 0], *(pools.counts for pools in bands)]).astype(np.int32),
        miner.report,
    )
