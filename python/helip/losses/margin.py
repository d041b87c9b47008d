"""The hard negative margin loss (HNML) over similarities (arXiv 2305.05208, Eq. 6).

A batch may be spread over processes. Each of them sees its own rows against the rows of all, and a
target lies on one process together with its hard rows. What it computes is its *share*: the mean
of the shares of all processes, which is what averaged gradients are of, is the value of the whole
batch. Alone, the share is that value.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from helip.common.collectives import Everyone, total_of
from helip.losses.features import cosine


class Similarities(NamedTuple):
    """Similarities [own rows, all rows], seen from each image and from each caption."""

    from_image: Tensor
    from_text: Tensor


def similarities(image: Tensor, text: Tensor, everyone: Everyone, space: str) -> Similarities:
    """Of own unit rows [b, d] to the rows of everyone."""
    if space == "intra":
        return Similarities(cosine(image, everyone.image), cosine(text, everyone.text))
    similarity = cosine(image, everyone.text)
    # Alone, both are one matrix.
    alone = everyone.processes == 1
    return Similarities(similarity, similarity.T if alone else cosine(text, everyone.image))


class Margin(NamedTuple):
    """This process's shares; scalars. All but the loss are without a graph, and 0 without terms."""

    loss: Tensor
    violated: Tensor  # rate of hinge terms above 0
    hard_similarity: Tensor  # mean over targets' hard rows, both ways
    ordinary_similarity: Tensor  # mean over targets' ordinary rows, both ways


def served(target: Tensor) -> Tensor:
    """bool [b, b]: row r is a hard row of row i, for ``target`` [b], the row that each serves."""
    return target[None, :] == torch.arange(len(target), device=target.device)[:, None]


def among(hard_rows: Tensor) -> Tensor:
    """bool [b, b]: row r is a hard row of row i, where ``hard_rows`` [b, m] has r in row i.

    -1, and what is out of range, is no row.
    """
    rows = hard_rows.shape[0]
    places = hard_rows.to(torch.int64)
    places = torch.where((places < 0) | (places >= rows), rows, places)
    hard = torch.zeros(rows, rows + 1, dtype=torch.bool, device=hard_rows.device)
    return hard.scatter_(1, places, True)[:, :rows]


def margin_loss(
    seen: Similarities,
    hard: Tensor,
    everyone: Everyone,
    margin: float,
    direction: str,
    equal: Tensor | None = None,
) -> Margin:
    """hard: bool [b, b], which own rows are hard rows of each own row; see `served`, `among`.

    equal: bool [b, all rows]; a row that is equal to a target is neither hard nor ordinary for it.
    """
    roles = _roles(hard.to(seen.from_image.device), everyone, seen.from_image.dtype, equal)
    hinge = _hinge_preserve if direction == "preserve" else _hinge_repel
    image, text = (hinge(similarity, roles, margin) for similarity in seen)
    near, ordinary = (
        0.5 * sum(similarity.detach().masked_fill(~mask, 0.0).sum() for similarity in seen)
        for mask in (roles.hard, roles.ordinary)
    )
    # Of the whole batch; both directions have as many terms.
    masks = (roles.is_target, image.counted, roles.hard, roles.ordinary)
    counts = torch.stack([mask.sum() for mask in masks]).to(seen.from_image.dtype)
    targets, terms, hards, ordinaries = total_of(counts, everyone).clamp(min=1).unbind()
    shares = Margin(
        loss=0.5 * (image.loss + text.loss) / targets,
        violated=0.5 * (image.violated / terms + text.violated / terms),
        hard_similarity=near / hards,
        ordinary_similarity=ordinary / ordinaries,
    )
    if everyone.processes > 1:
        shares = Margin(*(share * everyone.processes for share in shares))
    return shares


class _Roles(NamedTuple):
    """Who is what to whom; row i is seen from the own target i."""

    hard: Tensor  # bool [b, all]: r is a hard row of i
    ordinary: Tensor  # bool [b, all]: j is an ordinary negative of i, and i has hard rows
    ordinary_count: Tensor  # [b] floating, at least 1
    is_target: Tensor  # bool [b]: own targets with hard rows


class _Hinge(NamedTuple):
    """One direction, summed over own targets; scalars."""

    loss: Tensor
    violated: Tensor  # terms above 0
    counted: Tensor  # bool: what has a term


def _roles(hard: Tensor, everyone: Everyone, dtype: torch.dtype, equal: Tensor | None) -> _Roles:
    own = hard.shape[0]
    itself = torch.eye(own, dtype=torch.bool, device=hard.device)
    hard = hard & ~itself
    if everyone.processes > 1:  # to the columns of everyone; a target's hard rows are its own
        hard, itself = everyone.widened(hard), everyone.widened(itself)
    if equal is not None:
        hard, itself = hard & ~equal, itself | equal
    is_target = hard.any(dim=1)
    ordinary = ~(hard | itself) & is_target[:, None]
    return _Roles(
        hard=hard,
        ordinary=ordinary,
        ordinary_count=ordinary.sum(dim=1).clamp(min=1).to(dtype),
        is_target=is_target,
    )


def _hinge_preserve(similarity: Tensor, roles: _Roles, margin: float) -> _Hinge:
    """Eq. 6; a term is a pair of a target and an ordinary row."""
    floor = similarity.masked_fill(~roles.hard, math.inf).amin(dim=1)
    floor = floor.masked_fill(floor == math.inf, 0.0)  # rows without hard rows; masked below
    terms = F.relu(similarity - floor[:, None] + margin).masked_fill(~roles.ordinary, 0.0)
    return _Hinge(
        loss=(terms.sum(dim=1) / roles.ordinary_count).sum(),
        violated=torch.count_nonzero(terms.detach()).to(similarity.dtype),
        counted=roles.ordinary,
    )


def _hinge_repel(similarity: Tensor, roles: _Roles, margin: float) -> _Hinge:
    """The other reading; a term is a target."""
    ceiling = similarity.masked_fill(~roles.hard, -math.inf).amax(dim=1)
    ceiling = ceiling.masked_fill(ceiling == -math.inf, 0.0)
    mean = similarity.masked_fill(~roles.ordinary, 0.0).sum(dim=1) / roles.ordinary_count
    # Without an ordinary row there is nothing to compare with.
    counted = roles.ordinary.any(dim=1)
    terms = F.relu(ceiling - mean + margin).masked_fill(~counted, 0.0)
    return _Hinge(
        loss=terms.sum(),
        violated=torch.count_nonzero(terms.detach()).to(similarity.dtype),
        counted=counted,
    )
