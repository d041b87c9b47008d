"""What stands in each window of ranks: near duplicates, equal captions, equal pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from helip.common.unit_rows import unit_rows
from helip.diagnosis.draws import Bools, Ints, RowGroups, drawn_places, equal, rank_windows

MEMBERS = 8  # hard pairs of a target that are looked at in each window
NEAR_SCORE = 0.9  # product of both cosines
NEAR_COSINE = 0.95  # of two captions, of two pictures, in the store
STORE_TARGETS = 500  # whose rows of the store are read
_BLOCK = 64  # targets of which they are read together


@dataclass(frozen=True)
class WindowMeasures:
    """Shares of hard pairs in a window of ranks; None where that is not known."""

    first: int  # rank from 1
    last: int
    pairs: int  # that were looked at
    near: float  # score of the table at 0.9 or more
    equal_captions: float
    equal_pictures: float | None
    near_captions: float | None  # cosine in the store at 0.95 or more
    near_pictures: float | None


def measure_windows(
    pairs: Any,  # HardPairs
    data: Any,  # Dataset
    targets: Ints,
    *,
    window: int = 50,
    store: Any = None,  # EmbeddingStore
    groups: RowGroups | None = None,
    seed: int = 0,
) -> tuple[WindowMeasures, ...]:
    """Look at up to eight random hard pairs of each target in each window of ranks.

    The first window is that of ranks 1 to ``window``, the others are ranks 1 to 10, 11 to 30 and
    31 to 100 as far as pools go.
    """
    groups = RowGroups(data) if groups is None else groups
    generator = np.random.default_rng([seed, 1])
    ids, scores = np.asarray(pairs.ids[targets]), np.asarray(pairs.scores[targets])
    found = []
    for first, last in rank_windows(int(pairs.k), window):
        # [T, MEMBERS], -1 for none
        places = drawn_places(ids[:, first:last] >= 0, MEMBERS, generator)
        there = places >= 0
        members = np.where(there, np.take_along_axis(ids[:, first:last], places, 1), -1)
        near = np.take_along_axis(scores[:, first:last], places, 1) >= NEAR_SCORE
        near_text, near_image = (None, None)
        if store is not None:
            near_image, near_text = _near_in_store(store, targets, members)
        found.append(
            WindowMeasures(
                first=first + 1,
                last=last,
                pairs=int(there.sum()),
                near=_share_of(near[there]),
                equal_captions=_share_of(_equal_captions(groups, targets, members)[there]),
                equal_pictures=_equal_pictures(data, targets, members),
                near_captions=near_text,
                near_pictures=near_image,
            )
        )
    return tuple(found)


def _equal_captions(groups: RowGroups, targets: Ints, members: Ints) -> Bools:
    """bool [T, m]"""
    flat = np.where(members >= 0, members, targets[:, None])
    captions = groups.of(flat.ravel())[:, :1].reshape(*flat.shape, 1)
    return equal(groups.of(targets)[:, :1], captions)


def _equal_pictures(data: Any, targets: Ints, members: Ints) -> float | None:
    """Share of the same picture: known to be, or with the same size and the same end."""
    there = members >= 0
    flat = np.where(there, members, targets[:, None])
    known = data.image_groups()
    if known is not None:
        return _share_of((known[targets][:, None] == known[flat])[there])
    ends = [data.row_digests(rows)[0] for rows in (targets, flat.ravel())]
    one, others = ends[0][:, None], ends[1].reshape(flat.shape)
    told = there & (one >> np.uint64(32) != 0) & (others >> np.uint64(32) != 0)
    return _share_of((one == others)[told]) if told.any() else None


def _near_in_store(store: Any, targets: Ints, members: Ints) -> tuple[float, float]:
    """Shares of pictures and of captions with a cosine of NEAR_COSINE or more."""
    targets, members = targets[:STORE_TARGETS], members[:STORE_TARGETS]
    counts, pairs = np.zeros(2), 0
    for start in range(0, len(targets), _BLOCK):
        own, theirs = targets[start : start + _BLOCK], members[start : start + _BLOCK]
        there = theirs >= 0
        rows = np.unique(np.concatenate([own, theirs[there]]))
        at = np.searchsorted(rows, own)
        to = np.searchsorted(rows, np.where(there, theirs, own[:, None]))
        pairs += int(there.sum())
        for side, matrix in enumerate(map(unit_rows, store.rows(rows))):
            cosines = torch.einsum("td,tmd->tm", matrix[at], matrix[to]).numpy()
            counts[side] += int((cosines[there] >= NEAR_COSINE).sum())
    image, text = counts / max(pairs, 1)
    return float(image), float(text)


def _share_of(flags: Bools) -> float:
    return float(flags.mean()) if flags.size else 0.0
