"""Options of filtering a table, of resharding by one, and of giving it to other tools."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, Lt

from helip.common.options import Options, Positive, Seed, Share, ThreadOptions

Combination = Literal["any", "both", "mean"]
Layout = Literal["long", "nested"]
Modality = Literal["text", "image"]
#: As sentence-transformers names them.
Format = Literal["triplet", "n-tuple", "labeled-pair", "labeled-list"]


@dataclass(frozen=True, kw_only=True)
class FilterRules(Options):
    """Which hard pairs are flagged, where c(i, j) is the cosine of image i and caption j."""

    relative_margin: Annotated[float, Ge(0), Le(1)] | None = None
    """Flag j where c(i, j) or c(j, i) > c(i, i) - relative_margin |c(i, i)|: 0.05 keeps pairs that
    score at most 95 % of what the target's own caption does."""
    margin: Annotated[float, Ge(-2), Le(2)] | None = None
    """Flag j where c(i, j) or c(j, i) > c(i, i) - margin, as the margin of mining does."""
    match: Combination = "any"
    """How both margins combine c(i, j) and c(j, i): the larger, the smaller (both) or the mean."""
    veto: Combination | None = None
    """Flag pairs that match crosswise. mean: c(i, j) + c(j, i) >= c(i, i) + c(j, j); any: the
    larger of the left >= the smaller of the right; both: the smaller >= the larger."""
    image_max: Share | None = None
    """Flag pairs whose images have a cosine above it."""
    text_max: Share | None = None
    """Flag pairs whose captions have a cosine above it."""
    max_score: float | None = None
    """Flag pairs whose score in the table exceeds it."""
    min_score: float | None = None
    """Flag pairs whose score in the table does not exceed it."""


@dataclass(frozen=True, kw_only=True)
class FilterOptions(FilterRules, ThreadOptions):
    """What is done with the hard pairs that a rule flags."""

    action: Literal["drop", "downweight", "keep"] = "drop"
    """downweight multiplies the score and orders the pool anew; keep only counts."""
    weight: Annotated[float, Gt(0), Lt(1)] = 0.5
    """downweight: what scores are multiplied by."""
    k: Positive | None = None
    """Keep the best so many of what is left; None: as many as the table has."""
    min_precision: Share = 0.8
    """learnt_veto: the lower 95 % limit of its measured precision must reach it."""


@dataclass(frozen=True, kw_only=True)
class JoinOptions(Options):
    """How the pools of two tables become one."""

    k: Positive | None = None
    """Keep the best so many of both; None: the larger k of the two tables."""


@dataclass(frozen=True, kw_only=True)
class ReshardOptions(Options):
    """How shards are cut, and which hard pairs count."""

    shard_size: int | str = "1GB"
    """Most bytes of a shard. A larger sample has one of its own."""
    rank_max: Positive | None = None
    """Only the best so many of each pool count, for a loader that draws from these."""
    seed: Seed = 0
    """Of the row that the order begins with."""


@dataclass(frozen=True, kw_only=True)
class SoftLabelOptions(Options):
    """How a teacher's similarities become weights."""

    temperature: Annotated[float, Gt(0)] = 0.01
    """Of the teacher: a caption whose cosine is lower by this has a weight smaller by e. CLIP
    models end at 0.01."""
