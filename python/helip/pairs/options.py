"""Options of resharding."""

from __future__ import annotations

from dataclasses import dataclass

from helip.common.errors import InvalidArgumentError
from helip.common.options import Options, Positive, Seed


@dataclass(frozen=True, kw_only=True)
class ReshardOptions(Options):
    """How shards are cut, and which hard pairs count."""

    shard_size: int | str | None = None
    """Most bytes of a shard; by default "1GB". A larger sample has one of its own."""
    samples_per_shard: Positive | None = None
    """Most samples of a shard, in place of shard_size."""
    rank_max: Positive | None = None
    """Only the best so many of each pool count, for a loader that draws from these."""
    seed: Seed = 0
    """Of the row that the order begins with."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.shard_size is not None and self.samples_per_shard is not None:
            raise InvalidArgumentError(
                f"shard_size={self.shard_size!r} and samples_per_shard={self.samples_per_shard} "
                "are two bounds of one thing; give one of them"
            )
