"""Consecutive rows of a store, as they are stored."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class StoreBlock:
    """Rows ``first`` up to ``first + len(block)`` of a store."""

    first: int
    image: torch.Tensor  # [n, d_image] of the store's dtype; int8: codes
    text: torch.Tensor  # [n, d_text]
    image_scale: torch.Tensor | None = None  # float32 [n] of int8: value = code * scale
    text_scale: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.image)

    def decoded(self) -> tuple[torch.Tensor, torch.Tensor]:
        """float32 ([n, d_image], [n, d_text]), exact for every dtype; what is float32 as it is."""
        return decoded(self.image, self.image_scale), decoded(self.text, self.text_scale)


def block_of(first: int, columns: Mapping[str, np.ndarray], dtype: str) -> StoreBlock:
    """A block over arrays as the core gives them, by the names of their columns."""
    return StoreBlock(
        first,
        tensor_over(columns["image"], dtype),
        tensor_over(columns["text"], dtype),
        *(
            tensor_over(columns[name], "float32") if name in columns else None
            for name in ("image_scale", "text_scale")
        ),
    )


def tensor_over(array: np.ndarray, dtype: str) -> torch.Tensor:
    """A tensor over the same memory; bfloat16, which NumPy has not, comes as 16-bit integers."""
    import torch  # which takes a second, and mining arrays of NumPy needs none

    with warnings.catch_warnings():
        # A map is read-only; torch has no such notion and says so of every tensor.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        tensor = torch.from_numpy(array)
    return tensor.view(torch.bfloat16) if dtype == "bfloat16" else tensor


def decoded(values: torch.Tensor, scale: torch.Tensor | None) -> torch.Tensor:
    """float32 of the values of a store; ``scale`` [n] of int8."""
    return values.float() if scale is None else values.float().mul_(scale[:, None])
