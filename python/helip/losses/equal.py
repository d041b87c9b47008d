"""Rows of a batch that say or show the same, which the contrastive losses would push apart.

Two rows are *equal* where their captions are, or their pictures: then the picture of each matches
the caption of the other. What is equal is told by numbers of groups (`groups`, such as the loader's
``batch["caption_group"]``), and by the cosine of embeddings that were made beforehand, above a
bound (`embeddings`). The relation is taken pair by pair: where a is equal to b and b to c, a need
not be equal to c, so that no chain of near duplicates makes one group of strangers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from helip.common.collectives import Everyone, gather_rows
from helip.common.errors import InvalidArgumentError
from helip.common.unit_rows import unit_rows
from helip.losses.features import cosine
from helip.losses.options import EqualOptions

#: The option that bounds the cosine of each kind of embeddings.
BOUNDS = {"caption": "similar_captions", "image": "similar_images"}


def check_groups(groups: Any, rows: int) -> Tensor:
    """``groups`` as int64 [rows, m]; InvalidArgumentError for another shape or dtype."""
    if not isinstance(groups, Tensor) or groups.dtype != torch.int64:
        kind = groups.dtype if isinstance(groups, Tensor) else type(groups).__name__
        raise InvalidArgumentError(
            f"groups is {kind}, must be an int64 tensor; pass the loader's batch['caption_group']"
        )
    if groups.dim() not in (1, 2) or groups.shape[0] != rows:
        raise InvalidArgumentError(
            f"groups has shape {tuple(groups.shape)}, must be ({rows},) or ({rows}, kinds): one "
            "entry for each row"
        )
    return groups.reshape(rows, -1)


def groups_of(batch: Mapping[str, Any]) -> Tensor | None:
    """The groups [b, m] that a loader put into a batch; None where it put none."""
    names = ("caption_group", "image_group", "verdict_group")
    kinds = [batch[name].reshape(len(batch[name]), -1) for name in names if name in batch]
    return torch.cat(kinds, dim=1) if kinds else None


def embeddings_of(batch: Mapping[str, Any]) -> dict[str, Tensor]:
    """The rows of a store that a loader put into a batch, by what they embed."""
    names = {kind: f"{kind}_embedding" for kind in BOUNDS}
    return {kind: batch[name] for kind, name in names.items() if name in batch}


def equal_rows(
    groups: Tensor | None,  # int64 [b] or [b, m]: equal in one column means equal; 0 equals nothing
    embeddings: Mapping[str, Tensor] | None,  # "caption", "image": [b, d]
    options: EqualOptions,
    everyone: Everyone,
) -> Tensor | None:
    """bool [b, all rows]: which rows are equal to each own row, itself left out.

    None where nothing tells, or equal rows are to be separate. Of several processes a collective,
    one for the groups and one for each kind of embeddings.
    """
    if options.equal_captions == "separate":
        return None
    own = everyone.own
    found = []
    if groups is not None:
        groups = check_groups(groups, own).to(everyone.image.device)
        others = _of_everyone(groups, everyone)
        found.append(((groups[:, None] == others[None]) & (groups != 0)[:, None]).any(dim=2))
    for kind, name in BOUNDS.items():
        bound = getattr(options, name)
        if bound is None:
            continue
        rows = (embeddings or {}).get(kind)
        if rows is None or rows.dim() != 2 or rows.shape[0] != own:
            one = " of data with one caption a row" if kind == "caption" else ""
            raise InvalidArgumentError(
                f"{name} is {bound}, so the loss needs embeddings[{kind!r}] [{own}, d], and has "
                f"{None if rows is None else tuple(rows.shape)}; give the loader the store{one}, "
                f"or leave {name} out"
            )
        with torch.no_grad():
            unit = unit_rows(rows.to(everyone.image.device))
            found.append(cosine(unit, _of_everyone(unit, everyone)) > bound)
    if not found:
        return None
    equal = torch.stack(found).any(dim=0)
    return equal & ~itself(equal, everyone)


def itself(like: Tensor, everyone: Everyone) -> Tensor:
    """bool [b, all rows]: the column of each own row."""
    own, total = like.shape
    rows = torch.arange(own, device=like.device) + everyone.first
    return rows[:, None] == torch.arange(total, device=like.device)[None, :]


def label_weights(
    soft: Tensor | None,
    like: Tensor,
    equal: Tensor | None,
    options: EqualOptions,
    everyone: Everyone,
) -> Tensor | None:
    """How right each of all rows is for each own row, [b, all rows] in 0 .. 1, in the dtype of
    ``like``; None where each row is right for itself alone.

    soft: [b, b] among own rows, with a row's own weight on the diagonal, or None. Equal rows have
    no weight, or that of the row itself.
    """
    if soft is None and (equal is None or options.equal_captions == "mask"):
        return None
    positive = itself(like, everyone)
    weights = (positive if soft is None else everyone.widened(soft)).to(like)
    if equal is None:
        return weights
    if options.equal_captions == "mask":
        return weights.masked_fill(equal, 0.0)
    own = weights.masked_fill(~positive, 0.0).sum(dim=1, keepdim=True)
    return torch.where(equal, own, weights)


def cross_entropy(
    logits: Tensor, equal: Tensor | None, weights: Tensor | None, everyone: Everyone
) -> Tensor:
    """The mean over own rows [b, all] of the cross entropy towards what is right for each.

    equal: rows to leave out of the softmax. weights: of `label_weights`; where those of a row add
    up to more than 1 they are divided by their sum, and where to less the row counts for less.
    """
    if equal is not None:
        logits = logits.masked_fill(equal, -torch.inf)
    if weights is None:
        labels = torch.arange(logits.shape[0], device=logits.device) + everyone.first
        return F.cross_entropy(logits, labels)
    chance = F.log_softmax(logits, dim=1).masked_fill(weights == 0, 0.0)
    shares = weights / weights.sum(dim=1, keepdim=True).clamp(min=1.0)
    return -(chance * shares).sum(dim=1).mean()


def _of_everyone(rows: Tensor, everyone: Everyone) -> Tensor:
    if everyone.processes == 1:
        return rows
    return gather_rows(rows, everyone.counts, everyone.group)
