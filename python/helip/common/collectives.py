"""Features of all processes in one place, with gradients (torch.distributed).

`gather_rows` is an all-gather whose backward sums what every process wants of a row, on the process
that the row came from. When each process computes its share of a loss over all rows, and gradients
are averaged over processes, as DistributedDataParallel and FSDP do, the result is the gradient of
one process with the whole batch.

Processes may bring different numbers of rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from helip.common.errors import InvalidArgumentError


def _collective(name: str, older: str) -> Any:
    """A function of torch.distributed that has changed its name."""
    return getattr(dist, name, None) or getattr(dist, older, None)


_all_gather = _collective("all_gather_single", "all_gather_into_tensor")
_reduce_scatter = _collective("reduce_scatter_single", "reduce_scatter_tensor")


class Everyone(NamedTuple):
    """Unit rows of the whole batch, those of one process after those of another.

    By default the batch of a process that shares it with nobody.
    """

    image: Tensor  # [all rows, d]
    text: Tensor  # [all rows, d]
    first: int = 0  # where the rows of this process begin
    counts: Sequence[int] = ()  # rows of each process; empty alone
    group: Any = None

    @property
    def total(self) -> int:
        return self.image.shape[0]

    @property
    def processes(self) -> int:
        return max(len(self.counts), 1)

    @property
    def own(self) -> int:
        """Rows of this process."""
        return self.counts[dist.get_rank(self.group)] if self.counts else self.total

    def widened(self, values: Tensor) -> Tensor:
        """[n, all rows] of ``values`` [n, own rows], which are 0 for rows of other processes."""
        return F.pad(values, (self.first, self.total - self.first - values.shape[1]))


def gather_pairs(
    image: Tensor, text: Tensor, rank_rows: Sequence[int] | None = None, group: Any = None
) -> Everyone:
    """The rows [b, d] of every process of ``group``, with gradients, in one collective.

    Must be called by all of them, and so must the backward. ``rank_rows``: how many rows each
    brings, where that is known; otherwise they are asked, and a GPU is waited for. Without
    torch.distributed the rows are those of one process.
    """
    met = dist.is_available() and dist.is_initialized()
    processes = dist.get_world_size(group) if met else 1
    if processes == 1:
        return Everyone(image, text)
    rank, own = dist.get_rank(group), image.shape[0]
    counts = list(row_counts(own, image.device, group) if rank_rows is None else rank_rows)
    if len(counts) != processes or counts[rank] != own:
        raise InvalidArgumentError(
            f"rank_rows is {counts}, must hold the rows of each of {processes} processes, and "
            f"{own} for rank {rank}; use row_counts"
        )
    both = gather_rows(torch.cat([image, text], dim=1), counts, group)
    everyone = both.split(image.shape[1], dim=1)
    return Everyone(everyone[0], everyone[1], sum(counts[:rank]), counts, group)


def row_counts(rows: int, device: torch.device, group: Any = None) -> list[int]:
    """How many rows each process of ``group`` brings; a collective."""
    own = torch.tensor([rows], dtype=torch.int64, device=device)
    counts: list[int] = gather_blocks(own, group).tolist()
    return counts


def gather_blocks(block: Tensor, group: Any = None) -> Tensor:
    """[processes * n, ...] of a block [n, ...] of each process, without a gradient."""
    blocks = block.new_empty((dist.get_world_size(group) * len(block), *block.shape[1:]))
    _all_gather(blocks, block.contiguous(), group=group)
    return blocks


def gather_rows(rows: Tensor, counts: Sequence[int], group: Any = None) -> Tensor:
    """[own rows, d] of each process as [all rows, d]; the gradient of a row is summed over all."""
    gathered: Tensor = _GatherRows.apply(rows, tuple(counts), group)
    return gathered


def total_of(numbers: Tensor, everyone: Everyone) -> Tensor:
    """The sum over processes, without a gradient."""
    if everyone.processes == 1:
        return numbers
    summed = numbers.detach().clone()
    dist.all_reduce(summed, group=everyone.group)
    return summed


class _GatherRows(torch.autograd.Function):
    """Blocks are padded to the longest, for collectives want blocks of one size."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, counts: tuple[int, ...], group: Any) -> Tensor:
        ctx.counts, ctx.group = counts, group
        longest = max(counts)
        blocks = gather_blocks(F.pad(rows, (0, 0, 0, longest - rows.shape[0])), group)
        if len(set(counts)) == 1:
            return blocks
        parts = blocks.split(longest)
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        longest = max(ctx.counts)
        parts = gradient.split(list(ctx.counts))
        blocks = torch.cat([F.pad(part, (0, 0, 0, longest - part.shape[0])) for part in parts])
        own = blocks.new_empty((longest, blocks.shape[1]))
        _reduce_scatter(own, blocks.contiguous(), group=ctx.group)
        return own[: ctx.counts[dist.get_rank(ctx.group)]], None, None
