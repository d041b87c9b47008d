"""The exact pools of a table's sampled targets, kept beside it for its next update."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from helip.common.errors import Error
from helip.common.files import remove_leftovers
from helip.common.remote.container import KEPT_SAMPLE
from helip.common.remote.manifest import MANIFEST, MOST_BYTES
from helip.mining.stages.bases import Changes, is_in
from helip.mining.stages.unit_files import open_unit_file, write_unit_file
from helip.pairs.blocks import Pools

_OVERHEAD = 1 << 20  # bytes of the file that are not arrays, at most


def remove_unpublished(table: str) -> None:
    """Removes the kept sample of a table that was not published, since its process was killed.

    The folder of a new table may hold nothing else.
    """
    if not (Path(table) / MANIFEST).exists():
        (Path(table) / KEPT_SAMPLE).unlink(missing_ok=True)
        remove_leftovers(Path(table), KEPT_SAMPLE)


def write_kept_sample(
    table: str, store: str, options: dict[str, Any], targets: np.ndarray, exact: Pools
) -> None:
    """Writes the ``exact`` pools of ``targets`` int64 [n], ascending, in the folder of a table.

    ``store`` is the fingerprint of what was mined, and ``options`` those of the table. Pools too
    large to be copied with it are not kept.
    """
    arrays = {"targets": targets, **exact._asdict()}
    if sum(values.nbytes for values in arrays.values()) + _OVERHEAD <= MOST_BYTES:
        write_unit_file(Path(table) / KEPT_SAMPLE, arrays, job=_tag(store, options))


def kept_pools(changes: Changes, sample: np.ndarray, kept: int) -> tuple[np.ndarray, Pools]:
    """What the base of an update has of the targets ``sample`` int64 [n], ascending.

    bool [n], whether the exact pool of ``kept`` pairs among rows that did not change is known, and
    these pools, empty where it is not. None is known without a file, by a damaged one or one of
    another store or other options.
    """
    known, pools = np.zeros(len(sample), dtype=bool), Pools.empty(len(sample), kept)
    base = changes.base
    try:
        tag = _tag(base.store, base.options)
        file = open_unit_file(Path(base.path) / KEPT_SAMPLE, job=tag)
        targets = np.array(file["targets"])
        before = Pools(*(np.array(file[name]) for name in Pools._fields))
    except (Error, KeyError):
        return known, pools
    stays, left = still_exact(targets, before, changes.outdated)
    stays &= is_in(targets, sample)
    at = np.searchsorted(sample, targets[stays])
    known[at] = True
    for values, found in zip(pools, left, strict=True):
        values[at] = found[stays]
    return known, pools


def _tag(store: str, options: dict[str, Any]) -> str:
    """A digest of what exact pools depend on."""
    text = json.dumps({"store": store, "options": options}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def still_exact(
    targets: np.ndarray, pools: Pools, outdated: np.ndarray
) -> tuple[np.ndarray, Pools]:
    """bool [n], whether exact pools without ``outdated`` rows are exact still, and all without.

    One that was full and lost a pair is not: what moves up is in no table.
    """
    gone = is_in(pools.ids, outdated)
    full = pools.counts == pools.ids.shape[1]
    return ~is_in(targets, outdated) & ~(full & gone.any(axis=1)), pools.without(gone)
