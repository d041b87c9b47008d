"""Rows of embeddings as a device multiplies them: read, normalised, rounded, and by how much.

Rows are normalised in float64 on the device (after division by their largest magnitude, so norms
neither overflow nor vanish) and rounded once to the working format; the norm of what rounding took
away is measured. From it comes one **margin** a row, so that the error of a similarity is at most
the sum of the margins of its two rows; ``cpp/cuda/product_bound.h`` has the formula and its proof.
Sums of two margins at d = 768:

=============  ==========================  ============  ===========
precision      products and accumulation   u             margins
=============  ==========================  ============  ===========
``float32``    float32, TF32 switched off  2**-24        4.7e-5
``float16``    exact, float32              2**-22        5.9e-4
``bfloat16``   exact, float32              2**-22        3.5e-3
=============  ==========================  ============  ===========

u, the unit roundoff of the accumulation, is four times the IEEE value for the 16-bit formats
because tensor cores truncate where IEEE arithmetic rounds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from helip.common.errors import InvalidArgumentError, UnsupportedError

FORMATS = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
STEP_ROWS = 4096  # normalised at a time: float64 is four times the size of what is kept
_UNIT_ROUNDOFF = {torch.float32: 2.0**-24, torch.float16: 2.0**-22, torch.bfloat16: 2.0**-22}


@dataclass(frozen=True)
class RowBlock:
    """Unit rows on a device, ready for products. Keys of the dictionaries: modalities."""

    units: dict[str, torch.Tensor]  # [n, d] in the working format; 16 bits: d padded to 8 with 0
    margins: dict[str, torch.Tensor]  # float32 [n]; NaN for a row of norm zero in some modality

    def __len__(self) -> int:
        return len(next(iter(self.units.values())))

    def part(self, first: int, last: int) -> RowBlock:
        """Rows ``first`` to ``last - 1``, not copied."""
        return RowBlock(
            {name: x[first:last] for name, x in self.units.items()},
            {name: x[first:last] for name, x in self.margins.items()},
        )


def read_block(
    inputs: dict[str, Any], ids: np.ndarray, device: torch.device, dtype: torch.dtype
) -> RowBlock:
    """Rows ``ids`` (ascending, unique, at least one) of each input.

    InvalidArgumentError names a row with NaN or infinity; UnsupportedError: too many dimensions.
    """
    steps = [ids[a : a + STEP_ROWS] for a in range(0, len(ids), STEP_ROWS)]
    blocks = [_read_step(inputs, step, device, dtype) for step in steps]
    if len(blocks) == 1:
        return blocks[0]
    return RowBlock(
        {name: torch.cat([b.units[name] for b in blocks]) for name in inputs},
        {name: torch.cat([b.margins[name] for b in blocks]) for name in inputs},
    )


def padded_width(width: int, dtype: torch.dtype) -> int:
    """Numbers of a row on the device: the fused kernel reads 16-bit rows in pieces of eight."""
    return width if dtype == torch.float32 else (width + 7) // 8 * 8


def _read_step(
    inputs: dict[str, Any], ids: np.ndarray, device: torch.device, dtype: torch.dtype
) -> RowBlock:
    units, margins = {}, {}
    zero = torch.zeros(len(ids), dtype=torch.bool, device=device)
    for name, matrix in inputs.items():
        x = _read(matrix, ids)
        if not (x.is_floating_point() or x.dtype == torch.int8):
            raise InvalidArgumentError(f"{name} is {x.dtype}; it must be float, or int8 codes")
        x = x.to(device).to(torch.float64)
        largest = x.abs().amax(1, keepdim=True)
        finite = torch.isfinite(largest[:, 0])
        if not bool(finite.all()):
            row = int(ids[int(torch.nonzero(~finite)[0])])
            raise InvalidArgumentError(
                f"{name} row {row} has NaN or infinity; embed it again or set the row to zero"
            )
        zero |= largest[:, 0] == 0
        x = x / torch.where(largest == 0, 1.0, largest)
        x = x / torch.linalg.vector_norm(x, dim=1, keepdim=True).clamp_min(1.0)
        short = x.to(dtype)
        lost = torch.linalg.vector_norm(x - short.to(torch.float64), dim=1)
        margins[name] = _margins(name, lost, x.shape[1], dtype)
        units[name] = F.pad(short, (0, padded_width(x.shape[1], dtype) - x.shape[1]))
    # Such a row scores 0 with every other: it is left out.
    return RowBlock(units, {n: torch.where(zero, torch.nan, m) for n, m in margins.items()})


def _margins(name: str, lost: torch.Tensor, width: int, dtype: torch.dtype) -> torch.Tensor:
    u = _UNIT_ROUNDOFF[dtype]
    if (width + 2) * u > 0.01:
        raise UnsupportedError(
            f"{name} has dimension {width}; the error of a product of that length has no useful "
            "bound in float32; reduce it"
        )
    g = (width + 2) * u / (1 - (width + 2) * u)
    exact = 1e-14 + 8 * width * 2.0**-53  # the float64 arithmetic here and in the rerank
    e = (1 + g) * (lost + lost**2 / 2) + (g + exact) / 2 + 2.0**-22
    return (e * (1 + 2.0**-20)).float()


def _read(matrix: Any, ids: np.ndarray) -> torch.Tensor:
    """Rows of the input as a tensor, without reading any others."""
    first, last = int(ids[0]), int(ids[-1])
    if last - first + 1 == len(ids):  # ascending and unique, so this is a run
        part = matrix[first : last + 1]
    elif isinstance(matrix, torch.Tensor):
        part = matrix[torch.from_numpy(ids).to(matrix.device)]
    else:
        part = matrix[ids]
    if isinstance(part, torch.Tensor):
        return part.detach()
    if part.dtype.name == "bfloat16":  # of a NumPy extension; torch does not know it
        return torch.from_numpy(np.array(part).view(np.int16)).view(torch.bfloat16)
    # A copy of the block: neither a read-only nor a foreign-endian array makes a torch tensor.
    return torch.from_numpy(np.array(part, dtype=part.dtype.newbyteorder("=")))
