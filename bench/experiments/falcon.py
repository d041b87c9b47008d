"""Batches whose hardness is learnt while the model trains, as FALCON does (arXiv 2505.11192).

A batch is a chain: the next row is the one at a quantile of the similarities that the row before
has to all rows of a search space that are still free. A small network, the scheduler, sees where
these similarities lie and draws the quantile from a Beta distribution. Its reward is what a step
on the batch takes off the loss of a plain batch (the paper takes it off a masked language
model's loss, which a dual encoder does not have); REINFORCE with a running baseline.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import nn

SPACE = 8192  # rows of a search space, which is divided into batches
SHAPE = torch.linspace(0, 1, 11)  # quantiles of the similarities that the scheduler sees
LR = 1e-2
KEPT = 0.9  # of the baseline, from step to step


class Scheduler(nn.Module):
    """Of the similarities' quantiles: the two parameters, above 1, of a Beta distribution."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(len(SHAPE), 16), nn.Tanh(), nn.Linear(16, 2))

    def forward(self, seen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        above, below = (1 + nn.functional.softplus(self.layers(seen))).unbind(-1)
        return above, below


def falcon(
    features: Callable[[np.ndarray], tuple[torch.Tensor, torch.Tensor]],
    plain_loss: Callable[[np.ndarray], float],
    n: int,
    rows: int,
    seed: int,
) -> Iterator[np.ndarray]:
    """Batches for ever, of n rows; the model must have taken a step on one before the next is
    asked for.

    features: unit rows of both modalities, as the model is now. plain_loss: its loss of a batch.
    """
    rng = np.random.default_rng(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        scheduler = Scheduler()
    drawing = torch.Generator().manual_seed(seed)
    learner = torch.optim.Adam(scheduler.parameters(), lr=LR)
    baseline: float | None = None
    while True:
        space = rng.permutation(n)[: max(rows, min(SPACE, n) // rows * rows)]
        image, text = features(space)
        alike = (image @ text.T + text @ image.T) / 2
        free = torch.ones(len(space), dtype=torch.bool)
        for _ in range(len(space) // rows):
            chain, seen, drawn = _chain(alike, free, scheduler, rows, drawing)
            probe = rng.permutation(n)[:rows]
            before = plain_loss(probe)
            yield space[chain]
            reward = before - plain_loss(probe)
            if baseline is not None:
                advantage = reward - baseline
                likely = torch.distributions.Beta(*scheduler(seen)).log_prob(drawn).mean()
                learner.zero_grad()
                (-advantage * likely).backward()
                learner.step()
            baseline = reward if baseline is None else KEPT * baseline + (1 - KEPT) * reward


@torch.no_grad()
def _chain(
    alike: torch.Tensor, free: torch.Tensor, scheduler: Scheduler, rows: int, rng: torch.Generator
) -> tuple[list[int], torch.Tensor, torch.Tensor]:
    """Rows of a batch, which are free no longer; what the scheduler saw of each but the first, and
    the quantiles that it drew."""
    left = free.nonzero()[:, 0]
    row = int(left[torch.randint(len(left), (1,), generator=rng)])
    free[row] = False
    chain, seen, drawn = [row], [], []
    while len(chain) < rows:
        left = free.nonzero()[:, 0]
        found, order = alike[row, left].sort()
        shape = found[(SHAPE * (len(found) - 1)).long()]
        above, below = scheduler(shape)
        # A Beta draw of two Gamma draws, by the generator that alone decides.
        ones, twos = torch._standard_gamma(torch.stack([above, below]), generator=rng)
        quantile = (ones / (ones + twos)).clamp(1e-4, 1 - 1e-4)
        row = int(left[order[int((quantile * (len(found) - 1)).round())]])
        free[row] = False
        chain.append(row)
        seen.append(shape)
        drawn.append(quantile)
    return chain, torch.stack(seen), torch.stack(drawn)
