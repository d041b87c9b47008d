"""Batches before the first step, of which the moments of an optimizer alone keep anything.

Adam starts with moments of zero. Its first steps on a trained model divide a gradient of one batch
by what that batch says of its own size, so each weight moves by about the whole rate, whichever way
the noise of the batch points. TuneCLIP (arXiv 2601.09859) calls the remedy Optimizer Statistics
Recovery: with the weights held at the start, batches go forward and back and the optimizer takes
their gradients into its moments and counts them as steps; then training begins.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Generator, Iterator
from typing import Any

import torch
from torch import nn

from helip.losses.loss import BatchLoss
from helip.training.checkpoints import random_states, restore_random_states


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
