"""Hard pairs of pictures with several captions, from those of their single captions."""

from __future__ import annotations

import os

import numpy as np

from helip.common.errors import InvalidArgumentError
from helip.common.options import Positive, check
from helip.data.caption_rows import CaptionRows
from helip.pairs.blocks import Pools
from helip.pairs.hard_pairs import HardPairs
from helip.store.data_identity import Identity, require_same_data


def best_captions(
    pairs: HardPairs | str | os.PathLike[str], data: CaptionRows, *, k: int | None = None
) -> HardPairs:
    """The table of the pictures of ``data``: a pair of pictures has the score of their best pair of
    captions.

    ``pairs`` is the table of the caption rows, mined exactly with as many places as k times the
    captions that one picture has at most; then the k best pictures of each are exact. For a caption
    of picture i whose pair with picture j is the best of the two, fewer than k other pictures have
    rows before it, and so have the other captions of i: at most k times that many in all.

    Args:
        pairs: the table, or its path.
        data: what ``open_dataset(..., row_per="caption")`` gave; the table returned is of the same
            data opened without it. It is in memory: save it.
        k: places of the table; None: as many as ``pairs`` allow.

    Raises:
        InvalidArgumentError: other data, or a k for which the pools are too short.
        MismatchError: the table is of other data.
    """
    table = pairs._whole() if isinstance(pairs, HardPairs) else HardPairs.open(pairs)
    if not isinstance(data, CaptionRows):
        raise InvalidArgumentError(
            f"data is a {type(data).__name__}, without a row for each caption; open it with "
            "row_per='caption', whole"
        )
    require_same_data(
        "the table of hard pairs", Identity(len(table), table.data_fingerprint), Identity.of(data),
        "open the data set that was mined",
    )  # fmt: skip
    check("k", k, Positive | None)
    pictures = data.picture_rows
    starts = np.searchsorted(pictures, np.arange(int(pictures[-1]) + 2))
    most = int(np.diff(starts).max())
    possible = table.k // most
    wanted = k or max(possible, 1)
    if wanted > possible:
        raise InvalidArgumentError(
            f"k of pictures is {wanted}, and a picture has up to {most} captions, so that the "
            f"pools of captions must have {wanted * most} places, and have {table.k}; mine with "
            f"k={wanted * most}"
        )
    k = wanted
    found = Pools.empty(len(starts) - 1, k)
    step = max(1, (1 << 20) // (table.k * most))
    for first in range(0, len(starts) - 1, step):
        last = min(first + step, len(starts) - 1)
        rows = slice(int(starts[first]), int(starts[last]))
        found.put(first, _best(table, pictures, rows, first, last, k))
    return HardPairs.from_arrays(
        *found,
        data_fingerprint=data.source.fingerprint,
        options={**table.options, "k": k, "captions": "best"},
        report=table.report,
    )


def _best(
    table: HardPairs, pictures: np.ndarray, rows: slice, first: int, last: int, k: int
) -> Pools:
    """The pools of the pictures from ``first`` on, whose captions are ``rows``."""
    ids = np.asarray(table.ids[rows])
    there = ids >= 0
    own = np.broadcast_to(pictures[rows, None], ids.shape)[there]
    others, scores = pictures[ids[there]], np.asarray(table.scores[rows])[there]
    order = np.lexsort((-scores, others, own))
    own, others, scores = own[order], others[order], scores[order]
    best = np.r_[True, (own[1:] != own[:-1]) | (others[1:] != others[:-1])][: len(own)]
    best &= own != others
    own, others, scores = own[best], others[best], scores[best]
    order = np.lexsort((others, -scores, own))
    own, others, scores = own[order] - first, others[order], scores[order]
    begins = np.searchsorted(own, np.arange(last - first))
    ranks = np.arange(len(own)) - begins[own]
    kept = ranks < k
    found = Pools.empty(last - first, k)
    found.ids[own[kept], ranks[kept]] = others[kept]
    found.scores[own[kept], ranks[kept]] = scores[kept]
    found.counts[:] = (found.ids >= 0).sum(axis=1)
    return found
