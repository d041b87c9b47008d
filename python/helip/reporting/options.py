"""Options of the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from helip.common.options import Options, Positive, Whole


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
