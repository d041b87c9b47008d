"""Rows of features, scaled to length 1."""

from __future__ import annotations

import torch
from torch import Tensor


def unit_rows(features: Tensor) -> Tensor:
    """Rows [b, d] scaled to length 1, in float32 or float64; a zero row stays zero, gradient 0."""
    with torch.autocast(device_type=features.device.type, enabled=False):
        rows = features.to(torch.promote_types(features.dtype, torch.float32))
        # The cosine does not change with a row's scale, so the largest entry can be divided out:
        # squares then neither overflow nor vanish.
        largest = rows.detach().abs().amax(dim=1, keepdim=True)
        empty = largest < torch.finfo(rows.dtype).tiny
        rows = (rows / largest.masked_fill(empty, 1.0)).masked_fill(empty, 0.0)
        squared = rows.square().sum(dim=1, keepdim=True).masked_fill(empty, 1.0)
        return rows * squared.rsqrt()
