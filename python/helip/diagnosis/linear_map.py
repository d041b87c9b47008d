"""A linear map from picture features to caption features: what they know that is not aligned yet.

Heads of random weights on good features find next to nothing, and yet have everything to learn
from; towers of random weights have not. A ridge regression on other rows tells the two apart.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from helip.common.unit_rows import unit_rows
from helip.diagnosis.groups import Ints

#: Weight of the penalty, as a share of the mean eigenvalue of the pictures' covariance.
RIDGE = 0.01
#: Rows that are fitted, for each dimension of the features, at least.
ROWS_PER_DIMENSION = 2

Features = Callable[[Ints], tuple[torch.Tensor, torch.Tensor]]


def mapped(features: Features, rows: Ints) -> Features | None:
    """Features after a ridge regression of the captions' on the pictures' of ``rows``.

    ``features`` gives unit rows of pictures and captions, float64 [*rows.shape, d]. What is
    returned does the same, of centred features; None where ``rows`` are too few.
    """
    image, text = features(rows)
    dims = image.shape[1]
    if len(rows) < ROWS_PER_DIMENSION * dims:
        return None
    centres = image.mean(dim=0), text.mean(dim=0)
    inputs, outputs = image - centres[0], text - centres[1]
    squares = inputs.T @ inputs
    penalty = RIDGE * squares.diagonal().mean() * torch.eye(dims, dtype=squares.dtype)
    weights = torch.linalg.solve(squares + penalty, inputs.T @ outputs)

    def of(asked: Ints) -> tuple[torch.Tensor, torch.Tensor]:
        image, text = features(np.asarray(asked))
        return unit_rows((image - centres[0]) @ weights), unit_rows(text - centres[1])

    return of
