"""Rows of embeddings as a device multiplies them: read, normalised, rounded, and by how much.

Error bound
-----------
Rows are normalised in float64 on the device (after division by their largest magnitude, so norms
neither overflow nor vanish) and rounded once to the working format; ``r`` is the measured norm of
what rounding took away. With unit roundoff u of the accumulation and dimension d,

    |s - ŝ| <= e = r_i + r_j (1 + r_i) + g ((1 + r_i)(1 + r_j) + e),
    g = (d + 2) u / (1 - (d + 2) u)

for the products of any order of summation, with or without fused multiply-add (Higham, Accuracy
and Stability of Numerical Algorithms, section 3.1). Margins e at d = 768:

=============  ==========================  ============  ===========
precision      products and accumulation   u             margin e
=============  ==========================  ============  ===========
``float32``    float32, TF32 switched off  2**-24        4.7e-5
``float16``    exact, float32              2**-22        5.9e-4
``bfloat16``   exact, float32              2**-22        3.5e-3
=============  ==========================  ============  ===========

u is four times the IEEE value for the 16-bit formats because tensor cores truncate where IEEE
arithmetic rounds. `exact_products` switches off what would break the bound: autocast, TF32, sums in
16 bits. Environment variables can overrule those switches, so `check_products` looks at the result
of a small product on the device.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from helip.errors import InvalidArgumentError, MismatchError, UnsupportedError

__all__ = [
    "FORMATS",
    "RowBlock",
    "check_inputs",
    "check_products",
    "check_rows",
    "exact_products",
    "join",
    "margin",
    "read_block",
]

FORMATS = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
_UNIT_ROUNDOFF = {torch.float32: 2.0**-24, torch.float16: 2.0**-22, torch.bfloat16: 2.0**-22}


@dataclass(frozen=True)
class RowBlock:
    """Unit rows on the device, ready for products. Keys of the dictionaries: modalities."""

    ids: torch.Tensor  # int64 [n]
    units: dict[str, torch.Tensor]  # [n, d], working format
    lost: dict[str, torch.Tensor]  # float64 [n], norm of what rounding took away
    zero: torch.Tensor  # bool [n]: of norm zero in some modality, so without hard pairs

    @property
    def nbytes(self) -> int:
        return sum(t.nbytes for t in (self.ids, *self.units.values(), *self.lost.values()))

    def without_zero_rows(self) -> RowBlock:
        if not bool(self.zero.any()):
            return self
        keep = ~self.zero
        return RowBlock(
            self.ids[keep],
            {name: x[keep] for name, x in self.units.items()},
            {name: x[keep] for name, x in self.lost.items()},
            self.zero[keep],
        )


def read_block(
    inputs: dict[str, Any], ids: np.ndarray, device: torch.device, dtype: torch.dtype
) -> RowBlock:
    """Rows ``ids`` (ascending, unique, at least one) of each input; InvalidArgumentError names a
    row with NaN or infinity."""
    units, lost = {}, {}
    zero = torch.zeros(len(ids), dtype=torch.bool, device=device)
    for name, matrix in inputs.items():
        x = _read(matrix, ids).to(device).to(torch.float64)
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
        units[name] = x.to(dtype)
        lost[name] = torch.linalg.vector_norm(x - units[name].to(torch.float64), dim=1)
    return RowBlock(torch.from_numpy(ids).to(device), units, lost, zero)


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


def join(blocks: list[RowBlock]) -> RowBlock:
    names = list(blocks[0].units)
    return RowBlock(
        torch.cat([b.ids for b in blocks]),
        {name: torch.cat([b.units[name] for b in blocks]) for name in names},
        {name: torch.cat([b.lost[name] for b in blocks]) for name in names},
        torch.cat([b.zero for b in blocks]),
    )


def margin(rows: RowBlock, columns: RowBlock, name: str) -> torch.Tensor:
    """float32 [n]: the bound e of this module for each column and the worst of the rows."""
    width = rows.units[name].shape[1]
    u = _UNIT_ROUNDOFF[rows.units[name].dtype]
    if (width + 2) * u > 0.01:
        raise UnsupportedError(
            f"{name} has dimension {width}; the error of a product of that length has no useful "
            "bound in float32; reduce it"
        )
    g = (width + 2) * u / (1 - (width + 2) * u)
    row, column = rows.lost[name].amax(), columns.lost[name]
    exact = 1e-14 + 8 * width * 2.0**-53  # the float64 arithmetic here and in the rerank
    e = (row + column * (1 + row) + g * (1 + row) * (1 + column) + exact) / (1 - g)
    e = e + 8 * 2.0**-24  # rounding of ŝ + e and of the product of two of them
    return (e * (1 + 2.0**-20)).float()


@contextlib.contextmanager
def exact_products(device: torch.device) -> Iterator[None]:
    """Switches gradients, autocast, TF32 and 16-bit sums off, and back to what they were.

    The switches are global to the process: another thread's products see them too.
    """
    cuda: Any = torch.backends.cuda.matmul
    host: Any = torch.backends.mkldnn
    switches = [
        (cuda, "fp32_precision", "ieee"),
        (host.matmul, "fp32_precision", "ieee"),
        (cuda, "allow_bf16_reduced_precision_reduction", False),
        (cuda, "allow_fp16_reduced_precision_reduction", False),
        (cuda, "allow_fp16_accumulation", False),
    ]
    before = [getattr(owner, name) for owner, name, _ in switches]
    legacy: str | None
    try:
        legacy = torch.get_float32_matmul_precision()
    except RuntimeError:  # set through the newer switches, which torch will not mix with this one
        legacy = None
    try:
        if legacy is not None:
            torch.set_float32_matmul_precision("highest")
        for owner, name, value in switches:
            setattr(owner, name, value)
        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            yield
    finally:
        if legacy is not None:
            torch.set_float32_matmul_precision(legacy)
        for (owner, name, _), value in zip(switches, before, strict=True):
            setattr(owner, name, value)


def check_products(device: torch.device, dtype: torch.dtype) -> None:
    """Raises UnsupportedError when products in ``dtype`` are rounded to fewer bits than float32.

    Call within exact_products, after the operators have been loaded.
    """
    n = 256
    if dtype == torch.float32:
        # 1 + 2**-12 needs 13 bits: float32 keeps it, TF32 (11) and bfloat16 (8) do not.
        expected = 1 + 2.0**-12
        rows = torch.full((n, n), expected, dtype=dtype, device=device)
        columns = torch.eye(n, dtype=dtype, device=device)
    else:
        # So does 4097, as a sum of ones.
        expected = 4097.0
        rows = torch.ones((n, 4104), dtype=dtype, device=device)
        rows[:, 4097:] = 0
        columns = torch.ones_like(rows)
    ids = torch.arange(n, device=device)
    scores, _ = torch.ops.helip.product_topk(
        rows,
        columns,
        torch.zeros(n, device=device),
        None,
        None,
        None,
        ids,
        ids + n,
        torch.full((n, n), -torch.inf, device=device),
        torch.full((n, n), -1, device=device),
        image_max=1.0,
        text_max=1.0,
        min_score=0.0,
        signed=False,
    )
    if not bool((scores == expected).all()):
        raise UnsupportedError(
            f"products of {dtype} on {device} are rounded to fewer bits than float32 has; unset "
            "what enforces that, such as NVIDIA_TF32_OVERRIDE or TORCH_ALLOW_TF32_CUBLAS_OVERRIDE"
        )


def check_inputs(inputs: dict[str, Any]) -> int:
    """The number of rows that all inputs have."""
    sizes = {}
    for name, matrix in inputs.items():
        if matrix is None:
            raise InvalidArgumentError(f"{name} is None; this modality needs it")
        if matrix.ndim != 2 or matrix.shape[1] < 1:
            raise InvalidArgumentError(
                f"{name} has shape {tuple(matrix.shape)}; it must be [rows, dimension]"
            )
        kind = matrix.dtype
        if isinstance(kind, torch.dtype):
            good = kind.is_floating_point or kind == torch.int8
        else:
            good = kind.kind == "f" or kind.name in ("bfloat16", "int8")
        if not good:
            raise InvalidArgumentError(f"{name} is {kind}; it must be float, or int8 codes")
        sizes[name] = int(matrix.shape[0])
    if len(set(sizes.values())) > 1:
        raise MismatchError(
            f"image has {sizes['image']} rows and text has {sizes['text']}; row i of both must be "
            "pair i"
        )
    return next(iter(sizes.values()))


def check_rows(name: str, ids: Any, rows: int) -> np.ndarray:
    """int64 [n]: ``ids``, or every row when None."""
    if ids is None:
        return np.arange(rows, dtype=np.int64)
    checked = np.ascontiguousarray(ids, dtype=np.int64)
    if checked.ndim != 1:
        raise InvalidArgumentError(f"{name} has {checked.ndim} dimensions; it must be a vector")
    if len(checked) and (checked[0] < 0 or checked[-1] >= rows or np.any(np.diff(checked) <= 0)):
        raise InvalidArgumentError(
            f"{name} must be ascending, unique rows in 0 .. {rows - 1}; sort them"
        )
    return checked
