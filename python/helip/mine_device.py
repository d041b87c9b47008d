"""Exact mining on a torch device, into the same table as on the host."""

from __future__ import annotations

import json
from typing import Any

from helip import _core
from helip.device import mine_bands
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
    writer = _core.HardPairsWriter(out, rows, options["k"])
    retried = solved = 0
    with ProgressBar(rows, label="mine", unit="targets", enabled=progress) as bar:

        def follow(done: int, total: int) -> None:
            bar.set(done)

        bands = mine_bands(*arrays, views=views, device=device, progress=follow, **options)
        for band in bands:
            writer.write(int(band.targets[0]), band.ids, band.scores, band.counts)
            retried += band.retried
            solved += band.solved
    report = {
        "pairs_scored": rows * max(rows - 1, 0),
        "device": device,
        "retried": retried,
        "solved_on_host": solved,
    }
    core = writer.finish(
        fingerprint="" if source is None else source.fingerprint,
        keys_fingerprint="" if source is None else source.keys_fingerprint,
        options_json=json.dumps({"method": "exact", **options}),
        report_json=json.dumps(report),
    )
    return HardPairs(core)
