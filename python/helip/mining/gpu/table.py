"""Exact mining on a torch device, into the same table as on the host."""

from __future__ import annotations

import json

import numpy as np

from helip import _core
from helip.common.progress import Follower, OnProgress, ProgressBar
from helip.mining.gpu.miner import DeviceMiner
from helip.mining.inputs import Inputs
from helip.mining.options import MineOptions, ScoreRules
from helip.pairs.hard_pairs import HardPairs


def mine_on_torch_device(
    inputs: Inputs,
    options: MineOptions,
    *,
    device: str,
    out: str,
    progress: bool,
    on_progress: OnProgress | None = None,
) -> HardPairs:
    """Streams the exact pools that ``device`` finds to a table at ``out``, in memory if empty.

    Returns the table that the host's exact miner gives. Of the report's drops there is only
    ``skipped``: a device does not count what its filters keep out.
    """
    rows, k, skip = inputs.rows, options.k, options.skip
    rules = ScoreRules.of(options).as_dict()
    found = {**rules, "k": k + skip}
    miner = DeviceMiner(inputs, device=device, **found)
    writer = _core.HardPairsWriter(out, rows, k)
    skipped = 0
    with ProgressBar(miner.pairs, label="mine", unit="pairs", enabled=progress) as bar:
        follow = Follower(bar, on_progress)
        for first, pools in miner.bands(lambda done, total: follow("mine", done, total)):
            over = np.minimum(pools.counts, skip)
            skipped += int(over.sum())
            ids, scores = (np.ascontiguousarray(x[:, skip:]) for x in (pools.ids, pools.scores))
            writer.write(first, ids, scores, pools.counts - over)
    report = {"pairs": rows * max(rows - 1, 0), "drops": {"skipped": skipped}, **miner.report}
    used = {"method": "exact", "margin": None, "skip": skip, "collapse": "none", **rules}
    return HardPairs(
        writer.finish(
            **inputs.fingerprints, options_json=json.dumps(used), report_json=json.dumps(report)
        )
    )
