"""The self-supervised term of SLIP: SimCLR's NT-Xent between two views of every picture.

SLIP (arXiv 2112.12750) trains with  loss = clip + ssl_scale * ssl.  For unit rows a_i and b_i, the
head's features of the two views of picture i, and all 2b of them x_1 ... x_2b,

    ssl = mean over r of  -log( exp(<x_r, x_p(r)> / t) / sum over s != r of exp(<x_r, x_s> / t) )

where p(r) is the other view of the same picture (SimCLR, arXiv 2002.05709, Eq. 1). SLIP takes
t = 0.1 and ssl_scale = 1. Everything is computed in float32 whatever the autocast dtype, or in
float64 when the features are float64.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from helip.common.errors import InvalidArgumentError
from helip.losses.options import SslOptions


class SslLoss(nn.Module):
    """``scale`` x NT-Xent. No parameters, no state.

    scale: weight of the term beside the CLIP loss, >= 0.
    temperature: t, > 0.
    """

    def __init__(self, *, scale: float = 1.0, temperature: float = 0.1) -> None:
        super().__init__()
        SslOptions(ssl_scale=scale, ssl_temperature=temperature)  # checks both
        self.scale = float(scale)
        self.temperature = float(temperature)

    def forward(self, first: Tensor, second: Tensor) -> dict[str, Tensor]:
        """``loss`` (scaled, with graph) and, detached, ``ssl`` and ``ssl_accuracy``; all scalars.

        first, second: the head's features [b, d] of the two views, normalised or not; with several
            processes those of all of them, gathered with gradients. ``ssl_accuracy`` is the share
            of views that are closer to their other view than to anything else.
        """
        logits, other = _logits(first, second, self.temperature)
        ssl = F.cross_entropy(logits, other)
        found = (logits.detach().argmax(dim=1) == other).to(logits.dtype).mean()
        return {"loss": self.scale * ssl, "ssl": ssl.detach(), "ssl_accuracy": found}

    def extra_repr(self) -> str:
        return f"scale={self.scale}, temperature={self.temperature}"


def _logits(first: Tensor, second: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Logits [2b, 2b] with a masked diagonal, and the column [2b] of each row's other view."""
    if first.dim() != 2 or first.shape != second.shape or first.shape[0] == 0:
        raise InvalidArgumentError(
            f"the views' features have shapes {tuple(first.shape)} and {tuple(second.shape)}, must "
            "be the same [rows, dim]: row i of both is one picture"
        )
    with torch.autocast(device_type=first.device.type, enabled=False):
        both = torch.cat([first, second])
        both = F.normalize(both.to(torch.promote_types(both.dtype, torch.float32)), dim=1)
        logits = (both @ both.T) / temperature
        rows = torch.arange(len(both), device=both.device)
        logits = logits.masked_fill(rows[:, None] == rows[None, :], -math.inf)
        return logits, (rows + len(first)) % len(both)
