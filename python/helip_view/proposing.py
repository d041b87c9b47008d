"""Which pairs to judge next: those of which a learnt veto is least sure."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np

from helip.common.options import Positive, Seed, check
from helip.store import EmbeddingStore
from helip.verdicts import Verdicts
from helip_view.learnt_veto import LearntVeto

_BLOCK = 1024  # neighbouring targets that are drawn together


@dataclass(frozen=True)
class Proposal:
    """A pair that is worth judging."""

    target: int
    hard: int
    probability: float
    """That people would take it out, by the veto."""


def propose(
    verdicts: Verdicts,
    veto: LearntVeto,
    pairs: Any,
    *,
    n: int = 20,
    by: EmbeddingStore | str | os.PathLike[str] | None = None,
    person: str | None = None,
    targets: int | None = None,
    seed: Seed = 0,
) -> list[Proposal]:
    """The ``n`` pairs of the table whose probability lies closest to the veto's threshold.

    Pairs that someone judged are left out, with ``person`` those that this person judged. (a, b)
    and (b, a) come once. In order, the least sure first; fewer where there are fewer. Of a large
    table ``targets`` bounds how many pools are looked at, to a little more: blocks of 1,024
    neighbouring targets, drawn by ``seed``. None looks at all.

    Raises:
        MismatchError: verdicts or veto of other data. InvalidArgumentError: no store, or not what
            the veto was learnt from.
    """
    check("n", n, Positive)
    check("targets", targets, Positive | None)
    check("seed", seed, Seed)
    identity = len(pairs), str(pairs.data_fingerprint)
    verdicts.refuse_other_data(*identity)
    veto.refuse_other_data(*identity)
    found = veto.features_in(pairs, pairs.store, by=by, data=pairs.data)
    judged = np.array(
        [j.rows for j in verdicts if j.hard is not None and person in (None, j.person)],
        dtype=np.int64,
    ).reshape(-1, 2)
    best = np.empty((0, 4))  # distance, low, high, probability
    for first, ids, features in found.of_table(_drawn(len(pairs), targets, seed)):
        chance = veto.probabilities(features)
        rows = np.broadcast_to(np.arange(first, first + len(ids))[:, None], ids.shape)
        use = ~np.isnan(chance)
        low, high = np.minimum(rows, ids)[use], np.maximum(rows, ids)[use]
        new = np.stack([abs(chance[use] - veto.threshold), low, high, chance[use]], axis=1)
        best = _first(np.concatenate([best, new]), judged, n)
    return [Proposal(int(low), int(high), float(p)) for _, low, high, p in best.tolist()]


def _drawn(rows: int, targets: int | None, seed: int) -> list[range] | None:
    """Blocks of targets; None: all."""
    if targets is None or targets >= rows:
        return None
    number = -(-rows // _BLOCK)
    some = np.random.default_rng(seed).choice(number, -(-targets // _BLOCK), replace=False)
    return [range(b * _BLOCK, min((b + 1) * _BLOCK, rows)) for b in np.sort(some).tolist()]


def _first(rows: np.ndarray, judged: np.ndarray, n: int) -> np.ndarray:
    """The n least distant pairs, each once, without those that are judged."""
    order = np.lexsort((rows[:, 2], rows[:, 1], rows[:, 0]))
    known = {tuple(pair) for pair in judged.tolist()}
    kept = []
    for place in order.tolist():
        pair = (int(rows[place, 1]), int(rows[place, 2]))
        if pair not in known:
            known.add(pair)
            kept.append(place)
            if len(kept) == n:
                break
    return rows[kept]
