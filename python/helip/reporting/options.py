"""Options of the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from helip.common.options import Options, Positive, Seed, Whole, check, require

Kind = Literal["png", "svg"]


@dataclass(frozen=True, kw_only=True)
class ReportOptions(Options):
    """What a page shows."""

    rows: Whole | Sequence[int] = 12
    """Targets, drawn over the quantiles of their best score; or a list of row numbers."""
    target: Sequence[str] = ()
    """Keys of targets to show, in place of drawn ones; repeatable."""
    hard: Positive = 6
    """Hard pairs of each target."""
    seed: Whole = 0
    """Of the draw."""
    title: str = "Hard pairs"
    """Of the page."""


@dataclass(frozen=True, kw_only=True)
class PlotOptions(Options):
    """How a table is drawn."""

    formats: tuple[Kind, ...] = ("png", "svg")
    """Of the files; repeatable."""
    sample: Positive = 20_000
    """Targets that scores and map look at, at most, drawn at random; the plots say so."""
    seed: Seed = 0
    """Of the draw."""

    def __post_init__(self) -> None:
        super().__post_init__()
        several = isinstance(self.formats, Sequence) and not isinstance(self.formats, str)
        named = several and len(self.formats) > 0
        require(named, "formats", self.formats, 'a tuple of one at least, such as ("png",)')
        for each in self.formats:
            check("formats", each, Kind)
