"""What losses ask of features and targets, and the cosines that they are made of.

Everything is computed in float32 whatever the autocast dtype, or in float64 when the features are
float64.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from helip.common.errors import InvalidArgumentError

_INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


def check_features(image: Tensor, text: Tensor) -> None:
    """Raise InvalidArgumentError unless both are floating [rows, dim] of one shape, not empty."""
    for name, features in (("image_features", image), ("text_features", text)):
        if features.dim() != 2 or not features.is_floating_point():
            raise InvalidArgumentError(
                f"{name} is {features.dtype} {tuple(features.shape)}, must be floating [rows, dim]"
            )
    if image.shape != text.shape:
        raise InvalidArgumentError(
            f"image_features {tuple(image.shape)} and text_features {tuple(text.shape)} must have "
            "the same shape: row i of both is one pair"
        )
    if image.shape[0] == 0 or image.shape[1] == 0:
        raise InvalidArgumentError(
            f"features have shape {tuple(image.shape)}, must hold at least one row and one column"
        )


def check_target(target: Tensor, rows: int) -> None:
    """Raise InvalidArgumentError unless ``target`` is integer [rows] with values in [0, rows).

    Values are read only where that is free: on the CPU, outside torch.compile.
    """
    _check_batch_rows(target, "target", f"({rows},): one entry for each row", 1, 0, rows)


def check_hard_rows(hard_rows: Tensor, rows: int) -> None:
    """Raise InvalidArgumentError unless ``hard_rows`` is integer [rows, m] in [-1, rows), where -1
    is none.

    Values are read as in `check_target`.
    """
    _check_batch_rows(hard_rows, "hard_rows", f"({rows}, m): the hard rows of each", 2, -1, rows)


def check_soft_labels(soft_labels: Tensor, rows: int) -> None:
    """Raise InvalidArgumentError unless ``soft_labels`` is floating [rows, rows], in 0 .. 1.

    Values are read as in `check_target`.
    """
    if not isinstance(soft_labels, Tensor) or not soft_labels.is_floating_point():
        kind = soft_labels.dtype if isinstance(soft_labels, Tensor) else type(soft_labels).__name__
        raise InvalidArgumentError(
            f"soft_labels is {kind}, must be a floating tensor; pass the loader's "
            "batch['soft_labels'], or SoftLabels.of(rows)"
        )
    if soft_labels.shape != (rows, rows):
        raise InvalidArgumentError(
            f"soft_labels has shape {tuple(soft_labels.shape)}, must be ({rows}, {rows}): how "
            "right each row is for each"
        )
    if torch.compiler.is_compiling() or soft_labels.device.type != "cpu":
        return
    for place in (~((soft_labels >= 0) & (soft_labels <= 1))).nonzero()[:1].tolist():
        raise InvalidArgumentError(
            f"soft_labels{place} is {float(soft_labels[tuple(place)])}, must be in 0 .. 1"
        )


def _check_batch_rows(
    values: Tensor, name: str, shape: str, dims: int, least: int, rows: int
) -> None:
    if not isinstance(values, Tensor) or values.dtype not in _INTEGERS:
        kind = values.dtype if isinstance(values, Tensor) else type(values).__name__
        raise InvalidArgumentError(
            f"{name} is {kind}, must be an integer tensor; pass batch['{name}'] of a loader, or "
            "torch.from_numpy of an array"
        )
    if values.dim() != dims or values.shape[0] != rows:
        raise InvalidArgumentError(f"{name} has shape {tuple(values.shape)}, must be {shape}")
    if place := _outside(values, least, rows):
        raise InvalidArgumentError(
            f"{name}{place} is {int(values[tuple(place)])}, must be in [{least}, {rows}): a batch "
            "row, not a data-set row"
        )


def _outside(values: Tensor, least: int, rows: int) -> list[int] | None:
    """The place of the first that is not in [least, rows), where it is free to read them."""
    if torch.compiler.is_compiling() or values.device.type != "cpu":
        return None
    found = values.numpy()
    places: list[list[int]] = np.argwhere((found < least) | (found >= rows)).tolist()
    return places[0] if places else None


def one_number(value: Tensor | float, name: str, mend: str, dtype: torch.dtype) -> Tensor | float:
    """A scalar of ``dtype``, or the float that it is; InvalidArgumentError for several numbers."""
    if not isinstance(value, Tensor):
        return value
    if value.numel() != 1:
        raise InvalidArgumentError(
            f"{name} has shape {tuple(value.shape)}, must be one number: pass {mend}"
        )
    return value.reshape(()).to(dtype)


def cosine(first: Tensor, second: Tensor) -> Tensor:
    """[a, b] products of unit rows, kept out of autocast."""
    with torch.autocast(device_type=first.device.type, enabled=False):
        dtype = torch.promote_types(first.dtype, second.dtype)
        return first.to(dtype) @ second.to(dtype).T
