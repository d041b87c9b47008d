"""The operators of ``libhelip_torch``: where they are found, and how a block of pairs is filtered.

Two implementations stand behind one call, ``torch`` (ATen operators, any device) and ``fused`` (the
kernel of ``cpp/cuda`` in ``libhelip_cuda``, or its emulation on CPU tensors).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from helip import _core
from helip.common.errors import UnsupportedError
from helip.mining.gpu.rows import RowBlock
from helip.mining.options import PairRules


class NotLaunchedError(UnsupportedError):
    """A launch of the fused kernel failed; the operators of torch may go on in its place."""


@dataclass(frozen=True)
class Survivors:
    """Pairs that may belong to the pool of their row or their column; all on the device.

    Their count is copied right behind the kernel, so that a GPU works on a later call meanwhile.
    """

    rows: torch.Tensor  # int32 [>= count], position of the row in its block
    columns: torch.Tensor  # int32
    upper: torch.Tensor  # float32, bound of the score
    lower: torch.Tensor  # float32
    total: torch.Tensor  # int64 [1], in host memory
    counted: torch.cuda.Event | None = None  # when `total` is there; None: it is

    def count(self) -> int:
        """How many there are, also of those that found no place; waits for this call alone."""
        if self.counted is not None:
            self.counted.synchronize()
        return int(self.total)

    def some(self, count: int) -> tuple[torch.Tensor, ...]:
        """The first ``count`` of each vector. After count()."""
        return tuple(v[:count] for v in (self.rows, self.columns, self.upper, self.lower))


def load_library(path: str | Path | None = None) -> None:
    """Registers ``torch.ops.helip``; does nothing when that has been done.

    ``path`` defaults to ``lib/libhelip_torch.so`` in the folder of the core. UnsupportedError when
    there is none or torch refuses it.
    """
    if _registered():
        return
    path = path or _installed("libhelip_torch", "HELIP_TORCH=ON, or mine on the CPU")
    try:
        torch.ops.load_library(str(path))
    except OSError as error:
        raise UnsupportedError(
            f"{path} does not load into torch {torch.__version__} ({error}); it needs torch >= 2.11"
        ) from error


def load_cuda_library(path: str | Path | None = None) -> None:
    """Makes the fused kernel available to CUDA tensors; UnsupportedError says why it is not."""
    path = path or _installed("libhelip_cuda", "HELIP_CUDA=ON where there is a CUDA compiler")
    try:
        torch.ops.helip.load_cuda_library(str(path))
    except RuntimeError as error:
        raise UnsupportedError(str(error).splitlines()[0]) from error


def _registered() -> bool:
    return hasattr(torch.ops.helip, "product_filter")


def _installed(name: str, mend: str) -> Path:
    places = [Path(_core.__file__).parent / "lib" / f"{name}{end}" for end in (".so", ".dylib")]
    for place in places:
        if place.is_file():
            return place
    raise UnsupportedError(f"{name} is not part of this installation; build helip with {mend}")


def filter_pairs(
    rows: RowBlock,
    columns: RowBlock,
    thresholds: tuple[torch.Tensor, torch.Tensor],
    rules: PairRules,
    *,
    after: int,
    capacity: int,
    fused: bool,
) -> Survivors:
    """The pairs (i, j) of two blocks, j > i + after, that reach a threshold of theirs.

    ``thresholds`` of the rows and of the columns, float32, on the device of the blocks.
    ``cpp/torch/product_filter.h`` states the contract. NotLaunchedError where ``fused`` fails.
    """
    device = thresholds[0].device
    stream = torch.cuda.current_stream(device).cuda_stream if device.type == "cuda" else 0
    try:
        found = torch.ops.helip.product_filter(
            *_operands(rows, columns),
            *thresholds,
            image_max=rules.image_max,
            text_max=rules.text_max,
            min_score=rules.min_score,
            signed=rules.signed,
            after=after,
            capacity=capacity,
            fused=fused,
            stream=stream,
        )
    except RuntimeError as error:
        if not fused or isinstance(error, torch.OutOfMemoryError):
            raise
        raise NotLaunchedError(
            f"the fused kernel does not run here ({str(error).splitlines()[0]}); set "
            "HELIP_CUDA_KERNEL=torch"
        ) from error
    survivors = Survivors(*found)
    if survivors.total.device.type != "cuda":
        return survivors
    total = torch.empty(1, dtype=torch.int64, pin_memory=True)
    total.copy_(survivors.total, non_blocking=True)
    counted = torch.cuda.Event()
    counted.record(torch.cuda.current_stream(device))
    return replace(survivors, total=total, counted=counted)


def seed(rows: RowBlock, columns: RowBlock, rules: PairRules, k: int) -> torch.Tensor:
    """float32 [len(rows)]: the k-th largest lower bound of a row's scores with ``columns``."""
    bounds: torch.Tensor = torch.ops.helip.product_seed(
        *_operands(rows, columns),
        image_max=rules.image_max,
        text_max=rules.text_max,
        signed=rules.signed,
        k=k,
    )
    return bounds


def _operands(rows: RowBlock, columns: RowBlock) -> list[Any]:
    operands: list[Any] = []
    for name in ("image", "text"):
        if name in rows.units:
            operands += [rows.units[name], columns.units[name]]
            operands += [rows.margins[name], columns.margins[name]]
        else:
            operands += [None] * 4
    return operands
