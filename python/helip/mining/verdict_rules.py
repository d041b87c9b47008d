"""Mining under verdicts: pairs that people took out never enter a pool, and the next best do.

The miner does not know verdicts. It mines pools that are longer by as many pairs as verdicts can
take from one of them; what is excluded is then dropped, and the best k of the rest are kept. Of an
exact method that is exact: a pool of k + skip + e pairs, of which at most e are excluded, holds the
best k + skip of the others. Mismatched rows could be many, and few pools hold many of them, so e
starts small and grows while a pool that was full has lost too many.
"""

from __future__ import annotations

import glob
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from helip import _core
from helip.common.errors import MismatchError
from helip.common.files import discard_directory
from helip.pairs.hard_pairs import HardPairs
from helip.verdicts.exclusions import Exclusions

_FEW = 16  # places for mismatched rows at first


def mine_without(
    exclusions: Exclusions,
    mined: Callable[[int, str], HardPairs],
    *,
    k: int,
    skip: int,
    out: str,
) -> HardPairs:
    """The table without what is excluded; ``mined(k, out)`` mines without a ``skip``."""
    most = exclusions.most + len(exclusions.rows)
    more = exclusions.most + min(len(exclusions.rows), _FEW)
    while True:
        longer = mined(k + skip + more, _longer(out, more))
        if more == most or _enough(longer, exclusions, k + skip):
            break
        _remove(longer)
        more = min(most, 4 * more + _FEW)
    table = _cut(longer, exclusions, k, skip, out)
    _remove(longer)
    return HardPairs(table)


def refuse_other_verdicts(table: HardPairs, exclusions: Exclusions) -> None:
    """MismatchError where a table was not mined under these verdicts."""
    found = table.options.get("verdicts")
    if found != exclusions.described():
        words = f"under other verdicts ({found})" if found else "without verdicts"
        raise MismatchError(f"{table.path} was mined {words}; choose another path")


def remove_longer(out: str) -> None:
    """Remove longer pools that a job left which was killed once its table was there."""
    place = Path(_longer(out, 0))
    for folder in place.parent.glob(f"{glob.escape(place.name.removesuffix('0'))}*"):
        discard_directory(folder)


def _longer(out: str, more: int) -> str:
    """Where pools with so many more places lie until the table is there; "" for memory."""
    return f"{out.rstrip('/')}.longer-{more}" if out else ""


def _enough(longer: HardPairs, exclusions: Exclusions, wanted: int) -> bool:
    """Whether no pool may have pairs left that it lacks now."""
    full = longer.counts == longer.k
    # The pools of mismatched rows are emptied, however long they are.
    full[exclusions.rows] = False
    for first, pools in longer.blocks():
        left = (~exclusions.flags(first, pools.ids) & (pools.ids >= 0)).sum(axis=1)
        if (full[first : first + len(left)] & (left < wanted)).any():
            return False
    return True


def _cut(longer: HardPairs, exclusions: Exclusions, k: int, skip: int, out: str) -> _core.HardPairs:
    writer = _core.HardPairsWriter(out, len(longer), k)
    dropped = skipped = 0
    for first, pools in longer.blocks():
        flagged = exclusions.flags(first, pools.ids)
        dropped += int(flagged[:, : k + skip].sum())  # of the best, but for the verdicts
        left = pools.without(flagged)
        skipped += int(np.minimum(left.counts, skip).sum())
        writer.write(first, *left.best(k, skip=skip))
    report = longer.report
    drops = {**report.get("drops", {}), "verdicts": dropped, "skipped": skipped}
    options = {**longer.options, "k": k, "skip": skip, "verdicts": exclusions.described()}
    return writer.finish(
        fingerprint=longer.fingerprint,
        data_fingerprint=longer.data_fingerprint,
        options_json=json.dumps(options),
        report_json=json.dumps({**report, "drops": drops, "mined_k": longer.k}),
    )


def _remove(longer: HardPairs) -> None:
    if longer.path:
        discard_directory(Path(longer.path))
