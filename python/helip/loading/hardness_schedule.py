"""HardnessSchedule: a curriculum for the hard pairs of a loader."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal

from annotated_types import Gt

from helip.common.errors import InvalidArgumentError
from helip.common.options import Options, Positive, Share, Whole, require


@dataclass(frozen=True, kw_only=True)
class HardnessSchedule(Options):
    """Where a loader's window of ranks, ``draw_temperature`` and ``fraction`` go while it trains.

    They start at the loader's own values and arrive at these after ``epochs`` epochs, where they
    stay; one that is None here stays all the time. A value depends on the epoch and the share of
    its targets that came before, so it is the same on every rank and after a resume; with
    communities, which are made for a whole epoch, on the epoch alone.
    """

    label = "schedule"

    epochs: Annotated[float, Gt(0)]
    """How long it takes; 0.5 is half an epoch."""
    rank_min: Whole | None = None
    """First rank of the window at the end."""
    rank_max: Positive | None = None
    """One past the last rank of the window at the end; None leaves it as it is."""
    draw_temperature: float | None = None
    """At the end; the loader must have one to start from."""
    fraction: Share | None = None
    """Share of the targets that get hard pairs, or are in a community, at the end."""
    shape: Literal["linear", "cosine"] = "linear"
    """cosine is slow at both ends."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.epochs < float("inf"), "epochs", self.epochs, "finite: how long it takes")

    @classmethod
    def of(cls, other: Any) -> Any:
        """``other`` itself, or the schedule that a mapping or its text describes; None for None."""
        if other is None or isinstance(other, cls):
            return other
        if isinstance(other, str):
            return cls.parse(other)
        names = [field.name for field in fields(cls)]
        if not isinstance(other, Mapping) or not {"epochs"} <= set(other) <= set(names):
            raise InvalidArgumentError(
                f"schedule = {other!r} must be a HardnessSchedule, or a mapping with epochs and "
                f"any of {', '.join(names[1:])}"
            )
        return cls(**other)
