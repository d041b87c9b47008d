"""One run on icons but for its seed: what it starts from, how its batches are made, how long."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any


@dataclass(frozen=True)
class Trial:
    name: str
    """As the table names it; what a run does, does not depend on it."""
    way: str = "control"
    """Of `ways`; or "start", the model as it was."""
    steps: int = 640
    rows: int = 256
    """Of a batch."""
    lr: float = 1e-3
    loss: Mapping[str, Any] = field(default_factory=dict)
    """Options of `helip.HelipLoss`; or a ``kind`` of `rival_losses` and its options. ``mask``:
    whether equal captions are left out of each other's loss."""
    loader: Mapping[str, Any] = field(default_factory=dict)
    """Options of `helip.HardPairLoader` beside those of the way."""
    pool: str = "product"
    """Of which similarity: "product", "image", "text" or "sum" of unimodal features; or "own", the
    product of the features of the model itself."""
    refreshed: int = 1
    """How often own pools are mined, at equal distances."""
    kind: str = "colour"
    noise: float = 0.0
    """Share of the training captions that are shuffled."""
    epochs: float = 8
    """Of the start, on plain batches of 256 rows at 1e-3; 0: random weights."""
    keeping: Mapping[str, float] = field(default_factory=dict)
    """What keeps the knowledge of the start, of heads: "distill", the weight of that loss; or
    "wise_ft", the share of the tuned weights in the mean of both."""
    stamps: bool = False
    """Whether stamps are measured too, of heads: pictures of another kind."""
    stage: str = "heads"
    """What trains: "heads" on frozen features, "towers" from pixels, or "lit", a
    pre-trained tower under heads."""
    against: str | None = None
    """Name of the trial that it is compared with; None: the first of the table; "": nothing."""

    @property
    def identity(self) -> dict[str, Any]:
        told = {f.name: getattr(self, f.name) for f in fields(self)}
        # What came later is told where it is used, so that runs of before are found.
        later = {name for name in ("keeping", "stamps") if not told[name]}
        return {k: v for k, v in told.items() if k not in {"name", "against", *later}}
