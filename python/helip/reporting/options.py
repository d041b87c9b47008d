"""Options of the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Le

from helip.common.options import Options, Positive, Seed, Whole, check, require
from helip.common.sizes import parse_bytes

Kind = Literal["png", "svg"]
Port = Annotated[int, Ge(0), Le(65_535)]

_VIEW_BYTES = 4 * 10**9
_FEWEST_VIEW_BYTES = 16 << 20


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


@dataclass(frozen=True, kw_only=True)
class ViewOptions(Options):
    """Where the viewer is served, and what it may keep."""

    host: str = "127.0.0.1"
    """Address to listen on; another than loopback lets others in who know the token."""
    port: Port = 8765
    """Where it is taken, the next free one is; 0: any."""
    browser: bool = True
    """Open the page in a browser, where there is one."""
    view_cache: int | str | None = None
    """Bytes of thumbnails, orders and features of models that are kept, or such as "10GB"; None:
    4 GB. What was used longest ago goes first."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.view_cache_bytes >= _FEWEST_VIEW_BYTES, "view_cache", self.view_cache,
            "16MiB or more",
        )  # fmt: skip

    @property
    def view_cache_bytes(self) -> int:
        """``view_cache`` as a number."""
        return parse_bytes(self.view_cache, name="view_cache") or _VIEW_BYTES
