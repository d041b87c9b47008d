"""What losses ask of features and targets, and the cosines that they are made of.

Everything is computed in float32 whatever the autocast dtype, or in float64 when the features are
float64.
"""

from __future__ import annotations

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
    if not isinstance(target, Tensor) or target.dtype not in _INTEGERS:
        kind = target.dtype if isinstance(target, Tensor) else type(target).__name__
        raise InvalidArgumentError(
            f"target is {kind}, must be an integer tensor; pass the loader's batch['target']"
        )
    if target.dim() != 1 or target.shape[0] != rows:
        raise InvalidArgumentError(
            f"target has shape {tuple(target.shape)}, must be ({rows},): one entry for each row"
        )
    if torch.compiler.is_compiling() or target.device.type != "cpu":
        return
    values = target.numpy()
    outside = ((values < 0) | (values >= rows)).nonzero()[0]
    if len(outside):
        row = outside[0]
        raise InvalidArgumentError(
            f"target[{row}] is {values[row]}, must be in [0, {rows}): the batch row, not the "
            "data-set row, of the target that this row serves"
        )


def check_hard_rows(hard_rows: Tensor, rows: int) -> None:
    """Raise InvalidArgumentError unless ``hard_rows`` is integer [rows, m] in [-1, rows).

    Values are read as in `check_target`.
    """
    if not isinstance(hard_rows, Tensor) or hard_rows.dtype not in _INTEGERS:
        kind = hard_rows.dtype if isinstance(hard_rows, Tensor) else type(hard_rows).__name__
        raise InvalidArgumentError(
            f"hard_rows is {kind}, must be an integer tensor; pass the loader's batch['hard_rows']"
        )
    if hard_rows.dim() != 2 or hard_rows.shape[0] != rows:
        raise InvalidArgumentError(
            f"hard_rows has shape {tuple(hard_rows.shape)}, must be ({rows}, m): the batch rows "
            "that are hard pairs of each row, and -1"
        )
    if torch.compiler.is_compiling() or hard_rows.device.type != "cpu":
        return
    values = hard_rows.numpy()
    outside = ((values < -1) | (values >= rows)).nonzero()
    if len(outside[0]):
        row, column = int(outside[0][0]), int(outside[1][0])
        raise InvalidArgumentError(
            f"hard_rows[{row}, {column}] is {values[row, column]}, must be in [-1, {rows}): a "
            "batch row, not a data-set row, or -1 for none"
        )


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
