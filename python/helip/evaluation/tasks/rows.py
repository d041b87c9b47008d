"""Features as the tasks compare them."""

from __future__ import annotations

from typing import Any

import torch

from helip.common.errors import InvalidArgumentError
from helip.common.unit_rows import unit_rows


def checked_rows(features: Any, name: str, device: str | torch.device) -> torch.Tensor:
    """Features as float32 with rows of norm 1 (zero rows stay zero); refuses NaN and infinity."""
    rows = torch.as_tensor(features).detach().to(device=device, dtype=torch.float32)
    if rows.ndim != 2 or not len(rows):
        raise InvalidArgumentError(
            f"{name} has shape {list(rows.shape)}; give a matrix with at least one row"
        )
    finite = torch.isfinite(rows).all(dim=1)
    if not bool(finite.all()):
        row = int(torch.nonzero(~finite)[0])
        raise InvalidArgumentError(
            f"{name}: row {row} holds NaN or infinity; the model has diverged, or needs "
            "precision='float32'"
        )
    return unit_rows(rows)
