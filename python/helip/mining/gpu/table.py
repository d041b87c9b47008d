"""Exact mining on a torch device, into the same table as on the host."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from helip import _core
from helip.common.progress import ProgressBar
from helip.mining.gpu.miner import DeviceMiner
from helip.pairs.hard_pairs import HardPairs
from helip.store.embedding_store import EmbeddingStore

__all__ = ["mine_on_torch_device"]


def mine_on_torch_device(
    source: EmbeddingStore | None,
    arrays: tuple[Any, Any],
    views: tuple[_core.MatrixView, _core.MatrixView],
    options: dict[str, Any],
    *,
    device: str,
    out: str,
    progress: bool,
) -> HardPairs:
    """Streams the exact pools that ``device`` finds to a table at ``out``, in memory if empty.

    Args:
        source: the store that ``arrays`` belong to, for its fingerprints.
        arrays: image and text as arrays or tensors; None for a modality that is not used.
        views: the same for the core.
        options: ``k, modality, image_max, text_max, min_score, signed`` and ``skip``, the best
            pairs of each target that are left out.

    Returns the table that the host's exact miner gives. Of the report's drops there is only
    ``skipped``: a device does not count what its filters keep out.
    """
    rows = views[0].rows or views[1].rows
    k, skip = options["k"], options.get("skip", 0)
    found = {name: value for name, value in options.items() if name != "skip"}
    miner = DeviceMiner(*arrays, views=views, device=device, **(found | {"k": k + skip}))
    writer = _core.HardPairsWriter(out, rows, k)
    skipped = 0
    with ProgressBar(miner.pairs, label="mine", unit="pairs", enabled=progress) as bar:
        for band in miner.bands(lambda done, _: bar.set(done)):
            over = np.minimum(band.counts, skip)
            skipped += int(over.sum())
            ids, scores = (np.ascontiguousarray(x[:, skip:]) for x in (band.ids, band.scores))
            writer.write(band.first, ids, scores, band.counts - over)
    report = {"pairs": rows * max(rows - 1, 0), "drops": {"skipped": skipped}, **miner.report}
    used = {"method": "exact", "margin": None, "skip": 0, "collapse": "none", **options}
    core = writer.finish(
        fingerprint="" if source is None else source.fingerprint,
        keys_fingerprint="" if source is None else source.keys_fingerprint,
        options_json=json.dumps(used),
        report_json=json.dumps(report),
    )
    return HardPairs(core)
