"""One run on photographs but for its seed."""

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
    data: str = "flickr8k"
    only: str = ""
    """Of a mixture: the set that is trained on; the start is of the others, "not " and its name,
    unless it is the general one."""
    general: bool = False
    """The start is the general one: heads and tower, trained on all of a mixture."""
    epochs: float = 8
    """How often as many rows are seen as there are to train on."""
    rows: int = 256
    """Of a batch."""
    lr: float = 1e-3
    loss: Mapping[str, Any] = field(default_factory=dict)
    """Options of `helip.HelipLoss`, or of a rival."""
    loader: Mapping[str, Any] = field(default_factory=dict)
    """Options of `helip.HardPairLoader` beside those of the way."""
    pool: str = "product"
    """Of which similarity: of `photo_scene.mined` of unimodal features; or "own" and "cross", of
    the features of the model itself."""
    refreshed: int = 1
    """How often own pools are mined, at equal distances."""
    start_epochs: float = 8
    stage: str = "heads"
    """What trains: "heads"; "top": these and the top of the image tower; "pixels": these and a
    small image tower that begins with random weights."""
    distill: float = 0.0
    phrases: float = 0.0
    """Share of the captions in the place of which one of their noun phrases is taken."""
    against: str | None = None
    """Name of the trial that it is compared with; None: the first of the table; "": nothing."""

    @property
    def identity(self) -> dict[str, Any]:
        told = {f.name: getattr(self, f.name) for f in fields(self)}
        later = {name for name in ("phrases", "only", "general") if not told[name]}
        return {k: v for k, v in told.items() if k not in {"name", "against", *later}}
