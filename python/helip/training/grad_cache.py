"""Large batches in little memory: gradients by cached features (GradCache, arXiv 2101.06983).

A contrastive loss needs the features of all rows, but its gradient needs the activations of few at
a time: first all chunks are encoded without a graph, then the loss gives the gradient of each
feature, then each chunk is encoded again and its part of that gradient goes back through the model.
Loss and gradients are those of the whole batch, up to rounding, at the price of one more forward.

Both passes see the same random numbers, so dropout drops the same. Batch normalisation in training
mode sees chunks, not the batch, and counts each twice in its running statistics.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from helip.common.errors import InvalidArgumentError

#: Features of some rows: entries of two and more dimensions have a row for each, others are shared.
Encode = Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]


def cached_backward(
    batch: Mapping[str, Tensor],
    chunks: int,
    *,
    encode: Encode,
    losses: Callable[[Mapping[str, Tensor], Mapping[str, Tensor]], dict[str, Tensor]],
    computing: Callable[[], AbstractContextManager[Any]] = contextlib.nullcontext,
    scale: Callable[[Tensor], Tensor] = lambda loss: loss,
    hold: Callable[[], AbstractContextManager[Any]] = contextlib.nullcontext,
) -> dict[str, Tensor]:
    """Add the gradients of ``losses(encode(batch), batch)["loss"]``; returns what losses returned.

    computing: entered for each call of ``encode`` and ``losses``, such as autocast.
    scale: applied to the loss before its backward, such as ``GradScaler.scale``.
    hold: entered for every chunk but the last, such as DistributedDataParallel's ``no_sync``.
    """
    parts = split_rows(batch, chunks)
    device = next(iter(batch.values())).device
    states, pieces = [], []
    with torch.no_grad():
        for part in parts:
            states.append(_random_state(device))
            with computing():
                pieces.append(encode(part))
    cached = {
        name: (torch.cat([piece[name] for piece in pieces]) if _has_rows(value) else value)
        .detach()
        .requires_grad_()
        for name, value in pieces[0].items()
    }
    with computing():
        out = losses(cached, batch)
    scale(out["loss"]).backward()

    begin = 0
    for number, (part, state) in enumerate(zip(parts, states, strict=True)):
        last = number == len(parts) - 1
        rows = len(next(iter(part.values())))
        with contextlib.nullcontext() if last else hold():
            _restore_random_state(state, device)
            with computing():
                encoded = encode(part)
            outputs, gradients = [], []
            for name, value in encoded.items():
                gradient = cached[name].grad
                if gradient is None or not value.requires_grad:
                    continue
                if _has_rows(value):
                    gradient = gradient[begin : begin + rows]
                elif not last:
                    continue  # what all chunks share is counted once
                outputs.append(value)
                gradients.append(gradient)
            torch.autograd.backward(outputs, gradients)
        begin += rows
    return out


def split_rows(batch: Mapping[str, Tensor], chunks: int) -> list[dict[str, Tensor]]:
    """The batch in ``chunks`` parts of rows that differ by one at most; fewer if rows are."""
    sizes = {name: len(value) for name, value in batch.items()}
    if len(set(sizes.values())) != 1:
        raise InvalidArgumentError(f"the batch has {sizes} rows, must have as many in all entries")
    rows = next(iter(sizes.values()))
    parts = min(chunks, rows)
    split = {name: torch.tensor_split(value, parts) for name, value in batch.items()}
    return [{name: values[number] for name, values in split.items()} for number in range(parts)]


def _has_rows(value: Tensor) -> bool:
    return value.dim() >= 2


def _random_state(device: torch.device) -> tuple[Tensor, Tensor | None]:
    on_device = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    return torch.get_rng_state(), on_device


def _restore_random_state(state: tuple[Tensor, Tensor | None], device: torch.device) -> None:
    torch.set_rng_state(state[0])
    if state[1] is not None:
        torch.cuda.set_rng_state(state[1], device)
