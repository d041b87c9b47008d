"""Losses that weigh the negatives of plain batches, in the place of batches of hard pairs."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def hn_nce(
    image: Tensor, text: Tensor, scale: Tensor, equal: Tensor, *, beta: float, alpha: float = 1.0
) -> Tensor:
    """HN-NCE (arXiv 2301.02280, Eq. 2): the negatives of a row are weighted by exp(beta s / tau).

    Weights have a mean of 1 and a gradient, and alpha weighs the positive in the denominator.
    image, text: unit rows [b, d]; equal: bool [b, b], pairs that are no negatives, not a row's own.
    """
    return _both(image @ text.T * scale, equal, lambda negatives, there, own: (
        torch.logsumexp((1 + beta) * negatives, dim=1)
        - torch.logsumexp(beta * negatives, dim=1)
        + there.log()
    ), alpha)  # fmt: skip


def debiased(image: Tensor, text: Tensor, scale: Tensor, equal: Tensor, *, prior: float) -> Tensor:
    """The debiased loss (arXiv 2007.00224, Eq. 8): a share ``prior`` of the negatives is taken
    to be positives, and their part is subtracted by the row's own positive."""

    def sum_of(negatives: Tensor, there: Tensor, own: Tensor) -> Tensor:
        # In units of the largest term, so that nothing overflows.
        top = torch.maximum(negatives.amax(dim=1), own).detach()
        plain = (negatives - top[:, None]).exp().sum(dim=1)
        left = (plain - there * prior * (own - top).exp()) / (1 - prior)
        least = there * (-scale - top).exp()  # of cosines of -1
        return torch.maximum(left, least).log() + top

    return _both(image @ text.T * scale, equal, sum_of, 1.0)


def hardest(
    image: Tensor, text: Tensor, scale: Tensor, equal: Tensor, *, weight: float, margin: float
) -> Tensor:
    """The CLIP loss, and ``weight`` of the hinge of the hardest negative of each row in the batch,
    as in VSE++ (arXiv 1707.05612, Eq. 6): max(0, margin + s(hardest) - s(own)), of cosines."""
    cosines = image @ text.T
    own = torch.eye(len(image), dtype=torch.bool)
    clip, hinge = [], []
    for way in (cosines, cosines.T):
        # Scaled before it is masked: 0 x inf would make the scale's gradient NaN.
        logits = (way * scale).masked_fill(equal & ~own, -torch.inf)
        clip.append(nn.functional.cross_entropy(logits, torch.arange(len(way))))
        worst = way.masked_fill(equal | own, -torch.inf).amax(dim=1)
        hinge.append((margin + worst - way.diagonal()).clamp(min=0).mean())
    return (clip[0] + clip[1]) / 2 + weight * (hinge[0] + hinge[1])


def _both(logits: Tensor, equal: Tensor, sum_of, alpha: float) -> Tensor:  # type: ignore[no-untyped-def]
    """Mean over rows and directions of -log(e^own / (alpha e^own + e^(sum of negatives)))."""
    own = logits.diagonal()
    left_out = equal | torch.eye(len(logits), dtype=torch.bool)
    there = (~left_out).sum(dim=1).clamp(min=1).to(logits.dtype)
    parts = []
    for way in (logits, logits.T):
        total = sum_of(way.masked_fill(left_out, -torch.inf), there, own)
        weighed = own + torch.log(torch.tensor(alpha))
        parts.append((torch.logaddexp(weighed, total) - own).mean())
    return (parts[0] + parts[1]) / 2
