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


class HingedGlobal:
    """TuneCLIP's hinged global contrastive loss (arXiv 2601.09859, Eq. 8 and 9), with SogCLR's
    gradient (arXiv 2202.12387).

    The loss is tau / n times the sum over all n rows, and over both directions, of log(Phi_i),
    where Phi_i is the mean over the row's negatives j of exp([s_ij - s_ii + margin]_+^2 / tau), of
    cosines: a negative that lies ``margin`` below the row's own pair is pushed no further. Phi_i is
    over the whole data set. u_i estimates it by a moving average over the batches that hold the
    row, u = (1 - gamma) u + gamma g, where g is the mean in the batch; the gradient is that of
    tau g / u, with u held fixed.

    tau = 1 / scale gets no gradient, as the paper keeps the checkpoint's. A row that is seen for
    the first time has u = g, as in FastCLIP (arXiv 2407.01445), on which TuneCLIP is built. The
    paper's small constant in the logarithm is left out, since u >= 1. A call under
    `torch.no_grad` only moves u: the paper's first stage, which recovers the optimizer's
    statistics with the weights as they are, is such calls and steps with a learning rate of 0.
    """

    def __init__(self, n: int, *, margin: float = 0.1, gamma: float) -> None:
        self.margin = margin
        self.gamma = torch.tensor(gamma, dtype=torch.float64)
        #: log(u) of images among texts and of texts among images, float32 [n]; -inf: not seen.
        self.estimates = [torch.full((n,), -torch.inf) for _ in range(2)]

    def __call__(
        self, image: Tensor, text: Tensor, scale: Tensor | float, equal: Tensor, rows: Tensor
    ) -> Tensor:
        """The loss of a batch; its value is that of the estimates u, after they are moved.

        image, text: unit rows [b, d]; equal: bool [b, b], pairs that are no negatives, not a row's
        own; rows: int64 [b], different positions in the data set. A row without negatives in the
        batch is left out of the loss.
        """
        tau = 1 / torch.as_tensor(scale).detach()
        cosines = image @ text.T
        left_out = equal | torch.eye(len(cosines), dtype=torch.bool)
        counts = (~left_out).sum(dim=1)
        some = counts > 0
        loss = cosines.new_zeros(())
        for way, estimates in zip((cosines, cosines.T), self.estimates, strict=True):
            hinge = (way - way.diagonal()[:, None] + self.margin).clamp(min=0)
            terms = (hinge.square() / tau).masked_fill(left_out, -torch.inf)
            now = torch.logsumexp(terms[some], dim=1) - counts[some].log()
            past = estimates[rows[some]].to(now.dtype)
            moved = torch.logaddexp(
                past + torch.log1p(-self.gamma), now.detach() + self.gamma.log()
            )
            moved = torch.where(past.isinf(), now.detach(), moved)
            estimates[rows[some]] = moved.to(estimates.dtype)
            ratio = (now - moved).exp()  # g / u
            loss = loss + tau * (moved + ratio - ratio.detach()).sum() / some.sum().clamp(min=1)
        return loss


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
