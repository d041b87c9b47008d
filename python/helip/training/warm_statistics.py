"""Moments of an optimizer before the first step: batches that change nothing but these.

Adam starts with moments of zero. Its first steps on a trained model divide a gradient of one batch
by what that batch says of its own size, so each weight moves by about the whole rate, whichever way
the noise of the batch points. TuneCLIP (arXiv 2601.09859) calls the remedy Optimizer Statistics
Recovery: with the weights held at the start, batches go forward and back and the optimizer takes
their gradients into its moments and counts them as steps; then training begins.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from helip.losses.loss import BatchLoss
from helip.training.checkpoints import random_states, restore_random_states


@dataclass
class WarmStatistics:
    """What the batches before the first step came to."""

    batches: int = 0
    rows: int = 0  # of all processes
    left_out: int = 0  # of the batches: no gradient, as float16's scaler looked for its factor
    loss: float = 0.0  # mean over the batches
    seconds: float = 0.0

    def take(self, row: Mapping[str, float], rows: int) -> None:
        """Count a batch of so many rows, of whose step these are the numbers."""
        self.batches += 1
        self.rows += rows
        self.left_out += not math.isfinite(row["grad_norm"])
        self.loss += (row["loss"] - self.loss) / self.batches

    def plain(self) -> dict[str, Any]:
        return asdict(self)


@contextlib.contextmanager
def nothing_learned(model: nn.Module, loss: BatchLoss) -> Iterator[None]:
    """Buffers, such as batch norms' statistics, the state of a loss and random generators are as
    before, after it."""
    states = random_states()
    kept = {name: value.clone() for name, value in loss.state_dict().items()}
    buffers = [(buffer, buffer.detach().clone()) for buffer in model.buffers()]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)
        if kept:
            loss.load_state_dict(kept)
        restore_random_states(states)


def first_batches(
    number: int, epoch_batches: Callable[[int], Generator[dict[str, Any]]]
) -> Generator[dict[str, Any]]:
    """So many batches of epochs 0, 1, …, each of which is closed when they have come."""
    left = number
    for epoch in itertools.count():
        before = left
        with contextlib.closing(epoch_batches(epoch)) as batches:
            for batch in itertools.islice(batches, left):
                left -= 1
                yield batch
        if left in (0, before):  # none: the loop that trains says what an empty epoch means
            return
