"""Exact mining on a torch device, into the same table as on the host."""

from __future__ import annotations

import json
from typing import Any

from helip import _core
from helip.device import DeviceMiner
from helip.pairs import HardPairs
from helip.progress import ProgressBar
from helip.store import EmbeddingStore

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
        options: ``k, modality, image_max, text_max, min_score, signed``.

    Returns the table that the host's exact miner gives, but for the report, which has no drop
    counts: a device does not count them.
    """
    rows = views[0].rows or views[1].rows
    miner = DeviceMiner(*arrays, views=views, device=device, **options)
    writer = _core.HardPairsWriter(out, rows, options["k"])
    with ProgressBar(miner.pairs, label="mine", unit="pairs", enabled=progress) as bar:
        for band in miner.bands(lambda done, _: bar.set(done)):
            writer.write(band.first, band.ids, band.scores, band.counts)
    report = {"pairs_scored": rows * max(rows - 1, 0), **miner.report}
    core = writer.finish(
        fingerprint="" if source is None else source.fingerprint,
        keys_fingerprint="" if source is None else source.keys_fingerprint,
        options_json=json.dumps({"method": "exact", **options}),
        report_json=json.dumps(report),
    )
    return HardPairs(core)
